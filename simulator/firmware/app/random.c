/* SHA-256 in two uses: what is given out does not tell the state, and the state does not tell what was given out. */
#include "random.h"

#include <string.h>

#include "tw_sha256.h"

#include "../board/clock.h"

static uint8_t state[TW_SHA256_SIZE];
static int is_good;

static void stir(uint8_t label, const void *bytes, size_t length, uint8_t digest[TW_SHA256_SIZE]) {
    const uint64_t now_us = fw_clock_us();
    tw_sha256 hash;
    tw_sha256_start(&hash);
    tw_sha256_add(&hash, &label, 1);
    tw_sha256_add(&hash, state, sizeof state);
    tw_sha256_add(&hash, &now_us, sizeof now_us);
    tw_sha256_add(&hash, bytes, length);
    tw_sha256_finish(&hash, digest);
    tw_wipe(&hash, sizeof hash);
}

void fw_random_seed(const void *bytes, size_t length) {
    uint8_t digest[TW_SHA256_SIZE];
    stir(0, bytes, length, digest);
    memcpy(state, digest, sizeof state);
    tw_wipe(digest, sizeof digest);
    is_good = 1;
}

int fw_random_is_good(void) {
    return is_good;
}

void fw_random(void *bytes, size_t length) {
    uint8_t *to = bytes;
    uint8_t digest[TW_SHA256_SIZE];
    while (length != 0) {
        const size_t part = length < sizeof digest ? length : sizeof digest;
        stir(1, "", 0, digest);
        memcpy(to, digest, part);
        to += part;
        length -= part;
        stir(2, "", 0, digest);
        memcpy(state, digest, sizeof state);
    }
    tw_wipe(digest, sizeof digest);
}
