/* What moved: rectangles of the new picture that stand elsewhere in the shadow.
 *
 * Windows of a row are hashed by content and sampled by their hash, so that the same letters are sampled wherever
 * they stand. Windows of the shadow are remembered, windows of the new picture looked up; where one is found, its way
 * gets a vote. The ways with most votes are held against the pictures block by block, and the largest rectangles that
 * agree are grown to the pixel. Nothing is a copy that was not compared whole.
 */
#include "pixel.h"

enum {
    WINDOW = 24,       /* pixels: about three letters */
    SAMPLE_SHIFT = 27, /* one window in 2^5 is sampled */
    ANCHOR_BITS = 14,
    WAY_BITS = 10,
    WAY_PROBES = 8,
    BLOCKS = 64,     /* columns that the area is compared in: one bit of a word each */
    MIN_BLOCK = 8,   /* pixels */
    MIN_VOTES = 3,   /* fewer are an accident */
    MAX_WAYS = 8,    /* that are held against the pictures */
    MAX_PER_WAY = 4, /* rectangles that move the same way: beside a scrollbar, under a header */
    MAX_STEPS = 1
        << 21 /* rows that one search follows runs over: some milliseconds; noise would take a second */
};

#define HASH_BASE UINT32_C(0x9E3779B1)
#define HASH_MIX UINT32_C(0x85EBCA6B)

typedef struct {
    uint32_t hash; /* 0: empty */
    int16_t x, y;  /* x < 0: seen more than once, says nothing */
} anchor;

typedef struct {
    int16_t dx, dy;
    uint32_t votes;
} way;

typedef struct {
    anchor anchors[1 << ANCHOR_BITS];
    way ways[1 << WAY_BITS];
    uint64_t same[TW_NS_MAX_SIDE];  /* blocks of a row that stand in the shadow where the way comes from */
    uint64_t wrong[TW_NS_MAX_SIDE]; /* blocks that differ from the shadow and are not flat */
} search;

_Static_assert(sizeof(search) <= TW_NS_MOTION_BYTES, "native.h says how much memory the search needs");

typedef struct {
    int32_t x, y, right, bottom;
} bounds;

static void vote(search *s, int32_t dx, int32_t dy) {
    const uint32_t at = ((uint32_t)dx * HASH_MIX + (uint32_t)dy * HASH_BASE) >> (32 - WAY_BITS);
    for (uint32_t probe = 0; probe < WAY_PROBES; probe++) {
        way *w = &s->ways[(at + probe) & ((1U << WAY_BITS) - 1)];
        if (w->votes == 0) {
            w->dx = (int16_t)dx;
            w->dy = (int16_t)dy;
        }
        if (w->dx == dx && w->dy == dy) {
            w->votes++;
            return;
        }
    }
}

static void sample(search *s, uint32_t hash, int32_t x, int32_t y, bool remember) {
    const uint32_t mixed = (hash ^ hash >> 15) * HASH_MIX;
    if (mixed >> SAMPLE_SHIFT) {
        return;
    }
    anchor *a = &s->anchors[mixed >> (SAMPLE_SHIFT - ANCHOR_BITS)];
    hash |= 1;
    if (!remember) {
        if (a->hash == hash && a->x >= 0 && (a->x != x || a->y != y)) {
            vote(s, a->x - x, a->y - y);
        }
    } else if (a->hash == 0) {
        *a = (anchor){hash, (int16_t)x, (int16_t)y};
    } else {
        a->x = -1;
    }
}

/* The hash of a window is a polynomial of its pixels: it does not depend on where the window stands. */
static inline void scan(
    search *s, const tw_ns_surface *surface, const bounds *area, int32_t y, bool remember, int32_t stored) {
    const uint8_t *row = tw_ns_at(surface, 0, y);
    uint32_t leaving = 1;
    for (int i = 0; i < WINDOW; i++) {
        leaving *= HASH_BASE;
    }
    uint32_t hash = 0;
    uint32_t last = 0;
    int32_t flat = 0;
    for (int32_t x = area->x; x < area->right; x++) {
        const uint32_t pixel = tw_ns_load(row, (size_t)x, stored);
        hash = hash * HASH_BASE + pixel + 1;
        flat = pixel == last ? flat + 1 : 0;
        last = pixel;
        if (x - area->x >= WINDOW) {
            hash -= (tw_ns_load(row, (size_t)x - WINDOW, stored) + 1) * leaving;
            if (flat <= WINDOW / 2) {
                sample(s, hash, x, y, remember);
            }
        }
    }
}

