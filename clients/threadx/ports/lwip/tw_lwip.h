/* tilewire on bare metal: lwIP's raw API, NO_SYS=1, one main loop.
 *
 *     static tw_lwip panel;
 *     static tw_lwip_config config;
 *     ...                              what is shown where: config.client, config.memory; the server's name
 *     tw_lwip_init(&panel, &config);
 *     tw_lwip_start(&panel);
 *     for (;;) {
 *         ethernetif_input(&netif);    packets of the network driver
 *         sys_check_timeouts();
 *         tw_lwip_poll(&panel, sys_now());
 *     }
 *
 * All memory is the caller's; lwIP takes pbufs, segments and one pcb out of its own pools. Several sessions may live in
 * one program. Everything is called from the main loop, which is where lwIP lives; only what says so may be called from
 * interrupts. Callbacks, those of tw_client_config too, run inside tw_lwip_poll() and lwIP's input: they may call the
 * functions below, but neither tw_lwip_poll() nor anything that makes lwIP take packets.
 *
 * While pixels are TW_DRAW_PENDING, or the client is slow, what came stays in lwIP's pbufs and the TCP window closes:
 * PBUF_POOL_SIZE * PBUF_POOL_BUFSIZE has to hold more than TCP_WND of each session.
 */
#ifndef TW_LWIP_H
#define TW_LWIP_H

#include "lwip/err.h"
#include "lwip/ip_addr.h"
#include "lwip/opt.h"
#include "lwip/pbuf.h"
#include "lwip/tcp.h"

#include "tilewire/tilewire.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How long a connection may take to stand, the name of the server not counted. */
#ifndef TW_LWIP_CONNECT_MS
#    define TW_LWIP_CONNECT_MS 10000
#endif
/* How long an end may take: our last words to be read, a DMA to let go of the pixels. Each at most so long. */
#ifndef TW_LWIP_FAREWELL_MS
#    define TW_LWIP_FAREWELL_MS 1000
#endif
/* How soon is tried again what lwIP's memory did not allow. */
#ifndef TW_LWIP_RETRY_MS
#    define TW_LWIP_RETRY_MS 20
#endif
/* Touches out of an interrupt that wait for tw_lwip_poll(), and one more. 2 to 128. */
#ifndef TW_LWIP_TOUCHES
#    define TW_LWIP_TOUCHES 16
#endif
/* Between what an interrupt writes for the main loop and the word that says so. Where it runs on another core than the
 * main loop this has to be a barrier of that processor: __DMB(), for example. */
#ifndef TW_LWIP_BARRIER
#    define TW_LWIP_BARRIER() ((void)0)
#endif

/* What tw_lwip_poll() returns where nothing has to be done before something happens. */
#define TW_LWIP_NEVER 0xFFFFFFFFU

/* What a session is doing. */
typedef enum tw_lwip_state {
    TW_LWIP_STOPPED = 0,    /* at rest, by tw_lwip_stop() or before tw_lwip_start() */
    TW_LWIP_CONNECTING = 1, /* until the server lets it in */
    TW_LWIP_OPEN = 2,
    TW_LWIP_WAITING = 3, /* before the next connection */
    TW_LWIP_ENDED = 4    /* at rest: the code says why it makes no sense to come back by itself */
} tw_lwip_state;

/* How a session is set up. Set everything to zero first: zero is a sensible value for what is not named here. It is
 * copied; what it points to must live as long as the session. */
typedef struct tw_lwip_config {
    /* `nonce` and `resume` are set by the session; `boot_id` too, once, where it is 0. */
    tw_client_config client;
    void *memory; /* TW_CLIENT_SIZE bytes */
    size_t memory_size;

    /* The server: a name for DNS or an address in letters, asked for anew before each connection; NULL: `address`. And
     * its port, 0: TW_PORT. */
    const char *host;
    ip_addr_t address;
    u16_t port;

    /* Fills memory with random bytes that nobody can guess: TW_OK, or the connection is tried later. */
    tw_status (*random)(void *user, void *bytes, size_t length);

    /* The session went to a state; may be NULL. `code`: why the last connection ended, TW_CODE_...; `wait_ms`:
     * TW_LWIP_WAITING for so long. */
    void (*state)(void *user, tw_lwip_state state, unsigned code, uint32_t wait_ms);
    /* The text of tw_lwip_clipboard() is no longer read: TW_OK, or TW_CODE_CLOSED where it was not sent whole. May be
     * NULL. */
    void (*clipboard_sent)(void *user, const void *text, tw_status status);
} tw_lwip_config;

/* Since tw_lwip_init(). */
typedef struct tw_lwip_statistics {
    tw_lwip_state state;
    unsigned code;        /* why the last connection ended */
    err_t error;          /* the last of lwIP that broke a connection, or kept one from standing */
    uint32_t attempts;    /* connections tried */
    uint32_t connections; /* let in by the server */
    uint64_t bytes_received, bytes_sent;
    uint32_t inputs;           /* handed to the client */
    uint32_t inputs_joined;    /* motion out of an interrupt that gave way to newer motion */
    uint32_t inputs_lost;      /* out of an interrupt: more than TW_LWIP_TOUCHES waited */
    uint32_t inputs_refused;   /* the client did not take them */
    uint32_t memory_shortages; /* lwIP had no memory to send, or to connect */
    uint32_t window_waits;     /* lwIP's send buffer or queue was full */
    uint32_t draw_waits;       /* times that packets began to wait for tw_lwip_draw_done() */
#if TW_WITH_STATISTICS
    tw_statistics client; /* of this connection or the last */
#endif
} tw_lwip_statistics;

/* The rest of this struct is for the port alone. */

