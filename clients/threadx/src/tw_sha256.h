/* SHA-256 (FIPS 180-4) and HMAC (RFC 2104) for the proofs of the handshake; small rather than fast. */
#ifndef TW_SHA256_H
#define TW_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TW_SHA256_SIZE 32

typedef struct tw_sha256 {
    uint32_t state[8];
    uint32_t length; /* bytes so far, less than 512 MiB */
    uint8_t block[64];
} tw_sha256;

void tw_sha256_start(tw_sha256 *hash);
void tw_sha256_add(tw_sha256 *hash, const void *data, size_t length);
/* The digest of all bytes so far; `hash` is used up. */
void tw_sha256_finish(tw_sha256 *hash, uint8_t *digest);

/* HMAC with a key of 32 bytes over `label` followed by the 32 bytes of `digest`. */
void tw_hmac_sha256(
    const uint8_t *key, const char *label, size_t label_length, const uint8_t *digest, uint8_t *mac);

/* In a time that does not depend on where the two differ. */
bool tw_same_bytes(const uint8_t *one, const uint8_t *other, size_t length);

/* Overwrites secrets, also where the compiler sees that nobody reads them again. */
void tw_wipe(void *secret, size_t length);

#endif
