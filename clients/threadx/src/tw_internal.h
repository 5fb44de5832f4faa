/* What the files of the client share. Nothing here is for callers. */
#ifndef TW_INTERNAL_H
#define TW_INTERNAL_H

#include <string.h>

#include "tilewire/tilewire.h"
#include "tw_codec.h"
#include "tw_jpeg.h"
#include "tw_reader.h"
#include "tw_sha256.h"

#define TW_PREFIX_SIZE 8U
#define TW_STAMP_SIZE 8U
/* Kept free for the last words: an ACK, and a GOODBYE with any of our own sentences. */
#define TW_SEND_RESERVE 96U
#define TW_PALETTE_SIZE TW_MAX_PALETTE

#define TW_TRY(expression) \
    do { \
        const tw_status tw_try_status = (expression); \
        if (tw_try_status != TW_OK) { \
            return tw_try_status; \
        } \
    } while (0)

/* Where the connection stands, as in protocol/states.py; a bit each, so that a set of them is a mask. */
enum {
    TW_IN_GREETED = 1,    /* our HELLO is on its way */
    TW_IN_REFUSED = 2,    /* the server answered without fields: only GOODBYE may follow */
    TW_IN_CHALLENGED = 4, /* the server's PROOF comes next */
    TW_IN_ACCEPTED = 8,   /* WELCOME comes next */
    TW_IN_OPEN = 16,
    TW_IN_UPDATING = 32, /* between BEGIN and END */
    TW_IN_SESSION = TW_IN_OPEN | TW_IN_UPDATING,
    TW_IN_ANY = 63
};

/* Who ended the connection. */
enum { TW_ALIVE = 0, TW_ENDED_HERE = 1, TW_ENDED_BY_PEER = 2, TW_ENDED_BY_STREAM = 3 };

/* A drawing operation under way. Rows are decoded as the surface takes them: all at once into a framebuffer, a strip
 * at a time otherwise, and a pending strip stops it between two. */
typedef struct tw_tile {
    tw_rect rect;
    uint32_t row;                /* the next one; rect.height: none is left */
    uint8_t type;                /* TW_MSG_FILL, _RAW, _PALETTE, _CODEC or _JPEG */
    uint8_t runs, bits, colours; /* of PALETTE; bits of an index */
    uint8_t run_index;           /* the colour of the run under way */
    uint32_t run;                /* its pixels that are left */
    uint32_t pixels;             /* pixels that no run has taken yet */
    const uint8_t *at, *end;     /* the payload that is left; of CODEC, all of it */
} tw_tile;

/* Colours as they are stored. */
typedef union tw_palette {
    uint8_t of1[TW_PALETTE_SIZE];
    uint16_t of2[TW_PALETTE_SIZE];
    uint32_t of4[TW_PALETTE_SIZE];
} tw_palette;

typedef struct tw_shape {
    uint8_t width, height; /* 0: there is none */
    uint8_t hot_x, hot_y;
} tw_shape;

#if TW_WITH_CURSOR
typedef struct tw_cursor {
    uint8_t *coming; /* rows of the shape that is under way; NULL: no local cursor */
    uint8_t *pixels; /* of the shape: blue, green, red, alpha */
    uint8_t *under;  /* what the framebuffer has where the cursor is drawn; NULL: an overlay shows it */
    tw_rect at;      /* where it is drawn into the framebuffer; width 0: nowhere */
    tw_rect stale;   /* where it was taken off without handing that out; width 0: nowhere */
    uint32_t x, y;   /* of the hot spot */
    tw_shape shape, coming_shape;
    tw_shape kept;      /* in the memory, of an earlier connection or at the end of this one */
    uint8_t coming_row; /* the next one; 0: a shape has to begin */
    uint8_t max_side;
    uint8_t placed; /* it has been somewhere */
    uint8_t due;    /* bits, in tw_cursor.c */
} tw_cursor;
#endif

/* A message whose fields are read; which of these it has stands in tw_message.c. */
typedef struct tw_body {
    unsigned type;
    uint32_t number[5]; /* in order */
    tw_rect rect;
    tw_point point;
    const uint8_t *rest; /* a text, pixels, or bytes of a fixed number */
    size_t length;       /* of the rest */
} tw_body;

