/* The JPEG decoder up to samples: Huffman codes, quantisation, inverse DCT. */
#include "tw_jpeg.h"

#include <string.h>

#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK

uint8_t tw_jpeg_quantiser(uint32_t table, uint32_t index, uint32_t quality) {
    const uint32_t scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    const uint32_t step = (tw_jpeg_quantisers[table][index] * scale + 50) / 100;
    return (uint8_t)(step < 1 ? 1 : step > 255 ? 255 : step);
}

#endif

#if TW_WITH_JPEG

#    define WORD_BITS (8 * (uint32_t)sizeof(tw_jpeg_word))

/* Coefficients have so many bits below the point; multiplied with a step they have more. */
#    define FRACTION 7
#    define STEP_FRACTION 17

/* What a transform of eight values leaves to be multiplied: sqrt(2) cos(k pi / 16), 1 for k = 0; 2^16. */
static const uint32_t scales[8] = {65536, 90901, 85627, 77062, 65536, 51491, 35468, 18081};
/* What a level of Y adds to all colours, one of Cb to blue and one of Cr to red; 2^14. */
static const uint32_t weights[3] = {16384, 29032, 22970};

/* Arithmetic is modulo 2^32, so that no coefficient is too large; signs come back where it is shifted right. */
typedef char tw_shifts_keep_the_sign[(-1 >> 1) == -1 ? 1 : -1];

static inline uint32_t shifted(uint32_t value, unsigned count) {
    return (uint32_t)((int32_t)value >> count);
}

static void set_quality(tw_jpeg_decoder *d, uint32_t quality) {
    for (uint32_t i = 0; i < 3 * 64; i++) {
        const uint32_t component = i >> 6, place = tw_jpeg_zigzag[i & 63];
        const uint32_t weight = weights[component] * tw_jpeg_quantiser(component != 0, i & 63, quality);
        const uint64_t scale = (uint64_t)scales[place & 7] * scales[place >> 3];
        /* 2^(16 + 16 + 14) times too large, and 8 times for two transforms; 2^17 is wanted. */
        d->steps[i] = (uint32_t)((scale * weight + (1U << 31)) >> 32);
    }
    d->quality = (uint8_t)quality;
}

void tw_jpeg_begin(tw_jpeg_decoder *d, uint32_t quality, uint32_t sampling) {
    d->source.bits = 0;
    d->source.count = d->source.missing = 0;
    d->sampling = (uint8_t)sampling;
    memset(d->levels, 0, sizeof d->levels);
    memset(d->coefficients, 0, sizeof d->coefficients);
    if (quality != d->quality) {
        set_quality(d, quality);
    }
}

/* Afterwards at least 25 bits are there. Beyond the end come ones, which are no code; a marker is an end as well, and
 * counts so much that tw_jpeg_end() sees it. */
static inline void refill(tw_jpeg_source *s) {
    if (WORD_BITS > 32 && s->count <= WORD_BITS - 32 && s->end - s->at >= 4) {
        const uint8_t *at = s->at;
        const uint32_t four = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        if (((~four - 0x01010101U) & four & 0x80808080U) == 0) { /* none of them is 0xFF */
            s->bits |= (tw_jpeg_word)four << (WORD_BITS - 32 - s->count);
            s->count += 32;
            s->at += 4;
            return;
        }
    }
    do {
        uint32_t byte = 0xFF;
        if (s->at == s->end) {
            s->missing++;
        } else {
            byte = *s->at++;
            if (byte == 0xFF && s->at != s->end && *s->at == 0) {
                s->at++;
            } else if (byte == 0xFF) {
                s->at = s->end;
                s->missing += 0x10000;
            }
        }
        s->bits |= (tw_jpeg_word)byte << (WORD_BITS - 8 - s->count);
        s->count += 8;
    } while (s->count <= WORD_BITS - 8);
}

/* 1 to 16 bits. */
static inline uint32_t next_bits(const tw_jpeg_source *s, uint32_t count) {
    return (uint32_t)(s->bits >> (WORD_BITS - count));
}

