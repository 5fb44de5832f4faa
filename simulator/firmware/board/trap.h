/* What an instruction that cannot go on leaves behind, and a main loop that stands still. */
#ifndef FW_TRAP_H
#define FW_TRAP_H

#include <stdint.h>

/* As start.S stores it. */
typedef struct fw_registers {
    uint32_t r[13], sp, lr, pc, psr, vector;
} fw_registers;

/* Says what happened and where on UART0, and ends the machine. */
void fw_trap(const fw_registers *at);

/* The main loop goes round. */
void fw_watchdog_kick(void);
/* From the tick: without a kick for `limit_ms` (0: never looks) it says where the program is and ends the machine. */
void fw_watchdog_tick(void);
void fw_watchdog_start(uint32_t limit_ms);

#endif