/* What a server sends: who takes it, and when. */
typedef struct tw_kind {
    tw_status (*take)(tw_client *client, const tw_body *body);
    uint8_t type;       /* TW_MSG_... */
    uint8_t states;     /* in which it may come */
    uint8_t capability; /* without which it may not; 0: none */
    uint8_t fields[7];  /* what it consists of, ended by 0 */
} tw_kind;

struct tw_client {
    const tw_callbacks *callbacks;
    void *user;
    uint32_t (*now_us)(void *user);

    /* The panel. */
    uint8_t *surface; /* the framebuffer, or the strip */
    size_t surface_size, stride;
    uint32_t width, height, max_rect_width, max_rect_area;
    uint8_t strips; /* 1: the surface is a strip */
    uint8_t format, packed, stored, big_endian;

    /* The connection. */
    tw_status error; /* the first one */
    uint8_t state, ended_by;
    uint8_t method; /* TW_AUTH_..., the one that we offer */
    uint8_t said_goodbye;
    uint16_t goodbye; /* its code; only what ended the connection counts, ours or theirs */
#if TW_WITH_RESUME
    tw_resume resume; /* what HELLO asks for; from WELCOME on, its token */
#endif
    uint32_t offered, capabilities; /* of ours, and those in force */
    uint32_t begun, ended, input, echo;
#if TW_WITH_STATISTICS
    uint32_t answered; /* the newest input that a whole update or INPUT_ECHO has named */
#endif
    uint32_t clipboard_in[2],
        clipboard_out[2]; /* total, and where the next chunk begins; 0, 0: none under way */

    /* The message under way. */
    uint8_t header[TW_PREFIX_SIZE];
    uint8_t header_length;
    uint8_t in_body; /* the header is whole */
    uint32_t length, received, max_message;
    uint8_t *receive;
    const tw_kind *kind; /* NULL: one that this version does not know */

    /* Drawing. */
    volatile uint8_t
        pending;         /* the pixels handed out last are still read; cleared by tw_client_draw_done() */
    uint8_t present_due; /* END has come, the update is not presented */
    uint8_t ack_due;     /* END has come, its pixels are not out */
    uint8_t ack_owed;    /* to be queued when there is room */
#if TW_WITH_CODEC
    uint8_t model_kib;
    uint8_t coded, epoch; /* 1: the model was reset before; the number of resets, modulo 128 */
#endif
    uint8_t jpeg_subsamplings; /* 0: JPEG is not offered */
    uint8_t doubled;           /* of the JPEG under way; 1: a pixel of the picture is four of the panel's */
    uint32_t decode_us, decode_since;
    tw_tile tile;
#if TW_WITH_CURSOR
    tw_cursor cursor;
#endif
    tw_palette palette;
#if TW_WITH_CODEC
    tw_codec codec;
    tw_codec_model *model; /* NULL: not offered */
    uint32_t *rows;
#endif
#if TW_WITH_CACHE
    uint8_t *cache; /* NULL: not offered. Width and height of each slot, then their pixels */
    uint32_t cache_slots, cache_slot_bytes;
#endif
#if TW_WITH_JPEG
    tw_jpeg_decoder *decoder; /* NULL: not offered, or done by the hook */
#endif
#if TW_WITH_JPEG_HOOK
    tw_status (*jpeg)(void *user, const tw_jpeg *jpeg, tw_picture *picture); /* NULL: not offered */
    uint8_t *jpeg_stream;
    tw_picture picture;
#endif

    /* Time. */
    uint8_t timing, heard, unanswered;
    uint32_t quiet_since_ms;

    /* Sending. */
    uint8_t pong_owed;
    uint8_t pong[TW_STAMP_SIZE]; /* the newest stamp that is not answered yet */
    size_t send_end;
    uint8_t send[TW_SEND_SIZE];

#if TW_WITH_HMAC
    uint8_t key[TW_KEY_SIZE];
    tw_sha256 transcript; /* of all handshake bytes so far */
#endif
#if TW_WITH_STATISTICS
    tw_statistics statistics;
    uint32_t messages_of[64];
    uint64_t bytes_of[64];
    uint32_t sent_us[TW_TIMED_INPUTS];
#endif
};

