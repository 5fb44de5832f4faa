/* The model of the lossless tile codec: what encoder and decoder must agree on to the bit.
 *
 * Everything here is integers of at most 32 bits. Unsigned arithmetic wraps, no signed value overflows or is shifted
 * while negative. The bit stream is described in NOTES.md.
 */
#ifndef TW_CODEC_MODEL_H
#define TW_CODEC_MODEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    TW_CODEC_RGB565,
    TW_CODEC_XRGB8888,
    TW_CODEC_RGB332,
    TW_CODEC_GREY8,
    TW_CODEC_FORMATS
} tw_codec_format;

/* First byte of a payload. Any other value is refused. */
enum { TW_CODEC_LIVE = 0x00, TW_CODEC_REST = 0x01 };

enum {
    TW_CODEC_MAX_SIDE = 4096,
    TW_CODEC_ORDERS = 4,     /* contexts that predict a colour; the last one in the rest variant only */
    TW_CODEC_RUN_MAX = 15,   /* literal run: how photographic the last pixels were */
    TW_CODEC_PHOTO = 5,      /* literals are differences from this run on, plain values below */
    TW_CODEC_DEAF = 8,       /* from this run on no colour is predicted and none is learned */
    TW_CODEC_RESIDUAL = 44,  /* probabilities of one difference context */
    TW_CODEC_USED = 1 << 24, /* mark in the colour table */
    TW_CODEC_HEADER = 64     /* bytes for everything of the model that is no table */
};

/* Where each family of probabilities begins. */
enum {
    TW_P_FLAT = 0,                     /* 10 lengths x 2 rows above x 4 breaks: the stretch is whole */
    TW_P_BREAK = TW_P_FLAT + 80,       /* 10 lengths x 13: exponent of where it ends */
    TW_P_BREAK_LOW = TW_P_BREAK + 130, /* 13 exponents x 4: the bits below it */
    TW_P_GUESS = TW_P_BREAK_LOW + 52,  /* orders x 8 confidences before x 8 confidences x 4 sides */
    TW_P_AROUND = TW_P_GUESS
        + TW_CODEC_ORDERS * 256,                 /* 16 equalities x 4 tried x 4 runs: a neighbour's colour */
    TW_P_WHICH = TW_P_AROUND + 256,              /* 3 neighbours x 16 equalities: it is this one's */
    TW_P_NEAR = TW_P_WHICH + 48,                 /* 2 tables x runs below TW_CODEC_PHOTO */
    TW_P_VALUE = TW_P_NEAR + 2 * TW_CODEC_PHOTO, /* 16 values of the left neighbour x 16 nodes */
    TW_P_DIFF_FIRST = TW_P_VALUE + 256,          /* 8 activities */
    TW_P_DIFF_OTHER = TW_P_DIFF_FIRST + 8 * TW_CODEC_RESIDUAL, /* 4 x 3 */
    TW_P_SHORE = TW_P_DIFF_OTHER
        + 12 * TW_CODEC_RESIDUAL, /* 16 equalities x 4 values of the neighbour: still flat */
    TW_P_LOW = TW_P_SHORE + 64,   /* rest: 16 high halves x 16 nodes */
    TW_P_SLOPE = TW_P_LOW + 256,  /* rest: 9 slopes, averaged with the activity */
    TW_P_COUNT = TW_P_SLOPE + 9 * TW_CODEC_RESIDUAL
};

/* A probability that the next bit is 0, in 65536ths: 31 to 65504 once adapted. */
typedef uint16_t tw_codec_prob;

/* The start state, trained, in flash. */
extern const tw_codec_prob tw_codec_start[TW_P_COUNT];

/* The model's fixed part; colours, near colours and slots follow it in the same memory. Plain values only, so it
 * can be copied, compared and rolled back with memcpy. */
typedef struct {
    uint32_t background;   /* first pixel of the last rectangle */
    uint32_t last_flat;    /* colour of the last flat stretch */
    uint32_t last_literal; /* last colour that no context predicted */
    uint32_t ink;          /* last such colour that stands out from last_flat */
    int32_t trust;         /* whether red and blue lay on the line from last_flat to ink: -8 to 7 */
    uint16_t format;
    uint16_t kib;         /* 16, 32 or 48 */
    uint16_t colour_bits; /* 8, 9 or 10 */
    uint16_t victim;      /* which of four colours went last */
    uint16_t greys;       /* 256 where the first colours are the greys, else 0 */
    uint16_t sets;        /* of four colours, after the greys */
    uint32_t slots;
    tw_codec_prob prob[TW_P_COUNT];
} tw_codec_model;

