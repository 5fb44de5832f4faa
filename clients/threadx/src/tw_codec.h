/* The lossless tile codec's decoder, row by row: between two rows it can wait for as long as it has to. */
#ifndef TW_CODEC_H
#define TW_CODEC_H

#include <stdbool.h>

#include "tw_codec_model.h"

/* One payload under way. */
typedef struct tw_codec {
    tw_codec_model *model;
    tw_codec_prob *prob;
    uint32_t *colours;
    uint16_t *nears, *slots;
    const tw_codec_layout *layout;
    const uint8_t *in;
    size_t length;
    size_t at; /* bytes taken, including those past the end, which are 0 */
    uint32_t range, code;
    uint32_t run;          /* of literals */
    uint32_t *above, *now; /* the rows; both have room for what stands outside the rectangle */
    uint32_t width;
    bool rest, begun;
} tw_codec;

/* Begins a payload for a rectangle of `width` columns. `rows`: TW_CODEC_ROWS_SIZE(width) bytes, which nobody else writes
 * before the last row. False: it is empty, or of a variant that does not exist. */
bool tw_codec_begin(tw_codec *codec, tw_codec_model *model, uint32_t *rows, const uint8_t *payload,
    size_t length, uint32_t width);

/* The next row: values of the panel's format, good until the next call. `payload` is where it is now; it may have moved
 * since the last call. NULL: it is corrupt or ends too early; then neither the model nor earlier rows are worth
 * anything. */
const uint32_t *tw_codec_row(tw_codec *codec, const uint8_t *payload);

/* After the last row: whether the payload ended with it. */
bool tw_codec_end(const tw_codec *codec);

#endif
