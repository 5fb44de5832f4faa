/* tilewire: shows a remote desktop session on a small device.
 *
 * Bytes from the server go in, pixels and events come out through callbacks, bytes for the server are fetched. The
 * client opens no socket, reads no clock, draws no random number and allocates nothing: every byte that it uses is
 * given by the caller. Several clients may live in one program; one client belongs to one thread.
 *
 * Three parts: SIMPLE is enough for a picture and input. ADVANCED has everything else that the wire offers. PORT is
 * for those who connect it to a network stack, a panel and a clock.
 */
#ifndef TILEWIRE_H
#define TILEWIRE_H

#include <stddef.h>
#include <stdint.h>

#include "tw_config.h"
#include "tw_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ==== SIMPLE ================================================================================================ */

#define TW_STATUS_ENTRY(name, value, text) TW_CODE_##name = value,

/* What functions return, and why a connection ended. The codes below 0x100 travel in GOODBYE. */
typedef enum tw_status { TW_OK = 0, TW_CODES(TW_STATUS_ENTRY) TW_STATUS_LAST_ = 0xFFFF } tw_status;

#undef TW_STATUS_ENTRY

/* A plain sentence, in English, or "" where tw_config.h leaves the sentences out or the code is not known. */
const char *tw_status_text(unsigned code);

/* What a callback did with the pixels that it was handed. */
typedef enum tw_drawn {
    TW_DRAW_DONE = 0,
    /* Something (a DMA) still reads them: nothing is decoded until tw_client_draw_done(). */
    TW_DRAW_PENDING = 1
} tw_drawn;

typedef struct tw_client tw_client;

typedef struct tw_setting {
    unsigned fps;      /* 1 to 60 updates a second at most */
    unsigned quality;  /* 10 to 90, of JPEG */
    unsigned adaptive; /* 1: the server may go lower by itself */
} tw_setting;

typedef struct tw_welcome {
    const char *session; /* UTF-8 of session_length bytes, not ended by a zero */
    size_t session_length;
    unsigned width, height; /* the session's screen */
    unsigned role;          /* TW_ROLE_... */
    uint32_t viewer;        /* this viewer's number in the session */
    tw_setting setting;     /* in force */
    uint64_t capabilities;  /* TW_CAPABILITY_... in force */
    const uint8_t *token;   /* TW_TOKEN_SIZE bytes for one later resume, or NULL */
    unsigned token_lifetime_s;
    unsigned resumed; /* TW_RESUMED_... */
} tw_welcome;

typedef struct tw_view_state {
    unsigned mode;     /* TW_VIEW_... */
    unsigned rotation; /* TW_ROTATION_... */
    unsigned follow;   /* 1: the window follows the pointer */
    unsigned session_width, session_height;
    unsigned x, y, width, height; /* the part of the session that is shown */
} tw_view_state;

typedef struct tw_explanation {
    uint32_t update, encode_us, in_flight, bytes_per_s, round_trip_us;
    const uint8_t *operations; /* two bytes for each operation, in order: TW_REASON_..., quality */
    size_t count;              /* of operations */
} tw_explanation;

/* What happens, in the order of the wire. All may be NULL. Pointers are good until the callback returns. A callback
 * may send input, close, and call tw_client_draw_done(); it must not call tw_client_feed() or tw_client_init(). */