/* How the channels of a format lie in a pixel: first the one that the others are predicted from. */
typedef struct {
    uint8_t channels;
    uint8_t bits[3], shift[3];
    uint8_t tone_mask; /* the top bits that all channels have */
} tw_codec_layout;

static const tw_codec_layout tw_codec_layouts[TW_CODEC_FORMATS] = {
    {3, {6, 5, 5}, {5, 11, 0}, 0xF8},
    {3, {8, 8, 8}, {8, 16, 0}, 0xFF},
    {3, {3, 3, 2}, {2, 5, 0}, 0xC0},
    {1, {8, 0, 0}, {0, 0, 0}, 0xFF},
};

/* The pixels around the one being coded. */
typedef struct {
    uint32_t w, ww, www, n, nw, nww, ne, nee, nn, nne;
} tw_codec_near;

static inline uint32_t tw_codec_plain(uint32_t colour) {
    return colour & 0xFFFFFF; /* without its mark */
}

/* A place in the slot table: 16 bits = colour index << 6 | check << 3 | confidence. */
typedef struct {
    uint16_t *slot;
    uint32_t check;      /* already shifted */
    uint32_t confidence; /* 0: nothing known here */
    uint32_t index;      /* of the colour; meaningless when confidence is 0 */
    uint32_t colour;     /* set by the caller where confidence is not 0 */
} tw_codec_guess;

static inline uint32_t *tw_codec_colours(tw_codec_model *m) {
    return (uint32_t *)(void *)(m + 1);
}

/* Near colours: 2^colour_bits by value, flat colour and hue, then 256 by value alone. */
static inline uint16_t *tw_codec_nears(tw_codec_model *m) {
    return (uint16_t *)(void *)(tw_codec_colours(m) + ((size_t)1 << m->colour_bits));
}

static inline uint16_t *tw_codec_slots(tw_codec_model *m) {
    return tw_codec_nears(m) + ((size_t)1 << m->colour_bits) + 256;
}

static inline tw_codec_prob tw_codec_adapted(uint32_t p, int bit) {
    return (tw_codec_prob)(bit ? p - (p >> 5) : p + ((p ^ 0xFFFF) >> 5));
}

static inline uint32_t tw_codec_log2(uint32_t value) /* value > 0 */
{
    uint32_t log = 0;
    if (value >= 256) {
        value >>= 8;
        log = 8;
    }
    if (value >= 16) {
        value >>= 4;
        log += 4;
    }
    if (value >= 4) {
        value >>= 2;
        log += 2;
    }
    return log + (value >> 1);
}

static inline void tw_codec_look(const tw_codec_model *m, uint16_t *slots, uint32_t sum, tw_codec_guess *g) {
    uint32_t hash = (sum ^ sum >> 15) * 0x2C1B3C6Du;
    uint32_t content, known;
    g->slot = slots + ((hash >> 16) * m->slots >> 16);
    content = *g->slot;
    g->check = hash >> 10 & 0x38;
    known = (content ^ g->check) & 0x3F; /* below 8 where the check is the same */
    g->confidence = known < 8 ? known : 0;
    g->index = content >> 6;
}

/* The slot has been right or wrong: index is the colour that came. */
static inline void tw_codec_learn(const tw_codec_guess *g, uint32_t index) {
    uint32_t content = *g->slot, confidence = content & 7;
    if (g->confidence != 0) {
        if (g->index == index) {
            if (confidence < 7) {
                *g->slot = (uint16_t)(content + 1);
            }
            return;
        }
        if (confidence > 3) {
            *g->slot = (uint16_t)((content & ~7u) | confidence >> 1);
            return;
        }
    } else if (confidence > 1) {
        *g->slot = (uint16_t)(content - 1); /* it belongs to another context that was right more than once */
        return;
    }
    *g->slot = (uint16_t)(index << 6 | g->check | 1);
}

/* The index of a colour; it is taken in if it is new. On XRGB8888 the first 256 indices are the greys, always; the
 * rest are sets of four, found by hash. Bit 24 marks a colour that was used again since its set was last full. */
