/* Which rectangles to send: those that fit what changed.
 *
 * Every changed pixel is one bit of a mask. The bounding box of all bits is cut in two, wherever the tight boxes of
 * both halves leave out most; where no single cut pays (a frame, a ring), up to four boxes go around the largest empty
 * rectangle. The cut that saves most is made first, so the limit on rectangles costs the least important ones. At the
 * end any two whose common box is cheaper become one.
 */
#include <stdlib.h>

#include "pixel.h"

enum { AROUND_HOLE = 4, CELL = 8 };

/* From `low` up to, without, `high`; empty where they are equal. */
typedef struct {
    int32_t low, high;
} span;

typedef struct {
    int32_t left, top, right, bottom;
} box;

typedef struct {
    box whole;
    box parts[AROUND_HOLE];
    int32_t part_count;
    int64_t saving; /* pixels left out by the parts, less their cost; 0 where it stays whole */
} node;

struct tw_ns_context {
    int32_t width, height; /* the largest rectangle */
    size_t words;          /* of a row of the mask, in this call */
    uint64_t *mask;
    span *lines; /* of rows or columns of the box at hand: where their bits begin and end */
    span *rest;  /* the same of each line and all that follow */
    int32_t *rest_first;
    int32_t *depths;
    int32_t *stack;
    node nodes[TW_NS_MAX_RECTS];
};

void tw_ns_context_free(tw_ns_context *context) {
    if (context == NULL) {
        return;
    }
    free(context->mask);
    free(context->lines);
    free(context->rest);
    free(context->rest_first);
    free(context->depths);
    free(context->stack);
    free(context);
}

tw_ns_context *tw_ns_context_new(int32_t width, int32_t height) {
    if (width < 1 || height < 1 || width > INT16_MAX || height > INT16_MAX) {
        return NULL;
    }
    tw_ns_context *context = calloc(1, sizeof *context);
    if (context == NULL) {
        return NULL;
    }
    const size_t side = (size_t)tw_ns_max(width, height);
    const size_t cells = (size_t)width / CELL + 1;
    context->width = width;
    context->height = height;
    context->mask = calloc(((size_t)width + 63) / 64 * (size_t)height, sizeof *context->mask);
    context->lines = calloc(side, sizeof *context->lines);
    context->rest = calloc(side, sizeof *context->rest);
    context->rest_first = calloc(side, sizeof *context->rest_first);
    context->depths = calloc(cells, sizeof *context->depths);
    context->stack = calloc(cells, sizeof *context->stack);
    if (context->mask == NULL || context->lines == NULL || context->rest == NULL
        || context->rest_first == NULL || context->depths == NULL || context->stack == NULL) {
        tw_ns_context_free(context);
        return NULL;
    }
    return context;
}

static int64_t area_of(box b) {
    return (int64_t)(b.right - b.left) * (b.bottom - b.top);
}

static box joined(box a, box b) {
    return (box){tw_ns_min(a.left, b.left), tw_ns_min(a.top, b.top), tw_ns_max(a.right, b.right),
        tw_ns_max(a.bottom, b.bottom)};
}

