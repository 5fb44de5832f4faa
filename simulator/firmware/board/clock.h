/* Time: a tick that wakes the processor, and a clock that counts on through everything. */
#ifndef FW_CLOCK_H
#define FW_CLOCK_H

#include <stdint.h>

/* Microseconds. QEMU's user network waits for the device to wake, so the tick is short while something happens; at rest
 * 1000 ticks a second cost 6% of a processor of the host, 50 cost 1%. */
enum { FW_TICK_BUSY_US = 1000, FW_TICK_IDLE_US = 20000 };

/* `tick` is called in the interrupt, every FW_TICK_BUSY_US at first; NULL: only wakes. */
void fw_clock_start(void (*tick)(void));
/* From here on the tick comes so often. */
void fw_clock_pace(uint32_t tick_us);

/* Microseconds since the machine began, by the global timer (timer.h). */
uint64_t fw_clock_us(void);
/* They wrap; for differences. */
uint32_t fw_clock_ms(void);

#endif
