/* The RAM behind the program: taken at start, in pieces that are never given back. There is no heap. */
#ifndef FW_MEMORY_H
#define FW_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Aligned to 64 bytes. Where there is not as much, the device ends. */
void *fw_memory_take(size_t size);
size_t fw_memory_free(void);

/* The most of a stack that was ever used: it was painted at start. */
typedef struct fw_stack {
    const char *name;
    const uint32_t *limit, *top;
} fw_stack;
size_t fw_stack_used(const fw_stack *stack);
extern const fw_stack fw_stacks[];
extern const size_t fw_stack_count;

#endif
