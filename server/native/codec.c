/* The tile codec's encoder. Its model is the decoder's, from the client's own headers: both must agree to the bit. */
#include "codec.h"

#include <stdlib.h>

typedef struct {
    uint8_t *out, *end;
    bool full;
    bool first; /* the first byte that leaves the coder is always 0 and is not sent */
    uint8_t cache;
    size_t pending;
    uint64_t low;
    uint32_t range;
} bits;

typedef struct {
    tw_codec_model *model;
    tw_codec_prob *prob;
    uint32_t *colours;
    uint16_t *nears, *slots;
    const tw_codec_layout *layout;
    bits to;
    uint32_t run;
    bool rest;
} encoder;

static void put_byte(bits *b, uint8_t byte) {
    if (b->first) {
        b->first = false;
        return;
    }
    if (b->out == b->end) {
        b->full = true;
        return;
    }
    *b->out++ = byte;
}

static void shift_low(bits *b) {
    if (b->low < 0xFF000000u || b->low > 0xFFFFFFFFu) {
        uint8_t carry = (uint8_t)(b->low >> 32);
        put_byte(b, (uint8_t)(b->cache + carry));
        for (; b->pending > 0; b->pending--) {
            put_byte(b, (uint8_t)(0xFF + carry));
        }
        b->cache = (uint8_t)(b->low >> 24);
    } else {
        b->pending++;
    }
    b->low = (b->low & 0xFFFFFF) << 8;
}

static inline void put_with(encoder *e, uint32_t p, int bit) {
    bits *b = &e->to;
    uint32_t bound = (b->range >> 16) * p;
    if (bit) {
        b->low += bound;
        b->range -= bound;
    } else {
        b->range = bound;
    }
    while (b->range < 1u << 24) {
        b->range <<= 8;
        shift_low(b);
    }
}

static inline void put(encoder *e, uint32_t context, int bit) {
    /* The analyser does not see that there are at most two breaks, and where contexts end. */
    tw_codec_prob *p = &e->prob[context]; /* NOLINT(clang-analyzer-security.ArrayBound) */
    put_with(e, *p, bit);
    *p = tw_codec_adapted(*p, bit);
}

/* A bit in two contexts; other: 0 for none. */
static void put_both(encoder *e, uint32_t context, uint32_t other, int bit) {
    tw_codec_prob *p = &e->prob[context], *q = &e->prob[other];
    if (other == 0) {
        put(e, context, bit);
        return;
    }
    put_with(e, (*p + (uint32_t)*q) >> 1, bit);
    *p = tw_codec_adapted(*p, bit);
    *q = tw_codec_adapted(*q, bit);
}

static void put_even(encoder *e, uint32_t value, uint32_t count) {
    bits *b = &e->to;
    b->range >>= count;
    b->low += (uint64_t)value * b->range;
    while (b->range < 1u << 24) {
        b->range <<= 8;
        shift_low(b);
    }
}

/* value: 2^count + bits */
static void put_low(encoder *e, uint32_t context, uint32_t other, uint32_t value, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = i == 0 ? 0u : i == 1 ? (value >> (count - 1)) - 1 : 3u;
        put_both(e, context + node, other == 0 ? 0 : other + node, (int)(value >> (count - 1 - i) & 1));
    }
}

static void put_difference(
    encoder *e, uint32_t context, uint32_t other, int32_t difference, uint32_t bit_count) {
    uint32_t size = (uint32_t)tw_codec_abs(difference), exponent, step = other != 0;
    put_both(e, context, other, difference == 0);
    if (difference == 0) {
        return;
    }
    exponent = tw_codec_log2(size);
    put_both(e, context + 1, other + step, difference < 0);
    for (uint32_t i = 0; i < bit_count - 1; i++) {
        put_both(e, context + 2 + i, other + step * (2 + i), i == exponent);
        if (i == exponent) {
            break;
        }
    }
    put_low(e, context + 10 + exponent * 4, other + step * (10 + exponent * 4), size, exponent);
}

/* The difference as a signed number of so many bits. */
static int32_t wrapped(int32_t difference, uint32_t bit_count) {
    int32_t span = (int32_t)(1u << bit_count);
    return difference >= span / 2     ? difference - span
           : difference < -(span / 2) ? difference + span
                                      : difference;
}

