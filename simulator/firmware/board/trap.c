#include "trap.h"

#include <stddef.h>

#include "clock.h"
#include "exits.h"
#include "format.h"
#include "gic.h"

static const char *cause_of(uint32_t status) {
    switch ((status >> 6 & 16) | (status & 15)) {
    case 1: return "alignment";
    case 5: return "not mapped";
    case 7: return "not mapped, page";
    case 13:
    case 15: return "not permitted";
    case 8: return "nothing answers";
    default: return "fault";
    }
}

void fw_trap(const fw_registers *at) {
    static const char *const names[8] = {"reset", "undefined instruction", "supervisor call",
        "prefetch abort", "data abort", "?", "interrupt", "fast interrupt"};
    static unsigned trapped;
    uint32_t status = 0, address = at->pc;
    if (trapped++ != 0) {
        for (;;) {
            __asm__ volatile("wfi");
        }
    }
    if (at->vector == 3) {
        __asm__ volatile("mrc p15, 0, %0, c5, c0, 1" : "=r"(status)); /* IFSR */
    } else if (at->vector == 4) {
        __asm__ volatile("mrc p15, 0, %0, c5, c0, 0" : "=r"(status));  /* DFSR */
        __asm__ volatile("mrc p15, 0, %0, c6, c0, 0" : "=r"(address)); /* DFAR */
    }
    for (unsigned i = 0; i < 12; i += 4) {
        fw_log("r%u %x  r%u %x  r%u %x  r%u %x", i, at->r[i], i + 1, at->r[i + 1], i + 2, at->r[i + 2], i + 3,
            at->r[i + 3]);
    }
    fw_log("r12 %x  sp %x  lr %x  pc %x  psr %x", at->r[12], at->sp, at->lr, at->pc, at->psr);
    if (at->vector == 3 || at->vector == 4) {
        fw_end(FW_EXIT_TRAP, "%s at 0x%x: %s 0x%x (%s)", names[at->vector & 7], at->pc,
            at->vector == 3            ? "execution of"
            : (status & 1U << 11) != 0 ? "write to"
                                       : "read of",
            address, cause_of(status));
    }
    fw_end(FW_EXIT_TRAP, "%s at 0x%x", names[at->vector & 7], at->pc);
}

static volatile uint32_t kicked_ms;
static uint32_t most_ms;

void fw_watchdog_kick(void) {
    kicked_ms = fw_clock_ms();
}

void fw_watchdog_start(uint32_t limit_ms) {
    fw_watchdog_kick();
    most_ms = limit_ms;
}

void fw_watchdog_tick(void) {
    if (most_ms != 0 && fw_clock_ms() - kicked_ms >= most_ms) {
        fw_end(
            FW_EXIT_STUCK, "the main loop has stood still for %u ms at 0x%x", most_ms, fw_gic_interrupted());
    }
}
