/* What palettes need to know of a rectangle: its colours and its runs. */
#ifndef TW_NS_SURVEY_H
#define TW_NS_SURVEY_H

#include "pixel.h"

enum { TW_NS_PALETTE_SLOTS = 512, TW_NS_RUN_COLOURS = 64, TW_NS_RUN_BITS = 6 };

/* Pixel values by order of first appearance. */
typedef struct {
    int32_t count; /* TW_NS_MAX_PALETTE + 1: there are more */
    uint32_t colours[TW_NS_MAX_PALETTE];
    uint8_t slots[TW_NS_PALETTE_SLOTS]; /* hash table: number of a colour, plus one */
} tw_ns_palette;

typedef struct {
    tw_ns_palette palette;
    int32_t runs;
    int32_t equal_left;
    int32_t packed_bytes; /* as in tw_ns_stats */
    int32_t run_bytes;
} tw_ns_survey;

/* The number of a colour, which becomes known where there is room; -1 where there is none. */
static inline int32_t tw_ns_palette_find(tw_ns_palette *palette, uint32_t colour) {
    /* Fibonacci hashing: the top nine bits of the product. */
    uint32_t slot = colour * UINT32_C(0x9E3779B1) >> 23;
    while (palette->slots[slot] != 0) {
        const int32_t number = palette->slots[slot] - 1;
        if (palette->colours[number] == colour) {
            return number;
        }
        slot = (slot + 1) % TW_NS_PALETTE_SLOTS;
    }
    if (palette->count >= TW_NS_MAX_PALETTE) {
        palette->count = TW_NS_MAX_PALETTE + 1;
        return -1;
    }
    palette->colours[palette->count] = colour;
    palette->slots[slot] = (uint8_t)++palette->count;
    return palette->count - 1;
}

/* Bits of an index in packed rows and in runs. */
static inline int32_t tw_ns_packed_bits(int32_t colours) {
    return colours <= 2 ? 1 : colours <= 4 ? 2 : colours <= 16 ? 4 : 8;
}

static inline int32_t tw_ns_run_bits(int32_t colours) {
    int32_t bits = 1;
    while (1 << bits < colours) {
        bits++;
    }
    return bits;
}

/* Bytes of a pixel on the wire. */
static inline int32_t tw_ns_packed(const tw_ns_surface *surface) {
    return surface->stored == 4 ? 3 : surface->stored;
}

/* `rect` lies inside the surface. */
void tw_ns_take_survey(const tw_ns_surface *surface, tw_ns_rect rect, tw_ns_survey *survey);

#endif
