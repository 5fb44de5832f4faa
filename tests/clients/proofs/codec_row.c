/* A row of the codec: whatever the pixels, bits and rows before it are, it writes inside its own two rows and comes to an
 * end; what is flat is never longer than the row.
 *
 * Pixels may be any here; codec_pixel.c proves how one is decoded.
 *
 * bound: rows of WIDTH pixels
 * sources:
 * replace: take_pixel:any_pixel take:any_bit take_seldom:any_bit take_both:any_bit_of_both
 * unwind: 6
 * long: 1 -DWIDTH=1
 * case: 2 -DWIDTH=2
 * long: 4 -DWIDTH=4 */
#include "proof.h"

#include "tilewire/tilewire.h"
#include "tw_codec.c"

uint32_t any_pixel(tw_codec *d, const uint32_t *above, const uint32_t *now, uint32_t w, bool excluded) {
    (void)w;
    (void)excluded;
    /* What tw_codec_gather() reads. */
    PROVE(__CPROVER_r_ok(above - 2, 5 * sizeof *above) && __CPROVER_r_ok(now - 3, 5 * sizeof *now));
    d->run = nondet_u8() & TW_CODEC_RUN_MAX;
    return nondet_u32();
}

int any_bit(tw_codec *d, tw_codec_prob *p) {
    PROVE(p >= d->prob && p < d->prob + TW_P_COUNT);
    return nondet_bool();
}

int any_bit_of_both(tw_codec *d, uint32_t context, uint32_t other) {
    (void)d;
    PROVE(context < TW_P_COUNT && other < TW_P_COUNT);
    return nondet_bool();
}

int main(void) {
    static tw_codec_model model;
    uint32_t rows[TW_CODEC_ROWS_SIZE(WIDTH) / sizeof(uint32_t)];
    uint8_t payload[1];
    tw_codec codec;
    const uint32_t *row;
    const bool swapped = nondet_bool();
    codec.model = &model;
    codec.prob = model.prob;
    codec.layout = &tw_codec_layouts[nondet_u8() % TW_CODEC_FORMATS];
    codec.length = nondet_size();
    codec.at = nondet_size();
    codec.run = nondet_u8() & TW_CODEC_RUN_MAX;
    codec.width = WIDTH;
    codec.begun = nondet_bool();
    ASSUME(codec.length <= TW_MAX_MESSAGE && codec.at <= SIZE_MAX / 2);
    /* As tw_codec_begin() lays them out, and each row exchanges them. */
    codec.above = rows + 4 + (swapped ? WIDTH + 8 : 0);
    codec.now = rows + 4 + (swapped ? 0 : WIDTH + 8);
    row = tw_codec_row(&codec, payload);
    PROVE(row == NULL || (row == codec.above && codec.above != codec.now && codec.begun));
    reached();
    return 0;
}
