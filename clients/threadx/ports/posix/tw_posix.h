/* tilewire on POSIX: a non-blocking TCP socket, TLS where OpenSSL is there, a monotonic clock, random bytes.
 *
 *     tw_posix link;
 *     const char *problem;
 *     if (tw_posix_connect(&link, "localhost", "7800", &problem) == 0) {
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

/* 1: TLS, by OpenSSL 1.1.1 or later (libssl, libcrypto). 0: tw_posix_secure() says that this build has none. */
#ifndef TW_POSIX_WITH_TLS
#    define TW_POSIX_WITH_TLS 0
#endif

/* How long one address may take to answer, how long a TLS handshake, and how long the server to read our last words. */
#ifndef TW_POSIX_CONNECT_MS
#    define TW_POSIX_CONNECT_MS 10000
#endif
#ifndef TW_POSIX_HANDSHAKE_MS
#    define TW_POSIX_HANDSHAKE_MS 10000
#endif
#ifndef TW_POSIX_FAREWELL_MS
#    define TW_POSIX_FAREWELL_MS 1000
#endif

struct ssl_st;

typedef struct tw_posix {
    int socket;
    int stream_ended;
    struct ssl_st *tls; /* NULL: in clear */
    int tls_more;       /* what was received already may hold more bytes for the client */
    int tls_failed;     /* nothing can be written any more, not even the end */
    char problem[160];
    size_t at, end; /* of `chunk`: what the client has not taken yet */
    uint8_t chunk[TW_POSIX_CHUNK];
} tw_posix;

/* Waits until the connection stands. 0, or -1 with a sentence in *problem. */
int tw_posix_connect(tw_posix *link, const char *host, const char *port, const char **problem);

/* Whom to believe that it is the server. */
typedef struct tw_posix_trust {
    const char *ca_file; /* PEM: trusted instead of what the system trusts. NULL: what the system trusts */
    int unchecked;       /* 1: anybody */
} tw_posix_trust;

/* Speaks TLS (1.2 or later) from here on: waits until its handshake is done and `host` has proved that it is the one.
 * 0, or -1 with a sentence in *problem; then disconnect. */
int tw_posix_secure(tw_posix *link, const char *host, const tw_posix_trust *trust, const char **problem);

/* Waits at most `timeout_ms` for something to do, and does it: reads, decodes, writes, keeps the time. 0: go on. 1: the
 * connection is over, and what the client had to say was written as far as the peer took it at once;
 * tw_client_error() tells why. -1: the socket failed, see errno. */
int tw_posix_step(tw_posix *link, tw_client *client, int timeout_ms);

/* Ends TLS and the stream, so that what was written can still be read. */
void tw_posix_disconnect(tw_posix *link);

/* For tw_client_config. 0, or -1 where the system has no random bytes. */
int tw_posix_random(void *bytes, size_t length);
uint32_t tw_posix_now_us(void *user);
uint32_t tw_posix_now_ms(void);

#endif
