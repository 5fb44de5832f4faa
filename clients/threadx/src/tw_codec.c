/* The lossless tile codec's decoder. Everything that the encoder has to know as well is in tw_codec_model.h. */
#include "tw_codec.h"

#include "tilewire/tw_config.h"

#if TW_WITH_CODEC

/* The model's fixed part must fit what the number of slots leaves for it. */
typedef char tw_codec_header_fits[sizeof(tw_codec_model) <= TW_CODEC_HEADER + 2 * TW_P_COUNT ? 1 : -1];

static inline void renew(tw_codec *b) {
    while (b->range < 1U << 24) {
        b->range <<= 8;
        b->code = b->code << 8 | (b->at < b->length ? b->in[b->at] : 0U);
        b->at++;
    }
}

/* One bit; its probability learns. */
static inline int take(tw_codec *d, tw_codec_prob *p) {
    const uint32_t zero = *p, bound = (d->range >> 16) * zero;
    if (d->code < bound) {
        d->range = bound;
        *p = tw_codec_adapted(zero, 0);
        renew(d);
        return 0;
    }
    d->code -= bound;
    d->range -= bound;
    *p = tw_codec_adapted(zero, 1);
    renew(d);
    return 1;
}

/* The same for places that are seldom come to: called, where the other is repeated in place. */
static int take_seldom(tw_codec *d, tw_codec_prob *p) {
    return take(d, p);
}

/* Bits of which each is as likely 0 as 1; count at most 4. */
static uint32_t take_even(tw_codec *b, uint32_t count) {
    uint32_t most = (1U << count) - 1, value;
    b->range >>= count;
    value = b->code / b->range;
    if (value > most) {
        value = most;
    }
    b->code -= value * b->range;
    renew(b);
    return value;
}

/* A bit from two contexts: its probability is the mean of both, and both learn. other: 0 for none. */
static int take_both(tw_codec *d, uint32_t context, uint32_t other) {
    tw_codec_prob *p = &d->prob[context], *q = &d->prob[other], mean;
    int bit;
    if (other == 0) {
        return take_seldom(d, p);
    }
    mean = (tw_codec_prob)((*p + (uint32_t)*q) >> 1);
    bit = take_seldom(d, &mean);
    *p = tw_codec_adapted(*p, bit);
    *q = tw_codec_adapted(*q, bit);
    return bit;
}

/* Bits below a leading one, the first two in their own contexts. Returns 2^count + bits. */
static uint32_t take_low(tw_codec *d, uint32_t context, uint32_t other, uint32_t count) {
    uint32_t value = 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = i == 0 ? 0U : i == 1 ? value - 1 : 3U;
        value = value << 1 | (uint32_t)take_both(d, context + node, other == 0 ? 0 : other + node);
    }
    return value;
}

static int32_t take_difference(tw_codec *d, uint32_t context, uint32_t other, uint32_t bit_count) {
    uint32_t exponent = 0, size, step = other != 0;
    bool negative;
    if (take_both(d, context, other)) {
        return 0;
    }
    negative = take_both(d, context + 1, other + step);
    while (exponent < bit_count - 1 && !take_both(d, context + 2 + exponent, other + step * (2 + exponent))) {
        exponent++;
    }
    size = take_low(d, context + 10 + exponent * 4, other + step * (10 + exponent * 4), exponent);
    return negative ? -(int32_t)size : (int32_t)size;
}

/* The other channels of a literal, once the first is known: a colour that came with this value before, or differences.
 * `index`: of the colour. */
