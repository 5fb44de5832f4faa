/* Random numbers: a virtio entropy device. */
#ifndef FW_ENTROPY_H
#define FW_ENTROPY_H

#include <stddef.h>

/* 0, or -1: there is none, or it said nothing within a second. */
int fw_entropy_read(void *bytes, size_t length);

#endif
