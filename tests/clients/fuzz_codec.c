/* Feeds the tile codec's decoder whatever could be a payload. Three programs from one source, as fuzz_feed.c:
 *
 *   clang -fsanitize=fuzzer,address,undefined -DTW_FUZZER ...   libFuzzer target
 *   fuzz_codec < FILE                                           one input from stdin
 *   fuzz_codec ROUNDS FILE...                                   each file, and ROUNDS seeded mutations of it
 *
 * An input is one byte of set-up, width, height, and payloads, each after two bytes of length. All of them go through
 * one model, which is reset after each that is refused. What is asserted beyond the sanitizers' own checks: a payload
 * ends in as many rows as it has, or is refused; every value is a pixel of the format; and whether or not the payload is
 * moved between the rows, the same rows, the same verdict and the same model come of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tw_codec.h"

#define MAX_INPUT (1 << 16)
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* A decoder with memory of exactly its size. */
typedef struct decoder {
    tw_codec_model *model;
    uint32_t *rows, *picture;
    uint32_t kib, width, height;
    tw_codec_format format;
} decoder;

static void *exactly(size_t size) {
    void *memory = malloc(size);
    CHECK(memory != NULL);
    memset(memory, 0xA5, size);
    return memory;
}

static void start(decoder *d, unsigned set_up, uint32_t width, uint32_t height) {
    d->kib = 16 * (1 + set_up % 3);
    d->format = (tw_codec_format)(set_up / 3 % TW_CODEC_FORMATS);
    d->width = width;
    d->height = height;
    d->model = (tw_codec_model *)exactly((size_t)d->kib * 1024);
    d->rows = (uint32_t *)exactly(TW_CODEC_ROWS_SIZE(width));
    d->picture = (uint32_t *)exactly((size_t)width * height * 4);
    tw_codec_reset(d->model, d->kib, d->format);
}

static void stop(decoder *d) {
    free(d->model);
    free(d->rows);
    free(d->picture);
}

/* `move`: after each row the payload lies elsewhere, and where it was is gone. */
static int decode(decoder *d, const uint8_t *payload, size_t length, int move) {
    static const uint32_t tops[TW_CODEC_FORMATS] = {0xFFFF, 0xFFFFFF, 0xFF, 0xFF};
    uint8_t *copy = (uint8_t *)exactly(length != 0 ? length : 1);
    tw_codec codec;
    int good;
    memset(&codec, 0xA5, sizeof codec);
    memcpy(copy, payload, length);
    good = tw_codec_begin(&codec, d->model, d->rows, copy, length, d->width);
    for (uint32_t y = 0; good && y < d->height; y++) {
        const uint32_t *row;
        if (move) {
            uint8_t *moved = (uint8_t *)exactly(length);
            memcpy(moved, copy, length);
            free(copy);
            copy = moved;
        }
        row = tw_codec_row(&codec, copy);
        good = row != NULL;
        for (uint32_t x = 0; good && x < d->width; x++) {
            CHECK(row[x] <= tops[d->format]);
            d->picture[y * d->width + x] = row[x];
        }
    }
    good = good && tw_codec_end(&codec);
    free(copy);
    return good;
}

static void one_input(const uint8_t *data, size_t size) {
    decoder still, moving;
    const uint8_t *const end = data + size;
    if (size < 3) {
        return;
    }
    start(&still, data[0], 1 + data[1] % 96, 1 + data[2] % 48);
    start(&moving, data[0], still.width, still.height);
    for (data += 3; end - data >= 2;) {
        size_t length = data[0] | (size_t)data[1] << 8;
        int good;
        data += 2;
        if (length > (size_t)(end - data)) {
            length = (size_t)(end - data);
        }
        good = decode(&still, data, length, 0);
        CHECK(good == decode(&moving, data, length, 1));
        CHECK(memcmp(still.model, moving.model, (size_t)still.kib * 1024) == 0);
        CHECK(!good || memcmp(still.picture, moving.picture, (size_t)still.width * still.height * 4) == 0);
        if (!good) {
            tw_codec_reset(still.model, still.kib, still.format);
            tw_codec_reset(moving.model, moving.kib, moving.format);
        }
        data += length;
    }
    stop(&still);
    stop(&moving);
}

#include "fuzz_main.h"