typedef struct tw_lwip_touches {
    uint8_t count, ids[TW_MAX_FINGERS];
    uint16_t x[TW_MAX_FINGERS], y[TW_MAX_FINGERS];
} tw_lwip_touches;

typedef struct tw_lwip {
    tw_lwip_config config;
    tw_client *client; /* NULL: there was none yet */
    tw_resume resume;
    tw_backoff backoff;
    uint8_t step, is_wanted, is_found, is_connected, is_full, is_held, is_shut, stream_ended;
    uint32_t now_ms, since_ms, opened_ms, stood_ms, wait_ms;
    tw_status failure; /* why there is no client */

    struct tcp_pcb *pcb; /* NULL: there is none, or no more */
    struct pbuf *chain;  /* what came and is not decoded yet; NULL: nothing */
    u16_t at;            /* bytes of the first pbuf that the client has taken */
    err_t fault;         /* what broke the connection; ERR_OK: nothing */

    uint8_t pause, pause_is_due;
    const uint8_t *clipboard; /* NULL: nothing to be sent */
    uint32_t clipboard_size, clipboard_at;

    /* A ring: the interrupt alone moves `touch_head`, the main loop alone `touch_tail`. */
    volatile uint8_t is_open, touch_head, touch_tail, touch_overflow;
    volatile uint32_t touches_lost;
    volatile tw_lwip_touches touches[TW_LWIP_TOUCHES];
    uint8_t finger_count, finger_ids[TW_MAX_FINGERS]; /* down by what was sent */

    tw_lwip_statistics own;
} tw_lwip;

/* ---- Life ------------------------------------------------------------------------------------------------- */

/* Makes a session, at rest; of an old one it may be called once that is at rest. Errors as tw_client_init(), which it
 * tries, and those of `random`; TW_CODE_UNSUPPORTED also where `host` is given and lwIP is without LWIP_DNS and it is no
 * address. */
TW_MUST_USE tw_status tw_lwip_init(tw_lwip *session, const tw_lwip_config *config);

/* Connects, and keeps connected until it is stopped or the server sends it away. The first picture is whole: what was
 * on the framebuffer does not matter. TW_CODE_BAD_STATE: it is not at rest. */
TW_MUST_USE tw_status tw_lwip_start(tw_lwip *session);

/* Ends the connection, with a word to the server: some calls of tw_lwip_poll() later, TW_LWIP_FAREWELL_MS each for
 * last words and DMA at most and what DNS takes for an answer, it is at rest. Then all of lwIP's memory is given back
 * but for a pcb whose last segment the server has not acknowledged yet or that is in TIME-WAIT, which are lwIP's. */
void tw_lwip_stop(tw_lwip *session);

/* 1: nothing is under way: TW_LWIP_STOPPED or TW_LWIP_ENDED. Its memory is the caller's again, unless a DMA still
 * reads it. */
unsigned tw_lwip_is_resting(const tw_lwip *session);

/* Does what is to be done, and returns after how many milliseconds it wants to be called again if nothing happens before:
 * no packet, no interrupt, none of the functions here. 0: at once. `now_ms`: of any clock that may wrap. */
uint32_t tw_lwip_poll(tw_lwip *session, uint32_t now_ms);

/* Since tw_lwip_init(). */
void tw_lwip_get_statistics(const tw_lwip *session, tw_lwip_statistics *statistics);

/* ---- Input, from the main loop ---------------------------------------------------------------------------- */

/* As the functions of tw_client_..., and sent at once. TW_CODE_FULL: nothing was taken, try again after the next
 * tw_lwip_poll(). TW_CODE_BAD_STATE, TW_CODE_CLOSED: the server has not let us in; nothing is kept for later. */
TW_MUST_USE tw_status tw_lwip_pointer(tw_lwip *session, unsigned x, unsigned y, unsigned buttons);
TW_MUST_USE tw_status tw_lwip_wheel(tw_lwip *session, int dx, int dy);
TW_MUST_USE tw_status tw_lwip_touch(tw_lwip *session, const tw_finger *fingers, size_t count);
TW_MUST_USE tw_status tw_lwip_key(tw_lwip *session, uint32_t keysym, unsigned pressed);
/* UTF-8 of any length. `taken`, if not NULL: bytes that are taken, all of them with TW_OK; with TW_CODE_FULL try again
 * with the rest. */
TW_MUST_USE tw_status tw_lwip_text(tw_lwip *session, const char *text, size_t length, size_t *taken);

/* What was copied here. Keys and text are TW_CODE_FULL until it is sent, so that they come after it; the text must stay
 * as it is until `clipboard_sent`. */
TW_MUST_USE tw_status tw_lwip_clipboard(tw_lwip *session, const void *text, size_t length);

/* 1: the panel is off; 0: on again. At any time: the session keeps it, for later connections too. */
void tw_lwip_pause(tw_lwip *session, unsigned paused);

/* For everything else: tw_client_setting(), tw_client_view(), tw_client_surface()... It is another one with each
 * connection, and NULL before the first. */
tw_client *tw_lwip_client(tw_lwip *session);

/* ---- From interrupts, and from the main loop -------------------------------------------------------------- */

/* All fingers that are on the panel now, at most TW_MAX_FINGERS; none: all were lifted. From one interrupt only, or from
 * several of which none interrupts another. 1: taken. 0: the server has not let us in, or more than TW_LWIP_TOUCHES
 * waited; then all fingers are lifted, so that none sticks, and what is on the panel later is new. */
unsigned tw_lwip_touch_from_isr(tw_lwip *session, const tw_finger *fingers, size_t count);

/* The pixels that were TW_DRAW_PENDING are no longer read. Once for each time, also before the callback returns. */
void tw_lwip_draw_done(tw_lwip *session);

#ifdef __cplusplus
}
#endif

#endif
