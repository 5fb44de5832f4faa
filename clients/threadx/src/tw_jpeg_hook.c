/* JPEG by a decoder outside: the file that the message left the headers of is put together again, and what the decoder
 * makes of it is drawn. */
#include "tw_internal.h"

#if TW_WITH_JPEG_HOOK

#    define LONGEST_CHUNK 64U

/* T.81 Annex K.3: how many codes of DC have 1 to 16 bits, then their values. */
static const uint8_t dc_counts[2][16] = {
    {0, 1, 5, 1, 1, 1, 1, 1, 1},
    {0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
};
static const uint8_t dc_values[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

/* By `sampling` of the message: the sampling factors of Y. */
static const uint8_t factors[4] = {0x11, 0x21, 0x22, 0x11};

static uint8_t *put_bytes(uint8_t *out, const uint8_t *bytes, size_t length) {
    memcpy(out, bytes, length);
    return out + length;
}

/* 16 bits as JPEG has them, high byte first. */
static uint8_t *put_16(uint8_t *out, uint32_t value) {
    *out++ = (uint8_t)(value >> 8);
    *out++ = (uint8_t)value;
    return out;
}

static uint8_t *put_marker(uint8_t *out, uint8_t marker, uint32_t length) {
    return put_16(put_16(out, 0xFF00U | marker), length);
}

static uint8_t *put_quantisers(uint8_t *out, uint32_t tables, uint32_t quality) {
    out = put_marker(out, 0xDB, 2 + 65 * tables);
    for (uint32_t table = 0; table < tables; table++) {
        *out++ = (uint8_t)table;
        for (unsigned i = 0; i < 64; i++) {
            *out++ = tw_jpeg_quantiser(table, i, quality);
        }
    }
    return out;
}

static uint8_t *put_codes(uint8_t *out, uint32_t tables) {
    out = put_marker(out, 0xC4, 2 + (uint32_t)(2 + 16 + sizeof dc_values + sizeof tw_jpeg_ac[0]) * tables);
    for (uint32_t table = 0; table < tables; table++) {
        *out++ = (uint8_t)table;
        out = put_bytes(out, dc_counts[table], sizeof dc_counts[table]);
        out = put_bytes(out, dc_values, sizeof dc_values);
        *out++ = (uint8_t)(0x10 | table);
        out = put_bytes(out, tw_jpeg_ac[table], sizeof tw_jpeg_ac[table]);
    }
    return out;
}

/* SOI, DQT, SOF0, DHT, SOS: 306 bytes for grey, 589 for colours. */
static uint8_t *put_headers(uint8_t *out, const tw_jpeg *info, uint32_t sampling) {
    const uint32_t components = sampling == 3 ? 1 : 3, tables = sampling == 3 ? 1 : 2;
    out = put_16(out, 0xFFD8);
    out = put_quantisers(out, tables, info->quality);
    out = put_marker(out, 0xC0, 8 + 3 * components);
    *out++ = 8; /* bits of a sample */
    out = put_16(put_16(out, info->height), info->width);
    *out++ = (uint8_t)components;
    for (uint32_t i = 0; i < components; i++) {
        *out++ = (uint8_t)(i + 1);
        *out++ = i == 0 ? factors[sampling] : 0x11;
        *out++ = i == 0 ? 0 : 1;
    }
    out = put_codes(out, tables);
    out = put_marker(out, 0xDA, 6 + 2 * components);
    *out++ = (uint8_t)components;
    for (uint32_t i = 0; i < components; i++) {
        *out++ = (uint8_t)(i + 1);
        *out++ = i == 0 ? 0 : 0x11;
    }
    *out++ = 0; /* all coefficients, 0 to 63, at once */
    *out++ = 63;
    *out++ = 0;
    return out;
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
    out = put_16(out, 0xFFD9); /* EOI */
    info.data = client->jpeg_stream;
    info.length = (size_t)(out - client->jpeg_stream);
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
