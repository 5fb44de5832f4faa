/* Feeds the JPEG decoder whatever could be a segment. Three programs from one source, as fuzz_feed.c:
 *
 *   clang -fsanitize=fuzzer,address,undefined -DTW_FUZZER ...   libFuzzer target
 *   fuzz_jpeg < FILE                                            one input from stdin
 *   fuzz_jpeg ROUNDS FILE...                                    each file, and ROUNDS seeded mutations of it
 *
 * An input is two bytes of set-up, width, height, quality, and a segment. A device with a framebuffer draws it, and one
 * with a strip of a size that the set-up gives, which is handed out again and again. What is asserted beyond the
 * sanitizers' own checks: both come to the same verdict and the same picture, every pixel is handed out once, and nothing
 * is written beside the rectangle. Of a good input, stdout is told a hash. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tilewire/tilewire.h"

#define MAX_INPUT (1 << 16)
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

enum { WIDTH = 70, HEIGHT = 70, MAX_SIDE = 67, LEFT = 2, TOP = 1, SENTINEL = 0xA5, BESIDE = 16 };

/* What the panel shows, and how often each of its pixels was handed out. */
typedef struct device {
    tw_client *client;
    uint8_t *block, *pixels, *receive, *jpeg_memory;
    uint8_t picture[WIDTH * HEIGHT * 4], shown[WIDTH * HEIGHT];
    unsigned stored, hold;
    int strips;
} device;

/* The server's side of a handshake without proof, and BEGIN. */
static const uint8_t handshake[] = {0x97, 'T', 'W', '\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1, 2,
    3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x10, 33, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4, 1, 0,
    0, 0, 5, 3, 30, 75, 1, 6, 8, 0, 0, 0, 0, 0, 0, 0, 0, TW_MSG_BEGIN, 2, 1, 0};

static tw_drawn on_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    device *seen = (device *)user;
    CHECK(width >= 1 && height >= 1 && x + width <= WIDTH && y + height <= HEIGHT);
    for (unsigned row = 0; row < height; row++) {
        const size_t at = (size_t)(y + row) * WIDTH + x;
        if (seen->strips) {
            memcpy(seen->picture + at * seen->stored,
                (const uint8_t *)pixels + (size_t)row * width * seen->stored, (size_t)width * seen->stored);
        }
        for (unsigned i = 0; i < width; i++) {
            CHECK(seen->shown[at + i]++ == 0);
        }
    }
    return seen->hold ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

static const tw_callbacks callbacks = {
    NULL, on_draw, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};

static uint8_t *exactly(size_t size) {
    uint8_t *memory = (uint8_t *)malloc(size);
    CHECK(memory != NULL);
    memset(memory, SENTINEL, size);
    return memory;
}

static void start(device *seen, unsigned set_up, size_t strip) {
    static const unsigned stored[] = {2, 4, 1, 1};
    tw_client_config config;
    size_t consumed;
    memset(seen, 0, sizeof *seen);
    memset(&config, 0, sizeof config);
    seen->stored = stored[set_up & 3];
    seen->strips = strip != 0;
    seen->hold = set_up >> 3 & 1;
    config.device_id = "fuzz";
    config.width = WIDTH;
    config.height = HEIGHT;
    config.pixel_format = 1 + (set_up & 3);
    config.big_endian = (set_up & 3) == 0 && (set_up & 4) != 0;
    config.receive_size = MAX_INPUT + 64;
    config.receive = seen->receive = exactly(config.receive_size);
    config.jpeg_memory_size = TW_JPEG_MEMORY_SIZE;
    seen->jpeg_memory = exactly(config.jpeg_memory_size + 1);
    config.jpeg_memory = seen->jpeg_memory + 1;
    config.callbacks = &callbacks;
    config.user = seen;
    seen->pixels = exactly(strip != 0 ? strip * seen->stored : sizeof seen->picture + BESIDE);
    if (strip != 0) {
        config.strip = seen->pixels;
        config.strip_size = strip * seen->stored;
    } else {
        config.framebuffer = seen->pixels;
        config.framebuffer_size = (size_t)WIDTH * HEIGHT * seen->stored;
    }
    seen->block = exactly(tw_client_size(&config));
    CHECK(tw_client_init(&seen->client, &config, seen->block, tw_client_size(&config)) == TW_OK);
    CHECK(tw_client_feed(seen->client, handshake, sizeof handshake, &consumed) == TW_OK);
}

