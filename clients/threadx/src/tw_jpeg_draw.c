/* JPEG, decoded here: samples become the panel's pixels, and these become a rectangle. */
#include "tw_internal.h"

#if TW_WITH_JPEG

/* A word holds so many samples, 16 bits each, the first in its lowest bits; arithmetic on it is arithmetic on all of them
 * as long as none leaves its bits. */
#    define LANES (sizeof(tw_jpeg_word) / 2)
#    define HALF (4 * sizeof(tw_jpeg_word))
#    define EACH ((tw_jpeg_word) - 1 / 0xFFFF)   /* 1 in every lane */
#    define EVENS ((tw_jpeg_word) - 1 / 0x10001) /* 0xFFFF in every other one, beginning with the first */
/* Bits that are set in a lane which, less 0x8000, is not from 0 to 255, or in a sample of Y that is not. */
#    define BEYOND (EACH * 0x7F00)

/* Compilers make one access of it where the processor can do that. */
static inline tw_jpeg_word load(const uint16_t *in) {
    tw_jpeg_word word = in[0] | (tw_jpeg_word)in[1] << 16;
    if (LANES == 4) {
        word |= (tw_jpeg_word)in[2] << HALF | (tw_jpeg_word)in[3] << 16 << HALF;
    }
    return word;
}

/* Each lane, less 0x8000, is limited to these. */
static tw_jpeg_word limited(tw_jpeg_word word, int low, int high) {
    tw_jpeg_word out = 0;
    for (unsigned shift = 0; shift < 16 * LANES; shift += 16) {
        int value = (int)(word >> shift & 0xFFFF) - 0x8000;
        value = value < low ? low : value > high ? high : value;
        out |= (tw_jpeg_word)(unsigned)(value + 0x8000) << shift;
    }
    return out;
}

/* The lanes as 16 bits each, in the machine's order, at any address. */
static inline void store(void *out, tw_jpeg_word word) {
    if (tw_is_little_endian()) {
        memcpy(out, &word, sizeof word);
    } else {
        for (unsigned i = 0; i < LANES; i++, word >>= 16) {
            const uint16_t lane = (uint16_t)word;
            memcpy((uint8_t *)out + 2 * i, &lane, sizeof lane);
        }
    }
}

/* What is added to red, green and blue, out of what Cb adds to blue and Cr to red. Green: 0.344136 / 1.772 and 0.714136 /
 * 1.402 of the others, in 128ths: less than 1 level off where both are largest. */
static void prepare(uint16_t *added) {
    for (const uint16_t *const end = added + 64; added != end; added += LANES) {
        tw_jpeg_word blue = load(added), red = load(added + 64), green;
        /* Most are from -128 to 127. Others need a look at limits of their own, which those of Cb and Cr are. */
        if ((((blue + EACH * 0x80) | (red + EACH * 0x80)) & BEYOND) != 0) {
            blue = limited(blue, -227, 225);
            red = limited(red, -179, 178);
            store(added, blue);
            store(added + 64, red);
        }
        green = EACH * (tw_jpeg_word)(256 * 128 + 64 + (25 + 65) * 0x8000) - blue * 25 - red * 65;
        store(added + 128, (green >> 7 & EACH * 0x1FF) + EACH * (0x8000 - 256));
    }
}

typedef struct colours {
    tw_jpeg_word red, green, blue;
} colours;

/* 0 to 255 of 0x8000 and what is beside it by less than 0x100. */
static inline tw_jpeg_word clamped(tw_jpeg_word word) {
    const tw_jpeg_word over = word >> 8 & EACH, inside = word >> 15 & EACH;
    return (word | over * 0xFF) & inside * 0xFF;
}

/* What sums() gives where a sum, or Y itself, is beyond its limits. */
static colours clamped_sums(tw_jpeg_word luma, tw_jpeg_word red, tw_jpeg_word green, tw_jpeg_word blue) {
    colours out;
    if ((luma & EACH * 0xFF00) != 0) {
        luma = limited(luma ^ EACH << 15, 0, 255) & EACH * 0xFF;
    }
    out.red = clamped(luma + red);
    out.green = clamped(luma + green);
    out.blue = clamped(luma + blue);
    return out;
}

/* Red, green and blue in the low 8 bits of each lane; what is above them is anything. */
static inline colours sums(tw_jpeg_word luma, tw_jpeg_word red, tw_jpeg_word green, tw_jpeg_word blue) {
    colours out;
    out.red = luma + red;
    out.green = luma + green;
    out.blue = luma + blue;
    return ((luma | out.red | out.green | out.blue) & BEYOND) == 0 ? out
                                                                   : clamped_sums(luma, red, green, blue);
}