static void scan_rows(
    search *s, const tw_ns_surface *surface, const bounds *area, int32_t step, bool remember) {
    for (int32_t y = area->y; y < area->bottom; y += step) {
        /* Constants make three loops of one. */
        switch (surface->stored) {
        case 1: scan(s, surface, area, y, remember, 1); break;
        case 2: scan(s, surface, area, y, remember, 2); break;
        default: scan(s, surface, area, y, remember, 4); break;
        }
    }
}

static bool equal(const tw_ns_surface *a, int32_t ax, int32_t ay, const tw_ns_surface *b, int32_t bx,
    int32_t by, int32_t count) {
    return memcmp(tw_ns_at(a, ax, ay), tw_ns_at(b, bx, by), (size_t)count * (size_t)a->stored) == 0;
}

static bool known(const tw_ns_surface *shadow, int32_t x, int32_t y, int32_t count) {
    return memchr(shadow->states + tw_ns_index(shadow, x, y), TW_NS_UNKNOWN, (size_t)count) == NULL;
}

static bool flat(const tw_ns_surface *surface, int32_t x, int32_t y, int32_t count) {
    return count == 1 || equal(surface, x, y, surface, x + 1, y, count - 1);
}

/* Whether `count` pixels of the new picture stand in the shadow, known, `dx`, `dy` from where they belong. */
static bool moved(const tw_ns_surface *now, const tw_ns_surface *shadow, int32_t x, int32_t y, int32_t count,
    int32_t dx, int32_t dy) {
    return equal(now, x, y, shadow, x + dx, y + dy, count) && known(shadow, x + dx, y + dy, count);
}

static void compare(search *s, const tw_ns_surface *now, const tw_ns_surface *shadow, const bounds *area,
    int32_t block, int32_t dx, int32_t dy) {
    for (int32_t y = area->y; y < area->bottom; y++) {
        uint64_t same = 0;
        uint64_t wrong = 0;
        if (y + dy >= area->y && y + dy < area->bottom) {
            uint64_t bit = 1;
            for (int32_t x = area->x; x < area->right; x += block, bit <<= 1) {
                const int32_t count = tw_ns_min(block, area->right - x);
                if (x + dx < area->x || x + dx + count > area->right) {
                    continue;
                }
                if (moved(now, shadow, x, y, count, dx, dy)) {
                    same |= bit;
                    /* A flat block costs next to nothing without a copy. */
                    if ((!equal(now, x, y, shadow, x, y, count) || !known(shadow, x, y, count))
                        && !flat(now, x, y, count)) {
                        wrong |= bit;
                    }
                }
            }
        }
        s->same[y] = same;
        s->wrong[y] = wrong;
    }
}

static int32_t ones(uint64_t bits) {
    int32_t count = 0;
    for (; bits != 0; bits &= bits - 1) {
        count++;
    }
    return count;
}

/* The lowest run of ones in `bits`, which has some: adding its lowest bit carries to the zero above it. */
static uint64_t first_run(uint64_t bits) {
    const uint64_t low = bits & (~bits + 1);
    const uint64_t carry = (bits + low) & ~bits;
    return carry == 0 ? bits : bits & (carry - 1);
}

/* The blocks (a run of bits) and rows that put most wrong blocks right. Returns how many. `steps`: rows that may still
 * be followed; where they are used up, the best so far has to do. */
static int32_t best_blocks(const search *s, const bounds *area, int32_t *steps, uint64_t *best_run,
    int32_t *best_top, int32_t *best_bottom) {
    int32_t best = 0;
    for (int32_t y = area->y; y < area->bottom && *steps > 0; y++) {
        for (uint64_t left = s->same[y]; left != 0;) {
            const uint64_t run = first_run(left);
            left &= ~run;
            const uint64_t wide = run | run << 1 | run >> 1;
            if (y > area->y && (s->same[y - 1] & wide) == run) {
                continue; /* the same rectangle as from the row above */
            }
            int32_t top = y;
            while (top > area->y && (s->same[top - 1] & run) == run) {
                top--;
            }
            int32_t gain = 0;
            int32_t bottom = top;
            for (; bottom < area->bottom && (s->same[bottom] & run) == run; bottom++) {
                gain += ones(s->wrong[bottom] & run);
            }
            *steps -= bottom - top;
            if (gain > best) {
                best = gain;
                *best_run = run;
                *best_top = top;
                *best_bottom = bottom;
            }
        }
    }
    return best;
}

