/* Random bytes for nonces, from what the entropy device or the configuration gave at start. */
#ifndef FW_RANDOM_H
#define FW_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Stirs in what nobody can guess. */
void fw_random_seed(const void *bytes, size_t length);
/* 1: it was seeded with something that nobody can guess. */
int fw_random_is_good(void);
void fw_random(void *bytes, size_t length);

#endif