static inline void skip(tw_jpeg_source *s, uint32_t count) {
    s->bits <<= count;
    s->count -= count;
}

/* A number of T.81 F.2.2.1. */
static inline uint32_t take_number(tw_jpeg_source *s, uint32_t size) {
    const uint32_t value = next_bits(s, size);
    skip(s, size);
    return value >> (size - 1) != 0 ? value : value - (1U << size) + 1;
}

/* How DC's differences are coded, by the first three bits: the length of the code, then that of the difference. After
 * three ones, each further one is one more bit of it, up to 11, and a zero ends the code. */
static const uint8_t level_codes[2][8] = {
    {0x20, 0x20, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36}, {0x20, 0x20, 0x21, 0x21, 0x22, 0x22, 0x33, 0x34}};

static inline bool take_level(tw_jpeg_source *s, uint32_t *level, uint32_t table) {
    const uint32_t head = next_bits(s, 3);
    uint32_t length = level_codes[table][head] >> 4, size = level_codes[table][head] & 15;
    if (head == 7) {
        while ((next_bits(s, ++length) & 1) != 0) {
            if (++size > 11) {
                return false;
            }
        }
    }
    skip(s, length);
    if (size != 0) {
        *level += take_number(s, size);
    }
    return true;
}

/* A code that is too long for the table, as an entry of it, but that it is taken already. 0: there is no such code. */
static int take_long(tw_jpeg_source *s, uint32_t table) {
    const uint8_t *counts = tw_jpeg_ac[table], *values = counts + 16 + tw_jpeg_long[table].index;
    uint32_t least = tw_jpeg_long[table].code;
    for (uint32_t length = TW_JPEG_SHORT_BITS + 1; length <= 16; length++) {
        const uint32_t number = next_bits(s, length) - least, count = counts[length - 1];
        if (number < count) {
            skip(s, length);
            return (values[number] & 15) << 9 | (values[number] & 0xF0);
        }
        values += count;
        least = (least + count) << 1;
    }
    return 0;
}

#    define CORRUPT 64U

/* The coefficients of a block beside DC, multiplied and in their places. `steps` and `codes`: of the component; given,
 * since they are asked for each of them. Returns the places of those that are not 0, OR-ed, or CORRUPT. */
static uint32_t take_block(
    tw_jpeg_decoder *d, uint32_t component, const uint32_t *steps, const int16_t *codes) {
    const uint32_t table = component != 0;
    uint32_t places = 0, index = 1;
    tw_jpeg_source s = d->source;
    if (s.count < 25) {
        refill(&s);
    }
    if (!take_level(&s, &d->levels[component], table)) {
        return CORRUPT;
    }
    while (index < 64) {
        uint32_t value, place, size;
        int code;
        if (s.count < 16) {
            refill(&s);
        }
        code = codes[next_bits(&s, TW_JPEG_SHORT_BITS)];
        if ((code & 0x100) != 0) {
            skip(&s, code & 15);
            index += code >> 4 & 15;
            value = (uint32_t)(code >> 9);
        } else {
            if (code == 0) {
                code = take_long(&s, table);
                if (code == 0) {
                    return CORRUPT;
                }
            }
            skip(&s, code & 15);
            if ((code >> 4) == 0) { /* the rest is 0 */
                break;
            }
            index += code >> 4 & 15;
            size = (uint32_t)code >> 9;
            if (size == 0) { /* the last of 16 zeros */
                index++;
                continue;
            }
            if (s.count < size) {
                refill(&s);
            }
            value = take_number(&s, size);
        }
        place = tw_jpeg_zigzag[index];
        d->coefficients[place] = shifted(value * steps[index], STEP_FRACTION - FRACTION);
        places |= place;
        index++;
    }
    d->source = s;
    return index <= 64 ? places : CORRUPT;
}

/* The inverse DCT of Arai, Agui and Nakajima: five multiplications for eight values, what else is to be multiplied is in
 * the steps. Value k is even + odd, value 7 - k is even - odd; for k = 3 it is the other way round. */