/* tw_client.c */
/* The connection is over: the first to say so is kept, secrets and the cursor go. */
void tw_end_by(tw_client *client, uint8_t by);

/* tw_output.c */
uint8_t *tw_put_number(uint8_t *out, uint32_t value, unsigned size);
uint8_t *tw_put_varint(uint8_t *out, uint32_t value);
/* Queues a message that the handshake or the client itself needs; may use the reserve. */
tw_status tw_queue(tw_client *client, unsigned type, const uint8_t *body, size_t length);
/* Queues a message of the caller's: the body in two pieces. Only in a session. */
tw_status tw_send(tw_client *client, unsigned type, const uint8_t *head, size_t head_length, const void *tail,
    size_t tail_length);
void tw_queue_goodbye(tw_client *client, unsigned code);
/* Queues what is owed and fits. */
void tw_settle(tw_client *client);

/* tw_hello.c */
tw_status tw_greet(tw_client *client, const tw_client_config *config);
tw_status tw_take_prefix_byte(tw_client *client);
tw_status tw_take_reply(tw_client *client, const uint8_t *body, size_t length);
tw_status tw_take_proof(tw_client *client, const tw_body *body);
tw_status tw_take_welcome(tw_client *client, const tw_body *body);

/* tw_message.c */
/* Below 64, for each type below 0x80 that a server sends another; 0 is none of them. */
unsigned tw_slot_of(unsigned type);
const tw_kind *tw_kind_of(unsigned type);
/* Reads it whole, looks whether it may come now, and does what it says. */
tw_status tw_take_message(tw_client *client, const tw_kind *kind, const uint8_t *bytes, size_t length);

/* tw_input.c */
#if TW_WITH_CLIPBOARD
tw_status tw_follow_clipboard(uint32_t *under_way, uint32_t total, uint32_t offset, size_t length);
#endif

/* tw_draw.c */
tw_status tw_check_surface(const tw_client *client);
tw_status tw_check_inside(const tw_client *client, const tw_rect *rect);
/* RAW and the like have to keep the limits that HELLO names. */
tw_status tw_check_limits(const tw_client *client, const tw_rect *rect);
/* Where a pixel of the framebuffer is. */
uint8_t *tw_pixel_at(const tw_client *client, uint32_t x, uint32_t y);
/* Hands a finished rectangle to the caller. */
void tw_show(
    tw_client *client, uint32_t x, uint32_t y, uint32_t width, uint32_t height, const uint8_t *pixels);
/* The same, where it lies in the framebuffer. */
void tw_show_rect(tw_client *client, const tw_rect *rect);
tw_status tw_take_begin(tw_client *client, const tw_body *body);
tw_status tw_take_end(tw_client *client, const tw_body *body);
void tw_present(tw_client *client);
/* FILL, RAW, PALETTE, CODEC, JPEG: decodes and hands out all of it, or as much as goes until something is pending. */
tw_status tw_take_tile(tw_client *client, const tw_body *body);
tw_status tw_draw_tile(tw_client *client);
/* As many pixels as `size` has, rows a step apart. Of two rows that are one row in part each pixel is read first. */
void tw_copy_rows(tw_client *client, uint8_t *to, ptrdiff_t to_step, const uint8_t *from, ptrdiff_t from_step,
    const tw_rect *size);
tw_status tw_take_copy(tw_client *client, const tw_body *body);
uint32_t tw_now_us(const tw_client *client);

/* tw_palette.c */
tw_status tw_palette_start(tw_client *client);
tw_status tw_palette_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows);

#if TW_WITH_CACHE
/* tw_cache.c */
tw_status tw_cache_start(tw_client *client, const tw_client_config *config);
void tw_cache_forget(tw_client *client);
tw_status tw_take_cache_store(tw_client *client, const tw_body *body);
tw_status tw_take_cache_draw(tw_client *client, const tw_body *body);
#endif

