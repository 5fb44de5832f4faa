/* tilewire on ThreadX and NetX Duo: one thread that keeps a connection, draws what comes, and comes back after a loss.
 *
 *     static TW_THREADX session;
 *     static TW_THREADX_CONFIG config;
 *     ...                                       what is shown where: config.client; the server's address
 *     tw_threadx_create(&session, "panel", &config, &ip, &pool, stack, sizeof stack, 16);
 *     tw_threadx_start(&session);
 *
 * All memory is the caller's: static, or out of a byte pool that the caller gives. Several sessions may live in one
 * program. Callbacks, those of tw_client_config too, run in the session's thread.
 *
 * Status codes are those of ThreadX and NetX Duo. Arguments are checked unless TX_DISABLE_ERROR_CHECKING is defined.
 */
#ifndef TW_THREADX_H
#define TW_THREADX_H

#include "tx_api.h"

#include "nx_api.h"

#include "tilewire/tilewire.h"

/* 1: TLS by NetX Secure, where a configuration has `tls_setup`. */
#ifndef TW_THREADX_WITH_TLS
#    define TW_THREADX_WITH_TLS 0
#endif

#if TW_THREADX_WITH_TLS
#    include "nx_secure_tls_api.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* How long a connection, and then a TLS handshake, may take to stand. */
#ifndef TW_THREADX_CONNECT_MS
#    define TW_THREADX_CONNECT_MS 10000
#endif
/* How long an end may take: our last words to be read, a DMA to let go of the pixels. Each at most so long. */
#ifndef TW_THREADX_FAREWELL_MS
#    define TW_THREADX_FAREWELL_MS 1000
#endif
/* How soon is tried again what the window, the transmit queue or the packet pool did not allow. */
#ifndef TW_THREADX_RETRY_MS
#    define TW_THREADX_RETRY_MS 20
#endif
/* Changes of fingers, buttons and wheel that may wait to be sent, each with the newest motion after it. At least 4. */
#ifndef TW_THREADX_MOTIONS
#    define TW_THREADX_MOTIONS 8
#endif
/* TCP receive window in bytes where the configuration says none. The packet pool has to hold it. */
#ifndef TW_THREADX_WINDOW
#    define TW_THREADX_WINDOW 8192
#endif

/* Bytes of the queue for that many inputs that wait: keys, pieces of text, wishes. */
#define TW_THREADX_MESSAGE_WORDS 8
#define TW_THREADX_QUEUE_SIZE(messages) ((messages) * TW_THREADX_MESSAGE_WORDS * sizeof(ULONG))
/* Messages in a queue out of the byte pool. */
#define TW_THREADX_QUEUE_MESSAGES 32

/* What a session is doing. */
#define TW_THREADX_STOPPED 0    /* at rest, by tw_threadx_stop() or before tw_threadx_start() */
#define TW_THREADX_CONNECTING 1 /* until the server lets it in */
#define TW_THREADX_OPEN 2
#define TW_THREADX_WAITING 3 /* before the next connection */
#define TW_THREADX_ENDED 4   /* at rest: the code says why it makes no sense to come back by itself */

/* How a session is set up. Set everything to zero first: zero is a sensible value for what is not named here. It is
 * copied; what it points to must live as long as the session. */
typedef struct TW_THREADX_CONFIG_STRUCT {
    /* As without ThreadX, and checked by tw_threadx_create(). `nonce` and `resume` are set by the session; `boot_id`
     * too, once, where it is 0. What is missing here comes out of `byte_pool`: `receive` where `receive_size` is not 0,
     * `cache` where `cache_slots` is not, and so `cursor_memory`, `jpeg_memory` and `jpeg_stream` where their sizes are
     * not. */
    tw_client_config client;
    VOID *memory; /* TW_CLIENT_SIZE bytes; NULL: out of the byte pool */
    ULONG memory_size;

    /* TW_THREADX_QUEUE_SIZE(n) bytes for inputs that wait; NULL: out of the byte pool. */
    ULONG *queue;
    ULONG queue_size;

    /* NULL: everything is given. */
    TX_BYTE_POOL *byte_pool;

    /* The server: IPv4 or IPv6, and its port, 0: TW_PORT. `resolve`, if not NULL, is asked for the address before each
     * connection, and may use DNS for at most `wait_option` ticks. */
    NXD_ADDRESS server;
    UINT port;
    UINT (*resolve)(VOID *user, NXD_ADDRESS *server, ULONG wait_option);
    ULONG window; /* TCP receive window in bytes; 0: TW_THREADX_WINDOW */

    /* Fills memory with random bytes that nobody can guess: TX_SUCCESS, or the connection is tried later. */
    UINT (*random)(VOID *user, VOID *bytes, ULONG length);

    /* The session went to a state, TW_THREADX_...; may be NULL. `code`: why the last connection ended, TW_CODE_...;
     * `wait_ms`: TW_THREADX_WAITING for so long. */
    VOID (*state)(VOID *user, UINT state, UINT code, ULONG wait_ms);
    /* The text of tw_threadx_clipboard() is no longer read: TX_SUCCESS, or NX_NOT_CONNECTED where it was not sent
     * whole. May be NULL. */
    VOID (*clipboard_sent)(VOID *user, const VOID *text, UINT status);

#if TW_THREADX_WITH_TLS
    /* NULL: no TLS. Creates the TLS session, with certificates to trust, memory for those of the server and the check of
     * its name, before each connection; the rest, its deletion too, is done here. */
    UINT (*tls_setup)(VOID *user, NX_SECURE_TLS_SESSION *tls);
#endif
} TW_THREADX_CONFIG;