static void put_colour(encoder *e, const tw_codec_near *p, uint32_t pixel, uint32_t value, int32_t delta) {
    const tw_codec_layout *f = e->layout;
    tw_codec_model *m = e->model;
    uint32_t shift = f->shift[0], mask = (1u << f->bits[0]) - 1, run = e->run;
    uint16_t *first = &e->nears[tw_codec_near_place(m, f, value)];
    uint16_t *second = &e->nears[((size_t)1 << m->colour_bits) + value];
    uint32_t one = e->colours[*first] & 0xFFFFFF, two = e->colours[*second] & 0xFFFFFF;
    bool known = false;
    if (run < TW_CODEC_PHOTO && (one >> shift & mask) == value) {
        known = one == pixel;
        put(e, TW_P_NEAR + run, known);
    }
    if (run < TW_CODEC_PHOTO && !known && (two >> shift & mask) == value && two != one) {
        known = two == pixel;
        put(e, TW_P_NEAR + TW_CODEC_PHOTO + run, known);
    }
    if (!known) {
        tw_codec_expected x;
        const int32_t *guess = tw_codec_expect(m, f, p, value, delta, &x) ? x.blend : x.follow;
        int32_t other = 0;
        for (uint32_t i = 1; i < f->channels; i++) {
            uint32_t context = tw_codec_follow_context(i, delta, other), most = (1u << f->bits[i]) - 1;
            other = wrapped((int32_t)(pixel >> f->shift[i] & most) - guess[i], f->bits[i]);
            put_difference(e, context, 0, other, f->bits[i]);
        }
        tw_codec_trust(m, f, &x, pixel);
    }
    *first = *second = (uint16_t)tw_codec_index(m, e->colours, pixel);
    tw_codec_remember(m, f, pixel);
}

static void put_literal(encoder *e, const tw_codec_near *p, uint32_t pixel) {
    const tw_codec_layout *f = e->layout;
    uint32_t shift = f->shift[0], width = f->bits[0], mask = (1u << width) - 1, value = pixel >> shift & mask;
    int32_t w = (int32_t)(p->w >> shift & mask), n = (int32_t)(p->n >> shift & mask);
    int32_t nw = (int32_t)(p->nw >> shift & mask), guess = tw_codec_predict(w, n, nw);
    int32_t delta = (int32_t)value - guess;
    if (e->run < TW_CODEC_PHOTO) {
        uint32_t high = width < 4 ? width : 4, context = TW_P_VALUE + ((uint32_t)w >> (width - high)) * 16,
                 node = 1;
        for (uint32_t i = 0; i < high; i++) {
            uint32_t bit = value >> (width - 1 - i) & 1;
            put(e, context + node, (int)bit);
            node = node << 1 | bit;
        }
        if (e->rest) {
            uint32_t low = TW_P_LOW + (value >> (width - high)) * 16;
            node = 1;
            for (uint32_t i = width - high; i-- > 0;) {
                uint32_t bit = value >> i & 1;
                put(e, low + node, (int)bit);
                node = node << 1 | bit;
            }
        } else {
            put_even(e, value & ((1u << (width - high)) - 1), width - high);
        }
    } else {
        uint32_t activity = tw_codec_activity(w, n, nw, (int32_t)(p->ne >> shift & mask), width);
        uint32_t slope = e->rest ? TW_P_SLOPE + tw_codec_slope(w, n, nw, width) * TW_CODEC_RESIDUAL : 0;
        put_difference(
            e, TW_P_DIFF_FIRST + activity * TW_CODEC_RESIDUAL, slope, wrapped(delta, width), width);
    }
    if (f->channels > 1) {
        put_colour(e, p, pixel, value, delta);
    }
    e->run = tw_codec_run(e->run, delta, width);
}