/* How pixels are stored. */
enum { KIND_565, KIND_565_SWAPPED, KIND_XRGB8888, KIND_RGB332, KIND_GREY8 };

static unsigned kind_of(const tw_client *client) {
    switch (client->format) {
    case TW_PIXEL_RGB565: return client->big_endian == tw_is_little_endian() ? KIND_565_SWAPPED : KIND_565;
    case TW_PIXEL_RGB332: return KIND_RGB332;
    case TW_PIXEL_GREY8: return KIND_GREY8;
    default: return KIND_XRGB8888;
    }
}

static inline tw_jpeg_word rgb565(colours c) {
    return (c.red & EACH * 0xF8) << 8 | (c.green & EACH * 0xFC) << 3 | (c.blue & EACH * 0xF8) >> 3;
}

#    if TW_WITH_XRGB8888
static inline void store_xrgb8888(uint8_t *out, tw_jpeg_word pixel) {
    const uint32_t value = (uint32_t)pixel;
    if (tw_is_little_endian()) {
        memcpy(out, &value, sizeof value);
    } else {
        out[0] = (uint8_t)pixel;
        out[1] = (uint8_t)(pixel >> 8);
        out[2] = (uint8_t)(pixel >> 16);
        out[3] = 0;
    }
}
#    endif

/* A word of pixels, of the kinds that are not stored as rgb565() makes them. */
static inline void store_others(unsigned kind, colours c, uint8_t *out) {
    c.red &= EACH * 0xFF;
    c.green &= EACH * 0xFF;
    c.blue &= EACH * 0xFF;
#    if TW_WITH_XRGB8888
    if (kind == KIND_XRGB8888) {
        const tw_jpeg_word low = c.green << 8 | c.blue, even = (low & EVENS) | (c.red & EVENS) << 16;
        const tw_jpeg_word odd = (low >> 16 & EVENS) | (c.red & ~EVENS);
        store_xrgb8888(out, even);
        store_xrgb8888(out + 4, odd);
        if (LANES == 4) {
            store_xrgb8888(out + 8, even >> HALF);
            store_xrgb8888(out + 12, odd >> HALF);
        }
        return;
    }
#    endif
#    if TW_WITH_8BIT
    {
        const tw_jpeg_word word = kind == KIND_GREY8
                                      ? (c.red * 77 + c.green * 150 + c.blue * 29) >> 8
                                      : (c.red & EACH * 0xE0) | (c.green >> 3 & EACH * 0x1C) | c.blue >> 6;
        for (unsigned i = 0; i < LANES; i++) {
            out[i] = (uint8_t)(word >> 16 * i);
        }
    }
#    endif
    (void)kind;
    (void)out;
}

/* Each of a row of eight twice, for blue, red and green. */
static void double_row(uint16_t *out, const uint16_t *in) {
    for (unsigned colour = 0; colour < 3; colour++, out += 16, in += 64) {
        for (unsigned x = 0; x < 8; x++) {
            out[2 * x] = out[2 * x + 1] = in[x];
        }
    }
}

/* Rows of an MCU. */
static void draw(const tw_client *client, uint32_t row, uint32_t rows, uint8_t *out, size_t stride) {
    const tw_jpeg_samples *samples = &client->decoder->samples;
    const unsigned columns = tw_jpeg_columns(client->decoder), pairs = client->decoder->sampling == 2;
    const unsigned kind = kind_of(client);
    const size_t size = LANES * (size_t)tw_stored(client);
    const uint16_t *luma = samples->luma + row * columns, *added = samples->added + 8 * row;
    const size_t apart = columns == 8 ? 64 : 16; /* from blue to red, and to green */
    uint16_t wide[3 * 16];
    bool is_first = true;
    for (; rows != 0; rows--, row++, out += stride) {
        const uint16_t *const end = luma + columns;
        uint8_t *at = out;
        if (columns != 8) {
            if (is_first || (row & pairs) == 0) { /* otherwise they are those of the row before */
                double_row(wide, samples->added + 8 * (size_t)(row >> pairs));
                is_first = false;
            }
            added = wide;
        }
        for (; luma != end; luma += LANES, added += LANES, at += size) {
            const colours c = sums(load(luma), load(added + apart), load(added + 2 * apart), load(added));
            if (TW_WITH_RGB565 && kind <= KIND_565_SWAPPED) {
                tw_jpeg_word word = rgb565(c);
                if (kind == KIND_565_SWAPPED) {
                    word = (word >> 8 & EACH * 0xFF) | (word & EACH * 0xFF) << 8;
                }
                store(at, word);
            } else {
                store_others(kind, c, at);
            }
        }
    }
}