/* Since tw_threadx_create(). */
typedef struct TW_THREADX_STATISTICS_STRUCT {
    UINT state;        /* TW_THREADX_... */
    UINT code;         /* why the last connection ended */
    UINT status;       /* the last status of NetX Duo that broke a connection, or kept one from standing */
    ULONG attempts;    /* connections tried */
    ULONG connections; /* let in by the server */
    ULONG packets_received; /* taken from the socket */
    ULONG packets_sent;
    uint64_t bytes_received;
    uint64_t bytes_sent;
    ULONG inputs;           /* handed to the client */
    ULONG inputs_joined;    /* motion that took the place of older motion */
    ULONG inputs_lost;      /* changes that gave way to newer ones: more than TW_THREADX_MOTIONS waited */
    ULONG inputs_refused;   /* the queue was full, or the client did not take them */
    ULONG packet_shortages; /* the packet pool was empty */
    ULONG window_waits;     /* the server's window or the transmit queue was full */
    ULONG draw_waits;       /* decoding waited for tw_threadx_draw_done() */
#if TW_WITH_STATISTICS
    tw_statistics client; /* of this connection or the last */
#endif
} TW_THREADX_STATISTICS;

/* The rest of this struct is for the port alone. */

/* A change of the pointer, the fingers or the wheel that waits to be sent. */
typedef struct TW_THREADX_MOTION_STRUCT {
    ULONG number; /* inputs are sent in the order of their numbers */
    UCHAR kind;
    UCHAR moves; /* what is down was down before it: it may give way to newer motion */
    UCHAR count; /* of fingers; the pointer's buttons */
    UCHAR ids[TW_MAX_FINGERS];
    USHORT x[TW_MAX_FINGERS], y[TW_MAX_FINGERS];
    LONG dx, dy;
} TW_THREADX_MOTION;

#define TW_THREADX_TAKEN 8

typedef struct TW_THREADX_STRUCT {
    ULONG id;
    TW_THREADX_CONFIG config;
    NX_PACKET_POOL *pool;
    TX_THREAD thread;
    TX_EVENT_FLAGS_GROUP events;
    TX_QUEUE queue;
    NX_TCP_SOCKET socket;
#if TW_THREADX_WITH_TLS
    NX_SECURE_TLS_SESSION tls;
    UINT has_tls;
#endif
    VOID *taken[TW_THREADX_TAKEN]; /* out of the byte pool */
    UINT parts;                    /* which of the above exist */

    /* The thread's own. */
    tw_client *client;
    tw_resume resume;
    tw_backoff backoff;
    NX_PACKET *packet, *piece; /* what is being decoded; NULL: nothing */
    ULONG at;                  /* bytes of the piece that the client has taken */
    UINT is_bound;
    UINT was_open; /* the server has let this connection in */
    ULONG ticks, ticks_left, now_ms, opened_ms;
    ULONG message[TW_THREADX_MESSAGE_WORDS]; /* out of the queue, and out of `motions`: not sent yet */
    TW_THREADX_MOTION motion;
    UINT has_message, has_motion;
    ULONG clipboard_at;
    TW_THREADX_STATISTICS own;

    /* Everybody's, with interrupts off. */
    UINT wanted, is_resting, is_open, hurry, pause, pause_is_due;
    ULONG number; /* of the newest input */
    TW_THREADX_MOTION motions[TW_THREADX_MOTIONS];
    UINT motion_count;
    UCHAR buttons, finger_count, finger_ids[TW_MAX_FINGERS]; /* down by the newest input */
    ULONG joined, lost, refused;
    TW_THREADX_STATISTICS published;
} TW_THREADX;

/* ---- From threads, and from tx_application_define() ------------------------------------------------------- */

/* Makes a session, at rest; in tx_application_define() or in a thread. `stack` may be NULL where a byte pool is given.
 * The thread runs at `priority`: below the IP thread (a larger number), above what must not delay the picture. Nothing
 * else may use `session` before this returns.
 *
 * TX_PTR_ERROR (also: it exists already), TX_SIZE_ERROR (something given is too small, or larger than the whole byte
 * pool), TX_NO_MEMORY (the byte pool has not so much left), TX_PRIORITY_ERROR, NX_INVALID_PARAMETERS (the client's
 * configuration), TX_FEATURE_NOT_ENABLED (left out in tw_config.h), and what creating a socket (NX_NOT_ENABLED:
 * nx_tcp_enable() was not called), a queue and a thread may return, and `random`. After a failure there is no session,
 * and all memory is the caller's again. */