typedef struct tw_callbacks {
    /* The handshake is over: input may be sent by tw_client_...; by the functions of a port once its `state` says open. */
    void (*welcome)(void *user, const tw_welcome *welcome);
    /* A rectangle has new pixels. With a framebuffer: `pixels` is its left top pixel there, and the rows are a stride
     * apart. Without: `pixels` is in the strip buffer, without gaps between the rows. */
    tw_drawn (*draw)(void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels);
    /* The update is whole and may be shown; `input` is the newest input whose effect it may show, 0: none. It is
     * acknowledged when nothing is pending any more. */
    tw_drawn (*present)(void *user, uint32_t update, uint32_t input);
    /* The server ended the connection. `code` is one of TW_CODE_... or a later version's. */
    void (*goodbye)(void *user, unsigned code, const char *text, size_t length);
    /* Nothing ends because of it. `code` is one of TW_NOTICE_... or a later version's. */
    void (*notice)(void *user, unsigned code, const char *text, size_t length);
    void (*setting)(void *user, const tw_setting *setting);
    void (*view_state)(void *user, const tw_view_state *view);
    /* `holder`: number of the viewer that holds control, 0: none. */
    void (*control_state)(void *user, unsigned role, uint32_t holder);
    /* From here on the panel has this size, all of it unknown; see tw_client_surface(). */
    void (*resize)(void *user, unsigned width, unsigned height);
    void (*bell)(void *user);
    /* This input was injected and changed nothing that is shown here. */
    void (*input_echo)(void *user, uint32_t input);
    /* A chunk of a text of `total` bytes; chunks come in order, the first has offset 0. */
    void (*clipboard)(void *user, uint32_t total, uint32_t offset, const uint8_t *data, size_t length);
    /* Answers tw_client_ping(), or a ping of tw_client_tick() with the milliseconds that it was given as stamp. */
    void (*pong)(void *user, uint64_t stamp);
    void (*explanation)(void *user, const tw_explanation *explanation);
    /* TW_CURSOR_LOCAL on an overlay of yours, a hardware cursor: with `cursor_shape` the client draws none itself. Rows
     * of blue, green, red, alpha, a byte each; colours are premultiplied. Width and height 0: there is none; also told at
     * the end of the connection. */
    void (*cursor_shape)(
        void *user, unsigned width, unsigned height, unsigned hot_x, unsigned hot_y, const uint8_t *pixels);
    /* The hot spot is here; not shown before it was somewhere. */
    void (*cursor_position)(void *user, unsigned x, unsigned y);
} tw_callbacks;

/* A picture for a JPEG decoder: a whole baseline JPEG file, from SOI to EOI, in one piece. */
typedef struct tw_jpeg {
    const uint8_t *data;
    size_t length;
    unsigned width, height; /* of the picture */
    unsigned sampling;      /* TW_SUBSAMPLING_... */
    unsigned quality;       /* 1 to 100 */
} tw_jpeg;

/* What the decoder made of it: rows of pixels whose red, green and blue are bytes. Filled in beforehand for three bytes
 * in this order and rows that follow each other, so that a decoder which writes that sets `pixels` alone. */
typedef struct tw_picture {
    const uint8_t *pixels;
    size_t stride;             /* bytes from row to row */
    unsigned step;             /* bytes from pixel to pixel */
    unsigned red, green, blue; /* where they are in a pixel */
} tw_picture;

/* What a later connection needs to go on where this one ended: tw_client_resume() fills it in. */
typedef struct tw_resume {
    unsigned valid;               /* 0: nothing can be resumed */
    uint8_t token[TW_TOKEN_SIZE]; /* of WELCOME */
    uint32_t update;              /* the last one that was shown whole */
    unsigned width, height;       /* of the panel, as RESIZE left it */
    uint32_t cache_slots, cache_slot_bytes;
    /* The local cursor: largest side, and what is in its memory. Width 0: nothing. */
    uint8_t cursor_side, cursor_width, cursor_height, cursor_hot_x, cursor_hot_y;
} tw_resume;

/* How a client is set up. Set everything to zero first: zero is a sensible value for what is not named here.
 * What `callbacks`, `framebuffer`, `strip`, `receive`, `cursor_memory`, `cache`, `jpeg_memory` and `jpeg_stream` point
 * to must live as long as the client; the rest is copied. */
