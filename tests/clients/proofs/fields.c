/* The tagged fields of REPLY and WELCOME: a list of any bytes comes to an end, and every value lies inside it.
 *
 * bound: lists of up to 10 bytes, so of up to 5 fields
 * sources: tw_reader.c
 * unwind: 12 */
#include "proof.h"
#include "tw_reader.h"

enum { SIZE = 10 };

int main(void) {
    uint8_t memory[SIZE];
    const size_t length = nondet_size();
    const uint8_t *body = last_bytes(memory, SIZE, length);
    tw_fields fields;
    tw_status status;
    unsigned count = 0;
    tw_fields_of(&fields, body, length);
    while (tw_next_field(&fields)) {
        count++;
        PROVE(fields.value.at >= body && fields.value.at <= fields.value.end);
        PROVE(fields.value.end <= body + length);
        if (nondet_bool()) {
            (void)tw_read_varint(&fields.value, 0, 0xFFFFFFFF);
            tw_read_end(&fields.value);
        } else {
            tw_skip_field(&fields);
        }
    }
    PROVE(2 * count <= length);
    status = tw_fields_end(&fields, 0);
    PROVE(status != TW_OK || fields.list.at == body + length);
    reached();
    return 0;
}