/* A pixel that the large context did not know. g[0]: what that context said. */
static void put_hard(
    encoder *e, const tw_codec_near *p, uint32_t pixel, bool excluded, uint32_t small, tw_codec_guess g[]) {
    uint32_t tried[TW_CODEC_ORDERS + 1], tries = 0, looked = 0, before = 0;
    uint32_t orders = tw_codec_orders(e->run, e->rest);
    if (excluded) {
        tried[tries++] = p->w;
    }
    if (orders > 0) {
        before = g[0].confidence;
        if (before != 0 && !(excluded && g[0].colour == p->w)) {
            tried[tries++] = g[0].colour;
        }
        looked = 1;
    }
    while (looked < orders) {
        tw_codec_guess *now = &g[looked];
        tw_codec_look(e->model, e->slots,
            looked == 1   ? small
            : looked == 2 ? tw_codec_left(p)
                          : tw_codec_upper(p),
            now);
        looked++;
        if (now->confidence != 0) {
            now->colour = tw_codec_plain(e->colours[now->index]);
            if (!tw_codec_tried(tried, tries, now->colour)) {
                put(e, tw_codec_guess_context(looked - 1, now, before, p), now->colour == pixel);
                if (now->colour == pixel) {
                    e->run -= e->run > 0;
                    e->colours[now->index] |= TW_CODEC_USED;
                    tw_codec_learn_all(g, looked, now->index);
                    return;
                }
                tried[tries++] = now->colour;
            }
        }
        before = now->confidence;
    }
    uint32_t colour[4], sides[4], equal = tw_codec_equal(p), run = e->run < 3 ? e->run : 3;
    uint32_t count = tw_codec_around(p, tried, tries, colour, sides);
    bool known = tw_codec_tried(colour, count, pixel);
    if (count > 0) {
        put(e, TW_P_AROUND + (equal * 4 + (tries < 3 ? tries : 3)) * 4 + run, known);
    }
    if (known) {
        for (uint32_t i = 0; i + 1 < count; i++) {
            put(e, TW_P_WHICH + sides[i] * 16 + equal, colour[i] == pixel);
            if (colour[i] == pixel) {
                break;
            }
        }
        e->run -= e->run > 0;
    } else {
        put_literal(e, p, pixel);
    }
    if (orders > 0) {
        tw_codec_learn_all(g, looked, tw_codec_index(e->model, e->colours, pixel));
    }
}

static inline void put_pixel(
    encoder *e, const uint32_t *above, const uint32_t *now, uint32_t pixel, bool excluded) {
    tw_codec_near p;
    tw_codec_guess g[TW_CODEC_ORDERS];
    if (!excluded && e->run < TW_CODEC_DEAF && tw_codec_is_shore(above, now)) {
        put(e, tw_codec_shore_context(e->layout, above, now), pixel == now[-1]);
        if (pixel == now[-1]) {
            return;
        }
        excluded = true;
    }
    tw_codec_gather(&p, above, now);
    uint32_t small = tw_codec_small(&p);
    if (e->run < TW_CODEC_DEAF) {
        tw_codec_look(e->model, e->slots, tw_codec_large(&p, small), &g[0]);
        if (g[0].confidence != 0) {
            uint32_t *colour = &e->colours[g[0].index];
            g[0].colour = tw_codec_plain(*colour);
            if (!(excluded && g[0].colour == p.w)) {
                put(e, tw_codec_guess_context(0, &g[0], 0, &p), g[0].colour == pixel);
                if (g[0].colour == pixel) {
                    e->run -= e->run > 0;
                    *colour |= TW_CODEC_USED;
                    *g[0].slot = (uint16_t)(*g[0].slot + (g[0].confidence < 7));
                    return;
                }
            }
        }
    }
    put_hard(e, &p, pixel, excluded, small, g);
}

static void put_flat(encoder *e, uint32_t length, uint32_t flat, uint32_t context) {
    put(e, TW_P_FLAT + context, flat == length);
    if (flat == length) {
        return;
    }
    uint32_t log = tw_codec_log2(length), set = TW_P_BREAK + (log < 9 ? log : 9) * 13;
    uint32_t exponent = tw_codec_log2(flat + 1);
    for (uint32_t i = 0; i < log; i++) {
        put(e, set + i, i == exponent);
        if (i == exponent) {
            break;
        }
    }
    put_low(e, TW_P_BREAK_LOW + exponent * 4, 0, flat + 1, exponent);
}

struct tw_ns_codec {
    tw_codec_model *model;
    tw_codec_model *kept; /* what tw_ns_codec_keep() remembered */
    tw_codec_model *tried;
    size_t size; /* bytes of each */
    uint32_t *rows;
    uint32_t *line; /* one row of pixel values */
    int32_t max_width;
    int32_t format; /* TW_PIXEL_* */
};

tw_ns_codec *tw_ns_codec_new(int32_t kib, int32_t format, int32_t max_width) {
    tw_ns_codec *codec = calloc(1, sizeof *codec);
    if (codec == NULL) {
        return NULL;
    }
    codec->size = (size_t)kib * 1024;
    codec->max_width = max_width;
    codec->format = format;
    codec->model = malloc(codec->size);
    codec->kept = malloc(codec->size);
    codec->tried = malloc(codec->size);
    codec->rows = malloc(TW_CODEC_ROWS_SIZE((size_t)max_width));
    codec->line = malloc((size_t)max_width * sizeof *codec->line);
    if (codec->model == NULL || codec->kept == NULL || codec->tried == NULL || codec->rows == NULL
        || codec->line == NULL) {
        tw_ns_codec_free(codec);
        return NULL;
    }
    tw_ns_codec_reset(codec);
    tw_ns_codec_keep(codec);
    return codec;
}

