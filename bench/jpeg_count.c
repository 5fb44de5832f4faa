/* Feeds a client recorded JPEG messages, for their instructions to be counted. Two programs from one source, as
 * codec_count.c:
 *
 *   jpeg_count FILE COUNT [PICTURE]  the first COUNT pieces of the file; counted from outside, by valgrind. Writes the
 *                                    framebuffer to PICTURE.
 *   firmware, with FW_PAYLOADS       arguments FIRST COUNT; the file lies at address FW_PAYLOADS. Feeds COUNT pieces and
 *                                    prints the nanoseconds of those from FIRST on, by the global timer, and a 1.
 *
 * The file: 32-bit little-endian words. Width and height of the panel, its format as on the wire, number of pieces; then
 * each piece's length, and its bytes: what a server sends, from the handshake on. What is counted is all that the client
 * does with them. */
#include <string.h>

#include "tilewire/tilewire.h"

enum { MAX_PIXELS = 1024 * 608, MAX_RECEIVE = 1 << 20 };

static uint32_t framebuffer[MAX_PIXELS];
static uint8_t receive[MAX_RECEIVE], memory[TW_CLIENT_SIZE(0, 1024)], jpeg_memory[TW_JPEG_MEMORY_SIZE];

typedef struct reader {
    const uint8_t *at;
    uint32_t width, height, format, count, number;
    tw_client *client;
} reader;

static uint32_t word(reader *r) {
    uint32_t value = r->at[0] | (uint32_t)r->at[1] << 8 | (uint32_t)r->at[2] << 16 | (uint32_t)r->at[3] << 24;
    r->at += 4;
    return value;
}

static int begin(reader *r, const uint8_t *file) {
    tw_client_config config;
    r->at = file;
    r->width = word(r);
    r->height = word(r);
    r->format = word(r);
    r->count = word(r);
    r->number = 0;
    memset(&config, 0, sizeof config);
    config.device_id = "count";
    config.width = r->width;
    config.height = r->height;
    config.pixel_format = r->format;
    config.framebuffer = framebuffer;
    config.framebuffer_size = sizeof framebuffer;
    config.receive = receive;
    config.receive_size = sizeof receive;
    config.jpeg_memory = jpeg_memory;
    config.jpeg_memory_size = sizeof jpeg_memory;
    return tw_client_init(&r->client, &config, memory, sizeof memory) == TW_OK;
}

/* The pieces up to number `end`. */
static int feed(reader *r, uint32_t end) {
    for (; r->number < end && r->number < r->count; r->number++) {
        const uint32_t length = word(r);
        size_t consumed;
        if (tw_client_feed(r->client, r->at, length, &consumed) != TW_OK || consumed != length) {
            return 0;
        }
        r->at += length;
    }
    return 1;
}

/* The next decimal number of a text, after spaces. */
static uint32_t number(const char **text) {
    uint32_t value = 0;
    while (**text == ' ') {
        ++*text;
    }
    while (**text >= '0' && **text <= '9') {
        value = value * 10 + (uint32_t)(*(*text)++ - '0');
    }
    return value;
}

#ifdef FW_PAYLOADS

#    include "semihosting.h"
#    include "timer.h"

int main(void) {
    char arguments[64];
    const char *rest = arguments;
    reader r;
    uint64_t from;
    fw_arguments(arguments, sizeof arguments);
    if (!begin(&r, (const uint8_t *)FW_PAYLOADS) || !feed(&r, number(&rest))) {
        return 1;
    }
    fw_timer_start();
    from = fw_timer_ticks();
    if (!feed(&r, number(&rest))) {
        return 1;
    }
    fw_print_number((fw_timer_ticks() - from) * FW_TIMER_TICK_NS);
    fw_print(" 1\n");
    return 0;
}

#else

#    include <stdio.h>

static uint8_t data[MAX_RECEIVE * 2];

int main(int argc, char **argv) {
    FILE *file = argc >= 3 ? fopen(argv[1], "rb") : NULL;
    const char *count;
    reader r;
    if (file == NULL || fread(data, 1, sizeof data, file) == 0) {
        fprintf(stderr, "usage: jpeg_count FILE COUNT [PICTURE]\n");
        return 2;
    }
    fclose(file);
    count = argv[2];
    if (!begin(&r, data) || !feed(&r, number(&count))) {
        fprintf(stderr, "piece %u is refused\n", r.number);
        return 1;
    }
    if (argc > 3) {
        static const size_t stored[] = {0, 2, 4, 1, 1};
        file = fopen(argv[3], "wb");
        if (file == NULL || fwrite(framebuffer, stored[r.format] * r.width, r.height, file) != r.height
            || fclose(file) != 0) {
            return 2;
        }
    }
    return 0;
}

#endif