typedef struct tw_client_config {
    const char *device_id; /* the name under which the server knows the device: 1 to 64 bytes of UTF-8 */
    uint64_t boot_id;      /* random, drawn once at each start of the device */
    uint8_t nonce[TW_NONCE_SIZE]; /* random, drawn anew for each connection */
    const uint8_t *key; /* TW_KEY_SIZE bytes: the server has to prove that it knows them; NULL: no proof */

    unsigned width, height; /* of the panel: 1 to 4096, together at most 4 Mpixel */
    unsigned pixel_format;  /* TW_PIXEL_... */
    unsigned big_endian;    /* 1: RGB565 is stored with its high byte first, as many SPI panels want it */

    /* Either memory that holds the whole panel. Pixels are stored as native types of 1, 2 or 4 bytes, so it is
     * aligned to them; XRGB8888 is blue, green, red and a zero. */
    void *framebuffer;
    size_t framebuffer_size; /* bytes */
    size_t stride;           /* bytes from row to row; 0: the rows follow each other */
    unsigned unreadable;     /* 1: reading it is impossible or slow, so copies are not offered */
    /* Or a strip that holds at least one row of the panel, for panels with a memory of their own. */
    void *strip;
    size_t strip_size; /* bytes */

    /* Holds one message. Longer ones are not sent to us; TW_MIN_MESSAGE to TW_MAX_MESSAGE bytes. */
    void *receive;
    size_t receive_size; /* bytes */

    const tw_callbacks *callbacks;
    void *user;                     /* handed to every callback */
    uint32_t (*now_us)(void *user); /* microseconds of any clock, to measure decoding; NULL: not measured */

    /* ADVANCED */
    const char *profile;   /* program to run; NULL: not said */
    const char *session;   /* running session to join; NULL: not said */
    const char *url;       /* what the program is to open; NULL: not said */
    const uint8_t *ticket; /* lets a viewer in instead of a key; NULL: none */
    size_t ticket_size;    /* 1 to 64 bytes */
    /* The end of an earlier connection; NULL: none. Size of the panel, framebuffer, cache and the cursor's memory must be
     * as that connection left them for their contents to be of use, and an overlay must still be one; where something
     * else is right, the server paints anew. */
    const tw_resume *resume;
    unsigned density;        /* dots per inch; 0: not said */
    unsigned max_rect_width; /* widest rectangle of pixels; 0: the panel's width */
    uint32_t max_rect_area;  /* pixels of the largest one; 0: the panel's */
    uint32_t capabilities;   /* TW_CAPABILITY_... wanted; COPY is added where the framebuffer can be read */

    /* TW_CURSOR_NONE; TW_CURSOR_IN_PICTURE: the server draws the pointer; TW_CURSOR_LOCAL: the client draws it, at once
     * where tw_client_pointer() moves it. It draws into a framebuffer that can be read, and hands every place that
     * changed to `draw`, also out of tw_client_pointer(), tw_client_tick() and what ends the connection; or it tells
     * `cursor_shape` and `cursor_position` of an overlay. While something is pending no pixel changes: it moves with the
     * next call after tw_client_draw_done(), and is taken off with it where the connection has ended meanwhile. */
    unsigned cursor;
    unsigned cursor_max_side; /* of a local one: larger shapes are not sent; 1 to TW_MAX_CURSOR_SIDE */
    void *cursor_memory;      /* of any alignment */
    size_t
        cursor_memory_size; /* TW_CURSOR_SIZE(cursor_max_side, bytes of a stored pixel) or more; overlay: 0 for them */

    /* The lossless tile codec's model: 16, 32 or 48 KiB of the client's block, the more the fewer bytes come; 0: no tile
     * codec. */
    unsigned model_kib;

    /* The tile cache, for a framebuffer that can be read: memory of any alignment in which the server keeps rectangles
     * that come back; NULL: none. With `resume` it must be as that connection left it. */
    void *cache;
    size_t cache_size;         /* TW_CACHE_SIZE(cache_slots, cache_slot_bytes) or more */
    unsigned cache_slots;      /* 1 to TW_MAX_CACHE_SLOTS */
    uint32_t cache_slot_bytes; /* of stored pixels in one slot */

    /* JPEG, decoded here in this memory of any alignment; NULL: not here. */
    void *jpeg_memory;
    size_t jpeg_memory_size;    /* TW_JPEG_MEMORY_SIZE or more */
    unsigned jpeg_subsamplings; /* offered, TW_SUBSAMPLING_... together; 0: all */

    /* Or by a function of yours, which is asked where both are given: a hardware decoder, for example. Decodes a JPEG,
     * TW_OK, or says why not: TW_CODE_BAD_PAYLOAD where the file is wrong. The picture stays as it is until the next
     * call; this client reads it meanwhile. NULL: there is none. The same rules as for callbacks. */
    tw_status (*jpeg)(void *user, const tw_jpeg *jpeg, tw_picture *picture);
    void *jpeg_stream;       /* where the file is put together */
    size_t jpeg_stream_size; /* TW_JPEG_SIZE(receive_size) or more */
} tw_client_config;