typedef struct sums {
    uint32_t even[4], odd[4];
} sums;

#    define ROOT 2896U       /* sqrt(2) */
#    define ROOT_LESS_1 848U /* sqrt(2) - 1 */
#    define TURN 3784U       /* 2 cos(pi / 8) */
#    define TURN_LESS 2217U  /* 2 (cos(pi / 8) - sin(pi / 8)) */
#    define TURN_MORE 5352U  /* 2 (cos(pi / 8) + sin(pi / 8)) */

static inline uint32_t times(uint32_t value, uint32_t factor) { /* 2^11 */
    return shifted(value * factor, 11);
}

/* Of the values c[0], c[step], ... */
static inline void sums_of_8(sums *s, const uint32_t *c, size_t step) {
    const uint32_t s04 = c[0] + c[4 * step], d04 = c[0] - c[4 * step];
    const uint32_t s26 = c[2 * step] + c[6 * step], d26 = times(c[2 * step] - c[6 * step], ROOT) - s26;
    const uint32_t s17 = c[step] + c[7 * step], d17 = c[step] - c[7 * step];
    const uint32_t s53 = c[5 * step] + c[3 * step], d53 = c[5 * step] - c[3 * step];
    const uint32_t turned = times(d53 + d17, TURN);
    s->even[0] = s04 + s26;
    s->even[1] = d04 + d26;
    s->even[2] = d04 - d26;
    s->even[3] = s04 - s26;
    s->odd[0] = s17 + s53;
    s->odd[1] = turned - times(d53, TURN_MORE) - s->odd[0];
    s->odd[2] = times(s17 - s53, ROOT) - s->odd[1];
    s->odd[3] = times(d17, TURN_LESS) - turned + s->odd[2];
}

/* The same where the last four are 0. */
static inline void sums_of_4(sums *s, const uint32_t *c, size_t step) {
    const uint32_t d26 = times(c[2 * step], ROOT_LESS_1);
    const uint32_t d13 = c[step] - c[3 * step], turned = times(d13, TURN);
    s->even[0] = c[0] + c[2 * step];
    s->even[1] = c[0] + d26;
    s->even[2] = c[0] - d26;
    s->even[3] = c[0] - c[2 * step];
    s->odd[0] = c[step] + c[3 * step];
    s->odd[1] = turned + times(c[3 * step], TURN_MORE) - s->odd[0];
    s->odd[2] = times(d13, ROOT) - s->odd[1];
    s->odd[3] = times(c[step], TURN_LESS) - turned + s->odd[2];
}

/* The same where only the first two are not. */
static inline void sums_of_2(sums *s, const uint32_t *c, size_t step) {
    s->even[0] = s->even[1] = s->even[2] = s->even[3] = c[0];
    s->odd[0] = c[step];
    s->odd[1] = times(c[step], TURN - 2048);
    s->odd[2] = times(c[step], ROOT + 2048 - TURN);
    s->odd[3] = times(c[step], TURN_LESS + ROOT + 2048 - 2 * TURN);
}

static inline void put_column(uint32_t *c, const sums *s) {
    c[0] = s->even[0] + s->odd[0];
    c[8] = s->even[1] + s->odd[1];
    c[16] = s->even[2] + s->odd[2];
    c[24] = s->even[3] - s->odd[3];
    c[32] = s->even[3] + s->odd[3];
    c[40] = s->even[2] - s->odd[2];
    c[48] = s->even[1] - s->odd[1];
    c[56] = s->even[0] - s->odd[0];
}

static inline uint16_t sample(uint32_t value) {
    return (uint16_t)shifted(value, FRACTION);
}

static inline void put_row(uint16_t *out, const sums *s) {
    out[0] = sample(s->even[0] + s->odd[0]);
    out[1] = sample(s->even[1] + s->odd[1]);
    out[2] = sample(s->even[2] + s->odd[2]);
    out[3] = sample(s->even[3] - s->odd[3]);
    out[4] = sample(s->even[3] + s->odd[3]);
    out[5] = sample(s->even[2] - s->odd[2]);
    out[6] = sample(s->even[1] - s->odd[1]);
    out[7] = sample(s->even[0] - s->odd[0]);
}

