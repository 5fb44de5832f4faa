#include "clock.h"

#include <stddef.h>

#include "../timer.h"
#include "gic.h"
#include "map.h"

/* The second timer of the SP804, 1 MHz. */
enum {
    LOAD = 0x20,
    CONTROL = 0x28,
    CLEAR = 0x2C,
    PERIODIC_WITH_INTERRUPT_32_BIT = 0xE2,
    TIMER_TICKS_PER_US = 1000 / FW_TIMER_TICK_NS,
};

static void (*on_tick)(void);
static uint32_t pace_us;

static void handle(void *user) {
    (void)user;
    FW_REGISTER(FW_SP804 + CLEAR) = 1;
    if (on_tick != NULL) {
        on_tick();
    }
}

void fw_clock_pace(uint32_t tick_us) {
    if (tick_us != pace_us) {
        pace_us = tick_us;
        FW_REGISTER(FW_SP804 + LOAD) = tick_us;
    }
}

void fw_clock_start(void (*tick)(void)) {
    on_tick = tick;
    fw_timer_start();
    FW_REGISTER(FW_SP804 + CONTROL) = 0;
    fw_clock_pace(FW_TICK_BUSY_US);
    fw_gic_attach(FW_IRQ_SP804, handle, NULL);
    FW_REGISTER(FW_SP804 + CONTROL) = PERIODIC_WITH_INTERRUPT_32_BIT;
}

uint64_t fw_clock_us(void) {
    return fw_timer_ticks() / TIMER_TICKS_PER_US;
}

uint32_t fw_clock_ms(void) {
    return (uint32_t)(fw_clock_us() / 1000);
}
