/* The two ends of a link: network namespaces with a TAP each, which end with the last process that holds them. */
#ifndef TILEWIRE_SHAPER_PLACES_H
#define TILEWIRE_SHAPER_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 192.0.2.0/24 is for documentation (RFC 5737): no real network has it. */
#define PLACE_NET UINT32_C(0xc0000200)
#define PLACE_MASK UINT32_C(0xffffff00)
#define PLACE_INTERFACE "link0"

struct place {
    int net_fd;
    int tap_fd; /* whole Ethernet frames, does not block */
    uint32_t address;
};

struct places {
    int user_fd; /* -1: this user may make network namespaces in the system's own user namespace */
    struct place near;
    struct place far;
};

/* Makes `far` in this process's namespaces, which become new ones, and `near` unless a device takes its place: then it
   has descriptors of -1. False: `why` says in words what is missing. */
bool places_make(struct places *places, bool with_near, char *why, size_t why_size);

/* A TCP socket in a place, or -1. */
int place_socket(const struct places *places, const struct place *place);

/* Kills every process that lives in one of the network namespaces, but not the caller. */
void places_sweep(const int *net_fds, size_t count);

#endif
