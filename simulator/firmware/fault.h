#ifndef FW_FAULT_H
#define FW_FAULT_H

#include <stdint.h>

/* From start.S: the number of the vector, the address of the instruction. Does not return. */
void fw_fault(uint32_t number, uint32_t address);

#endif