UINT tw_threadx_create(TW_THREADX *session, CHAR *name, const TW_THREADX_CONFIG *config, NX_IP *ip,
    NX_PACKET_POOL *pool, VOID *stack, ULONG stack_size, UINT priority);

/* Connects, and keeps connected until it is stopped or the server sends it away. The first picture is whole: what was
 * on the framebuffer does not matter. TX_START_ERROR: it is not at rest. */
UINT tw_threadx_start(TW_THREADX *session);

/* Ends the connection, with a word to the server, and rests. TX_NOT_DONE: not within `wait_option` ticks; it goes on
 * stopping. It takes some farewells at most (TW_THREADX_FAREWELL_MS), and what `resolve` takes. From the session's own
 * callbacks with TX_NO_WAIT only (TX_CALLER_ERROR). */
UINT tw_threadx_stop(TW_THREADX *session, ULONG wait_option);

/* Stops, and takes everything apart; then the memory is the caller's again, unless a DMA still reads it. TX_NOT_DONE:
 * not within `wait_option` ticks; to be called again. From threads alone, and not from the session's own callbacks
 * (TX_CALLER_ERROR). No other thread may be inside a function of this session, or call one from here on. */
UINT tw_threadx_delete(TW_THREADX *session, ULONG wait_option);

/* UTF-8 of any length, as if it were typed, copied into the queue in pieces. `taken`, if not NULL: bytes that are
 * queued, all of them with TX_SUCCESS. TX_QUEUE_FULL: no more within `wait_option` ticks; try again with the rest. From the
 * session's own callbacks without waiting. */
UINT tw_threadx_text(TW_THREADX *session, const CHAR *text, ULONG length, ULONG *taken, ULONG wait_option);

/* What was copied here. Later input waits until it is sent; the text must stay as it is until `clipboard_sent`. */
UINT tw_threadx_clipboard(TW_THREADX *session, const VOID *text, ULONG length, ULONG wait_option);

/* ---- From anywhere, interrupts too (with TX_NO_WAIT) ------------------------------------------------------ */

/* Input. NX_NOT_CONNECTED: the server has not let us in; nothing is kept for later. NX_INVALID_PARAMETERS.
 *
 * The pointer, the fingers and the wheel never wait and never fail for want of room: motion takes the place of older
 * motion, and how it is now always arrives, a lift too. */
UINT tw_threadx_pointer(TW_THREADX *session, UINT x, UINT y, UINT buttons);
/* All fingers that are on the panel now; none: all were lifted. */
UINT tw_threadx_touch(TW_THREADX *session, const tw_finger *fingers, UINT count);
UINT tw_threadx_wheel(TW_THREADX *session, INT dx, INT dy);

/* These wait for room in the queue, TX_QUEUE_FULL; from the session's own callbacks without waiting, since nobody else
 * makes room there. What is wrong with an argument otherwise is counted (inputs_refused). As the functions of tw_client_... */
UINT tw_threadx_key(TW_THREADX *session, ULONG keysym, UINT pressed, ULONG wait_option);
UINT tw_threadx_setting(TW_THREADX *session, const tw_setting *setting, ULONG wait_option);
UINT tw_threadx_view(
    TW_THREADX *session, UINT mode, UINT rotation, UINT follow, UINT x, UINT y, ULONG wait_option);
UINT tw_threadx_control(TW_THREADX *session, UINT action, ULONG viewer, ULONG wait_option);
UINT tw_threadx_resize(TW_THREADX *session, UINT width, UINT height, ULONG wait_option);
UINT tw_threadx_resize_session(TW_THREADX *session, UINT width, UINT height, ULONG wait_option);
UINT tw_threadx_refresh(TW_THREADX *session, ULONG wait_option);
/* Ends this connection with a GOODBYE, after the inputs before it. */
UINT tw_threadx_close(TW_THREADX *session, UINT code, ULONG wait_option);

/* 1: the panel is off; 0: on again. At any time: the session keeps it, for later connections too. */
UINT tw_threadx_pause(TW_THREADX *session, UINT paused);

/* The network is back (a link that is up again, an address from DHCP): a session that waits before its next connection
 * (TW_THREADX_WAITING) tries now, one that is trying (TW_THREADX_CONNECTING) tries again at once if this fails. In any
 * other state nothing changes. */
UINT tw_threadx_retry(TW_THREADX *session);

/* The pixels that were TW_DRAW_PENDING are no longer read. Once for each time, also before the callback returns. */
UINT tw_threadx_draw_done(TW_THREADX *session);

/* How it stands and what it has done, as of the last time that its thread came round. From anywhere. */
UINT tw_threadx_statistics(TW_THREADX *session, TW_THREADX_STATISTICS *statistics);

/* ---- From the session's callbacks ------------------------------------------------------------------------- */

/* For tw_client_surface() and the like. It is another one with each connection; NULL where none was made yet, as `state`
 * finds with TW_THREADX_CONNECTING. */
tw_client *tw_threadx_client(TW_THREADX *session);

#ifdef __cplusplus
}
#endif

#endif
