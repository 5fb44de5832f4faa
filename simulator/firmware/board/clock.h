/* Time: a tick of 1 ms that wakes the processor, and a clock that counts on through everything. */
#ifndef FW_CLOCK_H
#define FW_CLOCK_H

#include <stdint.h>

enum { FW_TICKS_PER_SECOND = 1000 };

/* `tick` is called 1000 times a second, in the interrupt; NULL: only wakes. */
void fw_clock_start(void (*tick)(void));

/* Microseconds since the machine began, by the global timer (timer.h). */
uint64_t fw_clock_us(void);
/* They wrap; for differences. */
uint32_t fw_clock_ms(void);

#endif
