/* JPEG by a decoder outside: the file that the message left the headers of is put together again, and what the decoder
 * makes of it is drawn. */
#include "tw_internal.h"

#if TW_WITH_JPEG_HOOK

#    define LONGEST_CHUNK 64U

/* DHT by table, up to the codes of AC: T.81 Annex K.3, how many codes of DC have 1 to 16 bits, then their values, each
 * after the table's class and number. */
static const uint8_t dc_codes[2][30] = {
    {0x00, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x10},
    {0x01, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x11},
};

/* SOF0 and SOS by number of components, 1 or 3. Height and width, and the sampling factors of Y, come into the first. */
static const uint8_t frames[2][19] = {
    {0xFF, 0xC0, 0, 11, 8, 0, 0, 0, 0, 1, 1, 0x11, 0},
    {0xFF, 0xC0, 0, 17, 8, 0, 0, 0, 0, 3, 1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1},
};
static const uint8_t scans[2][14] = {
    {0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0},
    {0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0},
};
/* By `sampling` of the message. */
static const uint8_t factors[4] = {0x11, 0x21, 0x22, 0x11};

static uint8_t *put_bytes(uint8_t *out, const uint8_t *bytes, size_t length) {
    memcpy(out, bytes, length);
    return out + length;
}

/* A segment that says itself how long it is. */
static uint8_t *put_segment(uint8_t *out, const uint8_t *segment) {
    return put_bytes(out, segment, 2U + segment[3]);
}

/* 16 bits as JPEG has them, high byte first. */
static void set_16(uint8_t *out, uint32_t value) {
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

/* The tables of one kind, `each` bytes of one component: 0xFF, the marker, length. */
static uint8_t *put_marker(uint8_t *out, uint32_t marker, uint32_t tables, uint32_t each) {
    set_16(out, marker);
    set_16(out + 2, 2 + tables * each);
    return out + 4;
}

/* SOI, DQT, SOF0, DHT, SOS: 306 bytes for grey, 589 for colours. */
static uint8_t *put_headers(uint8_t *out, const tw_jpeg *info, uint32_t sampling) {
    const uint32_t colours = sampling != 3, tables = 1 + colours;
    uint8_t *frame;
    set_16(out, 0xFFD8);
    out = put_marker(out + 2, 0xFFDB, tables, 65);
    for (uint32_t table = 0; table < tables; table++) {
        *out++ = (uint8_t)table;
        for (unsigned i = 0; i < 64; i++) {
            *out++ = tw_jpeg_quantiser(table, i, info->quality);
        }
    }
    frame = out;
    out = put_segment(out, frames[colours]);
    set_16(frame + 5, info->height);
    set_16(frame + 7, info->width);
    frame[11] = factors[sampling];
    out = put_marker(out, 0xFFC4, tables, (uint32_t)(sizeof dc_codes[0] + sizeof tw_jpeg_ac[0]));
    for (uint32_t table = 0; table < tables; table++) {
        out = put_bytes(out, dc_codes[table], sizeof dc_codes[table]);
        out = put_bytes(out, tw_jpeg_ac[table], sizeof tw_jpeg_ac[table]);
    }
    return put_segment(out, scans[colours]);
}

/* Whether it is entropy-coded data and nothing else: no marker gets through to a decoder that would obey it. */
static bool is_segment(const uint8_t *at, const uint8_t *end) {
    const bool empty = at == end;
    bool escape = false; /* 0xFF came last: 0x00 has to follow */
    for (; at != end; at++) {
        if (escape && *at != 0) {
            return false;
        }
        escape = !escape && *at == 0xFF;
    }
    return !empty && !escape;
}

tw_status tw_jpeg_hook_start(tw_client *client, uint32_t quality, uint32_t sampling) {
    const tw_tile *tile = &client->tile;
    tw_picture *picture = &client->picture;
    tw_status status;
    tw_jpeg info;
    uint8_t *out;
    if (!is_segment(tile->at, tile->end)) {
        return TW_CODE_BAD_PAYLOAD;
    }
    info.width = (tile->rect.width + client->doubled) >> client->doubled;
    info.height = (tile->rect.height + client->doubled) >> client->doubled;
    info.sampling = 1U << sampling;
    info.quality = quality;
    out = put_headers(client->jpeg_stream, &info, sampling);
    out = put_bytes(out, tile->at, (size_t)(tile->end - tile->at));
    set_16(out, 0xFFD9); /* EOI */
    info.data = client->jpeg_stream;
    info.length = (size_t)(out - client->jpeg_stream) + 2;
    memset(picture, 0, sizeof *picture);
    picture->stride = (size_t)info.width * 3;
    picture->step = 3;
    picture->green = 1;
    picture->blue = 2;
    status = client->jpeg(client->user, &info, picture);
    return status == TW_OK && picture->pixels == NULL ? TW_CODE_INTERNAL : status;
}

static void draw_row(const tw_client *client, const uint8_t *pixels, uint8_t *out) {
    const tw_picture *picture = &client->picture;
    const uint32_t width = client->tile.rect.width;
    uint32_t values[LONGEST_CHUNK];
    for (uint32_t x = 0; x < width;) {
        const uint32_t count = width - x < LONGEST_CHUNK ? width - x : LONGEST_CHUNK;
        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *pixel = pixels + ((x + i) >> client->doubled) * (size_t)picture->step;
            values[i] =
                tw_value_of(client->format, pixel[picture->red], pixel[picture->green], pixel[picture->blue]);
        }
        tw_store_values(client, out + (size_t)x * tw_stored(client), values, count);
        x += count;
    }
}

void tw_jpeg_hook_rows(const tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    const tw_picture *picture = &client->picture;
    for (uint32_t row = client->tile.row; rows != 0; rows--, row++, out += stride) {
        draw_row(client, picture->pixels + (row >> client->doubled) * picture->stride, out);
    }
}

#endif