void tw_ns_codec_free(tw_ns_codec *codec) {
    free(codec->model);
    free(codec->kept);
    free(codec->tried);
    free(codec->rows);
    free(codec->line);
    free(codec);
}

void tw_ns_codec_reset(tw_ns_codec *codec) {
    tw_codec_reset(codec->model, (uint32_t)(codec->size / 1024), (tw_codec_format)(codec->format - 1));
}

void tw_ns_codec_keep(tw_ns_codec *codec) {
    memcpy(codec->kept, codec->model, codec->size);
}

void tw_ns_codec_roll_back(tw_ns_codec *codec) {
    memcpy(codec->model, codec->kept, codec->size);
}

/* A row of pixel values: the surface's own where it has such, else in the line buffer. */
static const uint32_t *row_values(
    tw_ns_codec *codec, const tw_ns_surface *surface, tw_ns_rect rect, int32_t y) {
    const uint8_t *row = tw_ns_at(surface, rect.x, rect.y + y);
    switch (surface->stored) {
    case 1:
        for (int32_t x = 0; x < rect.width; x++) {
            codec->line[x] = row[x];
        }
        break;
    case 2:
        for (int32_t x = 0; x < rect.width; x++) {
            codec->line[x] = tw_ns_load16(row + 2 * x);
        }
        break;
    default: memcpy(codec->line, row, (size_t)rect.width * sizeof *codec->line); break;
    }
    return codec->line;
}

static void encode_rows(encoder *e, tw_ns_codec *codec, const tw_ns_surface *surface, tw_ns_rect rect) {
    const uint32_t width = (uint32_t)rect.width;
    uint32_t *above = codec->rows + 4;
    uint32_t *now = above + width + 8;
    tw_codec_fill(above - 3, e->model->background, width + 5);
    tw_codec_fill(now - 3, e->model->background, width + 5);
    for (uint32_t y = 0; y < (uint32_t)rect.height && !e->to.full; y++) {
        const uint32_t *in = row_values(codec, surface, rect, (int32_t)y);
        uint32_t breaks = 0;
        tw_codec_edges(above, now, width);
        for (uint32_t x = 0; x < width; x++) {
            bool excluded = false;
            const uint32_t w = now[(ptrdiff_t)x - 1];
            if (w == above[x] && w == above[x + 1] && w == above[(ptrdiff_t)x - 1] && (x | y) != 0) {
                const uint32_t stretch = tw_codec_stretch(above, x, width);
                uint32_t flat = 0;
                while (flat < stretch && in[x + flat] == w) {
                    flat++;
                }
                put_flat(e, stretch, flat, tw_codec_flat_context(now + x, w, stretch, breaks));
                e->model->last_flat = w;
                tw_codec_fill(now + x, w, flat);
                x += flat;
                if (flat == stretch) {
                    x--;
                    continue;
                }
                breaks += breaks < 2;
                excluded = true;
            }
            put_pixel(e, above + x, now + x, in[x], excluded);
            now[x] = in[x];
            if ((x | y) == 0) {
                tw_codec_first(e->model, above, now, width);
            }
        }
        uint32_t *swap = above;
        above = now;
        now = swap;
    }
}

int32_t tw_ns_codec_encode(tw_ns_codec *codec, const tw_ns_surface *surface, tw_ns_rect rect, int32_t variant,
    uint8_t *payload, int32_t capacity) {
    if (capacity < 1 || rect.width > codec->max_width || surface->format != codec->format
        || !tw_ns_clip(&rect, surface->width, surface->height)) {
        return 0;
    }
    tw_codec_model *model = codec->model;
    memcpy(codec->tried, model, codec->size);
    encoder e = {
        .model = model,
        .prob = model->prob,
        .colours = tw_codec_colours(model),
        .nears = tw_codec_nears(model),
        .slots = tw_codec_slots(model),
        .layout = &tw_codec_layouts[model->format],
        .rest = variant == TW_CODEC_REST,
        .to = {.out = payload + 1, .end = payload + capacity, .first = true, .range = UINT32_MAX},
    };
    payload[0] = (uint8_t)variant;
    encode_rows(&e, codec, surface, rect);
    /* The one byte that places the value inside the interval; the decoder takes what follows as 0. */
    e.to.low = (e.to.low + 0xFFFFFF) & ~(uint64_t)0xFFFFFF;
    shift_low(&e.to);
    shift_low(&e.to);
    if (e.to.full) {
        memcpy(model, codec->tried, codec->size);
        return 0;
    }
    return (int32_t)(e.to.out - payload);
}