/* Bytes of the block that one client lives in. `max_rect_width`: as in the configuration, or the panel's width where
 * that is 0 there; it only counts where there is a model. */
#define TW_CLIENT_SIZE(model_kib, max_rect_width) \
    (TW_SEND_SIZE + TW_CLIENT_STATE_SIZE + (TW_WITH_STATISTICS ? 856 : 0) \
        + ((model_kib) != 0 ? 1024 * (model_kib) + TW_CLIENT_ROWS_SIZE(max_rect_width) : 0))
#define TW_CLIENT_STATE_SIZE 1264
#define TW_CLIENT_ROWS_SIZE(width) (8 * (((width) < TW_MIN_RECT_WIDTH ? TW_MIN_RECT_WIDTH : (width)) + 8))

/* Bytes of the tile cache. */
#define TW_CACHE_SIZE(slots, slot_bytes) ((size_t)(slots) * ((size_t)(slot_bytes) + 4))

/* Bytes of a local cursor: its shape, twice since the next comes in parts, and what is under it. `stored`: bytes of a
 * pixel in the framebuffer (1, 2, 4), or 0 for an overlay. */
#define TW_CURSOR_SIZE(max_side, stored) \
    ((size_t)(max_side) * (size_t)(max_side) * ((stored) != 0 ? 8 + (size_t)(stored) : 4))

/* Bytes in which JPEG is decoded, of any size. */
#define TW_JPEG_MEMORY_SIZE 2176

/* Bytes for a JPEG file of a message of up to this size. */
#define TW_JPEG_SIZE(receive_size) ((size_t)(receive_size) + 640)

/* The same as TW_CLIENT_SIZE, for a configuration. */
size_t tw_client_size(const tw_client_config *config);

/* Makes a client in `memory`, of any alignment, and queues its HELLO. May be called again on the same memory.
 * TW_CODE_ARGUMENT, TW_CODE_MEMORY (something given is too small), TW_CODE_UNSUPPORTED (left out in tw_config.h);
 * then `*client` is NULL. */
TW_MUST_USE tw_status tw_client_init(
    tw_client **client, const tw_client_config *config, void *memory, size_t size);

/* Takes bytes from the server, in pieces of any size, and calls the callbacks. `*consumed` bytes were taken: fewer
 * than `length` only while something is pending (call again with the rest after tw_client_draw_done(); a length of
 * zero will do) and once the connection is closed. Any status but TW_OK: the connection is over; send what
 * tw_client_output() still has and close. */
TW_MUST_USE tw_status tw_client_feed(tw_client *client, const void *data, size_t length, size_t *consumed);

/* What waits to be sent; good until the next call for this client. Say with tw_client_sent() how much was. */
const uint8_t *tw_client_output(tw_client *client, size_t *length);
void tw_client_sent(tw_client *client, size_t length);

/* Input. Every input gets a number that BEGIN and INPUT_ECHO name later; `input` may be NULL.
 * TW_CODE_FULL: nothing was queued, try again after sending. TW_CODE_BAD_STATE: not before WELCOME. TW_CODE_CLOSED,
 * TW_CODE_ARGUMENT. None of these ends the connection.
 *
 * `buttons`: bit 0 left, 1 middle, 2 right, 3 back, 4 forward. */
TW_MUST_USE tw_status tw_client_pointer(
    tw_client *client, unsigned x, unsigned y, unsigned buttons, uint32_t *input);
