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

typedef struct colours {
    tw_jpeg_word red, green, blue;
} colours;

/* What is added to red, green and blue. Green: 0.344136 / 1.772 and 0.714136 / 1.402 of the others, in 128ths: less than 1
 * level off where both are largest. */
static inline colours added_by(const uint16_t *blue, const uint16_t *red) {
    tw_jpeg_word green;
    colours out;
    out.blue = load(blue);
    out.red = load(red);
    /* Most are from -128 to 127. Others need a look at limits of their own, which those of Cb and Cr are. */
    if ((((out.blue + EACH * 0x80) | (out.red + EACH * 0x80)) & BEYOND) != 0) {
        out.blue = limited(out.blue, -227, 225);
        out.red = limited(out.red, -179, 178);
    }
    green = EACH * (tw_jpeg_word)(256 * 128 + 64 + (25 + 65) * 0x8000) - out.blue * 25 - out.red * 65;
    out.green = (green >> 7 & EACH * 0x1FF) + EACH * (0x8000 - 256);
    return out;
}

/* Every other lane, beginning with the first or second, twice. */
static inline colours twice(colours c, unsigned which) {
    colours out;
    out.red = (c.red >> 16 * which & EVENS) * 0x10001;
    out.green = (c.green >> 16 * which & EVENS) * 0x10001;
    out.blue = (c.blue >> 16 * which & EVENS) * 0x10001;
    return out;
}

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
static inline colours sums(tw_jpeg_word luma, colours added) {
    colours out;
    out.red = luma + added.red;
    out.green = luma + added.green;
    out.blue = luma + added.blue;
    return ((luma | out.red | out.green | out.blue) & BEYOND) == 0
               ? out
               : clamped_sums(luma, added.red, added.green, added.blue);
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

/* The first two lanes of a word. */
static inline void store_two(uint8_t *out, tw_jpeg_word word) {
    uint32_t two = (uint32_t)word;
    two = tw_is_little_endian() ? two : two << 16 | two >> 16;
    memcpy(out, &two, sizeof two);
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

/* What draw_word() does for all kinds but one. */
static void draw_others(unsigned kind, tw_jpeg_word luma, tw_jpeg_word red, tw_jpeg_word green,
    tw_jpeg_word blue, uint8_t *out, size_t apart) {
    tw_jpeg_word word;
    colours c;
    c.red = red;
    c.green = green;
    c.blue = blue;
    c = sums(luma, c);
#    if TW_WITH_RGB565
    if (kind == KIND_565_SWAPPED) {
        word = rgb565(c);
        word = (word >> 8 & EACH * 0xFF) | (word & EACH * 0xFF) << 8;
        store_two(out, word);
        if (LANES == 4) {
            store_two(out + apart, word >> HALF);
        }
        return;
    }
#    endif
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
            store_xrgb8888(out + apart, even >> HALF);
            store_xrgb8888(out + apart + 4, odd >> HALF);
        }
        return;
    }
#    endif
#    if TW_WITH_8BIT
    word = kind == KIND_GREY8 ? (c.red * 77 + c.green * 150 + c.blue * 29) >> 8
                              : (c.red & EACH * 0xE0) | (c.green >> 3 & EACH * 0x1C) | c.blue >> 6;
    out[0] = (uint8_t)word;
    out[1] = (uint8_t)(word >> 16);
    if (LANES == 4) {
        out[apart] = (uint8_t)(word >> HALF);
        out[apart + 1] = (uint8_t)(word >> 16 >> HALF);
    }
#    endif
}

/* A word of pixels: two, and perhaps two more so many bytes further on. */
static inline void draw_word(unsigned kind, tw_jpeg_word luma, colours added, uint8_t *out, size_t apart) {
    if (TW_WITH_RGB565 && kind == KIND_565) {
        const tw_jpeg_word word = rgb565(sums(luma, added));
        store_two(out, word);
        if (LANES == 4) {
            store_two(out + apart, word >> HALF);
        }
    } else {
        draw_others(kind, luma, added.red, added.green, added.blue, out, apart);
    }
}

