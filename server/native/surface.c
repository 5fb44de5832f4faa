/* Surfaces, and the shadow: what the device shows and how well that is known. */
#include "pixel.h"

void tw_ns_blit(const tw_ns_surface *to, tw_ns_rect rect, const uint8_t *pixels) {
    tw_ns_rect inside = rect;
    if (!tw_ns_clip(&inside, to->width, to->height)) {
        return;
    }
    const size_t stored = (size_t)to->stored;
    const size_t stride = (size_t)rect.width * stored;
    const uint8_t *from =
        pixels + (size_t)(inside.y - rect.y) * stride + (size_t)(inside.x - rect.x) * stored;
    for (int32_t row = 0; row < inside.height; row++) {
        memcpy(tw_ns_at(to, inside.x, inside.y + row), from + (size_t)row * stride,
            (size_t)inside.width * stored);
    }
}

void tw_ns_set_state(const tw_ns_surface *shadow, tw_ns_rect rect, int32_t state) {
    if (shadow->states == NULL || !tw_ns_clip(&rect, shadow->width, shadow->height)) {
        return;
    }
    for (int32_t y = rect.y; y < rect.y + rect.height; y++) {
        memset(shadow->states + tw_ns_index(shadow, rect.x, y), state, (size_t)rect.width);
    }
}

void tw_ns_fill(const tw_ns_surface *to, tw_ns_rect rect, uint32_t value) {
    if (!tw_ns_clip(&rect, to->width, to->height)) {
        return;
    }
    const size_t stored = (size_t)to->stored;
    const size_t bytes = (size_t)rect.width * stored;
    uint8_t *first = tw_ns_at(to, rect.x, rect.y);
    for (size_t i = 0; i < bytes; i += stored) {
        memcpy(first + i, &value, stored);
    }
    for (int32_t y = rect.y + 1; y < rect.y + rect.height; y++) {
        memcpy(tw_ns_at(to, rect.x, y), first, bytes);
    }
    tw_ns_set_state(to, rect, TW_NS_EXACT);
}

void tw_ns_commit(const tw_ns_surface *shadow, const tw_ns_surface *now, tw_ns_rect rect, int32_t state) {
    if (!tw_ns_alike(shadow, now) || !tw_ns_clip(&rect, shadow->width, shadow->height)) {
        return;
    }
    for (int32_t y = rect.y; y < rect.y + rect.height; y++) {
        memcpy(tw_ns_at(shadow, rect.x, y), tw_ns_at(now, rect.x, y),
            (size_t)rect.width * (size_t)shadow->stored);
    }
    tw_ns_set_state(shadow, rect, state);
}

void tw_ns_copy(const tw_ns_surface *shadow, tw_ns_rect rect, int32_t source_x, int32_t source_y) {
    tw_ns_rect to = rect;
    if (!tw_ns_clip(&to, shadow->width, shadow->height)) {
        return;
    }
    const int64_t dx = (int64_t)source_x - rect.x;
    const int64_t dy = (int64_t)source_y - rect.y;
    if (to.x + dx < 0 || to.y + dy < 0 || to.x + to.width + dx > shadow->width
        || to.y + to.height + dy > shadow->height) {
        return;
    }
    const size_t count = (size_t)to.width;
    for (int32_t i = 0; i < to.height; i++) {
        /* Downwards the last row goes first, so that none is overwritten before it was read. */
        const int32_t y = dy < 0 ? to.y + to.height - 1 - i : to.y + i;
        const int32_t from_x = to.x + (int32_t)dx;
        const int32_t from_y = y + (int32_t)dy;
        memmove(tw_ns_at(shadow, to.x, y), tw_ns_at(shadow, from_x, from_y), count * (size_t)shadow->stored);
        if (shadow->states != NULL) {
            memmove(shadow->states + tw_ns_index(shadow, to.x, y),
                shadow->states + tw_ns_index(shadow, from_x, from_y), count);
        }
    }
}

void tw_ns_count(const tw_ns_surface *shadow, tw_ns_rect rect, int32_t counts[3]) {
    counts[TW_NS_UNKNOWN] = 0;
    counts[TW_NS_LOSSY] = 0;
    counts[TW_NS_EXACT] = 0;
    if (shadow->states == NULL || !tw_ns_clip(&rect, shadow->width, shadow->height)) {
        return;
    }
    int32_t lossy = 0;
    int32_t exact = 0;
    for (int32_t y = rect.y; y < rect.y + rect.height; y++) {
        const uint8_t *states = shadow->states + tw_ns_index(shadow, rect.x, y);
        for (int32_t i = 0; i < rect.width; i++) {
            lossy += states[i] == TW_NS_LOSSY;
            exact += states[i] == TW_NS_EXACT;
        }
    }
    counts[TW_NS_UNKNOWN] = rect.width * rect.height - lossy - exact;
    counts[TW_NS_LOSSY] = lossy;
    counts[TW_NS_EXACT] = exact;
}