static inline uint32_t tw_codec_index(tw_codec_model *m, uint32_t *colours, uint32_t pixel) {
    uint32_t hash = pixel * 0x9E3779B1u >> 16, at, i;
    if (m->greys != 0 && pixel == (pixel & 255) * 0x10101u) {
        return pixel & 255;
    }
    at = m->greys + (hash * m->sets >> 16) * 4;
    for (i = 0; i < 4; i++) {
        if ((colours[at + i] & 0xFFFFFF) == pixel) {
            colours[at + i] |= TW_CODEC_USED;
            return at + i;
        }
    }
    for (i = 0; i < 4 && colours[at + i] & TW_CODEC_USED;) {
        i++;
    }
    if (i == 4) {
        for (i = 0; i < 4; i++) {
            colours[at + i] &= 0xFFFFFF;
        }
        i = m->victim = (uint16_t)((m->victim + 1) & 3);
    }
    colours[at + i] = pixel;
    return at + i;
}

/* 0 to 8: how red and blue of a colour stand to its green (darker, equal, lighter). */
static inline uint32_t tw_codec_hue(const tw_codec_layout *f, uint32_t pixel) {
    const uint32_t mask = f->tone_mask;
    const uint32_t first = pixel >> f->shift[0] << (8 - f->bits[0]) & mask;
    const uint32_t second = pixel >> f->shift[1] << (8 - f->bits[1]) & mask;
    const uint32_t third = pixel >> f->shift[2] << (8 - f->bits[2]) & mask;
    return (1u + (second > first) - (second < first)) * 3 + 1u + (third > first) - (third < first);
}

/* The place of the near colour for a value of the first channel. */
static inline uint32_t tw_codec_near_place(
    const tw_codec_model *m, const tw_codec_layout *f, uint32_t value) {
    uint32_t key = value * 0x9E3779B1u ^ (m->last_flat + tw_codec_hue(f, m->last_literal) * 0x10001u);
    return key * 0x85EBCA6Bu >> (32 - m->colour_bits);
}

/* Median edge predictor: the smaller or larger neighbour at an edge, the plane through three elsewhere. */
static inline int32_t tw_codec_predict(int32_t w, int32_t n, int32_t nw) {
    int32_t low = w < n ? w : n, high = w < n ? n : w;
    return nw >= high ? low : nw <= low ? high : w + n - nw;
}

static inline int32_t tw_codec_abs(int32_t v) {
    return v < 0 ? -v : v;
}

/* 0 to 7: how much the neighbours of a pixel differ in the first channel, on the scale of 8 bits. */
static inline uint32_t tw_codec_activity(int32_t w, int32_t n, int32_t nw, int32_t ne, uint32_t bits) {
    uint32_t sum = (uint32_t)(tw_codec_abs(w - nw) + tw_codec_abs(nw - n) + tw_codec_abs(n - ne))
                   << (8 - bits);
    return sum < 8     ? (sum < 3 ? (sum > 0) : 2u)
           : sum < 50  ? (sum < 20 ? 3u : 4u)
           : sum < 110 ? 5u
           : sum < 220 ? 6u
                       : 7u;
}

/* 0 to 8: how the first channel rises or falls to the west and to the north. */
static inline uint32_t tw_codec_slope(int32_t w, int32_t n, int32_t nw, uint32_t bits) {
    int32_t across = n - nw, down = w - nw, step = (int32_t)(6u >> (8 - bits)) + 1;
    return (across < -step ? 0u : across > step ? 2u : 1u) * 3 + (down < -step ? 0u : down > step ? 2u : 1u);
}

/* What a second or third channel is expected to be, and the context of its difference. delta: what the first
 * channel was above its own prediction; other: difference of the second channel, for the third. */
static inline int32_t tw_codec_follow(int32_t predicted, int32_t delta, uint32_t first_bits, uint32_t bits) {
    int32_t shift = (int32_t)(first_bits - bits);
    int32_t value = predicted + (delta < 0 ? -(-delta >> shift) : delta >> shift);
    int32_t most = (int32_t)((1u << bits) - 1);
    return value < 0 ? 0 : value > most ? most : value;
}

