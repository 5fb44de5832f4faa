/* Pixels packed, as on the wire, become pixels stored, as the panel wants them. Byte by byte, so that neither the
 * machine's byte order nor the payload's address matters. */
#include "tw_internal.h"

uint8_t tw_packed_size(unsigned format) {
    switch (format) {
#if TW_WITH_RGB565
    case TW_PIXEL_RGB565: return 2;
#endif
#if TW_WITH_XRGB8888
    case TW_PIXEL_XRGB8888: return 3;
#endif
#if TW_WITH_8BIT
    case TW_PIXEL_RGB332:
    case TW_PIXEL_GREY8: return 1;
#endif
    default: return 0;
    }
}

void tw_store_pixels(const tw_client *client, uint8_t *out, const uint8_t *packed, uint32_t count) {
#if TW_WITH_XRGB8888
    if (client->stored == 4) {
        for (; count != 0; count--, out += 4, packed += 3) {
            out[0] = packed[0];
            out[1] = packed[1];
            out[2] = packed[2];
            out[3] = 0;
        }
        return;
    }
#endif
#if TW_WITH_RGB565
    if (client->big_endian) {
        for (; count != 0; count--, out += 2, packed += 2) {
            out[0] = packed[1];
            out[1] = packed[0];
        }
        return;
    }
#endif
    memcpy(out, packed, (size_t)count * tw_stored(client));
}

void tw_store_values(const tw_client *client, uint8_t *out, const uint32_t *values, uint32_t count) {
#if TW_WITH_XRGB8888
    if (client->stored == 4) {
        if (tw_is_little_endian()) {
            memcpy(out, values, (size_t)count * 4);
            return;
        }
        for (; count != 0; count--, out += 4, values++) {
            out[0] = (uint8_t)*values;
            out[1] = (uint8_t)(*values >> 8);
            out[2] = (uint8_t)(*values >> 16);
            out[3] = 0;
        }
        return;
    }
#endif
#if TW_WITH_RGB565
    if (client->stored == 2) {
        uint16_t *halves = (uint16_t *)(void *)out;
        if (client->big_endian == tw_is_little_endian()) {
            for (; count != 0; count--, values++) {
                *halves++ = (uint16_t)(*values >> 8 | *values << 8);
            }
            return;
        }
        /* Four at a time: most of a picture passes here, and little else is done for flat pixels. */
        for (; count >= 4; count -= 4, halves += 4, values += 4) {
            halves[0] = (uint16_t)values[0];
            halves[1] = (uint16_t)values[1];
            halves[2] = (uint16_t)values[2];
            halves[3] = (uint16_t)values[3];
        }
        for (; count != 0; count--) {
            *halves++ = (uint16_t)*values++;
        }
        return;
    }
#endif
#if TW_WITH_8BIT
    for (; count >= 4; count -= 4, out += 4, values += 4) {
        out[0] = (uint8_t)values[0];
        out[1] = (uint8_t)values[1];
        out[2] = (uint8_t)values[2];
        out[3] = (uint8_t)values[3];
    }
    for (; count != 0; count--) {
        *out++ = (uint8_t)*values++;
    }
#endif
}

uint32_t tw_pixel(const tw_client *client, const uint8_t *packed) {
    uint8_t bytes[4];
    tw_store_pixels(client, bytes, packed, 1);
    if (client->stored == 2) {
        uint16_t half;
        memcpy(&half, bytes, sizeof half);
        return half;
    }
    if (client->stored == 4) {
        uint32_t word;
        memcpy(&word, bytes, sizeof word);
        return word;
    }
    return bytes[0];
}

void tw_fill_pixels(const tw_client *client, uint8_t *out, uint32_t pixel, uint32_t count) {
#if TW_WITH_XRGB8888
    if (tw_stored(client) == 4) {
        uint32_t *words = (uint32_t *)(void *)out;
        do {
            *words++ = pixel;
        } while (--count != 0);
        return;
    }
#endif
#if TW_WITH_RGB565
    if (tw_stored(client) == 2) {
        uint16_t *halves = (uint16_t *)(void *)out;
        do {
            *halves++ = (uint16_t)pixel;
        } while (--count != 0);
        return;
    }
#endif
    memset(out, (int)pixel, count);
}

#if TW_WITH_JPEG_HOOK || TW_WITH_CURSOR
uint32_t tw_value_of(unsigned format, uint32_t red, uint32_t green, uint32_t blue) {
    switch (format) {
    case TW_PIXEL_RGB565: return (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3;
    case TW_PIXEL_RGB332: return (red >> 5) << 5 | (green >> 5) << 2 | blue >> 6;
    case TW_PIXEL_GREY8: return (77 * red + 150 * green + 29 * blue) >> 8;
    default: return red << 16 | green << 8 | blue;
    }
}
#endif
