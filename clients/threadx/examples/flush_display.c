#include "flush_display.h"

#include <string.h>

#define CACHE_SLOTS 64U
#define CACHE_SLOT_BYTES 2048U

static uint16_t framebuffer[FLUSH_WIDTH * FLUSH_HEIGHT];
static uint8_t cache[TW_CACHE_SIZE(CACHE_SLOTS, CACHE_SLOT_BYTES)];

/* A rectangle on its way: what of it is not in a part yet. */
static unsigned left_x, left_y, left_width, left_height; /* height 0: nothing */
static const uint8_t *left_pixels;

/* The driver has one part, the other is being filled. */
static uint16_t parts[2][FLUSH_PART];
static flush_area areas[2];
/* These are the interrupt's too. */
static volatile unsigned filling;    /* which of the two; the interrupt changes it only where it is filled */
static volatile uint8_t is_filled;   /* it is ready to go */
static volatile uint8_t is_flushing; /* the driver has the other */
static volatile uint8_t is_last_awaited; /* flush_display_present() waits until it has none */

void flush_display_configure(tw_client_config *config) {
    config->width = FLUSH_WIDTH;
    config->height = FLUSH_HEIGHT;
    config->pixel_format = TW_PIXEL_RGB565;
    config->framebuffer = framebuffer;
    config->framebuffer_size = sizeof framebuffer;
    config->cache = cache;
    config->cache_size = sizeof cache;
    config->cache_slots = CACHE_SLOTS;
    config->cache_slot_bytes = CACHE_SLOT_BYTES;
}

/* As many rows of the rectangle as a part holds. */
static void fill_part(void) {
    const size_t row_bytes = left_width * sizeof(uint16_t);
    const unsigned most = FLUSH_PART / left_width, rows = left_height < most ? left_height : most;
    uint8_t *out = (uint8_t *)parts[filling];
    for (unsigned row = 0; row < rows; row++) {
        memcpy(out, left_pixels, row_bytes);
        out += row_bytes;
        left_pixels += FLUSH_WIDTH * sizeof(uint16_t);
    }
    areas[filling].x1 = (int32_t)left_x;
    areas[filling].y1 = (int32_t)left_y;
    areas[filling].x2 = (int32_t)(left_x + left_width - 1);
    areas[filling].y2 = (int32_t)(left_y + rows - 1);
    left_y += rows;
    left_height -= rows;
}

/* The filled part becomes the driver's. */
static void hand_over(void) {
    const unsigned ready = filling;
    filling = 1 - ready;
    is_filled = 0;
    flush_board_start(&areas[ready], parts[ready]);
}

static void go_on(void) {
    while (left_height != 0 && !is_filled) {
        fill_part();
        flush_board_lock();
        is_filled = 1;
        if (!is_flushing) { /* else the interrupt hands it over */
            is_flushing = 1;
            hand_over();
        }
        flush_board_unlock();
    }
}

tw_drawn flush_display_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    (void)user;
    left_x = x;
    left_y = y;
    left_width = width;
    left_height = height;
    left_pixels = (const uint8_t *)pixels;
    go_on();
    return left_height != 0 ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

/* The server learns that an update is out when its last pixel is. */
tw_drawn flush_display_present(void *user, uint32_t update, uint32_t input) {
    unsigned is_pending;
    (void)user;
    (void)update;
    (void)input;
    flush_board_lock();
    is_pending = is_last_awaited = is_flushing;
    flush_board_unlock();
    return is_pending ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

void flush_display_poll(void) {
    if (left_height != 0) {
        go_on();
        if (left_height == 0) {
            flush_board_draw_done();
        }
    }
}

void flush_display_ready(void) {
    if (is_filled) {
        hand_over();
        return;
    }
    is_flushing = 0;
    if (is_last_awaited) {
        is_last_awaited = 0;
        flush_board_draw_done();
    }
}