#if TW_WITH_CURSOR
/* tw_cursor.c */
tw_status tw_cursor_start(tw_client *client, const tw_client_config *config);
/* Before an operation writes or reads these pixels: puts back what is under the cursor, if it is there. */
void tw_uncover(tw_client *client, const tw_rect *rect);
/* One piece of what is due, where nothing is pending. */
void tw_cursor_step(tw_client *client);
/* All that is due, as long as nothing is pending. */
void tw_cursor_run(tw_client *client);
/* A part of a shape that is sound in itself. */
tw_status tw_cursor_take_shape(
    tw_client *client, const tw_shape *given, uint32_t row, const uint8_t *pixels, size_t length);
void tw_cursor_place(tw_client *client, uint32_t x, uint32_t y);
/* The framebuffer is another one: nothing is drawn in it, nothing has to be put back. */
void tw_cursor_forget(tw_client *client);
/* END: what was taken off is drawn again. */
void tw_cursor_at_end(tw_client *client);
/* The connection is over, and with it the cursor. */
void tw_cursor_leave(tw_client *client);
/* Nothing may be left of it in the framebuffer, pending or not. */
void tw_cursor_lift(tw_client *client);
/* What the next connection may find in the memory; and whether this one may use what it found. */
void tw_cursor_keep(tw_client *client, tw_resume *resume);
void tw_cursor_resume(tw_client *client, bool resumed);
#endif

#if TW_WITH_JPEG
/* tw_jpeg_draw.c */
void tw_jpeg_start(tw_client *client, uint32_t quality, uint32_t sampling);
/* Decodes and hands out the tile under way: all of it, or the next piece that fits into the strip. */
tw_status tw_jpeg_draw(tw_client *client);
#endif

#if TW_WITH_JPEG_HOOK
/* tw_jpeg_hook.c */
/* Has the picture decoded for the tile under way. */
tw_status tw_jpeg_hook_start(tw_client *client, uint32_t quality, uint32_t sampling);
void tw_jpeg_hook_rows(const tw_client *client, uint8_t *out, size_t stride, uint32_t rows);
#endif

/* Bytes of a pixel in the framebuffer, and on the wire. Compilers know them where RGB565 is all there is. */
static inline uint32_t tw_stored(const tw_client *client) {
    return TW_WITH_XRGB8888 || TW_WITH_8BIT ? client->stored : 2U;
}

static inline uint32_t tw_packed(const tw_client *client) {
    return TW_WITH_XRGB8888 || TW_WITH_8BIT ? client->packed : 2U;
}

/* The surface is a strip; else it is the framebuffer. */
static inline bool tw_in_strips(const tw_client *client) {
    return TW_WITH_STRIPS && client->strips;
}

/* A tile is not drawn to its end: it waits for a strip to be free. */
static inline bool tw_has_tile(const tw_client *client) {
    return TW_WITH_STRIPS && client->tile.row != client->tile.rect.height;
}

static inline bool tw_is_little_endian(void) { /* compilers know the answer */
    union {
        uint16_t whole;
        uint8_t first;
    } one;
    one.whole = 1;
    return one.first == 1;
}

/* tw_pixels.c: packed, as on the wire, to stored, as the panel wants them */
/* Bytes of a packed pixel; 0: the format is left out in tw_config.h. */
uint8_t tw_packed_size(unsigned format);
/* One packed pixel, in the low `stored` bytes of the result, in the machine's order. */
uint32_t tw_pixel(const tw_client *client, const uint8_t *packed);
void tw_store_pixels(const tw_client *client, uint8_t *out, const uint8_t *packed, uint32_t count);
/* Pixels as values, the low 24 bits at most, become stored ones. */
void tw_store_values(const tw_client *client, uint8_t *out, const uint32_t *values, uint32_t count);
/* One pixel at least. */
void tw_fill_pixels(const tw_client *client, uint8_t *out, uint32_t pixel, uint32_t count);
/* The value of eight bits each, by truncation. */
uint32_t tw_value_of(unsigned format, uint32_t red, uint32_t green, uint32_t blue);

#endif
