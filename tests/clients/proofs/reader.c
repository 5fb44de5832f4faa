/* Fields of a body: whatever is read next, wherever the reader stands, the bytes stay inside and an error is kept.
 *
 * One field from any state of a reader, so any number of them one after the other.
 *
 * bound: bodies of up to 12 bytes; a field that is neither text nor bytes takes at most 8
 * sources: tw_reader.c
 * unwind: 7
 * unwindset: tw_is_utf8.1:14 */
#include "proof.h"
#include "tw_reader.h"

enum { SIZE = 12 };

int main(void) {
    uint8_t memory[SIZE];
    const size_t length = nondet_size(), skipped = nondet_size();
    const uint8_t *body = last_bytes(memory, SIZE, length), *before;
    tw_reader reader = tw_reader_of(body, length);
    const tw_status earlier = (tw_status)nondet_u16();
    uint32_t low = nondet_u32(), high = nondet_u32(), value = low;
    size_t text_length = 0;
    ASSUME(skipped <= length && low <= high);
    reader.at += skipped;
    reader.status = earlier;
    before = reader.at;
    switch (nondet_u8()) {
    case 0: value = tw_read_number(&reader, 1 + nondet_u8() % 4, low, high); break;
    case 1: (void)tw_read_long(&reader); break;
    case 2: value = tw_read_varint(&reader, low, high); break;
    case 3: (void)tw_read_point(&reader); break;
    case 4: (void)tw_read_rect(&reader); break;
    case 5: {
        const size_t wanted = nondet_size();
        const uint8_t *bytes = tw_read_bytes(&reader, wanted);
        PROVE(bytes == NULL || (bytes == before && wanted <= (size_t)(body + length - bytes)));
        break;
    }
    case 6: tw_read_end(&reader); break;
    case 7: tw_refuse(&reader, TW_CODE_BAD_VALUE); break;
    default: {
        const char *text = tw_read_text(&reader, 0, 8, &text_length);
        PROVE((const uint8_t *)text == before && text_length <= (size_t)(body + length - before));
        break;
    }
    }
    PROVE(value >= low && value <= high);
    PROVE(reader.at >= before && reader.at <= reader.end && reader.end == body + length);
    PROVE(earlier == TW_OK || reader.status == earlier);
    reached();
    return 0;
}
