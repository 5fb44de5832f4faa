/* tilewire on POSIX: a non-blocking TCP socket, a monotonic clock, random bytes.
 *
 *     tw_posix link;
 *     if (tw_posix_connect(&link, "localhost", "7800") == 0) {
 *         while (tw_posix_step(&link, client, 1000) == 0) {
 *         }
 *         tw_posix_disconnect(&link);
 *     }
 */
#ifndef TW_POSIX_H
#define TW_POSIX_H

#include "tilewire/tilewire.h"

/* Bytes read from the socket at once. */
#ifndef TW_POSIX_CHUNK
#    define TW_POSIX_CHUNK 16384
#endif

typedef struct tw_posix {
    int socket;
    int stream_ended;
    size_t at, end; /* of `chunk`: what the client has not taken yet */
    uint8_t chunk[TW_POSIX_CHUNK];
} tw_posix;

/* Waits until the connection stands. 0, or -1 with a sentence in *problem. */
int tw_posix_connect(tw_posix *link, const char *host, const char *port, const char **problem);

/* Waits at most `timeout_ms` for something to do, and does it: reads, decodes, writes, keeps the time. 0: go on. 1: the
 * connection is over, and what the client had to say was written as far as the peer took it at once;
 * tw_client_error() tells why. -1: the socket failed, see errno. */
int tw_posix_step(tw_posix *link, tw_client *client, int timeout_ms);

void tw_posix_disconnect(tw_posix *link);

/* For tw_client_config. 0, or -1 where the system has no random bytes. */
int tw_posix_random(void *bytes, size_t length);
uint32_t tw_posix_now_us(void *user);
uint32_t tw_posix_now_ms(void);

#endif
