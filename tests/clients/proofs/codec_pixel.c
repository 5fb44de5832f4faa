/* The codec's inner step: one pixel, from any state of decoder and model, with any neighbours. It reads and writes inside
 * the model's tables, divides by nothing that is zero, comes to an end, and leaves a state to go on from. So any number
 * of pixels does.
 *
 * Bits may be any here; codec_bit.c proves how they are taken from a payload. The model's tables are separate arrays of
 * their own sizes, so that the end of one is not hidden by the next; codec_layout.c proves that they lie in the model's
 * memory like that.
 *
 * bound: a model of 32 colours and 16 slots, of any content
 * sources:
 * replace: take:any_bit take_seldom:any_bit take_both:any_bit_of_both take_even:any_even
 * unwind: 9
 * unwindset: main.0:33 main.2:97 main.3:17
 * case: live -DREST=0
 * long: rest -DREST=1 */
#include "proof.h"

#include "tw_codec.c"

enum { BITS = 5, COLOURS = 1 << BITS, VALUES = 64, NEARS = COLOURS + VALUES, SLOTS = 16 };

int any_bit(tw_codec *d, tw_codec_prob *p) {
    PROVE(p >= d->prob && p < d->prob + TW_P_COUNT);
    return nondet_bool();
}

int any_bit_of_both(tw_codec *d, uint32_t context, uint32_t other) {
    (void)d;
    PROVE(context < TW_P_COUNT && other < TW_P_COUNT);
    return nondet_bool();
}

uint32_t any_even(tw_codec *d, uint32_t count) {
    uint32_t value = nondet_u32();
    (void)d;
    PROVE(count <= 4);
    ASSUME(value < 1U << count);
    return value;
}

int main(void) {
    static tw_codec_model model;
    uint32_t colours[COLOURS], above[6], now[6];
    uint16_t nears[NEARS], slots[SLOTS];
    tw_codec codec;
    uint32_t some;
    model.background = nondet_u32();
    model.last_flat = nondet_u32();
    model.last_literal = nondet_u32();
    model.ink = nondet_u32();
    model.trust = (int32_t)nondet_u32();
    model.victim = nondet_u16();
    model.format = TW_CODEC_RGB565;
    model.colour_bits = BITS;
    model.greys = 0;
    model.sets = COLOURS / 4;
    model.slots = SLOTS;
    ASSUME(model.victim <= 3 && model.trust >= -8 && model.trust <= 7);
    for (unsigned i = 0; i < COLOURS; i++) {
        ASSUME((colours[i] & ~(uint32_t)TW_CODEC_USED) <= 0xFFFF);
    }
    for (unsigned i = 0; i < 6; i++) {
        ASSUME(above[i] <= 0xFFFF && now[i] <= 0xFFFF);
    }
    for (unsigned i = 0; i < NEARS; i++) {
        ASSUME(nears[i] < COLOURS);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        ASSUME(slots[i] >> 6 < COLOURS);
    }
    codec.model = &model;
    codec.prob = model.prob;
    codec.colours = colours;
    codec.nears = nears;
    codec.slots = slots;
    codec.layout = &tw_codec_layouts[TW_CODEC_RGB565];
    codec.run = nondet_u32();
    codec.rest = REST;
    codec.begun = nondet_bool();
    ASSUME(codec.run <= TW_CODEC_RUN_MAX);
    PROVE(take_pixel(&codec, above + 2, now + 3, now[2], nondet_bool()) <= 0xFFFF);
    PROVE(codec.run <= TW_CODEC_RUN_MAX);
    PROVE(model.victim <= 3 && model.trust >= -8 && model.trust <= 7);
    some = nondet_u8() % NEARS;
    PROVE(nears[some] < COLOURS);
    PROVE(slots[some % SLOTS] >> 6 < COLOURS);
    PROVE((colours[some % COLOURS] & ~(uint32_t)TW_CODEC_USED) <= 0xFFFF);
    reached();
    return 0;
}
