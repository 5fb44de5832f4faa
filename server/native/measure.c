/* Statistics of a rectangle: what the choice of an encoding is made from. */
#include <tilewire/tw_wire.h>

#include "survey.h"

/* --- Colours and runs */

static int32_t varint_bytes(uint32_t value) {
    int32_t bytes = 1;
    while (value >= 0x80) {
        value >>= 7;
        bytes++;
    }
    return bytes;
}

/* Add a run to the bytes that all runs take beyond one each, for indices of 1 to 6 bits. */
static inline void count_run(int32_t *extra, int32_t length) {
    if (length < 4) {
        return; /* fits one byte whatever the bits */
    }
    for (int32_t bits = 1; bits <= TW_NS_RUN_BITS; bits++) {
        const int32_t all_ones = (1 << (8 - bits)) - 1;
        if (length > all_ones) {
            extra[bits] += varint_bytes((uint32_t)(length - all_ones - 1));
        }
    }
}

void tw_ns_take_survey(const tw_ns_surface *surface, tw_ns_rect rect, tw_ns_survey *survey) {
    const int32_t stored = surface->stored;
    tw_ns_palette *palette = &survey->palette;
    int32_t extra[TW_NS_RUN_BITS + 1] = {0};
    int32_t begun = 0; /* place of the run at hand, in raster order */
    memset(palette, 0, sizeof *palette);
    survey->runs = 0;
    survey->equal_left = 0;
    for (int32_t row = 0; row < rect.height; row++) {
        const uint8_t *pixels = tw_ns_at(surface, rect.x, rect.y + row);
        for (int32_t i = 0; i < rect.width; i += 64) {
            const size_t count = (size_t)tw_ns_min(rect.width - i, 64);
            uint64_t starts;
            if (i > 0) {
                const uint8_t *at = pixels + (size_t)i * (size_t)stored;
                starts = tw_ns_differ64(at, at - stored, stored, count);
                survey->equal_left += (int32_t)count - __builtin_popcountll(starts);
            } else {
                /* The first pixel follows the last one of the row before. */
                starts = count > 1 ? tw_ns_differ64(pixels + stored, pixels, stored, count - 1) << 1 : 0;
                survey->equal_left += (int32_t)count - 1 - __builtin_popcountll(starts);
                const uint8_t *before =
                    row > 0 ? tw_ns_at(surface, rect.x + rect.width - 1, rect.y + row - 1) : NULL;
                starts |= before == NULL || memcmp(before, pixels, (size_t)stored) != 0;
            }
            survey->runs += __builtin_popcountll(starts);
            if (palette->count > TW_NS_MAX_PALETTE) {
                continue;
            }
            for (; starts != 0; starts &= starts - 1) {
                const int32_t x = i + __builtin_ctzll(starts);
                const int32_t place = row * rect.width + x;
                count_run(extra, place - begun);
                begun = place;
                if (tw_ns_palette_find(palette, tw_ns_load(pixels, (size_t)x, stored)) < 0) {
                    break;
                }
            }
        }
    }
    count_run(extra, rect.height * rect.width - begun);
    survey->packed_bytes = 0;
    survey->run_bytes = 0;
    const int32_t colours = palette->count;
    if (colours < 2 || colours > TW_NS_MAX_PALETTE) {
        return;
    }
    const int32_t head = 1 + colours * tw_ns_packed(surface);
    survey->packed_bytes = head + (rect.width * tw_ns_packed_bits(colours) + 7) / 8 * rect.height;
    if (colours <= TW_NS_RUN_COLOURS) {
        survey->run_bytes = head + survey->runs + extra[tw_ns_run_bits(colours)];
    }
}

/* --- Gradients */

/* Luma of pixels, 0 to 255. The formats with few bits are widened so that white is 255 or nearly. */
static void luma_row(const uint8_t *restrict pixels, uint8_t *restrict luma, size_t count, int32_t format) {
    switch (format) {
    case TW_PIXEL_RGB565:
        for (size_t i = 0; i < count; i++) {
            const uint16_t p = (uint16_t)tw_ns_load16(pixels + 2 * i);
            /* 79, 76 and 30 for 77 * 255/248, 150 * 255/252 / 2 and 29 * 255/248. */
            const uint16_t red = (uint16_t)((p >> 8 & 0xF8) * 79);
            const uint16_t green = (uint16_t)((p >> 2 & 0x1F8) * 76);
            const uint16_t blue = (uint16_t)((p << 3 & 0xF8) * 30);
            luma[i] = (uint8_t)((uint16_t)(red + green + blue) >> 8);
        }
        break;
    case TW_PIXEL_XRGB8888:
        for (size_t i = 0; i < count; i++) {
            const uint32_t p = tw_ns_load32(pixels + 4 * i);
            const uint16_t blue = (uint16_t)((p & 0xFF) * 29);
            const uint16_t green = (uint16_t)((p >> 8 & 0xFF) * 150);
            const uint16_t red = (uint16_t)((p >> 16 & 0xFF) * 77);
            luma[i] = (uint8_t)((uint16_t)(red + green + blue) >> 8);
        }
        break;
    case TW_PIXEL_RGB332:
        for (size_t i = 0; i < count; i++) {
            const uint16_t p = pixels[i];
            /* 88 * 224 + 171 * 224 + 38 * 192 = 65312 */
            const uint16_t red = (uint16_t)((p & 0xE0) * 88);
            const uint16_t green = (uint16_t)((p << 3 & 0xE0) * 171);
            const uint16_t blue = (uint16_t)((p << 6 & 0xC0) * 38);
            luma[i] = (uint8_t)((uint16_t)(red + green + blue) >> 8);
        }
        break;
    default: memcpy(luma, pixels, count); break;
    }
}

