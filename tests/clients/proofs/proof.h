/* What the proofs share. `nondet_...` is a value of which cbmc assumes nothing. */
#ifndef TW_PROOF_H
#define TW_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
size_t nondet_size(void);
bool nondet_bool(void);

/* Only such values are looked at; they are what a proof is worth. */
#define ASSUME(condition) __CPROVER_assume(condition)
/* Holds for every value that is looked at. */
#define PROVE(condition) __CPROVER_assert(condition, #condition)

/* The end of a proof. TW_REACHED: it has to fail there; else what was assumed leaves nothing to prove. */
static inline void reached(void) {
#ifdef TW_REACHED
    __CPROVER_assert(0, "reached");
#endif
}

/* The last `length` bytes of `memory`, which has `size` of any content: one byte beyond them is beyond the memory. */
static inline const uint8_t *last_bytes(const uint8_t *memory, size_t size, size_t length) {
    ASSUME(length <= size);
    return memory + (size - length);
}

#endif