static void stop(device *seen) {
    free(seen->block);
    free(seen->pixels);
    free(seen->receive);
    free(seen->jpeg_memory);
}

/* The message lies at an odd address, and is gone when the client says that it took it. */
static tw_status feed(device *seen, const uint8_t *message, size_t length) {
    uint8_t *piece = exactly(length + 1);
    size_t consumed;
    tw_status status;
    memcpy(piece + 1, message, length);
    status = tw_client_feed(seen->client, piece + 1, length, &consumed);
    CHECK(consumed == length || status != TW_OK);
    free(piece);
    while (tw_client_pending(seen->client)) {
        CHECK(seen->hold && status == TW_OK);
        tw_client_draw_done(seen->client);
        status = tw_client_feed(seen->client, NULL, 0, &consumed);
    }
    return status;
}

static void check_beside(const device *seen, unsigned width, unsigned height) {
    for (unsigned y = 0; y < HEIGHT; y++) {
        for (unsigned x = 0; x < WIDTH; x++) {
            const int inside = x >= LEFT && x < LEFT + width && y >= TOP && y < TOP + height;
            const uint8_t *pixel = seen->pixels + ((size_t)y * WIDTH + x) * seen->stored;
            CHECK(inside || pixel[0] == SENTINEL);
            CHECK(inside || pixel[seen->stored - 1] == SENTINEL);
        }
    }
    for (size_t i = 0; i < BESIDE; i++) {
        CHECK(seen->pixels[(size_t)WIDTH * HEIGHT * seen->stored + i] == SENTINEL);
    }
}

static void check_same(const device *whole, const device *cut, unsigned width, unsigned height) {
    uint32_t hash = 2166136261U;
    for (unsigned y = TOP; y < TOP + height; y++) {
        const size_t at = (size_t)y * WIDTH + LEFT, length = (size_t)width * whole->stored;
        const uint8_t *row = whole->pixels + at * whole->stored;
        CHECK(memcmp(row, cut->picture + at * cut->stored, length) == 0);
        for (unsigned x = 0; x < width; x++) {
            CHECK(whole->shown[at + x] == 1 && cut->shown[at + x] == 1);
        }
        for (size_t i = 0; i < length; i++) {
            hash = (hash ^ row[i]) * 16777619U;
        }
    }
    printf("%08x\n", (unsigned)hash);
}

/* Two coordinates of 12 bits. */
static uint8_t *put_point(uint8_t *out, unsigned x, unsigned y) {
    const unsigned both = x | y << 12;
    *out++ = (uint8_t)both;
    *out++ = (uint8_t)(both >> 8);
    *out++ = (uint8_t)(both >> 16);
    return out;
}

/* The payload is cut where the message would be too long. */
static size_t make_message(uint8_t *out, const uint8_t *data, size_t size, unsigned width, unsigned height) {
    uint8_t *at = out;
    size_t left = size + 8;
    *at++ = TW_MSG_JPEG;
    for (; left >= 0x80; left >>= 7) {
        *at++ = (uint8_t)(left | 0x80);
    }
    *at++ = (uint8_t)left;
    at = put_point(at, LEFT, TOP);
    at = put_point(at, width - 1, height - 1);
    *at++ = (uint8_t)(1 + data[4] % 100);
    *at++ = data[1] & 0x13;
    memcpy(at, data + 5, size);
    return (size_t)(at - out) + size;
}

static void one_input(const uint8_t *data, size_t size) {
    static device whole, cut;
    static uint8_t message[MAX_INPUT + 16];
    unsigned width, height;
    size_t length;
    tw_status status;
    if (size < 5) {
        return;
    }
    width = 1 + data[2] % MAX_SIDE;
    height = 1 + data[3] % MAX_SIDE;
    length = make_message(message, data, size - 5, width, height);
    start(&whole, data[0] & 7, 0);
    start(&cut, data[0], WIDTH + (data[1] >> 5) * (data[1] >> 5) * 30U);
    status = feed(&whole, message, length);
    CHECK(status == TW_OK || status == TW_CODE_BAD_PAYLOAD);
    CHECK(status == feed(&cut, message, length));
    check_beside(&whole, width, height);
    if (status == TW_OK) {
        check_same(&whole, &cut, width, height);
    }
    stop(&whole);
    stop(&cut);
}

#include "fuzz_main.h"