enum { LANES = 16, STRIP = 255 * LANES, STEPS = TW_NS_GRADIENTS - 1 };

/* over[k] += how many pairs differ by 2^k or more. */
static void count_steps(
    const uint8_t *restrict a, const uint8_t *restrict b, size_t count, int32_t over[STEPS]) {
    while (count > 0) {
        /* Each lane counts up to 255 in a byte. */
        uint8_t lanes[STEPS][LANES] = {{0}};
        const size_t strip = count < STRIP ? count : STRIP;
        size_t i = 0;
        for (; i + LANES <= strip; i += LANES) {
            uint8_t step[LANES];
            for (size_t lane = 0; lane < LANES; lane++) {
                const uint8_t high = a[i + lane] > b[i + lane] ? a[i + lane] : b[i + lane];
                const uint8_t low = a[i + lane] > b[i + lane] ? b[i + lane] : a[i + lane];
                step[lane] = (uint8_t)(high - low);
            }
            for (size_t k = 0; k < STEPS; k++) {
                const uint8_t least = (uint8_t)(1U << k);
                for (size_t lane = 0; lane < LANES; lane++) {
                    lanes[k][lane] = (uint8_t)(lanes[k][lane] + (step[lane] >= least));
                }
            }
        }
        for (; i < strip; i++) {
            const int32_t step = a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
            for (size_t k = 0; k < STEPS; k++) {
                over[k] += step >= 1 << k;
            }
        }
        for (size_t k = 0; k < STEPS; k++) {
            for (size_t lane = 0; lane < LANES; lane++) {
                over[k] += lanes[k][lane];
            }
        }
        a += strip;
        b += strip;
        count -= strip;
    }
}

static int32_t count_equal(
    const uint8_t *restrict a, const uint8_t *restrict b, size_t count, int32_t stored) {
    int32_t equal = 0;
    switch (stored) {
    case 1:
        for (size_t i = 0; i < count; i++) {
            equal += a[i] == b[i];
        }
        break;
    case 2:
        for (size_t i = 0; i < count; i++) {
            equal += tw_ns_load16(a + 2 * i) == tw_ns_load16(b + 2 * i);
        }
        break;
    default:
        for (size_t i = 0; i < count; i++) {
            equal += tw_ns_load32(a + 4 * i) == tw_ns_load32(b + 4 * i);
        }
        break;
    }
    return equal;
}

void tw_ns_measure(const tw_ns_surface *surface, tw_ns_rect rect, tw_ns_stats *stats) {
    memset(stats, 0, sizeof *stats);
    if (!tw_ns_clip(&rect, surface->width, surface->height)) {
        return;
    }
    tw_ns_survey survey;
    tw_ns_take_survey(surface, rect, &survey);
    stats->colours = survey.palette.count;
    stats->runs = survey.runs;
    stats->equal_left = survey.equal_left;
    stats->packed_bytes = survey.packed_bytes;
    stats->run_bytes = survey.run_bytes;
    memcpy(stats->palette, survey.palette.colours, sizeof stats->palette);

    uint8_t rows[2][TW_MAX_SIDE];
    const size_t width = (size_t)tw_ns_min(rect.width, TW_MAX_SIDE);
    const size_t bytes = width * (size_t)surface->stored;
    int32_t over[STEPS] = {0};
    int32_t over_row[STEPS] = {0};
    const uint8_t *before = NULL;
    for (int32_t row = 0; row < rect.height; row++) {
        const uint8_t *pixels = tw_ns_at(surface, rect.x, rect.y + row);
        uint8_t *luma = rows[row % 2];
        if (before != NULL && memcmp(before, pixels, bytes) == 0) {
            stats->equal_up += (int32_t)width;
            memcpy(luma, rows[(row + 1) % 2], width);
        } else {
            luma_row(pixels, luma, width, surface->format);
            memset(over_row, 0, sizeof over_row);
            count_steps(luma + 1, luma, width - 1, over_row);
            if (before != NULL) {
                stats->equal_up += count_equal(before, pixels, width, surface->stored);
                count_steps(luma, rows[(row + 1) % 2], width, over);
            }
        }
        for (size_t k = 0; k < STEPS; k++) {
            over[k] += over_row[k];
        }
        before = pixels;
    }
    const int32_t pairs = ((int32_t)width - 1) * rect.height + (int32_t)width * (rect.height - 1);
    stats->gradients[0] = pairs - over[0];
    for (size_t k = 0; k < STEPS; k++) {
        stats->gradients[k + 1] = over[k] - (k + 1 < STEPS ? over[k + 1] : 0);
    }
}
