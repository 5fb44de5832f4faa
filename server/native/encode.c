/* The payloads of PALETTE and RAW, as SPEC.md has them. */
#include "survey.h"

static uint8_t *put_pixel(uint8_t *out, uint32_t value, int32_t packed) {
    for (int32_t i = 0; i < packed; i++) {
        *out++ = (uint8_t)(value >> (8 * i));
    }
    return out;
}

static uint8_t *put_run(uint8_t *out, int32_t index, int32_t bits, int32_t length) {
    const int32_t all_ones = (1 << (8 - bits)) - 1;
    if (length <= all_ones) {
        *out++ = (uint8_t)(index | (length - 1) << bits);
        return out;
    }
    *out++ = (uint8_t)(index | all_ones << bits);
    uint32_t more = (uint32_t)(length - all_ones - 1);
    for (; more >= 0x80; more >>= 7) {
        *out++ = (uint8_t)(more | 0x80);
    }
    *out++ = (uint8_t)more;
    return out;
}

static uint8_t *put_runs(
    uint8_t *out, const tw_ns_surface *surface, tw_ns_rect rect, tw_ns_palette *palette) {
    const int32_t bits = tw_ns_run_bits(palette->count);
    uint32_t colour = tw_ns_load(tw_ns_at(surface, rect.x, rect.y), 0, surface->stored);
    int32_t length = 0;
    for (int32_t y = rect.y; y < rect.y + rect.height; y++) {
        const uint8_t *pixels = tw_ns_at(surface, rect.x, y);
        for (int32_t i = 0; i < rect.width; i++) {
            const uint32_t next = tw_ns_load(pixels, (size_t)i, surface->stored);
            if (next != colour) {
                out = put_run(out, tw_ns_palette_find(palette, colour), bits, length);
                colour = next;
                length = 0;
            }
            length++;
        }
    }
    return put_run(out, tw_ns_palette_find(palette, colour), bits, length);
}

static uint8_t *put_packed(
    uint8_t *out, const tw_ns_surface *surface, tw_ns_rect rect, tw_ns_palette *palette) {
    const int32_t bits = tw_ns_packed_bits(palette->count);
    uint32_t colour = tw_ns_load(tw_ns_at(surface, rect.x, rect.y), 0, surface->stored);
    uint32_t index = (uint32_t)tw_ns_palette_find(palette, colour);
    for (int32_t y = rect.y; y < rect.y + rect.height; y++) {
        const uint8_t *pixels = tw_ns_at(surface, rect.x, y);
        uint32_t byte = 0;
        int32_t room = 8;
        for (int32_t i = 0; i < rect.width; i++) {
            const uint32_t next = tw_ns_load(pixels, (size_t)i, surface->stored);
            if (next != colour) {
                colour = next;
                index = (uint32_t)tw_ns_palette_find(palette, colour);
            }
            room -= bits;
            byte |= index << room;
            if (room == 0) {
                *out++ = (uint8_t)byte;
                byte = 0;
                room = 8;
            }
        }
        if (room < 8) {
            *out++ = (uint8_t)byte;
        }
    }
    return out;
}

int32_t tw_ns_encode_palette(
    const tw_ns_surface *surface, tw_ns_rect rect, uint8_t *payload, int32_t capacity) {
    if (!tw_ns_clip(&rect, surface->width, surface->height)) {
        return 0;
    }
    tw_ns_survey survey;
    tw_ns_take_survey(surface, rect, &survey);
    const bool runs = survey.run_bytes > 0 && survey.run_bytes < survey.packed_bytes;
    const int32_t bytes = runs ? survey.run_bytes : survey.packed_bytes;
    if (bytes == 0 || bytes > capacity) {
        return 0;
    }
    tw_ns_palette *palette = &survey.palette;
    uint8_t *out = payload;
    *out++ = (uint8_t)((runs ? 0x80 : 0) | (palette->count - 1));
    for (int32_t i = 0; i < palette->count; i++) {
        out = put_pixel(out, palette->colours[i], tw_ns_packed(surface));
    }
    out = runs ? put_runs(out, surface, rect, palette) : put_packed(out, surface, rect, palette);
    return (int32_t)(out - payload);
}

int32_t tw_ns_encode_raw(const tw_ns_surface *surface, tw_ns_rect rect, uint8_t *payload, int32_t capacity) {
    if (!tw_ns_clip(&rect, surface->width, surface->height)) {
        return 0;
    }
    const int32_t packed = tw_ns_packed(surface);
    const int64_t bytes = (int64_t)rect.width * rect.height * packed;
    if (bytes > capacity) {
        return 0;
    }
    const size_t row_bytes = (size_t)rect.width * (size_t)packed;
    for (int32_t y = rect.y; y < rect.y + rect.height; y++) {
        const uint8_t *pixels = tw_ns_at(surface, rect.x, y);
        if (surface->stored < 4) {
            memcpy(payload, pixels, row_bytes);
        } else {
            for (size_t i = 0; i < (size_t)rect.width; i++) {
                memcpy(payload + 3 * i, pixels + 4 * i, 3);
            }
        }
        payload += row_bytes;
    }
    return (int32_t)bytes;
}

int32_t tw_ns_halve(const tw_ns_surface *surface, tw_ns_rect rect, uint8_t *pixels, int32_t capacity) {
    if (surface->stored != 4 || !tw_ns_clip(&rect, surface->width, surface->height)) {
        return 0;
    }
    const int32_t width = (rect.width + 1) / 2;
    const int32_t height = (rect.height + 1) / 2;
    if ((int64_t)width * height * 3 > capacity) {
        return 0;
    }
    for (int32_t y = 0; y < height; y++) {
        const uint8_t *upper = tw_ns_at(surface, rect.x, rect.y + 2 * y);
        const uint8_t *lower = tw_ns_at(surface, rect.x, rect.y + tw_ns_min(2 * y + 1, rect.height - 1));
        for (int32_t x = 0; x < width; x++) {
            const size_t left = (size_t)x * 8;
            const size_t right = 2 * x + 1 < rect.width ? left + 4 : left;
            for (size_t channel = 0; channel < 3; channel++) {
                const unsigned sum = (unsigned)upper[left + channel] + upper[right + channel]
                                     + lower[left + channel] + lower[right + channel];
                *pixels++ = (uint8_t)((sum + 2) / 4);
            }
        }
    }
    return width * height * 3;
}
