#include "gic.h"

#include <stddef.h>

#include "map.h"

enum {
    CPU_CONTROL = 0x00,
    CPU_PRIORITY_MASK = 0x04,
    CPU_ACKNOWLEDGE = 0x0C,
    CPU_END = 0x10,
    CONTROL = 0x000,
    SET_ENABLE = 0x100,
    PRIORITY = 0x400,
    TARGET = 0x800,
    SPURIOUS = 1020, /* and above */
    FIRST_SHARED = 32,
    MIDDLE = 0xA0,
    ALL = 0xF0,
};

static struct {
    fw_handler handler;
    void *user;
} attached[FW_IRQS];

static uint32_t interrupted;
static volatile uint32_t heeded;

void fw_gic_start(void) {
    FW_REGISTER(FW_GIC_DISTRIBUTOR + CONTROL) = 1;
    FW_REGISTER(FW_GIC_CPU + CPU_PRIORITY_MASK) = ALL;
    FW_REGISTER(FW_GIC_CPU + CPU_CONTROL) = 1;
}

void fw_gic_attach(unsigned irq, fw_handler handler, void *user) {
    attached[irq].handler = handler;
    attached[irq].user = user;
    *(volatile uint8_t *)(uintptr_t)(FW_GIC_DISTRIBUTOR + PRIORITY + irq) = MIDDLE;
    if (irq >= FIRST_SHARED) {
        *(volatile uint8_t *)(uintptr_t)(FW_GIC_DISTRIBUTOR + TARGET + irq) = 1; /* this processor */
    }
    FW_REGISTER(FW_GIC_DISTRIBUTOR + SET_ENABLE + irq / 32 * 4) = 1U << irq % 32;
}

void fw_gic_dispatch(uint32_t pc) {
    interrupted = pc;
    for (;;) {
        const uint32_t taken = FW_REGISTER(FW_GIC_CPU + CPU_ACKNOWLEDGE);
        const uint32_t irq = taken & 0x3FF;
        if (irq >= SPURIOUS) {
            return;
        }
        if (irq < FW_IRQS && attached[irq].handler != NULL) {
            attached[irq].handler(attached[irq].user);
        }
        heeded = heeded + 1;
        FW_REGISTER(FW_GIC_CPU + CPU_END) = taken;
    }
}

uint32_t fw_gic_heeded(void) {
    return heeded;
}

uint32_t fw_gic_interrupted(void) {
    return interrupted;
}
