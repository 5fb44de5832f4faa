/* The processor: interrupts and sleep. */
#ifndef FW_CPU_H
#define FW_CPU_H

#include <stdint.h>

/* Masks interrupts; what was before goes to fw_cpu_restore(). */
static inline uint32_t fw_cpu_mask(void) {
    uint32_t state;
    __asm__ volatile("mrs %0, cpsr\n\tcpsid i" : "=r"(state)::"memory");
    return state;
}

static inline void fw_cpu_restore(uint32_t state) {
    __asm__ volatile("msr cpsr_c, %0" ::"r"(state) : "memory");
}

static inline void fw_cpu_unmask(void) {
    __asm__ volatile("cpsie i" ::: "memory");
}

/* Sleeps until an interrupt is pending, masked or not. */
static inline void fw_cpu_sleep(void) {
    __asm__ volatile("dsb\n\twfi" ::: "memory");
}

/* What was written so far is there for devices too. */
static inline void fw_cpu_barrier(void) {
    __asm__ volatile("dsb" ::: "memory");
}

#endif
