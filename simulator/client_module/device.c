#define _POSIX_C_SOURCE 200809L

#include "device.h"

#include <string.h>
#include <time.h>

tw_drawn tilewire_device_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    tilewire_device *device = user;
    if (device->picture != NULL) {
        const size_t length = (size_t)width * device->stored;
        const uint8_t *from = pixels;
        uint8_t *to = device->picture + y * device->stride + (size_t)x * device->stored;
        for (unsigned row = 0; row < height; row++, from += length, to += device->stride) {
            memcpy(to, from, length);
        }
    }
    device->draws++;
    device->pixels += (uint64_t)width * height;
    if (device->on_draw != NULL) {
        device->on_draw(user, x, y, width, height);
    }
    return device->hold ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

uint32_t tilewire_device_now_us(void *user) {
    struct timespec now;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U);
}

size_t tilewire_cache_size(unsigned slots, uint32_t slot_bytes) {
    return TW_CACHE_SIZE(slots, slot_bytes);
}

size_t tilewire_jpeg_size(size_t receive_size) {
    return TW_JPEG_SIZE(receive_size);
}

size_t tilewire_jpeg_memory_size(void) {
    return TW_JPEG_MEMORY_SIZE;
}

size_t tilewire_cursor_size(unsigned max_side, unsigned stored) {
    return TW_CURSOR_SIZE(max_side, stored);
}