/* Text is drawn by blending an ink over a paper: a colour between the two lies on a line. */
static inline int32_t tw_codec_first_channel(const tw_codec_layout *f, uint32_t pixel) {
    return (int32_t)(pixel >> f->shift[0] & ((1u << f->bits[0]) - 1));
}

static inline int tw_codec_stands_out(const tw_codec_layout *f, uint32_t paper, uint32_t pixel) {
    int32_t apart = tw_codec_abs(tw_codec_first_channel(f, pixel) - tw_codec_first_channel(f, paper));
    return (uint32_t)apart << (8 - f->bits[0]) >= 48;
}

/* A channel of the colour whose first channel is value, on the line from paper to ink, which stands out from it. */
static inline int32_t tw_codec_blend(
    const tw_codec_layout *f, uint32_t channel, uint32_t paper, uint32_t ink, int32_t value) {
    int32_t most = (int32_t)((1u << f->bits[channel]) - 1), result;
    int32_t from = tw_codec_first_channel(f, paper), span = tw_codec_first_channel(f, ink) - from;
    int32_t low = (int32_t)(paper >> f->shift[channel]) & most,
            high = (int32_t)(ink >> f->shift[channel]) & most;
    int32_t way = (value - from) * (high - low);
    if (span < 0) {
        span = -span;
        way = -way;
    }
    /* Of what is not negative, so that processors without a division need one kind of it. */
    result = low
             + (way < 0 ? -(int32_t)((uint32_t)(-2 * way + span) / (2 * (uint32_t)span))
                        : (int32_t)((uint32_t)(2 * way + span) / (2 * (uint32_t)span)));
    return result < 0 ? 0 : result > most ? most : result;
}

/* What second and third channel are expected to be, in both ways. Returns whether the blend is to be used. */
typedef struct {
    int32_t follow[3], blend[3];
    int blends; /* the blend exists */
} tw_codec_expected;

static inline int tw_codec_expect(const tw_codec_model *m, const tw_codec_layout *f, const tw_codec_near *p,
    uint32_t value, int32_t delta, tw_codec_expected *x) {
    x->blends = tw_codec_stands_out(f, m->last_flat, m->ink);
    for (uint32_t i = 1; i < f->channels; i++) {
        uint32_t low = f->shift[i], most = (1u << f->bits[i]) - 1;
        int32_t plain = tw_codec_predict(
            (int32_t)(p->w >> low & most), (int32_t)(p->n >> low & most), (int32_t)(p->nw >> low & most));
        x->follow[i] = tw_codec_follow(plain, delta, f->bits[0], f->bits[i]);
        if (x->blends) {
            x->blend[i] = tw_codec_blend(f, i, m->last_flat, m->ink, (int32_t)value);
        }
    }
    return x->blends && m->trust >= 0;
}

/* Which of both was nearer. */
static inline void tw_codec_trust(
    tw_codec_model *m, const tw_codec_layout *f, const tw_codec_expected *x, uint32_t pixel) {
    int32_t better = 0;
    if (!x->blends) {
        return;
    }
    for (uint32_t i = 1; i < f->channels; i++) {
        int32_t came = (int32_t)(pixel >> f->shift[i] & ((1u << f->bits[i]) - 1));
        better += tw_codec_abs(x->follow[i] - came) - tw_codec_abs(x->blend[i] - came);
    }
    if (better > 0 && m->trust < 7) {
        m->trust++;
    }
    if (better < 0 && m->trust > -8) {
        m->trust--;
    }
}

static inline void tw_codec_remember(tw_codec_model *m, const tw_codec_layout *f, uint32_t pixel) {
    m->last_literal = pixel;
    if (tw_codec_stands_out(f, m->last_flat, pixel)) {
        m->ink = pixel;
    }
}

static inline uint32_t tw_codec_follow_context(uint32_t channel, int32_t delta, int32_t other) {
    uint32_t a = tw_codec_abs(delta) == 0 ? 0u : tw_codec_abs(delta) < 8 ? 1u : 2u;
    uint32_t z = channel == 1 ? 3u : other == 0 ? 0u : tw_codec_abs(other) < 4 ? 1u : 2u;
    return TW_P_DIFF_OTHER + (z * 3 + a) * TW_CODEC_RESIDUAL;
}

/* What is hashed to the place of a guess: order 1 is a small neighbourhood, order 0 the small one and more, order 2
 * what stands to the left, order 3 what stands above. */
