/* BGRX in a panel's pixel format, by truncation: SPEC.md has the formulas. */
#include <tilewire/tw_wire.h>

#include "pixel.h"

static void to_rgb565(const uint8_t *restrict from, uint8_t *restrict to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t p = tw_ns_load32(from + 4 * i);
        const uint16_t value = (uint16_t)((p >> 8 & 0xF800) | (p >> 5 & 0x07E0) | (p >> 3 & 0x001F));
        memcpy(to + 2 * i, &value, sizeof value);
    }
}

static void to_xrgb8888(const uint8_t *restrict from, uint8_t *restrict to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t value = tw_ns_load32(from + 4 * i) & 0x00FFFFFF;
        memcpy(to + 4 * i, &value, sizeof value);
    }
}

static void to_rgb332(const uint8_t *restrict from, uint8_t *restrict to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t p = tw_ns_load32(from + 4 * i);
        to[i] = (uint8_t)((p >> 16 & 0xE0) | (p >> 11 & 0x1C) | (p >> 6 & 0x03));
    }
}

static void to_grey8(const uint8_t *restrict from, uint8_t *restrict to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t p = tw_ns_load32(from + 4 * i);
        /* 256 * 255 fits in 16 bits, so the vector units multiply eight at a time. */
        const uint16_t blue = (uint16_t)((p & 0xFF) * 29);
        const uint16_t green = (uint16_t)((p >> 8 & 0xFF) * 150);
        const uint16_t red = (uint16_t)((p >> 16 & 0xFF) * 77);
        to[i] = (uint8_t)((uint16_t)(red + green + blue) >> 8);
    }
}

void tw_ns_convert_row(int32_t format, const uint8_t *from, uint8_t *to, size_t count) {
    switch (format) {
    case TW_PIXEL_RGB565: to_rgb565(from, to, count); break;
    case TW_PIXEL_XRGB8888: to_xrgb8888(from, to, count); break;
    case TW_PIXEL_RGB332: to_rgb332(from, to, count); break;
    case TW_PIXEL_GREY8: to_grey8(from, to, count); break;
    default: break;
    }
}

void tw_ns_convert(
    const tw_ns_surface *from, tw_ns_rect source, const tw_ns_surface *to, int32_t x, int32_t y) {
    tw_ns_rect rect = source;
    if (from->stored != 4 || !tw_ns_clip(&rect, from->width, from->height)) {
        return;
    }
    const int64_t dx = (int64_t)x - source.x;
    const int64_t dy = (int64_t)y - source.y;
    if (dx < -INT16_MAX || dx > INT16_MAX || dy < -INT16_MAX || dy > INT16_MAX) {
        return; /* further than any surface reaches */
    }
    rect.x += (int32_t)dx;
    rect.y += (int32_t)dy;
    if (!tw_ns_clip(&rect, to->width, to->height)) {
        return;
    }
    for (int32_t row = rect.y; row < rect.y + rect.height; row++) {
        tw_ns_convert_row(to->format, tw_ns_at(from, rect.x - (int32_t)dx, row - (int32_t)dy),
            tw_ns_at(to, rect.x, row), (size_t)rect.width);
    }
}
