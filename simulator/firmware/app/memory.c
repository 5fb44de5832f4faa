#include "memory.h"

#include "../board/exits.h"

#define PAINT 0x5AA55AA5U
#define GRAIN 64

/* From device.ld. */
extern uint8_t fw_free_begin[], fw_free_end[];
extern const uint32_t fw_stack_limit[], fw_stack_top[], fw_trap_stack_limit[], fw_trap_stack_top[];

const fw_stack fw_stacks[] = {
    {"main", fw_stack_limit, fw_stack_top},
    {"traps", fw_trap_stack_limit, fw_trap_stack_top},
};
const size_t fw_stack_count = sizeof fw_stacks / sizeof fw_stacks[0];

static size_t taken;

size_t fw_memory_free(void) {
    return (size_t)((uintptr_t)fw_free_end - (uintptr_t)fw_free_begin) - taken;
}

void *fw_memory_take(size_t size) {
    const size_t whole = (size + GRAIN - 1) / GRAIN * GRAIN;
    void *piece = fw_free_begin + taken;
    if (whole < size || whole > fw_memory_free()) {
        fw_end(FW_EXIT_NO_MEMORY, "the configuration asks for %u bytes more than the %u that are free",
            (unsigned)size, (unsigned)fw_memory_free());
    }
    taken += whole;
    return piece;
}

size_t fw_stack_used(const fw_stack *stack) {
    const uint32_t *at = stack->limit;
    while (at < stack->top && *at == PAINT) {
        at++;
    }
    return (size_t)(stack->top - at) * sizeof *at;
}
