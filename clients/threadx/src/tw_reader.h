/* Reads the fields of a body. The first error is kept, and after it every field reads as its least value, so that a
 * whole message is read without looking and `status` is looked at once. */
#ifndef TW_READER_H
#define TW_READER_H

#include <stdbool.h>

#include "tilewire/tilewire.h"

typedef struct tw_reader {
    const uint8_t *at, *end;
    tw_status status;
} tw_reader;

typedef struct tw_point {
    uint32_t x, y;
} tw_point;

typedef struct tw_rect {
    uint32_t x, y, width, height;
} tw_rect;

/* Walks through the tagged fields of REPLY and WELCOME. */
typedef struct tw_fields {
    tw_reader list, value;
    unsigned head, last; /* tag and critical bit of this field; one more than the last tag */
    uint32_t seen;       /* a bit for each known tag that was there */
    bool any;
} tw_fields;

tw_reader tw_reader_of(const uint8_t *body, size_t length);
size_t tw_left(const tw_reader *reader);
void tw_refuse(tw_reader *reader, tw_status status);
/* 1 to 4 bytes, from `low` to `high`. */
uint32_t tw_read_number(tw_reader *reader, unsigned size, uint32_t low, uint32_t high);
uint64_t tw_read_long(tw_reader *reader);
uint32_t tw_read_varint(tw_reader *reader, uint32_t low, uint32_t high);
tw_point tw_read_point(tw_reader *reader);
tw_rect tw_read_rect(tw_reader *reader);
const uint8_t *tw_read_bytes(tw_reader *reader, size_t size);
/* UTF-8 to the end, of `low` to `high` bytes. */
const char *tw_read_text(tw_reader *reader, size_t low, size_t high, size_t *length);
/* Refuses what is left. */
void tw_read_end(tw_reader *reader);
bool tw_is_utf8(const uint8_t *text, size_t length);

void tw_fields_of(tw_fields *fields, const uint8_t *list, size_t length);
/* After the last: the first error, or PROTOCOL where one of these is missing. */
tw_status tw_fields_end(const tw_fields *fields, uint32_t needed);
/* The next field of a list into `value`; false at the end and after an error, which is then in `list.status`. */
bool tw_next_field(tw_fields *fields);
/* Passes over a field that this version does not know; refuses it where it is critical. */
void tw_skip_field(tw_fields *fields);

#endif
