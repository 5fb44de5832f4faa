/* The JPEG decoder up to samples: an entropy-coded segment goes in, one MCU after the other comes out. Between two of
 * them it can wait for as long as it has to. SPEC.md 8.9. */
#ifndef TW_JPEG_H
#define TW_JPEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tilewire/tw_config.h"

#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK

/* By table (0: Y, 1: Cb and Cr), in zigzag order. */
extern const uint8_t tw_jpeg_quantisers[2][64];
/* How many codes of AC have 1 to 16 bits, then their values, as DHT has them. */
extern const uint8_t tw_jpeg_ac[2][16 + 162];

/* By libjpeg's formula. */
uint8_t tw_jpeg_quantiser(uint32_t table, uint32_t index, uint32_t quality);

#endif

#if TW_WITH_JPEG

/* An AC code by its first bits. Bits 0 to 3 of an entry: how many of them are taken; 4 to 7: zeros before the
 * coefficient. Bit 8: the coefficient is among them, bits 9 to 15 are its value. Otherwise bits 9 to 15 say how many bits
 * of it follow, and 0 that there is no coefficient: after 15 zeros one more follows, after 0 the block is over. An entry
 * of 0: the code is longer. */
#    define TW_JPEG_SHORT_BITS 10
#    define TW_JPEG_SHORT_CODES (1 << TW_JPEG_SHORT_BITS)

typedef struct tw_jpeg_longer {
    uint32_t code, index;
} tw_jpeg_longer;

extern const uint8_t tw_jpeg_zigzag[64 + 15];
extern const int16_t tw_jpeg_short[2][TW_JPEG_SHORT_CODES];
extern const tw_jpeg_longer tw_jpeg_long[2];

/* As wide as a register, 32 or 64 bits: bits of the segment, and several samples at once, the first in the lowest bits.
 * What is drawn does not depend on it, as long as the samples of a segment are in range. */
#    ifndef TW_JPEG_WORD
#        define TW_JPEG_WORD uintptr_t
#    endif
typedef TW_JPEG_WORD tw_jpeg_word;

/* An MCU by rows. */
typedef struct tw_jpeg_samples {
    uint16_t luma[256]; /* 0 to 255, and what lies beside, which is not limited yet */
    /* What Cb adds to blue, then what Cr adds to red, and 0x8000; not limited either. Then place for green's. */
    uint16_t added[3 * 64];
} tw_jpeg_samples;

/* A segment, as far as it was read. */
typedef struct tw_jpeg_source {
    const uint8_t *at, *end; /* the rest of it */
    tw_jpeg_word bits;       /* those before that, from the top */
    uint32_t count;          /* of them */
    uint32_t missing;        /* bytes among them that the segment did not have */
} tw_jpeg_source;

typedef struct tw_jpeg_decoder {
    tw_jpeg_samples samples; /* of the MCU that was decoded last */
    tw_jpeg_source source;   /* `at` and `end` may be set to where the segment has moved */
    uint32_t levels[3];      /* DC of the last block of Y, Cb, Cr */
    uint32_t coefficients[64];
    uint32_t steps[3 * 64 + 15]; /* what a coefficient is multiplied with, by component and zigzag order */
    uint32_t pixels[2 * 16]; /* a row of an MCU that is not drawn as it is, in any format, twice as wide */
    uint8_t quality;         /* that these are of; 0: of none */
    uint8_t sampling;        /* 0 to 3, as in the message */
    uint8_t line;            /* of the MCU that was decoded last: lines of the panel that are out */
    uint32_t x;              /* of this row of MCUs: columns of the panel that are out */
} tw_jpeg_decoder;

/* Columns and lines of an MCU. */
static inline uint32_t tw_jpeg_columns(const tw_jpeg_decoder *decoder) {
    return ((decoder->sampling + 1) & 2) == 0 ? 8 : 16;
}

static inline uint32_t tw_jpeg_lines(const tw_jpeg_decoder *decoder) {
    return decoder->sampling == 2 ? 16 : 8;
}

/* Set `quality` of the decoder to 0 before the first time. */
void tw_jpeg_begin(tw_jpeg_decoder *decoder, uint32_t quality, uint32_t sampling);

/* The next MCU. False: the segment is corrupt. */
bool tw_jpeg_next(tw_jpeg_decoder *decoder);

/* After the last MCU: whether the segment ended in it. */
bool tw_jpeg_end(const tw_jpeg_decoder *decoder);

#endif

#endif
