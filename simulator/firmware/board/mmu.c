#include "mmu.h"

#include <stdint.h>

#include "map.h"

/* A section's descriptor (ARMv7-A short format): address | ... */
enum {
    SECTION = 2,
    WRITE_THROUGH = 1U << 3,         /* normal memory, C */
    WRITE_BACK = 1U << 12 | 3U << 2, /* normal memory, write-allocate: TEX 1, C, B */
    DEVICE = 1U << 2,                /* B */
    NEVER_EXECUTED = 1U << 4,        /* XN */
    WRITABLE = 3U << 10,             /* AP 0b011 */
    READ_ONLY = 1U << 15 | 1U << 10, /* AP 0b101 */
    ENTRIES = 4096,
    CONTROL_MMU = 1U << 0,
    CONTROL_DATA_CACHE = 1U << 2,
    CONTROL_PREDICTION = 1U << 11,
    CONTROL_INSTRUCTION_CACHE = 1U << 12,
};

static uint32_t table[ENTRIES] __attribute__((aligned(0x4000)));

static void map(uint32_t from, uint32_t to, uint32_t attributes) {
    for (uint32_t at = from / FW_MEGABYTE; at < (to + FW_MEGABYTE - 1) / FW_MEGABYTE; at++) {
        table[at] = at * FW_MEGABYTE | SECTION | attributes;
    }
}

void fw_mmu_start(void) {
    const uint32_t data = WRITE_BACK | WRITABLE | NEVER_EXECUTED;
    const uint32_t registers = DEVICE | WRITABLE | NEVER_EXECUTED;
    uint32_t control;
    map(FW_CONFIG, FW_DATA, WRITE_BACK | READ_ONLY);
    map(FW_DATA, FW_STACK_GUARD, data);
    map(FW_STACKS, FW_STACK_CEILING, data);
    /* The controller reads memory, not the cache. */
    map(FW_PANEL_MEMORY, FW_PANEL_MEMORY + FW_PANEL_MEMORY_SIZE, WRITE_THROUGH | WRITABLE | NEVER_EXECUTED);
    map(FW_RECORDING, FW_RECORDING + FW_RECORDING_SIZE, WRITE_BACK | READ_ONLY | NEVER_EXECUTED);
    map(FW_KEYBOARD, FW_PL111 + 0x1000, registers);
    map(FW_GIC_CPU, FW_GIC_DISTRIBUTOR + 0x1000, registers);
    map(FW_LAN9118, FW_LAN9118 + 0x1000, registers);

    __asm__ volatile("mcr p15, 0, %0, c2, c0, 2" ::"r"(0));     /* TTBCR: one table */
    __asm__ volatile("mcr p15, 0, %0, c2, c0, 0" ::"r"(table)); /* TTBR0 */
    __asm__ volatile("mcr p15, 0, %0, c3, c0, 0" ::"r"(1));     /* DACR: the table's rights count */
    __asm__ volatile("mcr p15, 0, %0, c8, c7, 0" ::"r"(0));     /* TLBIALL */
    __asm__ volatile("mcr p15, 0, %0, c7, c5, 0" ::"r"(0));     /* ICIALLU */
    __asm__ volatile("mcr p15, 0, %0, c7, c5, 6" ::"r"(0));     /* BPIALL */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    __asm__ volatile("mrc p15, 0, %0, c1, c0, 0" : "=r"(control));
    control |= CONTROL_MMU | CONTROL_DATA_CACHE | CONTROL_PREDICTION | CONTROL_INSTRUCTION_CACHE;
    __asm__ volatile("mcr p15, 0, %0, c1, c0, 0\n\tisb" ::"r"(control) : "memory");
}
