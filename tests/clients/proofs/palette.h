/* What both halves of PALETTE agree on. */
#ifndef TW_PROOF_PALETTE_H
#define TW_PROOF_PALETTE_H

#include "tw_internal.h"

/* A tile of which all rows from `row` on are still to come. */
static inline bool is_started(const tw_tile *tile) {
    const uint32_t rows = tile->rect.height - tile->row;
    const uint32_t left = (uint32_t)(tile->end - tile->at);
    bool bits;
    if (tile->colours < 2 || tile->colours > TW_PALETTE_SIZE || tile->run_index >= tile->colours) {
        return false;
    }
    if (tile->runs) {
        bits = tile->bits >= 1 && tile->bits <= 6 && tile->colours <= 1U << tile->bits;
        return bits && tile->run + tile->pixels == tile->rect.width * rows;
    }
    bits = tile->bits == 1 || tile->bits == 2 || tile->bits == 4 || tile->bits == 8;
    return bits && left == (tile->rect.width * tile->bits + 7) / 8 * rows;
}

#endif
