/* What the machine tells the one who started it, and is told: QEMU's semihosting calls. */
#ifndef FW_SEMIHOSTING_H
#define FW_SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

/* To QEMU's standard error. */
void fw_print(const char *text);
void fw_print_number(uint64_t value);
void fw_print_hex(uint32_t value);

/* The words of -semihosting-config arg=..., with spaces between them. What does not fit is an empty text. */
void fw_arguments(char *text, size_t size);

/* End the machine; QEMU's exit status is the lowest byte. */
void fw_exit(int status);

#endif
