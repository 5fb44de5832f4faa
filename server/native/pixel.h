/* What the pixel loops share: places in a surface, single pixels, and comparisons of 64 pixels at a time. */
#ifndef TW_NS_PIXEL_H
#define TW_NS_PIXEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "native.h"

/* Surfaces hold what little-endian integers hold in memory, and are read as integers. */
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "the server's pixel loops need a little-endian machine"
#endif

static inline int32_t tw_ns_min(int32_t a, int32_t b) {
    return a < b ? a : b;
}

static inline int32_t tw_ns_max(int32_t a, int32_t b) {
    return a > b ? a : b;
}

/* Cut `rect` to a surface of width x height; false where nothing is left. */
static inline bool tw_ns_clip(tw_ns_rect *rect, int32_t width, int32_t height) {
    int64_t right = (int64_t)rect->x + rect->width;
    int64_t bottom = (int64_t)rect->y + rect->height;
    int32_t x = tw_ns_max(rect->x, 0);
    int32_t y = tw_ns_max(rect->y, 0);
    right = right < width ? right : width;
    bottom = bottom < height ? bottom : height;
    if (right <= x || bottom <= y) {
        return false;
    }
    *rect = (tw_ns_rect){x, y, (int32_t)right - x, (int32_t)bottom - y};
    return true;
}

static inline bool tw_ns_alike(const tw_ns_surface *a, const tw_ns_surface *b) {
    return a->width == b->width && a->height == b->height && a->stored == b->stored;
}

static inline size_t tw_ns_index(const tw_ns_surface *surface, int32_t x, int32_t y) {
    return (size_t)y * (size_t)surface->width + (size_t)x;
}

static inline uint8_t *tw_ns_at(const tw_ns_surface *surface, int32_t x, int32_t y) {
    return surface->pixels + tw_ns_index(surface, x, y) * (size_t)surface->stored;
}

static inline uint32_t tw_ns_load16(const uint8_t *p) {
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline uint32_t tw_ns_load32(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

/* The value of pixel i of a row. */
static inline uint32_t tw_ns_load(const uint8_t *row, size_t i, int32_t stored) {
    switch (stored) {
    case 1: return row[i];
    case 2: return tw_ns_load16(row + 2 * i);
    default: return tw_ns_load32(row + 4 * i);
    }
}

/* A row of BGRX in a panel's format. */
void tw_ns_convert_row(int32_t format, const uint8_t *from, uint8_t *to, size_t count);

/* Bit i of the result is set where byte i of `marks`, each 0 or 1, is. */
static inline uint64_t tw_ns_pack64(const uint8_t marks[64]) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t eight;
        memcpy(&eight, marks + 8 * i, sizeof eight);
        bits |= (eight * UINT64_C(0x0102040810204080)) >> 56 << (8 * i);
    }
    return bits;
}

/* Bit i is set where pixels i of both rows differ; count is 1 to 64. */
static inline uint64_t tw_ns_differ64(
    const uint8_t *restrict a, const uint8_t *restrict b, int32_t stored, size_t count) {
    uint8_t marks[64];
    if (count < 64) {
        memset(marks, 0, sizeof marks);
        for (size_t i = 0; i < count; i++) {
            marks[i] = tw_ns_load(a, i, stored) != tw_ns_load(b, i, stored);
        }
        return tw_ns_pack64(marks);
    }
    /* Constant trip counts become vector instructions. */
    switch (stored) {
    case 1:
        for (size_t i = 0; i < 64; i++) {
            marks[i] = a[i] != b[i];
        }
        break;
    case 2:
        for (size_t i = 0; i < 64; i++) {
            marks[i] = tw_ns_load16(a + 2 * i) != tw_ns_load16(b + 2 * i);
        }
        break;
    default:
        for (size_t i = 0; i < 64; i++) {
            marks[i] = tw_ns_load32(a + 4 * i) != tw_ns_load32(b + 4 * i);
        }
        break;
    }
    return tw_ns_pack64(marks);
}

/* Bit i is set where state i is `state`; count is 1 to 64. */
static inline uint64_t tw_ns_states64(const uint8_t *states, int32_t state, size_t count) {
    uint8_t marks[64];
    if (count < 64) {
        memset(marks, 0, sizeof marks);
        for (size_t i = 0; i < count; i++) {
            marks[i] = states[i] == state;
        }
    } else {
        const uint8_t wanted = (uint8_t)state;
        for (size_t i = 0; i < 64; i++) {
            marks[i] = states[i] == wanted;
        }
    }
    return tw_ns_pack64(marks);
}

#endif
