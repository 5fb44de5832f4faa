/* Decodes recorded payloads of the tile codec, for their instructions to be counted. Two programs from one source:
 *
 *   codec_count FILE COUNT [sum] the first COUNT payloads of the file; counted from outside, by valgrind.
 *                                Prints pixels and, where `sum` is asked for, the CRC-32 of their values.
 *   firmware, with FW_PAYLOADS   arguments FIRST COUNT; the file lies at address FW_PAYLOADS. Decodes COUNT payloads and
 *                                prints the nanoseconds of those from FIRST on, by the global timer, and the pixels.
 *
 * The file: 32-bit little-endian words. Size of the model in KiB, format as tw_codec_format has it, number of payloads;
 * then each payload's width, height, whether the model is reset before it, length; and its bytes. What is counted is
 * the decoder up to the rows that it returns, not what a device does with them. */
#include <stdbool.h>

#include "tw_codec.h"

enum { MAX_WIDTH = 4096 };

static uint32_t memory[12 * 1024]; /* of the model, 48 KiB */
static uint32_t rows[(MAX_WIDTH + 8) * 2];

/* Where in the file the decoder is. */
typedef struct reader {
    const uint8_t *at;
    uint32_t kib, format, count, number;
    uint32_t pixels;
    uint32_t crc;
    bool sum;
} reader;

static uint32_t word(reader *r) {
    uint32_t value = r->at[0] | (uint32_t)r->at[1] << 8 | (uint32_t)r->at[2] << 16 | (uint32_t)r->at[3] << 24;
    r->at += 4;
    return value;
}

static void begin(reader *r, const uint8_t *file) {
    r->at = file;
    r->kib = word(r);
    r->format = word(r);
    r->count = word(r);
    r->number = 0;
    r->pixels = 0;
    r->crc = UINT32_MAX;
}

static void sum(reader *r, const uint32_t *row, uint32_t width) {
    for (uint32_t x = 0; x < width; x++) {
        r->crc ^= row[x];
        for (uint32_t bit = 0; bit < 32; bit++) {
            r->crc = r->crc >> 1 ^ (r->crc & 1 ? 0xEDB88320U : 0U);
        }
    }
}

/* The payloads up to number `end`. */
static bool decode(reader *r, uint32_t end) {
    tw_codec_model *model = (tw_codec_model *)(void *)memory;
    while (r->number < end && r->number < r->count) {
        const uint32_t width = word(r), height = word(r), reset = word(r), length = word(r);
        tw_codec codec;
        if (width > MAX_WIDTH) {
            return false;
        }
        if (reset) {
            tw_codec_reset(model, r->kib, (tw_codec_format)r->format);
        }
        if (!tw_codec_begin(&codec, model, rows, r->at, length, width)) {
            return false;
        }
        for (uint32_t y = 0; y < height; y++) {
            const uint32_t *row = tw_codec_row(&codec, r->at);
            if (row == NULL) {
                return false;
            }
            if (r->sum) {
                sum(r, row, width);
            }
        }
        if (!tw_codec_end(&codec)) {
            return false;
        }
        r->at += length;
        r->pixels += width * height;
        r->number++;
    }
    return true;
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
    reader r = {0};
    uint64_t from;
    uint32_t first, before;
    fw_arguments(arguments, sizeof arguments);
    first = number(&rest);
    begin(&r, (const uint8_t *)FW_PAYLOADS);
    if (!decode(&r, first)) {
        return 1;
    }
    before = r.pixels;
    fw_timer_start();
    from = fw_timer_ticks();
    if (!decode(&r, number(&rest))) {
        return 1;
    }
    fw_print_number((fw_timer_ticks() - from) * FW_TIMER_TICK_NS);
    fw_print(" ");
    fw_print_number(r.pixels - before);
    fw_print("\n");
    return 0;
}

#else

#    include <stdio.h>
#    include <stdlib.h>

static uint8_t *read_whole(const char *path) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long size;
    if (file == NULL) {
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        data = malloc((size_t)size + 1);
        if (data != NULL && fread(data, 1, (size_t)size, file) != (size_t)size) {
            free(data);
            data = NULL;
        }
    }
    fclose(file);
    return data;
}

int main(int argc, char **argv) {
    reader r = {0};
    uint8_t *file = argc >= 3 ? read_whole(argv[1]) : NULL;
    const char *count;
    bool good;
    if (file == NULL) {
        fprintf(stderr, "usage: codec_count FILE COUNT [sum]\n");
        return 2;
    }
    r.sum = argc > 3;
    begin(&r, file);
    count = argv[2];
    good = decode(&r, number(&count));
    free(file);
    if (!good) {
        fprintf(stderr, "payload %u is corrupt\n", r.number);
        return 1;
    }
    printf("%u %08x\n", r.pixels, ~r.crc);
    return 0;
}

#endif