/* TW_WHEEL_NOTCH units a notch, positive to the right and down. */
TW_MUST_USE tw_status tw_client_wheel(tw_client *client, int dx, int dy, uint32_t *input);
/* `keysym` as X11 numbers keys. */
TW_MUST_USE tw_status tw_client_key(tw_client *client, uint32_t keysym, unsigned pressed, uint32_t *input);
/* 1 to TW_MAX_TEXT bytes of UTF-8, as if they were typed; copied. */
TW_MUST_USE tw_status tw_client_text(tw_client *client, const char *text, size_t length, uint32_t *input);

typedef struct tw_finger {
    unsigned id; /* 0 to 255, the same from touch to lift */
    unsigned x, y;
} tw_finger;

/* All fingers that are on the panel now, at most TW_MAX_FINGERS; none: all were lifted. TW_CODE_NOT_OFFERED: the
 * capability TOUCH is not in force. */
TW_MUST_USE tw_status tw_client_touch(
    tw_client *client, const tw_finger *fingers, size_t count, uint32_t *input);

/* Ends the connection with a GOODBYE, for example TW_CODE_NORMAL. What still comes is thrown away. */
void tw_client_close(tw_client *client, unsigned code);

/* ==== ADVANCED ============================================================================================== */

/* Wishes; each is answered by the callback of its name. Errors as for input, and TW_CODE_NOT_OFFERED where the
 * capability is not in force. */
TW_MUST_USE tw_status tw_client_setting(tw_client *client, const tw_setting *setting);
/* `x`, `y`: left top of the window in the session. */
TW_MUST_USE tw_status tw_client_view(
    tw_client *client, unsigned mode, unsigned rotation, unsigned follow, unsigned x, unsigned y);
/* `action`: TW_CONTROL_...; `viewer`: to whom it is passed, else 0. */
TW_MUST_USE tw_status tw_client_control(tw_client *client, unsigned action, uint32_t viewer);
/* The panel is to have another size. */
TW_MUST_USE tw_status tw_client_resize(tw_client *client, unsigned width, unsigned height);
/* The session's screen is to have another size; answered by `view_state`, and by `notice` where it stays as it was. */
TW_MUST_USE tw_status tw_client_resize_session(tw_client *client, unsigned width, unsigned height);
TW_MUST_USE tw_status tw_client_ping(tw_client *client, uint64_t stamp);

/* 1: the panel is off, no update begins; 0: on again. */
TW_MUST_USE tw_status tw_client_pause(tw_client *client, unsigned paused);
/* Asks for a whole repaint. */
TW_MUST_USE tw_status tw_client_refresh(tw_client *client);
#if TW_WITH_CLIPBOARD
/* A chunk of a text of `total` bytes (at most TW_MAX_CLIPBOARD); chunks in order, the first at offset 0. At most
 * TW_SEND_SIZE - 128 bytes at a time, and not more than TW_MAX_CLIENT_MESSAGE - 8. */
TW_MUST_USE tw_status tw_client_clipboard(
    tw_client *client, uint32_t total, uint32_t offset, const void *data, size_t length);
#endif

typedef enum tw_phase {
    TW_CONNECTING = 0, /* the handshake */
    TW_OPEN = 1,
    TW_CLOSED = 2
} tw_phase;

/* Where the connection stands. TW_CLOSED: send what tw_client_output() still has, and close. */
tw_phase tw_client_phase(const tw_client *client);

/* The first error, TW_OK as long as there is none. A GOODBYE of either side is none. */
tw_status tw_client_error(const tw_client *client);

/* The last update that was shown whole; 0: none. */
uint32_t tw_client_shown(const tw_client *client);

/* What the next connection can resume. Ends this one where it has not ended yet; afterwards the framebuffer is without
 * the cursor, and the client's memory may be used again. Call it when nothing is pending. A client that got no WELCOME
 * gives back what it was configured with: that token is perhaps not used up. */
void tw_client_resume(tw_client *client, tw_resume *resume);

/* Why the connection is over: the code of the server's GOODBYE or of tw_client_close(), or the first error, or
 * TW_CODE_CLOSED where the stream ended or broke. */