static inline uint32_t tw_codec_small(const tw_codec_near *p) {
    return p->w * 0x9E3779B1u + p->n * 0x85EBCA6Bu + p->nw * 0xC2B2AE35u + p->ne * 0x27D4EB2Fu;
}

static inline uint32_t tw_codec_large(const tw_codec_near *p, uint32_t small) {
    return small + p->ww * 0x165667B1u + p->nn * 0xD3A2646Du + p->nee * 0xFD7046C5u + p->nww * 0xB55A4F09u
           + p->nne * 0x8DA6B343u + 0x51ED270Bu;
}

static inline uint32_t tw_codec_left(const tw_codec_near *p) {
    return p->w * 0xD8163841u + p->ww * 0xCB1AB31Fu + p->www * 0xA0B428DBu + 0x2545F491u;
}

static inline uint32_t tw_codec_upper(const tw_codec_near *p) {
    return p->n * 0x9FB21C65u + p->ne * 0xE6546B65u + p->nee * 0xBF58476Du + 0x94D049BBu;
}

/* The literal run after a literal: longer where the prediction was near, as it is in photographs and shades. */
static inline uint32_t tw_codec_run(uint32_t run, int32_t delta, uint32_t bits) {
    return (uint32_t)tw_codec_abs(delta) << (8 - bits) >= 24 ? run >> 1 : run + (run < TW_CODEC_RUN_MAX);
}

/* How many contexts are asked: none in photographs. */
static inline uint32_t tw_codec_orders(uint32_t run, int rest) {
    return run >= TW_CODEC_DEAF ? 0u : rest ? 4u : 3u;
}

static inline int tw_codec_tried(const uint32_t *tried, uint32_t tries, uint32_t pixel) {
    for (uint32_t i = 0; i < tries; i++) {
        if (tried[i] == pixel) {
            return 1;
        }
    }
    return 0;
}

/* before: confidence of the guess before this one, 0 for the first. */
static inline uint32_t tw_codec_guess_context(
    uint32_t order, const tw_codec_guess *g, uint32_t before, const tw_codec_near *p) {
    return TW_P_GUESS + ((order * 8 + before) * 8 + g->confidence) * 4 + (uint32_t)(g->colour == p->w)
           + 2u * (uint32_t)(g->colour == p->n);
}

/* A shore: all is flat but the pixel to the north-east. Most pixels there are flat too. */
static inline int tw_codec_is_shore(const uint32_t *above, const uint32_t *now) {
    return now[-1] == above[0] && now[-1] == above[-1];
}

static inline uint32_t tw_codec_shore_context(
    const tw_codec_layout *f, const uint32_t *above, const uint32_t *now) {
    uint32_t tone = above[1] >> (f->shift[0] + f->bits[0] - 2) & 3;
    return TW_P_SHORE + tone * 16 + (uint32_t)(above[1] == above[2]) + 2u * (uint32_t)(now[0] == above[0])
           + 4u * (uint32_t)(now[1] == above[1]) + 8u * (uint32_t)(now[-2] == now[-1]);
}

/* Which of the four neighbours are alike. */
static inline uint32_t tw_codec_equal(const tw_codec_near *p) {
    return (uint32_t)(p->w == p->n) | (uint32_t)(p->n == p->ne) << 1 | (uint32_t)(p->n == p->nw) << 2
           | (uint32_t)(p->w == p->nw) << 3;
}

/* The neighbours' colours that are still possible, each once. Returns how many; sides[i] says whose colour[i] is. */
static inline uint32_t tw_codec_around(
    const tw_codec_near *p, const uint32_t *tried, uint32_t tries, uint32_t colour[4], uint32_t sides[4]) {
    const uint32_t around[4] = {p->w, p->n, p->ne, p->nw};
    uint32_t count = 0;
    for (uint32_t i = 0; i < 4; i++) {
        if (!tw_codec_tried(tried, tries, around[i]) && !tw_codec_tried(colour, count, around[i])) {
            colour[count] = around[i];
            sides[count++] = i;
        }
    }
    return count;
}

/* Every place that was looked at learns which colour came. The large context is spared where the small one knew:
 * its place is worth more to others. */
