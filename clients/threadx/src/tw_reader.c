/* Fields of bodies: the kinds of protocol/wire.py, with the same refusals. */
#include "tw_reader.h"

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

tw_setting tw_read_setting(tw_reader *reader) {
    tw_setting setting;
    setting.fps = tw_read_number(reader, 1, 1, 60);
    setting.quality = tw_read_number(reader, 1, 10, 90);
    setting.adaptive = tw_read_number(reader, 1, 0, 1);
    return setting;
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
        const uint8_t lead = *text++;
        uint8_t low = 0x80, high = 0xBF; /* of the second byte */
        unsigned more;
        if (lead < 0x80) {
            continue;
        }
        if (lead < 0xC2 || lead > 0xF4) {
            return false;
        }
        more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
        if (lead == 0xE0) {
            low = 0xA0;
        } else if (lead == 0xED) {
            high = 0x9F;
        } else if (lead == 0xF0) {
            low = 0x90;
        } else if (lead == 0xF4) {
            high = 0x8F;
        }
        while (more-- != 0) {
            if (text == end || *text < low || *text > high) {
                return false;
            }
            text++;
            low = 0x80;
            high = 0xBF;
        }
    }
    return true;
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