static bool column_moved(const tw_ns_surface *now, const tw_ns_surface *shadow, int32_t x, const bounds *rows,
    int32_t dx, int32_t dy) {
    for (int32_t y = rows->y; y < rows->bottom; y++) {
        if (!moved(now, shadow, x, y, 1, dx, dy)) {
            return false;
        }
    }
    return true;
}

/* From blocks to pixels. */
static void grow(bounds *to, const tw_ns_surface *now, const tw_ns_surface *shadow, const bounds *area,
    int32_t dx, int32_t dy) {
    while (to->x > area->x && to->x - 1 + dx >= area->x && column_moved(now, shadow, to->x - 1, to, dx, dy)) {
        to->x--;
    }
    while (to->right < area->right && to->right + dx < area->right
           && column_moved(now, shadow, to->right, to, dx, dy)) {
        to->right++;
    }
    const int32_t width = to->right - to->x;
    while (
        to->y > area->y && to->y - 1 + dy >= area->y && moved(now, shadow, to->x, to->y - 1, width, dx, dy)) {
        to->y--;
    }
    while (to->bottom < area->bottom && to->bottom + dy < area->bottom
           && moved(now, shadow, to->x, to->bottom, width, dx, dy)) {
        to->bottom++;
    }
}

static int32_t lowest(uint64_t bits) {
    return ones((bits & (~bits + 1)) - 1);
}

static way *most_voted(search *s) {
    way *top = &s->ways[0];
    for (size_t i = 1; i < (size_t)1 << WAY_BITS; i++) {
        if (s->ways[i].votes > top->votes) {
            top = &s->ways[i];
        }
    }
    return top;
}

int32_t tw_ns_find_moves(void *memory, const tw_ns_surface *now, const tw_ns_surface *shadow, tw_ns_rect rect,
    int32_t min_gain, tw_ns_move *moves, int32_t capacity) {
    search *s = memory;
    if (!tw_ns_alike(now, shadow) || !tw_ns_clip(&rect, now->width, now->height)
        || now->height > TW_NS_MAX_SIDE) {
        return 0;
    }
    const bounds area = {rect.x, rect.y, rect.x + rect.width, rect.y + rect.height};
    memset(s->anchors, 0, sizeof s->anchors);
    memset(s->ways, 0, sizeof s->ways);
    scan_rows(s, shadow, &area, 1, true);
    scan_rows(s, now, &area, 2, false);

    const int32_t block = tw_ns_max((rect.width + BLOCKS - 1) / BLOCKS, MIN_BLOCK);
    int32_t found = 0;
    int32_t steps = MAX_STEPS;
    for (int i = 0; i < MAX_WAYS && found < capacity; i++) {
        way *top = most_voted(s);
        if (top->votes < MIN_VOTES) {
            break;
        }
        top->votes = 0;
        const int32_t dx = top->dx;
        const int32_t dy = top->dy;
        for (int j = 0; j < MAX_PER_WAY && found < capacity; j++) {
            uint64_t run = 0;
            bounds to = {0, 0, 0, 0};
            compare(s, now, shadow, &area, block, dx, dy);
            const int32_t gain = best_blocks(s, &area, &steps, &run, &to.y, &to.bottom) * block;
            if (gain == 0 || gain < min_gain) {
                break;
            }
            to.x = area.x + lowest(run) * block;
            to.right = tw_ns_min(to.x + ones(run) * block, area.right);
            grow(&to, now, shadow, &area, dx, dy);
            const tw_ns_rect place = {to.x, to.y, to.right - to.x, to.bottom - to.y};
            moves[found++] = (tw_ns_move){place, to.x + dx, to.y + dy};
            /* The next is found on the result so far, as the device carries it out. */
            tw_ns_copy(shadow, place, to.x + dx, to.y + dy);
        }
    }
    return found;
}