static uint32_t take_colour(
    tw_codec *d, const tw_codec_near *p, uint32_t value, int32_t delta, uint32_t *index) {
    const tw_codec_layout *f = d->layout;
    tw_codec_model *m = d->model;
    uint32_t shift = f->shift[0], mask = (1U << f->bits[0]) - 1, run = d->run;
    uint16_t *first = &d->nears[tw_codec_near_place(m, f, value)];
    uint16_t *second = &d->nears[((size_t)1 << m->colour_bits) + value];
    uint32_t one = d->colours[*first] & 0xFFFFFF, two = d->colours[*second] & 0xFFFFFF, pixel;
    if (run < TW_CODEC_PHOTO && (one >> shift & mask) == value && take(d, &d->prob[TW_P_NEAR + run])) {
        pixel = one;
    } else if (run < TW_CODEC_PHOTO && (two >> shift & mask) == value && two != one
               && take(d, &d->prob[TW_P_NEAR + TW_CODEC_PHOTO + run])) {
        pixel = two;
    } else {
        tw_codec_expected x;
        const int32_t *guess = tw_codec_expect(m, f, p, value, delta, &x) ? x.blend : x.follow;
        int32_t other = 0;
        pixel = value << shift;
        for (uint32_t i = 1; i < f->channels; i++) {
            other = take_difference(d, tw_codec_follow_context(i, delta, other), 0, f->bits[i]);
            pixel |= ((uint32_t)(guess[i] + other) & ((1U << f->bits[i]) - 1)) << f->shift[i];
        }
        tw_codec_trust(m, f, &x, pixel);
    }
    *index = tw_codec_index(m, d->colours, pixel);
    *first = *second = (uint16_t)*index;
    tw_codec_remember(m, f, pixel);
    return pixel;
}

/* A pixel that nothing predicted. `index`: of its colour, where that was looked for. */
static uint32_t take_literal(tw_codec *d, const tw_codec_near *p, uint32_t *index) {
    const tw_codec_layout *f = d->layout;
    uint32_t shift = f->shift[0], width = f->bits[0], mask = (1U << width) - 1, value;
    int32_t w = (int32_t)(p->w >> shift & mask), n = (int32_t)(p->n >> shift & mask);
    int32_t nw = (int32_t)(p->nw >> shift & mask), guess = tw_codec_predict(w, n, nw);
    if (d->run < TW_CODEC_PHOTO) {
        uint32_t high = width < 4 ? width : 4, context = TW_P_VALUE + ((uint32_t)w >> (width - high)) * 16;
        value = 1;
        for (uint32_t i = 0; i < high; i++) {
            value = value << 1 | (uint32_t)take(d, &d->prob[context + value]);
        }
        value &= (1U << high) - 1;
        if (d->rest) {
            uint32_t low = TW_P_LOW + value * 16, node = 1;
            while (node < 1U << (width - high)) {
                node = node << 1 | (uint32_t)take_seldom(d, &d->prob[low + node]);
            }
            value = value << (width - high) | (node - (1U << (width - high)));
        } else {
            value = value << (width - high) | take_even(d, width - high);
        }
    } else {
        uint32_t activity = tw_codec_activity(w, n, nw, (int32_t)(p->ne >> shift & mask), width);
        uint32_t slope = d->rest ? TW_P_SLOPE + tw_codec_slope(w, n, nw, width) * TW_CODEC_RESIDUAL : 0;
        value = (uint32_t)(guess
                           + take_difference(d, TW_P_DIFF_FIRST + activity * TW_CODEC_RESIDUAL, slope, width))
                & mask;
    }
    int32_t delta = (int32_t)value - guess;
    if (f->channels > 1) {
        value = take_colour(d, p, value, delta, index);
    }
    d->run = tw_codec_run(d->run, delta, width);
    return value;
}

/* No pixel has all bits set. */
#    define NONE 0xFFFFFFFFU

/* Colours that a pixel is known not to have; NONE: no colour. */
typedef struct tw_tried {
    uint32_t left; /* the left neighbour's, where it is excluded */
    uint32_t guess[TW_CODEC_ORDERS];
    uint32_t count;
} tw_tried;

/* The colour that the context of this order names; NONE where it names none, or one that is known to be wrong. */
static inline uint32_t look(
    const tw_codec *d, const tw_tried *tried, uint32_t order, uint32_t sum, tw_codec_guess *g) {
    uint32_t colour;
    tw_codec_look(d->model, d->slots, sum, g);
    if (g->confidence == 0) {
        return NONE;
    }
    colour = tw_codec_plain(d->colours[g->index]);
    if (colour == tried->left || (order > 0 && colour == tried->guess[0])
        || (order > 1 && colour == tried->guess[1]) || (order > 2 && colour == tried->guess[2])) {
        return NONE;
    }
    g->colour = colour;
    return colour;
}

/* The colour of the guess of this order, which was right; those before it were not. */
static inline uint32_t guessed(tw_codec *d, const tw_codec_guess g[], uint32_t order) {
    const uint32_t index = g[order].index;
    d->run -= d->run > 0;
    d->colours[index] |= TW_CODEC_USED;
    tw_codec_learn_all(g, order + 1, index);
    return g[order].colour;
}

