/* Fields of bodies: the kinds of protocol/wire.py, with the same refusals. */
#include "tw_reader.h"

#include <string.h>

tw_reader tw_reader_of(const uint8_t *body, size_t length) {
    tw_reader reader;
    reader.at = body;
    reader.end = body + length;
    reader.status = TW_OK;
    return reader;
}

size_t tw_left(const tw_reader *reader) {
    return (size_t)(reader->end - reader->at);
}

void tw_refuse(tw_reader *reader, tw_status status) {
    if (reader->status == TW_OK) {
        reader->status = status;
    }
}

uint32_t tw_read_number(tw_reader *reader, unsigned size, uint32_t low, uint32_t high) {
    const uint8_t *bytes = tw_read_bytes(reader, size);
    uint32_t value = 0;
    if (bytes == NULL) {
        return low;
    }
    for (unsigned i = 0; i < size; i++) {
        value |= (uint32_t)bytes[i] << (8 * i);
    }
    if (value < low || value > high) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
        return low;
    }
    return value;
}

uint64_t tw_read_long(tw_reader *reader) {
    const uint32_t low = tw_read_number(reader, 4, 0, 0xFFFFFFFF);
    return (uint64_t)tw_read_number(reader, 4, 0, 0xFFFFFFFF) << 32 | low;
}

uint32_t tw_read_varint(tw_reader *reader, uint32_t low, uint32_t high) {
    uint32_t value = 0, byte = 0x80;
    unsigned shift = 0;
    if (reader->status != TW_OK) {
        return low;
    }
    while (byte >= 0x80) {
        if (shift == 35 || reader->at == reader->end) {
            tw_refuse(reader, TW_CODE_PROTOCOL);
            return low;
        }
        byte = *reader->at++;
        if (shift == 28 && byte > 0x0F && byte < 0x80) { /* more than 32 bits, and the end of it */
            tw_refuse(reader, TW_CODE_BAD_VALUE);
            return low;
        }
        value |= (byte & 0x7F) << shift;
        shift += 7;
    }
    if (byte == 0 && shift > 7) { /* longer than it needs to be */
        tw_refuse(reader, TW_CODE_PROTOCOL);
    } else if (value < low || value > high) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    } else {
        return value;
    }
    return low;
}

tw_point tw_read_point(tw_reader *reader) {
    const uint32_t bits = tw_read_number(reader, 3, 0, 0xFFFFFF);
    tw_point point;
    point.x = bits & 0xFFF;
    point.y = bits >> 12;
    return point;
}

tw_rect tw_read_rect(tw_reader *reader) {
    const tw_point corner = tw_read_point(reader), size = tw_read_point(reader);
    tw_rect rect;
    rect.x = corner.x;
    rect.y = corner.y;
    rect.width = size.x + 1;
    rect.height = size.y + 1;
    if (rect.x + rect.width > TW_MAX_SIDE || rect.y + rect.height > TW_MAX_SIDE) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    }
    return rect;
}

const uint8_t *tw_read_bytes(tw_reader *reader, size_t size) {
    const uint8_t *bytes = reader->at;
    if (reader->status != TW_OK) {
        return NULL;
    }
    if (tw_left(reader) < size) {
        tw_refuse(reader, TW_CODE_PROTOCOL);
        return NULL;
    }
    reader->at += size;
    return bytes;
}

const char *tw_read_text(tw_reader *reader, size_t low, size_t high, size_t *length) {
    const uint8_t *text = reader->at;
    *length = tw_left(reader);
    if (*length < low || *length > high || !tw_is_utf8(text, *length)) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    }
    reader->at = reader->end;
    return (const char *)text;
}

void tw_read_end(tw_reader *reader) {
    if (reader->at != reader->end) {
        tw_refuse(reader, TW_CODE_PROTOCOL);
    }
}

/* No byte beyond the shortest form, no surrogate, nothing above U+10FFFF (RFC 3629). */
bool tw_is_utf8(const uint8_t *text, size_t length) {
    const uint8_t *end = text + length;
    while (text != end) {
        uint32_t value = *text++;
        unsigned more, least;
        if (value < 0x80) {
            continue;
        }
        if (value < 0xC2 || value > 0xF4) {
            return false;
        }
        more = value < 0xE0 ? 1 : value < 0xF0 ? 2 : 3;
        least = 1 + 5 * more + (more == 1); /* a shorter form has 7, 11 or 16 bits */
        value &= 0x3FU >> more;
        for (; more != 0; more--) {
            if (text == end || (*text & 0xC0) != 0x80) {
                return false;
            }
            value = value << 6 | (*text++ & 0x3FU);
        }
        if (value >> least == 0 || value >> 11 == 0xD800 >> 11 || value > 0x10FFFF) {
            return false;
        }
    }
    return true;
}

void tw_fields_of(tw_fields *fields, const uint8_t *list, size_t length) {
    memset(fields, 0, sizeof *fields);
    fields->list = tw_reader_of(list, length);
}

tw_status tw_fields_end(const tw_fields *fields, uint32_t needed) {
    if (fields->list.status != TW_OK) {
        return fields->list.status;
    }
    return (fields->seen & needed) == needed ? TW_OK : TW_CODE_PROTOCOL;
}

bool tw_next_field(tw_fields *fields) {
    tw_reader *list = &fields->list;
    uint32_t length;
    if (fields->any) {
        tw_refuse(list, fields->value.status);
    }
    if (list->status != TW_OK || list->at == list->end) {
        return false;
    }
    fields->head = *list->at++;
    if ((fields->head & 0x7F) < fields->last) { /* tags ascend */
        tw_refuse(list, TW_CODE_PROTOCOL);
        return false;
    }
    fields->last = (fields->head & 0x7F) + 1;
    length = tw_read_varint(list, 0, 0xFFFF);
    fields->value = tw_reader_of(list->at, 0);
    if (tw_read_bytes(list, length) == NULL) {
        return false;
    }
    fields->value.end = list->at;
    fields->any = true;
    if ((fields->head & 0x7F) < 32) {
        fields->seen |= (uint32_t)1 << (fields->head & 0x7F);
    }
    return true;
}

void tw_skip_field(tw_fields *fields) {
    if (fields->head & 0x80) { /* critical */
        tw_refuse(&fields->value, TW_CODE_UNSUPPORTED);
    }
    fields->value.at = fields->value.end;
}
