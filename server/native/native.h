/* The server's hot loops on pixels. native.cdef repeats these declarations for Python (tilewire.server.pixels).
 *
 * The caller checks sizes and bounds; a rectangle that reaches outside all the same is cut to what is inside.
 * Nothing here allocates, except tw_ns_context_new(). No call keeps a pointer.
 */
#ifndef TW_NS_NATIVE_H
#define TW_NS_NATIVE_H

#include <stdint.h>

#define TW_NS_MAX_RECTS 256
#define TW_NS_MAX_PALETTE 128
#define TW_NS_GRADIENTS 9
#define TW_NS_MAX_SIDE 4096
#define TW_NS_MOTION_BYTES 204800 /* working memory of tw_ns_find_moves(), aligned to eight bytes */

/* What a shadow knows of a pixel of the device. */
#define TW_NS_UNKNOWN 0
#define TW_NS_LOSSY 1
#define TW_NS_EXACT 2

/* What tw_ns_changes() looks for. */
#define TW_NS_FIND_CHANGED 0
#define TW_NS_FIND_LOSSY 1

typedef struct {
    int32_t x, y, width, height;
} tw_ns_rect;

/* Rows of `width` stored pixels without padding. The screen is one in XRGB8888 whose fourth bytes mean nothing. */
typedef struct {
    uint8_t *pixels;
    uint8_t *states; /* a shadow has one byte per pixel, other surfaces NULL */
    int32_t width, height;
    int32_t format; /* TW_PIXEL_* */
    int32_t stored; /* bytes of a pixel */
} tw_ns_surface;

/* Working memory of tw_ns_changes(), for one call at a time. */
typedef struct tw_ns_context tw_ns_context;

/* "Left" and "up" leave out the pixels that have no such neighbour inside the rectangle. */
typedef struct {
    int32_t colours;      /* different pixel values; TW_NS_MAX_PALETTE + 1: more than that */
    int32_t runs;         /* of equal pixels in raster order, over row ends */
    int32_t equal_left;   /* pixels that equal their left neighbour */
    int32_t equal_up;     /* pixels that equal their upper neighbour */
    int32_t packed_bytes; /* of a palette payload with packed indices, 0 where there is none */
    int32_t run_bytes;    /* of a palette payload with runs, 0 where there is none */
    int32_t
        gradients[TW_NS_GRADIENTS]; /* pairs of neighbours by luma difference: 0, 1, 2-3, 4-7, ... 128-255 */
    uint32_t palette[TW_NS_MAX_PALETTE]; /* the first values, in order of first appearance */
} tw_ns_stats;

/* Copy tightly packed stored pixels into `rect`. */
void tw_ns_blit(const tw_ns_surface *to, tw_ns_rect rect, const uint8_t *pixels);
/* Every pixel of `rect` becomes `value`; of a shadow it is known exactly then. */
void tw_ns_fill(const tw_ns_surface *to, tw_ns_rect rect, uint32_t value);
/* `source` of an XRGB8888 surface in the format of `to`, with its left top at x, y. */
void tw_ns_convert(
    const tw_ns_surface *from, tw_ns_rect source, const tw_ns_surface *to, int32_t x, int32_t y);

/* `window` of the screen, scaled down to `picture` of the canvas, which is turned by `rotation` quarters clockwise onto
 * the panel; black around the picture. The window lies inside the screen, the picture inside the canvas, and neither
 * side of the picture is longer than the window's: else nothing is drawn. */
typedef struct {
    tw_ns_rect window;
    tw_ns_rect picture;
    int32_t rotation;
} tw_ns_view;

/* `rect` of the panel as it shows the screen. */
void tw_ns_render(const tw_ns_surface *screen, tw_ns_view view, const tw_ns_surface *panel, tw_ns_rect rect);
/* The same, with a cursor over it: `image` has the premultiplied blue, green, red, alpha of the panel's `place`.
 * Nothing is drawn outside `rect` and `place`. */
void tw_ns_blend(const tw_ns_surface *screen, tw_ns_view view, const tw_ns_surface *panel, tw_ns_rect rect,
    const uint8_t *image, tw_ns_rect place);

/* Make `image` premultiplied: no colour exceeds its alpha. `seen` is the smallest rectangle that has all that can be
 * seen, empty where nothing can. */