static inline bool was_guessed(const tw_tried *tried, uint32_t colour) {
    return colour == tried->guess[0] || colour == tried->guess[1] || colour == tried->guess[2]
           || colour == tried->guess[3];
}

/* A pixel that nobody guessed: it has a neighbour's colour, or it is a literal. `index`: of the colour, where that was
 * looked for. */
static inline uint32_t take_other(
    tw_codec *d, const tw_codec_near *p, const tw_tried *tried, uint32_t *index) {
    const uint32_t equal = tw_codec_equal(p), run = d->run < 3 ? d->run : 3;
    const uint32_t which = TW_P_WHICH + equal;
    /* A neighbour that repeats an earlier one is left out; so is one that was tried. */
    const bool w = tried->left == NONE && !was_guessed(tried, p->w);
    const bool n = (equal & 1) == 0 && !was_guessed(tried, p->n);
    const bool ne = (equal & 2) == 0 && p->ne != p->w && !was_guessed(tried, p->ne);
    const bool nw = (equal & 12) == 0 && p->nw != p->ne && !was_guessed(tried, p->nw);
    if (!(w || n || ne || nw)
        || !take(d, &d->prob[TW_P_AROUND + (equal * 4 + (tried->count < 3 ? tried->count : 3)) * 4 + run])) {
        return take_literal(d, p, index);
    }
    d->run -= d->run > 0;
    /* The last that is left needs no bit. */
    if (w && (!(n || ne || nw) || take(d, &d->prob[which]))) {
        return p->w;
    }
    if (n && (!(ne || nw) || take(d, &d->prob[which + 16]))) {
        return p->n;
    }
    return ne && (!nw || take(d, &d->prob[which + 32])) ? p->ne : p->nw;
}

/* A pixel that the first guess, g[0], did not name. `text`: guesses are made. small: the small neighbourhood's sum. */
static uint32_t take_hard(tw_codec *d, const uint32_t *above, const uint32_t *now, tw_tried *tried,
    tw_codec_guess g[], uint32_t small, bool text) {
    tw_codec_near p;
    uint32_t pixel, index = NONE;
    tw_codec_gather(&p, above, now);
    tried->guess[1] = tried->guess[2] = tried->guess[3] = NONE;
    tried->count = (uint32_t)(tried->left != NONE) + (uint32_t)(tried->guess[0] != NONE);
    if (text) {
        tried->guess[1] = look(d, tried, 1, small, &g[1]);
        if (tried->guess[1] != NONE) {
            if (take(d, &d->prob[tw_codec_guess_context(1, &g[1], g[0].confidence, &p)])) {
                return guessed(d, g, 1);
            }
            tried->count++;
        }
        tried->guess[2] = look(d, tried, 2, tw_codec_left(&p), &g[2]);
        if (tried->guess[2] != NONE) {
            if (take(d, &d->prob[tw_codec_guess_context(2, &g[2], g[1].confidence, &p)])) {
                return guessed(d, g, 2);
            }
            tried->count++;
        }
        if (d->rest) {
            tried->guess[3] = look(d, tried, 3, tw_codec_upper(&p), &g[3]);
            if (tried->guess[3] != NONE) {
                if (take_seldom(d, &d->prob[tw_codec_guess_context(3, &g[3], g[2].confidence, &p)])) {
                    return guessed(d, g, 3);
                }
                tried->count++;
            }
        }
    }
    pixel = take_other(d, &p, tried, &index);
    if (text) {
        if (index == NONE) {
            index = tw_codec_index(d->model, d->colours, pixel);
        } else if (index >= d->model->greys) {
            d->colours[index] |= TW_CODEC_USED; /* as looking for it a second time would */
        }
        tw_codec_learn_all(g, d->rest ? 4 : 3, index);
    }
    return pixel;
}

/* One pixel whose neighbours are not all alike. `excluded`: it is known not to be w, the left one's colour. What is
 * here happens for every such pixel, so the first guess has variables of its own. */