unsigned tw_client_reason(const tw_client *client);

typedef enum tw_retry {
    TW_RETRY_LATER = 0,   /* connect again, after tw_backoff_next() */
    TW_RETRY_CHANGED = 1, /* show the text; the same again would fail again */
    TW_RETRY_NEVER = 2    /* it is over: not by itself */
} tw_retry;

/* `code`: of tw_client_reason(), or a tw_status. */
tw_retry tw_should_reconnect(unsigned code);

/* How long to wait before connecting again. All zero is reset. */
typedef struct tw_backoff {
    uint32_t delay_ms; /* the longest of the last wait */
} tw_backoff;

/* After a connection that stood for a while (longer than the last wait, say). */
void tw_backoff_reset(tw_backoff *backoff);
/* Milliseconds: at most 1 s the first time, then 2, 4, 8, 16, 32 and 60 s; half of that is fixed, the rest is from
 * `random`, of which all 32 bits may be random. */
uint32_t tw_backoff_next(tw_backoff *backoff, uint32_t random);

#if TW_WITH_CURSOR
/* Where the cursor is drawn into the framebuffer now, and the pixels that are under it, rows without gaps: who reads the
 * picture puts them in its place. NULL: the framebuffer is without a cursor, as after the end of a connection. */
const void *tw_client_under(
    const tw_client *client, unsigned *x, unsigned *y, unsigned *width, unsigned *height);
#endif

#if TW_WITH_STATISTICS
typedef struct tw_statistics {
    uint64_t bytes;     /* received and consumed */
    uint32_t updates;   /* whole ones */
    uint32_t decode_us; /* spent in tw_client_feed(); wraps after 71 minutes of decoding */
    /* Dropped. Input: each TW_CODE_FULL that the functions for input returned, so what is given again until it is taken
     * is not lost although it counts here. Updates: begun and never ended, 1 where the connection ended inside one. */
    uint32_t inputs_refused, updates_dropped;
    /* From an input to the picture, by `now_us` (0 without it): from the call that queued it to the END of the first
     * update that names it. An input that changed nothing (INPUT_ECHO says so), or gave way to a newer one, or to
     * TW_TIMED_INPUTS newer ones by then, is not among these. */
    uint32_t inputs_shown;
    uint32_t input_to_picture_us;     /* of the last one */
    uint64_t input_to_picture_sum_us; /* of all: divided by inputs_shown, the mean */
} tw_statistics;

/* As many of the newest inputs can be timed at once. */
#    define TW_TIMED_INPUTS 8

/* Since tw_client_init(). */
void tw_client_statistics(const tw_client *client, tw_statistics *statistics);
/* Messages of a type (TW_MSG_...) received whole, and their bytes with type and length. Types that this version does
 * not know are counted under 0. */
void tw_client_count(const tw_client *client, unsigned type, uint32_t *messages, uint64_t *bytes);
#endif

/* ==== PORT ================================================================================================== */

/* The pixels that were TW_DRAW_PENDING are no longer read. May be called from an interrupt, and before the callback
 * returns; decoding goes on with the next tw_client_feed(). */
void tw_client_draw_done(tw_client *client);
/* 1: tw_client_feed() waits for tw_client_draw_done() and takes nothing. */
unsigned tw_client_pending(const tw_client *client);

/* Call it about once a second, with milliseconds of any clock that may wrap: pings an idle server, and ends the
 * connection (TW_CODE_TIMEOUT) when it stays silent or the handshake takes too long. */
TW_MUST_USE tw_status tw_client_tick(tw_client *client, uint32_t now_ms);

/* The stream has ended. TW_CODE_TRUNCATED: inside a message or an update. */
TW_MUST_USE tw_status tw_client_end(tw_client *client);

/* Another framebuffer or strip (whichever the client was made with), to be called by the callback `resize` where the
 * old one does not fit the new size. If it still does not fit, the connection ends with
 * TW_CODE_BAD_VALUE. */
void tw_client_surface(tw_client *client, void *memory, size_t size, size_t stride);

#ifdef __cplusplus
}
#endif

#endif
