/* JPEG by a decoder outside: the file that the message left the headers of is put together again, and what the decoder
 * makes of it is drawn. */
#include "tw_internal.h"

#if TW_WITH_JPEG_HOOK

#    define LONGEST_CHUNK 64U

/* clang-format off */

/* T.81 Annex K.1 in zigzag order, Y, then Cb and Cr. */
static const uint8_t quantisers[2][64] = {
    {
        16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
        26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
        56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
        95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
    },
    {
        17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    },
};

/* T.81 Annex K.3 as DHT has them: how many codes have 1 to 16 bits, then their values. */
static const uint8_t dc_counts[2][16] = {
    {
        0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0,
    },
    {
        0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0,
    },
};
static const uint8_t dc_values[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const uint8_t ac_tables[2][16 + 162] = {
    {
        0x00, 0x02, 0x01, 0x03, 0x03, 0x02, 0x04, 0x03, 0x05, 0x05, 0x04, 0x04, 0x00, 0x00, 0x01, 0x7D,
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
        0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0,
        0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28,
        0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
        0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
        0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
        0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7,
        0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5,
        0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
        0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
        0xF9, 0xFA,
    },
    {
        0x00, 0x02, 0x01, 0x02, 0x04, 0x04, 0x03, 0x04, 0x07, 0x05, 0x04, 0x04, 0x00, 0x01, 0x02, 0x77,
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
        0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0,
        0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26,
        0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
        0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
        0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
        0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5,
        0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
        0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
        0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
        0xF9, 0xFA,
    },
};

/* clang-format on */

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

/* libjpeg's formula. */
static uint8_t *put_quantisers(uint8_t *out, uint32_t tables, uint32_t quality) {
    const uint32_t scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    out = put_marker(out, 0xDB, 2 + 65 * tables);
    for (uint32_t table = 0; table < tables; table++) {
        *out++ = (uint8_t)table;
        for (unsigned i = 0; i < 64; i++) {
            const uint32_t step = (quantisers[table][i] * scale + 50) / 100;
            *out++ = (uint8_t)(step < 1 ? 1 : step > 255 ? 255 : step);
        }
    }
    return out;
}

static uint8_t *put_codes(uint8_t *out, uint32_t tables) {
    out = put_marker(out, 0xC4, 2 + (uint32_t)(2 + 16 + sizeof dc_values + sizeof ac_tables[0]) * tables);
    for (uint32_t table = 0; table < tables; table++) {
        *out++ = (uint8_t)table;
        out = put_bytes(out, dc_counts[table], sizeof dc_counts[table]);
        out = put_bytes(out, dc_values, sizeof dc_values);
        *out++ = (uint8_t)(0x10 | table);
        out = put_bytes(out, ac_tables[table], sizeof ac_tables[table]);
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

tw_status tw_jpeg_start(tw_client *client, uint32_t quality, uint32_t sampling) {
    const tw_tile *tile = &client->tile;
    tw_picture *picture = &client->picture;
    const uint32_t doubled = sampling >> 4;
    tw_status status;
    tw_jpeg info;
    uint8_t *out;
    if (!is_segment(tile->at, tile->end)) {
        return TW_CODE_BAD_PAYLOAD;
    }
    sampling &= 15;
    info.width = (tile->rect.width + doubled) >> doubled;
    info.height = (tile->rect.height + doubled) >> doubled;
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
    client->doubled = (uint8_t)doubled;
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
        tw_store_values(client, out + (size_t)x * client->stored, values, count);
        x += count;
    }
}

void tw_jpeg_rows(const tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    const tw_picture *picture = &client->picture;
    for (uint32_t row = client->tile.row; rows != 0; rows--, row++, out += stride) {
        draw_row(client, picture->pixels + (row >> client->doubled) * picture->stride, out);
    }
}

#endif