/* Rows of an MCU of 8 columns. */
static void draw_plain(const tw_client *client, uint32_t row, uint32_t rows, uint8_t *out, size_t stride) {
    const tw_jpeg_samples *samples = &client->decoder->samples;
    const uint16_t *luma = samples->luma + 8 * row, *blue = samples->blue + 8 * row;
    const uint16_t *red = samples->red + 8 * row;
    const unsigned kind = kind_of(client);
    const size_t two = 2 * (size_t)tw_stored(client);
    for (; rows != 0; rows--, out += stride) {
        uint8_t *at = out;
        for (const uint16_t *const end = luma + 8; luma != end; luma += LANES) {
            draw_word(kind, load(luma), added_by(blue, red), at, two);
            blue += LANES;
            red += LANES;
            at += LANES / 2 * two;
        }
    }
}

/* Rows of one of 16 columns, or pairs of rows. Of 8 samples of Y, the first half are two times two that have the even
 * ones of four of Cb and Cr, the second half have the others. */
static void draw_shared(const tw_client *client, uint32_t row, uint32_t rows, uint8_t *out, size_t stride) {
    const tw_jpeg_samples *samples = &client->decoder->samples;
    const bool pairs = client->decoder->sampling == 2;
    const uint16_t *luma = samples->luma + (pairs ? 32 : 16) * row, *blue = samples->blue + 8 * row;
    const uint16_t *red = samples->red + 8 * row;
    const unsigned kind = kind_of(client);
    const size_t two = 2 * (size_t)tw_stored(client);
    for (; rows != 0; rows--) {
        uint8_t *at = out;
        for (const uint16_t *const end = blue + 8; blue != end; blue += LANES) {
            const colours added = added_by(blue, red), even = twice(added, 0), odd = twice(added, 1);
            draw_word(kind, load(luma), even, at, 2 * two);
            draw_word(kind, load(luma + 4), odd, at + two, 2 * two);
            if (pairs) {
                draw_word(kind, load(luma + 16), even, at + stride, 2 * two);
                draw_word(kind, load(luma + 20), odd, at + stride + two, 2 * two);
            }
            at += LANES * two;
            red += LANES;
            luma += LANES;
            if (LANES == 4 || ((size_t)(end - blue) & 2) != 0) {
                luma += 4;
            }
        }
        out += stride;
        if (pairs) {
            luma += 16;
            out += stride;
        }
    }
}

/* The first columns of the next lines of the MCU; all is counted in pixels of the panel. */
static void draw_lines(
    const tw_client *client, uint32_t lines, uint32_t columns, uint8_t *out, size_t stride) {
    tw_jpeg_decoder *d = client->decoder;
    const uint32_t doubled = client->doubled, pairs = d->sampling == 2;
    const size_t stored = tw_stored(client), length = 16 * stored;
    void (*const draw)(const tw_client *, uint32_t, uint32_t, uint8_t *, size_t) =
        tw_jpeg_columns(d) == 16 ? draw_shared : draw_plain;
    if (columns == tw_jpeg_columns(d) && d->line == 0 && !doubled && (lines & pairs) == 0) {
        draw(client, 0, lines >> pairs, out, stride);
        return;
    }
    for (uint32_t line = d->line, end = line + lines; line != end; line++, out += stride) {
        const uint32_t row = line >> doubled;
        const uint8_t *const from = (const uint8_t *)d->pixels + (row & pairs) * length;
        draw(client, row >> pairs, 1, (uint8_t *)d->pixels, length);
        if (!doubled) {
            memcpy(out, from, columns * stored);
            continue;
        }
        for (uint32_t x = 0; x < columns; x++) {
            for (size_t i = 0; i < stored; i++) {
                out[x * stored + i] = from[(x >> 1) * stored + i];
            }
        }
    }
}

void tw_jpeg_start(tw_client *client, uint32_t quality, uint32_t sampling) {
    tw_jpeg_decoder *d = client->decoder;
    tw_jpeg_begin(d, quality, sampling);
    d->x = 0;
    d->line = 0;
    if (sampling == 3) { /* all colours are Y */
        for (unsigned i = 0; i < 64; i++) {
            d->samples.blue[i] = d->samples.red[i] = 0x8000;
        }
    }
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
            if (d->line == 0 && !tw_jpeg_next(d)) {
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