static void transform_columns(uint32_t *c, const uint32_t *stop, bool all) {
    sums s;
    for (; c != stop; c++) {
        if (all && (c[32] | c[40] | c[48] | c[56]) != 0) {
            sums_of_8(&s, c, 8);
            put_column(c, &s);
        } else if ((c[8] | c[16] | c[24]) != 0) {
            sums_of_4(&s, c, 8);
            put_column(c, &s);
        } else {
            c[8] = c[16] = c[24] = c[32] = c[40] = c[48] = c[56] = c[0];
        }
    }
}

/* Eight equal samples. */
static inline void fill(uint16_t *out, uint32_t value) {
    const tw_jpeg_word word = (tw_jpeg_word)-1 / 0xFFFF * sample(value);
    for (unsigned i = 0; i < 8; i += sizeof word / 2) {
        memcpy(out + i, &word, sizeof word);
    }
}

/* Coefficients become samples, and are 0 again. */
static void transform(uint32_t *c, uint32_t places, uint16_t *out, size_t stride) {
    const uint32_t *const stop =
        c + (places < 8 ? 8 : 64); /* without vertical change all rows are the first */
    const uint16_t *const start = out, *const end = out + 8 * stride;
    const unsigned columns = (places & 4) != 0 ? 8 : (places & 2) != 0 ? 4 : 1 + (places & 1);
    sums s;
    if (places >= 8) {
        transform_columns(c, c + columns, places >= 32);
    }
    if (columns == 8) {
        for (; c != stop; c += 8, out += stride) {
            sums_of_8(&s, c, 1);
            put_row(out, &s);
            c[4] = c[5] = c[6] = c[7] = 0;
            c[0] = c[1] = c[2] = c[3] = 0;
        }
    } else if (columns == 4) {
        for (; c != stop; c += 8, out += stride) {
            sums_of_4(&s, c, 1);
            put_row(out, &s);
            c[0] = c[1] = c[2] = c[3] = 0;
        }
    } else if (columns == 2) {
        for (; c != stop; c += 8, out += stride) {
            sums_of_2(&s, c, 1);
            put_row(out, &s);
            c[0] = c[1] = 0;
        }
    } else {
        for (; c != stop; c += 8, out += stride) {
            fill(out, *c);
            *c = 0;
        }
    }
    for (; out != end; out += stride) {
        memcpy(out, start, 8 * sizeof *out);
    }
}

/* A block of Y stands in 8 or 16 columns, one of Cb and Cr in 8. */
static bool next_block(tw_jpeg_decoder *d, uint32_t component, uint16_t *out, size_t stride) {
    /* What 0 stands for, and a half for rounding. */
    const uint32_t middle = ((component == 0 ? 128U : 0x8000U) << FRACTION) + (1U << (FRACTION - 1));
    const uint32_t *steps = d->steps + 64 * component;
    const uint32_t places = take_block(d, component, steps, tw_jpeg_short[component != 0]);
    if (places == CORRUPT) {
        return false;
    }
    d->coefficients[0] = shifted(d->levels[component] * steps[0], STEP_FRACTION - FRACTION) + middle;
    transform(d->coefficients, places, out, stride);
    return true;
}

bool tw_jpeg_next(tw_jpeg_decoder *d) {
    const size_t stride = tw_jpeg_columns(d);
    for (uint32_t y = 0; y < tw_jpeg_lines(d); y += 8) {
        for (uint32_t x = 0; x < stride; x += 8) {
            if (!next_block(d, 0, d->samples.luma + y * 16 + x, stride)) {
                return false;
            }
        }
    }
    return d->sampling == 3
           || (next_block(d, 1, d->samples.added, 8) && next_block(d, 2, d->samples.added + 64, 8));
}

bool tw_jpeg_end(const tw_jpeg_decoder *d) {
    return d->source.at == d->source.end && d->source.count - 8 * d->source.missing < 8;
}

#endif
