/* The model's memory: its tables follow each other, each as long as codec_pixel.c has them, and end inside it; an index of
 * a colour fits what a slot has for it.
 *
 * bound: none: all classes and formats
 * sources:
 * unwind: 258
 * long: 16-KiB -DKIB=16
 * long: 32-KiB -DKIB=32
 * case: 48-KiB -DKIB=48 */
#include "proof.h"

#include "tw_codec.c"

const tw_codec_prob tw_codec_start[TW_P_COUNT];

int main(void) {
    static uint32_t memory[KIB * 1024 / sizeof(uint32_t)];
    tw_codec_model *model = (tw_codec_model *)(void *)memory;
    uint8_t *const end = (uint8_t *)memory + sizeof memory;
    for (unsigned format = 0; format < TW_CODEC_FORMATS; format++) {
        size_t colours, values;
        tw_codec_reset(model, KIB, (tw_codec_format)format);
        colours = (size_t)1 << model->colour_bits;
        values = (size_t)1 << tw_codec_layouts[format].bits[0];
        PROVE((uint8_t *)tw_codec_colours(model) == (uint8_t *)(model + 1));
        PROVE((uint8_t *)tw_codec_nears(model) == (uint8_t *)(tw_codec_colours(model) + colours));
        PROVE((uint8_t *)tw_codec_slots(model) >= (uint8_t *)(tw_codec_nears(model) + colours + values));
        PROVE((uint8_t *)(tw_codec_slots(model) + model->slots) <= end);
        PROVE(model->greys + 4U * model->sets <= colours && colours <= 1U << 10);
        PROVE(model->slots <= 0xFFFF && model->sets <= 0xFFFF && model->sets != 0);
    }
    reached();
    return 0;
}
