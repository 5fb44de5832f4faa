/* The Cortex-A9's global timer: 64 bits at 100 MHz. Under `-icount shift=N` an instruction takes 2^N ns, so that a tick
 * is 10 instructions for N = 0, and what is counted between two looks repeats exactly. */
#ifndef FW_TIMER_H
#define FW_TIMER_H

#include <stdint.h>

enum { FW_TIMER_TICK_NS = 10 };

/* Start counting. */
void fw_timer_start(void);

/* Ticks since the machine began. */
uint64_t fw_timer_ticks(void);

#endif