static inline uint32_t take_pixel(
    tw_codec *d, const uint32_t *above, const uint32_t *now, uint32_t w, bool excluded) {
    const bool text = d->run < TW_CODEC_DEAF;
    tw_codec_near p;
    tw_codec_guess first, g[TW_CODEC_ORDERS];
    tw_tried tried;
    uint32_t small = 0;
    tw_codec_gather(&p, above, now);
    tried.left = excluded ? w : NONE;
    tried.guess[0] = NONE;
    if (text) {
        small = tw_codec_small(&p);
        tried.guess[0] = look(d, &tried, 0, tw_codec_large(&p, small), &first);
        if (tried.guess[0] != NONE && take(d, &d->prob[tw_codec_guess_context(0, &first, 0, &p)])) {
            d->run -= d->run > 0;
            d->colours[first.index] |= TW_CODEC_USED;
            *first.slot = (uint16_t)(*first.slot + (first.confidence < 7));
            return first.colour;
        }
        g[0] = first;
    } else {
        memset(g, 0, sizeof g);
    }
    return take_hard(d, above, now, &tried, g, small, text);
}

/* How many pixels of a flat stretch of this length are flat; more than length if the payload is corrupt. */
static uint32_t take_flat(tw_codec *d, uint32_t length, uint32_t context) {
    if (take(d, &d->prob[TW_P_FLAT + context])) {
        return length;
    }
    uint32_t log = tw_codec_log2(length), exponent = 0, set = TW_P_BREAK + (log < 9 ? log : 9) * 13;
    while (exponent < log && !take_seldom(d, &d->prob[set + exponent])) {
        exponent++;
    }
    uint32_t flat = take_low(d, TW_P_BREAK_LOW + exponent * 4, 0, exponent) - 1;
    return flat < length ? flat : length + 1;
}

bool tw_codec_begin(tw_codec *codec, tw_codec_model *model, uint32_t *rows, const uint8_t *payload,
    size_t length, uint32_t width) {
    if (length == 0 || payload[0] > TW_CODEC_REST) {
        return false;
    }
    codec->model = model;
    codec->prob = model->prob;
    codec->colours = tw_codec_colours(model);
    codec->nears = tw_codec_nears(model);
    codec->slots = tw_codec_slots(model);
    codec->layout = &tw_codec_layouts[model->format];
    codec->length = length;
    codec->rest = payload[0] == TW_CODEC_REST;
    codec->run = 0;
    codec->range = 0xFFFFFFFFU;
    codec->code = 0;
    for (codec->at = 1; codec->at < 5; codec->at++) {
        codec->code = codec->code << 8 | (codec->at < length ? payload[codec->at] : 0U);
    }
    codec->width = width;
    codec->above = rows + 4;
    codec->now = codec->above + width + 8;
    codec->begun = false;
    tw_codec_fill(codec->above - 3, model->background, width + 5);
    tw_codec_fill(codec->now - 3, model->background, width + 5);
    return true;
}

const uint32_t *tw_codec_row(tw_codec *codec, const uint8_t *payload) {
    uint32_t *above = codec->above, *now = codec->now;
    uint32_t width = codec->width, breaks = 0;
    codec->in = payload;
    tw_codec_edges(above, now, width);
    for (uint32_t x = 0; x < width; x++) {
        const uint32_t w = now[(ptrdiff_t)x - 1];
        bool excluded = false, shore = false;
        if (w == above[x] && w == above[(ptrdiff_t)x - 1]) {
            if (w == above[x + 1] && codec->begun) {
                const uint32_t stretch = tw_codec_stretch(above, x, width);
                const uint32_t flat =
                    take_flat(codec, stretch, tw_codec_flat_context(now + x, w, stretch, breaks));
                if (flat > stretch) {
                    return NULL;
                }
                codec->model->last_flat = w;
                tw_codec_fill(now + x, w, flat);
                x += flat;
                if (flat == stretch) {
                    x--;
                    continue;
                }
                breaks += breaks < 2;
                excluded = true;
            } else if (codec->run < TW_CODEC_DEAF) {
                shore = take(codec, &codec->prob[tw_codec_shore_context(codec->layout, above + x, now + x)]);
                excluded = !shore;
            }
        }
        now[x] = shore ? w : take_pixel(codec, above + x, now + x, w, excluded);
        if (!codec->begun) {
            codec->begun = true;
            tw_codec_first(codec->model, above, now, width);
        }
    }
    codec->above = now;
    codec->now = above;
    return codec->at <= codec->length + 3 ? now : NULL;
}

bool tw_codec_end(const tw_codec *codec) {
    return codec->at == codec->length + 3;
}

#endif
