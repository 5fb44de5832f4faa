/* What a device has around the C client, for the simulator: a panel and a clock. */
#ifndef TILEWIRE_DEVICE_H
#define TILEWIRE_DEVICE_H

#include "tilewire/tilewire.h"

/* The `user` of a simulated device's callbacks. */
typedef struct tilewire_device {
    void *handle; /* of the Python object whose callbacks these are */
    uint8_t
        *picture;  /* what a panel without readable framebuffer shows; NULL: the client draws into its own */
    size_t stride; /* bytes from row to row of the picture */
    unsigned stored; /* bytes of a pixel */
    unsigned hold;   /* 1: everything drawn stays pending until tw_client_draw_done() */
    uint32_t draws;  /* rectangles handed out so far */
    uint64_t pixels; /* in them */
    void (*on_draw)(
        void *user, unsigned x, unsigned y, unsigned width, unsigned height); /* NULL: nobody asks */
} tilewire_device;

tw_drawn tilewire_device_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels);
uint32_t tilewire_device_now_us(void *user);

/* TW_CACHE_SIZE, TW_JPEG_SIZE, TW_JPEG_MEMORY_SIZE and TW_CURSOR_SIZE. */
size_t tilewire_cache_size(unsigned slots, uint32_t slot_bytes);
size_t tilewire_jpeg_size(size_t receive_size);
size_t tilewire_jpeg_memory_size(void);
size_t tilewire_cursor_size(unsigned max_side, unsigned stored);

#endif