void tw_ns_cursor_clamp(uint8_t *image, int32_t width, int32_t height, tw_ns_rect *seen);
/* `part` of an image, shrunk to to_width x to_height and then turned clockwise. Neither side grows. */
void tw_ns_cursor_shrink(const uint8_t *image, int32_t width, int32_t height, tw_ns_rect part,
    int32_t rotation, uint8_t *to, int32_t to_width, int32_t to_height);

tw_ns_context *tw_ns_context_new(int32_t width, int32_t height);
void tw_ns_context_free(tw_ns_context *context);
/* Disjoint rectangles that hold every pixel of `rect` whose value is not the shadow's or is not known (or, for
 * TW_NS_FIND_LOSSY, that was sent lossy). None can be smaller. One rectangle more is taken where it leaves out more
 * than `cost` other pixels. Returns how many, at most `capacity` and TW_NS_MAX_RECTS; -1 where `context` is too small
 * or the surfaces do not fit each other. */
int32_t tw_ns_changes(tw_ns_context *context, const tw_ns_surface *now, const tw_ns_surface *shadow,
    tw_ns_rect rect, int32_t find, int32_t cost, tw_ns_rect *rects, int32_t capacity);

/* `to` shows what the shadow has at x, y. */
typedef struct {
    tw_ns_rect to;
    int32_t x, y;
} tw_ns_move;

/* Rectangles of `rect` whose pixels stand in the shadow elsewhere in `rect`, each worth at least `min_gain` pixels
 * that are neither right already nor flat. They are to be copied in order: each was found on the result of those
 * before, and is carried out in the shadow. Returns how many, at most `capacity`. */
int32_t tw_ns_find_moves(void *memory, const tw_ns_surface *now, const tw_ns_surface *shadow, tw_ns_rect rect,
    int32_t min_gain, tw_ns_move *moves, int32_t capacity);

void tw_ns_measure(const tw_ns_surface *surface, tw_ns_rect rect, tw_ns_stats *stats);
/* Both return the bytes written, or 0 where the payload would be longer than `capacity`. A palette has 2 to 128
 * colours: with another number the first returns 0 too. */
int32_t tw_ns_encode_palette(
    const tw_ns_surface *surface, tw_ns_rect rect, uint8_t *payload, int32_t capacity);
int32_t tw_ns_encode_raw(const tw_ns_surface *surface, tw_ns_rect rect, uint8_t *payload, int32_t capacity);

/* The tile codec's encoder with its model. `kib`: 16, 32 or 48; NULL where there is no memory. */
typedef struct tw_ns_codec tw_ns_codec;
tw_ns_codec *tw_ns_codec_new(int32_t kib, int32_t format, int32_t max_width);
void tw_ns_codec_free(tw_ns_codec *codec);
void tw_ns_codec_reset(tw_ns_codec *codec);
/* Remember the model, and go back to what was remembered last. */
void tw_ns_codec_keep(tw_ns_codec *codec);
void tw_ns_codec_roll_back(tw_ns_codec *codec);
/* The bytes of the payload of CODEC; 0, and the model as it was, where they would be more than `capacity`. `variant`:
 * 0 live, 1 rest. */
int32_t tw_ns_codec_encode(tw_ns_codec *codec, const tw_ns_surface *surface, tw_ns_rect rect, int32_t variant,
    uint8_t *payload, int32_t capacity);

/* `rect` of an XRGB8888 surface at half its size, rounded up: blue, green, red of the mean of each four pixels. Returns
 * the bytes written, or 0 where they would be more than `capacity`. */
int32_t tw_ns_halve(const tw_ns_surface *surface, tw_ns_rect rect, uint8_t *pixels, int32_t capacity);

/* `rect` of `now` is on the device now, in `state`. */
void tw_ns_commit(const tw_ns_surface *shadow, const tw_ns_surface *now, tw_ns_rect rect, int32_t state);
/* Move pixels and what is known of them; source and destination may overlap. */
void tw_ns_copy(const tw_ns_surface *shadow, tw_ns_rect rect, int32_t source_x, int32_t source_y);
void tw_ns_set_state(const tw_ns_surface *shadow, tw_ns_rect rect, int32_t state);
/* Pixels of `rect` by state. */
void tw_ns_count(const tw_ns_surface *shadow, tw_ns_rect rect, int32_t counts[3]);

#endif
