#include "timer.h"

#define GLOBAL_TIMER ((volatile uint32_t *)0x1E000200U)

enum { LOW = 0, HIGH = 1, CONTROL = 2 };

void fw_timer_start(void) {
    GLOBAL_TIMER[CONTROL] = 1;
}

uint64_t fw_timer_ticks(void) {
    uint32_t high, low;
    do {
        high = GLOBAL_TIMER[HIGH];
        low = GLOBAL_TIMER[LOW];
    } while (high != GLOBAL_TIMER[HIGH]);
    return (uint64_t)high << 32 | low;
}
