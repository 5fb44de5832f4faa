#include "tw_sha256.h"

#include <string.h>

#include "tilewire/tw_config.h"

#if TW_WITH_HMAC

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_constants[64] = {0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b,
    0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74,
    0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3,
    0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354,
    0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3,
    0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa,
    0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* The same of the square roots of the first eight. */
static const uint32_t initial_state[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static uint32_t rotated(uint32_t value, unsigned bits) {
    return value >> bits | value << (32 - bits);
}

static void compress(uint32_t *state, const uint8_t *block) {
    uint32_t s[8], w[16];
    memcpy(s, state, sizeof s);
    for (unsigned t = 0; t < 64; t++) {
        /* The eight variables do not move: in each round the next one is a. */
        const uint32_t a = s[(0 - t) & 7], b = s[(1 - t) & 7], c = s[(2 - t) & 7];
        const uint32_t e = s[(4 - t) & 7], f = s[(5 - t) & 7], g = s[(6 - t) & 7];
        uint32_t *const d = &s[(3 - t) & 7], *const h = &s[(7 - t) & 7];
        uint32_t *word = &w[t & 15], one;
        if (t < 16) {
            *word = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16
                    | (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
        } else {
            const uint32_t old = w[(t + 1) & 15], young = w[(t + 14) & 15];
            *word += (rotated(old, 7) ^ rotated(old, 18) ^ old >> 3) + w[(t + 9) & 15]
                     + (rotated(young, 17) ^ rotated(young, 19) ^ young >> 10);
        }
        one = *h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g))
              + round_constants[t] + *word;
        *d += one;
        *h = one + (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    }
    for (unsigned i = 0; i < 8; i++) {
        state[i] += s[i];
    }
}

void tw_sha256_start(tw_sha256 *hash) {
    memcpy(hash->state, initial_state, sizeof initial_state);
    hash->length = 0;
}

void tw_sha256_add(tw_sha256 *hash, const void *data, size_t length) {
    const uint8_t *bytes = (const uint8_t *)data;
    while (length-- != 0) {
        hash->block[hash->length++ & 63] = *bytes++;
        if ((hash->length & 63) == 0) {
            compress(hash->state, hash->block);
        }
    }
}

void tw_sha256_finish(tw_sha256 *hash, uint8_t *digest) {
    const uint32_t bits = hash->length << 3;
    uint8_t padding = 0x80;
    do {
        tw_sha256_add(hash, &padding, 1);
        padding = 0;
    } while ((hash->length & 63) != 56);
    for (unsigned i = 0; i < 8; i++) { /* the length in 64 bits, of which the upper half is zero */
        padding = (uint8_t)(i < 4 ? 0 : bits >> (56 - 8 * i));
        tw_sha256_add(hash, &padding, 1);
    }
    for (unsigned i = 0; i < TW_SHA256_SIZE; i++) {
        digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
    }
}

static void start_keyed(tw_sha256 *hash, const uint8_t *key, uint8_t pad) {
    tw_sha256_start(hash);
    for (unsigned i = 0; i < 64; i++) {
        const uint8_t byte = (uint8_t)((i < 32 ? key[i] : 0) ^ pad);
        tw_sha256_add(hash, &byte, 1);
    }
}

void tw_hmac_sha256(
    const uint8_t *key, const char *label, size_t label_length, const uint8_t *digest, uint8_t *mac) {
    tw_sha256 hash;
    uint8_t inner[TW_SHA256_SIZE];
    start_keyed(&hash, key, 0x36);
    tw_sha256_add(&hash, label, label_length);
    tw_sha256_add(&hash, digest, TW_SHA256_SIZE);
    tw_sha256_finish(&hash, inner);
    start_keyed(&hash, key, 0x5C);
    tw_sha256_add(&hash, inner, sizeof inner);
    tw_sha256_finish(&hash, mac);
    tw_wipe(&hash, sizeof hash);
}

bool tw_same_bytes(const uint8_t *one, const uint8_t *other, size_t length) {
    unsigned different = 0;
    for (size_t i = 0; i < length; i++) {
        different |= (unsigned)(one[i] ^ other[i]);
    }
    return different == 0;
}

void tw_wipe(void *secret, size_t length) {
    volatile uint8_t *bytes = (volatile uint8_t *)secret;
    while (length-- != 0) {
        *bytes++ = 0;
    }
}

#else

typedef int tw_sha256_is_left_out; /* C wants a declaration in every file */

#endif