static inline void tw_codec_learn_all(const tw_codec_guess g[], uint32_t looked, uint32_t index) {
    if (looked == 1 || g[0].confidence != 0 || g[1].confidence < 2 || g[1].index != index) {
        tw_codec_learn(&g[0], index);
    }
    if (looked > 1) {
        tw_codec_learn(&g[1], index);
    }
    if (looked > 2) {
        tw_codec_learn(&g[2], index);
    }
    if (looked > 3) {
        tw_codec_learn(&g[3], index);
    }
}

static inline uint32_t tw_codec_flat_context(
    const uint32_t *above_above, uint32_t colour, uint32_t stretch, uint32_t breaks) {
    uint32_t log = tw_codec_log2(stretch);
    uint32_t differs = above_above[0] != colour || above_above[stretch / 2] != colour;
    return (log < 9 ? log : 9) * 8 + differs * 4 + breaks;
}

static inline void tw_codec_fill(uint32_t *pixels, uint32_t value, uint32_t count) {
    for (; count >= 4; count -= 4, pixels += 4) {
        pixels[0] = pixels[1] = pixels[2] = pixels[3] = value;
    }
    while (count-- > 0) {
        *pixels++ = value;
    }
}

/* How many pixels from x on are flat in the row above, with the one right of each: at least 1, at most to the end.
 * A pixel outside the row stops the search and is put back. */
static inline uint32_t tw_codec_stretch(uint32_t *above, uint32_t x, uint32_t width) {
    const uint32_t *at = above + x + 2;
    uint32_t colour = above[x], length;
    above[width + 1] = ~colour;
    for (;; at += 4) {
        if (at[0] != colour) {
            break;
        }
        if (at[1] != colour) {
            at += 1;
            break;
        }
        if (at[2] != colour) {
            at += 2;
            break;
        }
        if (at[3] != colour) {
            at += 3;
            break;
        }
    }
    above[width + 1] = above[width];
    length = (uint32_t)(at - above) - x - 1;
    return length < width - x ? length : width - x;
}

/* What stands outside the rectangle. above holds the row above, now still the row above that. */
static inline void tw_codec_edges(uint32_t *above, uint32_t *now, uint32_t width) {
    above[-1] = above[-2] = above[0];
    above[width] = above[width + 1] = above[width - 1];
    now[width] = now[width - 1];
    now[-1] = now[-2] = now[-3] = above[0];
}

/* The first pixel stands for everything above the rectangle. */
static inline void tw_codec_first(tw_codec_model *m, uint32_t *above, uint32_t *now, uint32_t width) {
    m->background = now[0];
    tw_codec_fill(above - 2, now[0], width + 4);
    tw_codec_fill(now + 1, now[0], width);
    now[-1] = now[-2] = now[-3] = now[0];
}

static inline void tw_codec_gather(tw_codec_near *p, const uint32_t *above, const uint32_t *now) {
    p->w = now[-1];
    p->ww = now[-2];
    p->www = now[-3];
    p->n = above[0];
    p->nw = above[-1];
    p->nww = above[-2];
    p->ne = above[1];
    p->nee = above[2];
    p->nn = now[0];
    p->nne = now[1];
}

/* Bytes of the two rows that stand around the pixel being coded, in rectangles up to this width. */
#define TW_CODEC_ROWS_SIZE(max_width) (((size_t)(max_width) + 8U) * 2U * sizeof(uint32_t))

/* The start state. Encoder and decoder reset their models at the same places of the stream. kib: 16, 32 or 48; `m`
 * has as many KiB. */
static inline void tw_codec_reset(tw_codec_model *m, uint32_t kib, tw_codec_format format) {
    memset(m, 0, (size_t)kib * 1024);
    m->format = (uint16_t)format;
    m->kib = (uint16_t)kib;
    m->colour_bits = (uint16_t)(kib == 16 ? 9 : 10);
    m->slots = (kib * 1024 - TW_CODEC_HEADER - 2 * TW_P_COUNT - (6u << m->colour_bits) - 512) / 2;
    if (format == TW_CODEC_XRGB8888) {
        m->greys = 256;
        for (uint32_t i = 0; i < 256; i++) {
            tw_codec_colours(m)[i] = i * 0x10101u;
        }
    }
    m->sets = (uint16_t)(((1u << m->colour_bits) - m->greys) / 4);
    memcpy(m->prob, tw_codec_start, sizeof m->prob);
}

#endif
