/* How bits are taken from a payload: from any state of the range coder and any probabilities, nothing is read outside the
 * payload, nothing is shifted or divided beyond what C defines, it comes to an end, and it leaves a state to go on from.
 * The decoder as it is begun is such a state.
 *
 * bound: payloads of up to 8 bytes, of which any number was taken
 * sources:
 * replace: tw_codec_colours:any_colours tw_codec_nears:any_places tw_codec_slots:any_places
 * unwind: 6
 * unwindset: tw_codec_fill.0:3
 * case: begin -DSTEP=0
 * case: bit -DSTEP=1
 * case: mixed -DSTEP=2
 * case: even -DSTEP=3 */
#include "proof.h"

#include "tilewire/tilewire.h"
#include "tw_codec.c"

enum { SIZE = 8, WIDTH = 2 };

uint32_t *any_colours(tw_codec_model *of) {
    (void)of;
    return NULL;
}

uint16_t *any_places(tw_codec_model *of) {
    (void)of;
    return NULL;
}

static bool is_sound(const tw_codec *codec) {
    return codec->range >= 1U << 24 && codec->at >= 5;
}

int main(void) {
    static tw_codec_model model;
    uint32_t rows[TW_CODEC_ROWS_SIZE(WIDTH) / sizeof(uint32_t)];
    uint8_t memory[SIZE];
    tw_codec codec;
    const size_t length = nondet_size();
    const uint8_t *payload = last_bytes(memory, SIZE, length);
    uint32_t count = nondet_u8() % 5;
    model.format = nondet_u8() % TW_CODEC_FORMATS;
    model.background = nondet_u32();
    if (STEP == 0) {
        if (tw_codec_begin(&codec, &model, rows, payload, length, WIDTH)) {
            PROVE(is_sound(&codec) && codec.run == 0 && length != 0);
        }
        reached();
        return 0;
    }
    codec.in = payload;
    codec.length = length;
    codec.prob = model.prob;
    model.prob[1] = nondet_u16();
    model.prob[2] = nondet_u16();
    codec.range = nondet_u32();
    codec.code = nondet_u32();
    codec.at = nondet_size();
    ASSUME(is_sound(&codec) && codec.at <= SIZE_MAX / 2);
    if (STEP == 1) {
        (void)take(&codec, &codec.prob[1]);
    } else if (STEP == 2) {
        (void)take_both(&codec, 1, nondet_bool() ? 2 : 0);
    } else {
        PROVE(take_even(&codec, count) < 1U << count);
    }
    PROVE(is_sound(&codec));
    reached();
    return 0;
}