/* The first columns of the next lines of the MCU; all is counted in pixels of the panel. */
static void draw_lines(
    const tw_client *client, uint32_t lines, uint32_t columns, uint8_t *out, size_t stride) {
    tw_jpeg_decoder *d = client->decoder;
    uint8_t *const pixels = (uint8_t *)d->pixels;
    const uint32_t doubled = client->doubled;
    const size_t stored = tw_stored(client), shift = stored >> 1; /* of 1, 2 or 4 */
    if (columns == tw_jpeg_columns(d) && !doubled) {
        draw(client, d->line, lines, out, stride);
        return;
    }
    for (uint32_t line = d->line, end = line + lines; line != end; line++, out += stride) {
        if (line == d->line || (line & doubled) == 0) {
            draw(client, line >> doubled, 1, pixels, 0);
            if (doubled) { /* in place, from its end */
                for (size_t at = columns * stored; at-- != 0;) {
                    pixels[at] = pixels[(at >> (shift + 1) << shift) | (at & (stored - 1))];
                }
            }
        }
        memcpy(out, pixels, columns * stored);
    }
}

void tw_jpeg_start(tw_client *client, uint32_t quality, uint32_t sampling) {
    tw_jpeg_decoder *d = client->decoder;
    tw_jpeg_begin(d, quality, sampling);
    d->x = 0;
    d->line = 0;
    if (sampling == 3) { /* all colours are Y */
        for (unsigned i = 0; i < 3 * 64; i++) {
            d->samples.added[i] = 0x8000;
        }
    }
}

static bool next_mcu(tw_jpeg_decoder *d) {
    if (!tw_jpeg_next(d)) {
        return false;
    }
    if (d->sampling != 3) {
        prepare(d->samples.added);
    }
    return true;
}

static inline uint32_t least(uint32_t a, size_t b) {
    return a < b ? a : (uint32_t)b;
}

/* Into a framebuffer goes all at once; into a strip as many rows of MCUs as it has room for, or some MCUs of a row, or
 * some lines of one MCU. */
tw_status tw_jpeg_draw(tw_client *client) {
    tw_jpeg_decoder *d = client->decoder;
    tw_tile *tile = &client->tile;
    const uint32_t columns = tw_jpeg_columns(d) << client->doubled, lines = tw_jpeg_lines(d)
                                                                            << client->doubled;
    const uint32_t left = tile->rect.x + d->x, top = tile->rect.y + tile->row + d->line;
    uint32_t width = tile->rect.width - d->x, height = tile->rect.height - tile->row, count = height;
    uint8_t *out = client->surface;
    size_t stride = client->stride;
    if (tw_in_strips(client)) {
        const size_t room = client->surface_size / tw_stored(client);
        if (d->x != 0 || room / width < least(height, lines)) {
            height = least(height, lines);
            count = (uint32_t)(room / height / columns);
            width = least(width, count > 1 ? count * columns : columns);
        } else if (room / width < height) {
            height = (uint32_t)(room / width) / lines * lines;
        }
        count = least(height - d->line, room / width);
        stride = (size_t)width * tw_stored(client);
    } else {
        out = tw_pixel_at(client, left, top);
    }
    d->source.at = tile->at;
    d->source.end = tile->end;
    for (uint32_t y = 0; y < count; y += lines) {
        for (uint32_t x = 0; x < width; x += columns) {
            if (d->line == 0 && !next_mcu(d)) {
                return TW_CODE_BAD_PAYLOAD;
            }
            draw_lines(client, least(count - y, lines), least(width - x, columns),
                out + y * stride + (size_t)x * tw_stored(client), stride);
        }
    }
    tile->at = d->source.at;
    if (d->line + count < height) {
        d->line = (uint8_t)(d->line + count);
    } else {
        d->line = 0;
        d->x += width;
    }
    if (d->x == tile->rect.width) {
        d->x = 0;
        tile->row += height;
        if (tile->row == tile->rect.height && !tw_jpeg_end(d)) {
            return TW_CODE_BAD_PAYLOAD;
        }
    }
    tw_show(client, left, top, width, count, out);
    return TW_OK;
}

#endif