static bool overlap(box a, box b) {
    return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

static span span_joined(span a, span b) {
    if (a.low == a.high) {
        return b;
    }
    if (b.low == b.high) {
        return a;
    }
    return (span){tw_ns_min(a.low, b.low), tw_ns_max(a.high, b.high)};
}

/* --- The mask */

static int32_t lowest_bit(uint64_t word) {
    return __builtin_ctzll(word);
}

static int32_t highest_bit(uint64_t word) {
    return 63 - __builtin_clzll(word);
}

static const uint64_t *mask_row(const tw_ns_context *context, int32_t y) {
    return context->mask + (size_t)y * context->words;
}

/* The bits of word `word`, which has some, that lie in columns left to right - 1. */
static uint64_t columns_of_word(int32_t word, int32_t left, int32_t right) {
    uint64_t bits = ~UINT64_C(0);
    if (left > word * 64) {
        bits <<= (uint32_t)(left - word * 64) % 64;
    }
    if (right < word * 64 + 64) {
        bits &= ~UINT64_C(0) >> (uint32_t)(word * 64 + 64 - right) % 64;
    }
    return bits;
}

static void find_changed(
    tw_ns_context *context, const tw_ns_surface *now, const tw_ns_surface *shadow, tw_ns_rect rect) {
    const size_t stored = (size_t)now->stored;
    const size_t width = (size_t)rect.width;
    for (int32_t row = 0; row < rect.height; row++) {
        const uint8_t *a = tw_ns_at(now, rect.x, rect.y + row);
        const uint8_t *b = tw_ns_at(shadow, rect.x, rect.y + row);
        const uint8_t *states = shadow->states + tw_ns_index(shadow, rect.x, rect.y + row);
        uint64_t *words = context->mask + (size_t)row * context->words;
        const bool differ = memcmp(a, b, width * stored) != 0;
        const bool unknown = memchr(states, TW_NS_UNKNOWN, width) != NULL;
        if (!differ && !unknown) {
            memset(words, 0, context->words * sizeof *words);
            continue;
        }
        for (size_t i = 0; i < width; i += 64) {
            const size_t count = width - i < 64 ? width - i : 64;
            uint64_t bits = 0;
            if (differ) {
                bits = tw_ns_differ64(a + i * stored, b + i * stored, now->stored, count);
            }
            if (unknown) {
                bits |= tw_ns_states64(states + i, TW_NS_UNKNOWN, count);
            }
            words[i / 64] = bits;
        }
    }
}

static void find_lossy(tw_ns_context *context, const tw_ns_surface *shadow, tw_ns_rect rect) {
    const size_t width = (size_t)rect.width;
    for (int32_t row = 0; row < rect.height; row++) {
        const uint8_t *states = shadow->states + tw_ns_index(shadow, rect.x, rect.y + row);
        uint64_t *words = context->mask + (size_t)row * context->words;
        if (memchr(states, TW_NS_LOSSY, width) == NULL) {
            memset(words, 0, context->words * sizeof *words);
            continue;
        }
        for (size_t i = 0; i < width; i += 64) {
            words[i / 64] = tw_ns_states64(states + i, TW_NS_LOSSY, width - i < 64 ? width - i : 64);
        }
    }
}

/* Where the bits of row y begin and end, in columns. */
static span row_span(const tw_ns_context *context, int32_t y, int32_t left, int32_t right) {
    const uint64_t *words = mask_row(context, y);
    const int32_t first = left / 64;
    const int32_t last = (right - 1) / 64;
    for (int32_t w = first; w <= last; w++) {
        const uint64_t low_bits = words[w] & columns_of_word(w, left, right);
        if (low_bits == 0) {
            continue;
        }
        for (int32_t v = last; v >= w; v--) {
            const uint64_t high_bits = words[v] & columns_of_word(v, left, right);
            if (high_bits != 0) {
                return (span){w * 64 + lowest_bit(low_bits), v * 64 + highest_bit(high_bits) + 1};
            }
        }
    }
    return (span){0, 0};
}

/* Where the bits of each column of `b` begin and end, in rows. */
static void column_spans(const tw_ns_context *context, box b, span *spans) {
    memset(spans, 0, (size_t)(b.right - b.left) * sizeof *spans);
    for (int32_t w = b.left / 64; w <= (b.right - 1) / 64; w++) {
        const uint64_t wanted = columns_of_word(w, b.left, b.right);
        uint64_t seen = 0;
        for (int32_t y = b.top; y < b.bottom && seen != wanted; y++) {
            uint64_t fresh = mask_row(context, y)[w] & wanted & ~seen;
            seen |= fresh;
            for (; fresh != 0; fresh &= fresh - 1) {
                spans[w * 64 + lowest_bit(fresh) - b.left].low = y;
            }
        }
        for (int32_t y = b.bottom - 1; y >= b.top && seen != 0; y--) {
            uint64_t fresh = mask_row(context, y)[w] & seen;
            seen &= ~fresh;
            for (; fresh != 0; fresh &= fresh - 1) {
                spans[w * 64 + lowest_bit(fresh) - b.left].high = y + 1;
            }
        }
    }
}

/* Take the empty rows and columns off the border; false where nothing is left. */
static bool tighten(const tw_ns_context *context, box *b) {
    span columns = {0, 0};
    span rows = {0, 0};
    for (int32_t y = b->top; y < b->bottom; y++) {
        const span row = row_span(context, y, b->left, b->right);
        if (row.low < row.high) {
            columns = span_joined(columns, row);
            rows = span_joined(rows, (span){y, y + 1});
        }
    }
    *b = (box){columns.low, rows.low, columns.high, rows.high};
    return rows.low < rows.high;
}

/* --- One box in parts */

/* The cut before line *where of `count` that leaves out most, given where the bits of each line are. Returns how
 * many pixels less `cost`, 0 where no cut is worth it. Of equal cuts the one next to the middle, for short work. */
static int64_t best_cut(tw_ns_context *context, int32_t count, int64_t cost, int32_t *where) {
    const span *lines = context->lines;
    span seen = {0, 0};
    int32_t first = count;
    for (int32_t i = count - 1; i >= 0; i--) {
        if (lines[i].low < lines[i].high) {
            seen = span_joined(seen, lines[i]);
            first = i;
        }
        context->rest[i] = seen;
        context->rest_first[i] = first;
    }
    const int64_t whole = (int64_t)(seen.high - seen.low) * count;
    int64_t best = 0;
    int32_t best_off = count;
    seen = (span){0, 0};
    int32_t end = 0;
    for (int32_t i = 0; i < count; i++) {
        if (lines[i].low == lines[i].high) {
            continue;
        }
        if (i > 0) {
            const span rest = context->rest[i];
            const int64_t parts =
                (int64_t)(seen.high - seen.low) * end + (int64_t)(rest.high - rest.low) * (count - i);
            const int64_t saving = whole - parts - cost;
            const int32_t off = abs(2 * i - count);
            if (saving > best || (saving == best && saving > 0 && off < best_off)) {
                best = saving;
                best_off = off;
                *where = i;
            }
        }
        seen = span_joined(seen, lines[i]);
        end = i + 1;
    }
    return best;
}

static bool row_empty(const tw_ns_context *context, int32_t y, int32_t left, int32_t right) {
    const span row = row_span(context, y, left, right);
    return row.low == row.high;
}

static bool column_empty(const tw_ns_context *context, int32_t x, int32_t top, int32_t bottom) {
    for (int32_t y = top; y < bottom; y++) {
        if (mask_row(context, y)[x / 64] >> (x % 64) & 1) {
            return false;
        }
    }
    return true;
}

/* The largest rectangle of `b` without bits: found in cells of 8x8, then grown to the pixel. False where there is
 * none, or none with more than `least` pixels in whole cells. */
static bool largest_hole(tw_ns_context *context, box b, int64_t least, box *hole) {
    const int32_t first = (b.left + CELL - 1) / CELL;
    const int32_t count = b.right / CELL - first;
    if (count < 1) {
        return false;
    }
    int32_t *depths = context->depths;
    int32_t *stack = context->stack;
    int64_t best = least;
    bool found = false;
    memset(depths, 0, ((size_t)count + 1) * sizeof *depths);
    for (int32_t y = b.top; y + CELL <= b.bottom; y += CELL) {
        for (int32_t i = 0; i < count;) {
            const int32_t cell = first + i;
            uint64_t bits = 0;
            for (int32_t row = y; row < y + CELL; row++) {
                bits |= mask_row(context, row)[cell / CELL];
            }
            for (int32_t j = cell % CELL; j < CELL && i < count; i++, j++) {
                depths[i] = bits >> (j * CELL) & 0xFF ? 0 : depths[i] + CELL;
            }
        }
        /* The columns on the stack have growing depths; a lower one closes all rectangles that it cuts short. */
        int32_t height = 0;
        for (int32_t i = 0; i <= count; i++) {
            const int32_t depth = i < count ? depths[i] : 0;
            while (height > 0 && depths[stack[height - 1]] >= depth) {
                const int32_t closed = depths[stack[--height]];
                const int32_t start = height > 0 ? stack[height - 1] + 1 : 0;
                const int64_t area = (int64_t)(i - start) * CELL * closed;
                if (area > best) {
                    best = area;
                    found = true;
                    *hole = (box){(first + start) * CELL, y + CELL - closed, (first + i) * CELL, y + CELL};
                }
            }
            if (i < count) {
                stack[height++] = i;
            }
        }
    }
    if (!found) {
        return false;
    }
    while (hole->top > b.top && row_empty(context, hole->top - 1, hole->left, hole->right)) {
        hole->top--;
    }
    while (hole->bottom < b.bottom && row_empty(context, hole->bottom, hole->left, hole->right)) {
        hole->bottom++;
    }
    while (hole->left > b.left && column_empty(context, hole->left - 1, hole->top, hole->bottom)) {
        hole->left--;
    }
    while (hole->right < b.right && column_empty(context, hole->right, hole->top, hole->bottom)) {
        hole->right++;
    }
    return true;
}

/* Set the parts of `n`, tight, from up to four disjoint boxes that hold all its bits. */
static void set_parts(const tw_ns_context *context, node *n, const box *boxes, int32_t count, int64_t cost) {
    box parts[AROUND_HOLE];
    int32_t kept = 0;
    int64_t saving = area_of(n->whole) + cost;
    for (int32_t i = 0; i < count; i++) {
        box part = boxes[i];
        if (part.left < part.right && part.top < part.bottom && tighten(context, &part)) {
            saving -= area_of(part) + cost;
            parts[kept++] = part;
        }
    }
    if (saving > n->saving) {
        n->saving = saving;
        n->part_count = kept;
        memcpy(n->parts, parts, (size_t)kept * sizeof *parts);
    }
}

/* Find the best way to take the box of `n` apart. */
static void plan(tw_ns_context *context, node *n, box whole, int64_t cost) {
    *n = (node){.whole = whole, .part_count = 1};
    if (area_of(whole) <= cost) {
        return;
    }
    int32_t where = 0;
    int64_t saving = 0;
    box halves[2] = {whole, whole};
    for (int32_t y = whole.top; y < whole.bottom; y++) {
        context->lines[y - whole.top] = row_span(context, y, whole.left, whole.right);
    }
    saving = best_cut(context, whole.bottom - whole.top, cost, &where);
    if (saving > 0) {
        halves[0].bottom = halves[1].top = whole.top + where;
    }
    column_spans(context, whole, context->lines);
    if (best_cut(context, whole.right - whole.left, cost + saving, &where) > 0) {
        halves[0] = halves[1] = whole;
        halves[0].right = halves[1].left = whole.left + where;
        saving = 1;
    }
    if (saving > 0) {
        set_parts(context, n, halves, 2, cost);
        return;
    }
    box hole;
    if (largest_hole(context, whole, cost, &hole)) {
        const box wide[AROUND_HOLE] = {
            {whole.left, whole.top, whole.right, hole.top},
            {whole.left, hole.top, hole.left, hole.bottom},
            {hole.right, hole.top, whole.right, hole.bottom},
            {whole.left, hole.bottom, whole.right, whole.bottom},
        };
        const box tall[AROUND_HOLE] = {
            {whole.left, whole.top, hole.left, whole.bottom},
            {hole.left, whole.top, hole.right, hole.top},
            {hole.left, hole.bottom, hole.right, whole.bottom},
            {hole.right, whole.top, whole.right, whole.bottom},
        };
        set_parts(context, n, wide, AROUND_HOLE, cost);
        set_parts(context, n, tall, AROUND_HOLE, cost);
    }
}

/* --- All boxes */

/* Take boxes apart, the one that saves most first. Returns how many there are then. */
static int32_t take_apart(tw_ns_context *context, box whole, int64_t cost, int32_t capacity) {
    node *nodes = context->nodes;
    int32_t count = 1;
    plan(context, &nodes[0], whole, cost);
    while (true) {
        int32_t best = -1;
        for (int32_t i = 0; i < count; i++) {
            if (nodes[i].saving > 0 && count + nodes[i].part_count - 1 <= capacity
                && (best < 0 || nodes[i].saving > nodes[best].saving)) {
                best = i;
            }
        }
        if (best < 0) {
            return count;
        }
        const node split = nodes[best];
        plan(context, &nodes[best], split.parts[0], cost);
        for (int32_t i = 1; i < split.part_count; i++) {
            plan(context, &nodes[count++], split.parts[i], cost);
        }
    }
}

/* Join pairs while their common box, where it touches no third, is no dearer than two. */
static int32_t put_together(node *nodes, int32_t count, int64_t cost) {
    bool again = true;
    while (again) {
        again = false;
        for (int32_t i = 0; i < count; i++) {
            for (int32_t j = i + 1; j < count; j++) {
                const box both = joined(nodes[i].whole, nodes[j].whole);
                bool join = area_of(both) - area_of(nodes[i].whole) - area_of(nodes[j].whole) <= cost;
                for (int32_t k = 0; join && k < count; k++) {
                    join = k == i || k == j || !overlap(both, nodes[k].whole);
                }
                if (join) {
                    nodes[i].whole = both;
                    nodes[j].whole = nodes[--count].whole;
                    j = i;
                    again = true;
                }
            }
        }
    }
    return count;
}

static int by_place(const void *first, const void *second) {
    const tw_ns_rect *a = first;
    const tw_ns_rect *b = second;
    return a->y != b->y ? (a->y > b->y) - (a->y < b->y) : (a->x > b->x) - (a->x < b->x);
}

int32_t tw_ns_changes(tw_ns_context *context, const tw_ns_surface *now, const tw_ns_surface *shadow,
    tw_ns_rect rect, int32_t find, int32_t cost, tw_ns_rect *rects, int32_t capacity) {
    if (capacity < 1 || cost < 0 || shadow->states == NULL
        || (find == TW_NS_FIND_CHANGED && !tw_ns_alike(now, shadow))) {
        return -1;
    }
    if (!tw_ns_clip(&rect, shadow->width, shadow->height)) {
        return 0;
    }
    if (rect.width > context->width || rect.height > context->height) {
        return -1;
    }
    context->words = ((size_t)rect.width + 63) / 64;
    if (find == TW_NS_FIND_LOSSY) {
        find_lossy(context, shadow, rect);
    } else {
        find_changed(context, now, shadow, rect);
    }
    box whole = {0, 0, rect.width, rect.height};
    if (!tighten(context, &whole)) {
        return 0;
    }
    int32_t count = take_apart(context, whole, cost, tw_ns_min(capacity, TW_NS_MAX_RECTS));
    count = put_together(context->nodes, count, cost);
    for (int32_t i = 0; i < count; i++) {
        const box b = context->nodes[i].whole;
        rects[i] = (tw_ns_rect){rect.x + b.left, rect.y + b.top, b.right - b.left, b.bottom - b.top};
    }
    qsort(rects, (size_t)count, sizeof *rects, by_place);
    return count;
}
