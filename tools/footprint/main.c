/* A firmware that calls what the client offers, so that a linker that leaves out what nobody calls leaves it in. Never
 * run. With LEAST it calls what a device needs that shows a picture and has a touch panel: nothing that a user of it
 * would not miss. */
#include <string.h>

#include "memory.h"

#define WIDTH 1024
#define HEIGHT 600
#define CURSOR_SIDE 32
#define CACHE_SLOTS 64
#define CACHE_SLOT_BYTES 4096

/* Counted apart: they are as large as the integrator likes. */
uint16_t framebuffer[WIDTH * HEIGHT];
unsigned char receive[16384];
#if TW_WITH_CURSOR
unsigned char cursor_memory[TW_CURSOR_SIZE(CURSOR_SIDE, sizeof *framebuffer)];
#endif
#if TW_WITH_CACHE
unsigned char cache[TW_CACHE_SIZE(CACHE_SLOTS, CACHE_SLOT_BYTES)];
#endif
#if TW_WITH_JPEG_HOOK
unsigned char jpeg_stream[TW_JPEG_SIZE(sizeof receive)];
#endif

/* The network, the touch panel and the clock; a compiler cannot know what they say. */
volatile struct board {
    uint32_t in, out, x, y, fingers, now, random, result;
} board;

static uint32_t now_us(void *user) {
    (void)user;
    return board.now;
}

static tw_drawn draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    (void)user;
    board.out = x + y + width + height + (uint32_t)(uintptr_t)pixels;
    return TW_DRAW_DONE;
}

#if TW_WITH_JPEG_HOOK
static tw_status decode(void *user, const tw_jpeg *jpeg, tw_picture *picture) {
    (void)user;
    picture->pixels = jpeg->data;
    return TW_OK;
}
#endif

static const tw_callbacks callbacks = {.draw = draw};

static void configure(tw_client_config *config) {
    memset(config, 0, sizeof *config);
    config->device_id = "panel-7";
    config->width = WIDTH;
    config->height = HEIGHT;
    config->pixel_format = TW_PIXEL_RGB565;
    config->framebuffer = framebuffer;
    config->framebuffer_size = sizeof framebuffer;
    config->receive = receive;
    config->receive_size = sizeof receive;
    config->callbacks = &callbacks;
    config->now_us = now_us;
    config->model_kib = MODEL_KIB;
    config->max_rect_width = COLUMNS;
    config->capabilities = TW_CAPABILITY_TOUCH;
#if TW_WITH_CURSOR
    config->cursor = TW_CURSOR_LOCAL;
    config->cursor_max_side = CURSOR_SIDE;
    config->cursor_memory = cursor_memory;
    config->cursor_memory_size = sizeof cursor_memory;
#endif
#if TW_WITH_CACHE
    config->cache = cache;
    config->cache_size = sizeof cache;
    config->cache_slots = CACHE_SLOTS;
    config->cache_slot_bytes = CACHE_SLOT_BYTES;
#endif
#if TW_WITH_JPEG
    config->jpeg_memory = jpeg_memory;
    config->jpeg_memory_size = sizeof jpeg_memory;
#endif
#if TW_WITH_JPEG_HOOK
    config->jpeg = decode;
    config->jpeg_stream = jpeg_stream;
    config->jpeg_stream_size = sizeof jpeg_stream;
#endif
}

static void note(uint32_t value) {
    board.result = value;
}

static void run(tw_client *client) {
    const tw_finger finger = {0, board.x, board.y};
    size_t length;
    note(tw_client_feed(client, receive, board.in, &length));
    board.out = (uint32_t)(uintptr_t)tw_client_output(client, &length);
    tw_client_sent(client, length);
    note(tw_client_pointer(client, board.x, board.y, 1, NULL));
    note(tw_client_touch(client, &finger, board.fingers, NULL));
    note(tw_client_tick(client, board.now));
    note((uint32_t)tw_client_phase(client));
    note(tw_client_error(client));
}

#ifndef LEAST
static void run_the_rest(tw_client *client) {
    static tw_resume resume;
    static tw_backoff backoff;
    const tw_setting setting = {30, 75, 1};
    note((uint32_t)tw_client_size(NULL));
    note((uint32_t)(uintptr_t)tw_status_text(board.in));
    note(tw_client_wheel(client, 0, TW_WHEEL_NOTCH, NULL));
    note(tw_client_key(client, board.in, 1, NULL));
    note(tw_client_text(client, (const char *)receive, board.in, NULL));
    note(tw_client_setting(client, &setting));
    note(tw_client_view(client, TW_VIEW_FIT, TW_ROTATION_R90, 0, board.x, board.y));
    note(tw_client_control(client, TW_CONTROL_ASK, 0));
    note(tw_client_resize(client, board.x, board.y));
    note(tw_client_resize_session(client, board.x, board.y));
    note(tw_client_ping(client, board.now));
    note(tw_client_pause(client, 1));
    note(tw_client_refresh(client));
#    if TW_WITH_CLIPBOARD
    note(tw_client_clipboard(client, board.in, 0, receive, board.in));
#    endif
    note(tw_client_shown(client));
    note(tw_client_pending(client));
    tw_client_draw_done(client);
    tw_client_surface(client, framebuffer, sizeof framebuffer, 0);
    tw_client_close(client, TW_CODE_NORMAL);
    note(tw_client_end(client));
    tw_client_resume(client, &resume);
    note((uint32_t)tw_should_reconnect(tw_client_reason(client)));
    tw_backoff_reset(&backoff);
    note(tw_backoff_next(&backoff, board.random));
#    if TW_WITH_CURSOR
    {
        unsigned x, y, width, height;
        note((uint32_t)(uintptr_t)tw_client_under(client, &x, &y, &width, &height));
    }
#    endif
#    if TW_WITH_STATISTICS
    {
        static tw_statistics statistics;
        uint32_t messages;
        uint64_t bytes;
        tw_client_statistics(client, &statistics);
        tw_client_count(client, TW_MSG_FILL, &messages, &bytes);
    }
#    endif
}
#endif

int main(void) {
    tw_client_config config;
    tw_client *client;
    configure(&config);
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) {
        return 1;
    }
    for (;;) {
        run(client);
#ifndef LEAST
        run_the_rest(client);
#endif
    }
}
