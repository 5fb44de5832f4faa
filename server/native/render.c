/* The screen as a panel shows it: scaled down by area average, turned, converted, on black.
 *
 * Scaling is exact. With the ratios in lowest terms, a pixel of the picture covers `from` units of the window in each
 * direction, of which a pixel of the window has `to`; it becomes the mean of what it covers, rounded to the nearest.
 * Nothing is rounded in between, so any part of a picture is the same as that part of the whole.
 */
#include "pixel.h"

/* Pixels that are made before they are converted: 16 KiB, half of a level 1 cache. */
#define TILE 4096
/* Rows of the picture in a tile, which are rows or columns of the panel. Few and long: what is read then lies together,
 * and with squares of 64 pixels turned pictures took up to three times as long while the caches were in use. */
#define TILE_ROWS 16
#define TILE_LENGTH (TILE / TILE_ROWS)
/* Of the squares under a cursor: few cursors are larger. */
#define CURSOR_SIDE 64
/* Of the window, summed at a time. */
#define MAX_COLUMNS 510
/* Units that a pixel may cover: 256 times as many fit 32 bits, and so does what divides by them. */
#define MAX_FAST_AREA (UINT64_C(1) << 23)

/* One direction of a scaled picture. */
typedef struct {
    int32_t from, to;
} ratio;

typedef struct {
    const tw_ns_surface *screen;
    tw_ns_rect window;
    int32_t width, height; /* of the picture before it is turned */
    int32_t rotation;
    bool scaled;
    ratio across, down;
    uint64_t area; /* units of the window that a pixel of the picture covers */
    int32_t span;  /* pixels of the picture that are made at a time; 0: the fast way does not reach so far */
    uint32_t inverse;
    int32_t shift;
} painter;

static ratio lowest(int32_t from, int32_t to) {
    int32_t a = from;
    int32_t b = to;
    while (b != 0) {
        const int32_t rest = a % b;
        a = b;
        b = rest;
    }
    return (ratio){from / a, to / a};
}

static bool inside(tw_ns_rect rect, int32_t width, int32_t height) {
    return rect.x >= 0 && rect.y >= 0 && rect.width >= 1 && rect.height >= 1 && rect.x <= width - rect.width
           && rect.y <= height - rect.height;
}

/* False where the view is not one of this screen on a panel of this size. */
static bool prepare(painter *p, const tw_ns_surface *screen, tw_ns_view view, int32_t width, int32_t height) {
    const bool quarter = (view.rotation & 1) != 0;
    if (screen->stored != 4 || view.rotation < 0 || view.rotation > 3
        || !inside(view.window, screen->width, screen->height)
        || !inside(view.picture, quarter ? height : width, quarter ? width : height)
        || view.picture.width > view.window.width || view.picture.height > view.window.height) {
        return false;
    }
    *p = (painter){
        .screen = screen,
        .window = view.window,
        .width = view.picture.width,
        .height = view.picture.height,
        .rotation = view.rotation,
        .across = lowest(view.window.width, view.picture.width),
        .down = lowest(view.window.height, view.picture.height),
    };
    p->area = (uint64_t)p->across.from * (uint64_t)p->down.from;
    p->scaled = p->area > 1;
    if (p->scaled && p->area <= MAX_FAST_AREA) {
        p->span = (int32_t)((int64_t)(MAX_COLUMNS - 2) * p->across.to / p->across.from);
        /* n / area is n * inverse >> shift for all n below 256 * area: as the inverse is too large by at most one of
         * 2^shift, the quotient is by less than 256 * area / 2^shift, which is at most 1 / area; so the next whole
         * number is not reached. */
        int32_t bits = 0;
        while ((UINT64_C(1) << bits) < p->area) {
            bits++;
        }
        p->shift = tw_ns_max(8 + 2 * bits, 32);
        p->inverse = (uint32_t)((UINT64_C(1) << p->shift) / p->area + 1);
    }
    return true;
}

/* Units of a row or column that a pixel of the picture covers. */
static inline uint32_t weight(ratio r, int32_t pixel, int32_t source) {
    const int32_t start = tw_ns_max(pixel * r.from, source * r.to);
    const int32_t end = tw_ns_min((pixel + 1) * r.from, (source + 1) * r.to);
    return end > start ? (uint32_t)(end - start) : 0;
}

static inline int32_t first_of(ratio r, int32_t pixel) {
    return pixel * r.from / r.to;
}

/* The first row or column beyond those that pixels before `pixel` cover. */
static inline int32_t end_of(ratio r, int32_t pixel) {
    return (pixel * r.from + r.to - 1) / r.to;
}

/* Bytes times weights. Two rows at a time, 16 bits by 16 bits: what the vector units do best. */
static void weigh(uint32_t *restrict sums, const uint8_t *restrict a, uint16_t weight_a,
    const uint8_t *restrict b, uint16_t weight_b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sums[i] = (uint32_t)(uint16_t)a[i] * weight_a + (uint32_t)(uint16_t)b[i] * weight_b;
    }
}

static void weigh_more(uint32_t *restrict sums, const uint8_t *restrict a, uint16_t weight_a,
    const uint8_t *restrict b, uint16_t weight_b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        sums[i] += (uint32_t)(uint16_t)a[i] * weight_a + (uint32_t)(uint16_t)b[i] * weight_b;
    }
}

/* The columns of the rows that row v of the picture covers, summed with the rows' weights. */
static void sum_rows(const painter *p, int32_t v, int32_t first, int32_t columns, uint32_t *sums) {
    const size_t count = (size_t)columns * 4;
    const int32_t end = end_of(p->down, v + 1);
    const int32_t start = first_of(p->down, v);
    for (int32_t y = start; y < end; y += 2) {
        const int32_t next = tw_ns_min(y + 1, end - 1);
        const uint8_t *a = tw_ns_at(p->screen, p->window.x + first, p->window.y + y);
        const uint8_t *b = tw_ns_at(p->screen, p->window.x + first, p->window.y + next);
        const uint16_t weight_a = (uint16_t)weight(p->down, v, y);
        const uint16_t weight_b = next == y ? 0 : (uint16_t)weight(p->down, v, next);
        (y == start ? weigh : weigh_more)(sums, a, weight_a, b, weight_b, count);
    }
}

/* Each pixel becomes the sum of itself and all before it. */
static void add_up(uint32_t *pixels, size_t count) {
    uint32_t blue = 0;
    uint32_t green = 0;
    uint32_t red = 0;
    uint32_t alpha = 0;
    for (size_t i = 0; i < 4 * count; i += 4) {
        blue += pixels[i];
        green += pixels[i + 1];
        red += pixels[i + 2];
        alpha += pixels[i + 3];
        pixels[i] = blue;
        pixels[i + 1] = green;
        pixels[i + 2] = red;
        pixels[i + 3] = alpha;
    }
}

/* For each border between two pixels of the picture, the sums up to it, in units: `part` of them is where in a column
 * the first border lies. Modulo 2^32, as the differences of two, which fit, are too. */
static void cut(
    ratio r, const uint32_t *restrict sums, uint32_t part, uint32_t *restrict borders, size_t count) {
    const uint32_t to = (uint32_t)r.to;
    const size_t whole = (size_t)(r.from / r.to);
    const uint32_t rest = (uint32_t)(r.from % r.to);
    size_t column = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t *before = sums + 4 * column;
        const uint32_t left = to - part;
        for (size_t c = 0; c < 4; c++) {
            borders[4 * i + c] = left * before[c] + part * before[c + 4];
        }
        part += rest;
        const bool over = part >= to;
        column += whole + over;
        part -= over ? to : 0;
    }
}

static void divide(const painter *p, const uint32_t *restrict borders, uint8_t *restrict to, size_t count) {
    const uint32_t half = (uint32_t)(p->area / 2);
    const uint64_t inverse = p->inverse;
    const int32_t shift = p->shift - 32;
    for (size_t i = 0; i < count; i++) {
        to[i] = (uint8_t)((uint32_t)((borders[i + 4] - borders[i] + half) * inverse >> 32) >> shift);
    }
}

/* Pixels u and those after it of row v of the picture; at most `span` of them. */
static void scale_span(const painter *p, int32_t u, int32_t v, int32_t count, uint8_t *to) {
    uint32_t sums[4 * (MAX_COLUMNS + 2)];
    uint32_t borders[4 * (MAX_COLUMNS + 1)];
    const int32_t first = first_of(p->across, u);
    const int32_t columns = end_of(p->across, u + count) - first;
    memset(sums, 0, 4 * sizeof *sums);
    sum_rows(p, v, first, columns, sums + 4);
    /* The last border may lie where a column begins that nobody needs. */
    memset(sums + 4 * (columns + 1), 0, 4 * sizeof *sums);
    add_up(sums + 4, (size_t)columns);
    cut(p->across, sums, (uint32_t)(u * p->across.from % p->across.to), borders, (size_t)count + 1);
    divide(p, borders, to, (size_t)count * 4);
}

/* One pixel, however much it covers. */
static void scale_pixel(const painter *p, int32_t u, int32_t v, uint8_t *to) {
    uint64_t sums[4] = {p->area / 2, p->area / 2, p->area / 2, p->area / 2};
    const int32_t first = first_of(p->across, u);
    const int32_t columns = end_of(p->across, u + 1) - first;
    for (int32_t y = first_of(p->down, v); y < end_of(p->down, v + 1); y++) {
        const uint8_t *row = tw_ns_at(p->screen, p->window.x + first, p->window.y + y);
        uint32_t inner[4] = {0, 0, 0, 0};
        for (int32_t x = 0; x < columns; x++) {
            const uint32_t share = weight(p->across, u, first + x);
            for (int32_t c = 0; c < 4; c++) {
                inner[c] += row[4 * x + c] * share;
            }
        }
        for (int32_t c = 0; c < 4; c++) {
            sums[c] += (uint64_t)inner[c] * weight(p->down, v, y);
        }
    }
    for (int32_t c = 0; c < 4; c++) {
        to[c] = (uint8_t)(sums[c] / p->area);
    }
}

/* Pixels of row v of the picture from u on: where they are, or `space` where they were made. */
static const uint8_t *picture_row(const painter *p, int32_t u, int32_t v, int32_t count, uint8_t *space) {
    if (!p->scaled) {
        return tw_ns_at(p->screen, p->window.x + u, p->window.y + v);
    }
    if (p->span == 0) {
        for (int32_t i = 0; i < count; i++) {
            scale_pixel(p, u + i, v, space + (size_t)4 * (size_t)i);
        }
        return space;
    }
    for (int32_t i = 0; i < count; i += p->span) {
        scale_span(p, u + i, v, tw_ns_min(p->span, count - i), space + (size_t)4 * (size_t)i);
    }
    return space;
}

/* `rect` of the turned picture, of which no row has more than TILE_LENGTH pixels; a row of the tile has `stride`. */
static void paint(const painter *p, tw_ns_rect rect, uint32_t *tile, size_t stride) {
    uint32_t space[TILE_LENGTH];
    const size_t width = (size_t)rect.width;
    const size_t height = (size_t)rect.height;
    switch (p->rotation) {
    case 0:
        for (size_t y = 0; y < height; y++) {
            uint8_t *to = (uint8_t *)(tile + y * stride);
            const uint8_t *row = picture_row(p, rect.x, rect.y + (int32_t)y, rect.width, to);
            if (row != to) {
                memcpy(to, row, 4 * width);
            }
        }
        break;
    case 1:
        for (size_t x = 0; x < width; x++) {
            const int32_t v = p->height - 1 - rect.x - (int32_t)x;
            const uint8_t *row = picture_row(p, rect.y, v, rect.height, (uint8_t *)space);
            for (size_t y = 0; y < height; y++) {
                tile[y * stride + x] = tw_ns_load32(row + 4 * y);
            }
        }
        break;
    case 2:
        for (size_t y = 0; y < height; y++) {
            uint32_t *to = tile + y * stride;
            const int32_t u = p->width - rect.x - rect.width;
            const int32_t v = p->height - 1 - rect.y - (int32_t)y;
            const uint8_t *row = picture_row(p, u, v, rect.width, (uint8_t *)space);
            for (size_t x = 0; x < width; x++) {
                to[x] = tw_ns_load32(row + 4 * (width - 1 - x));
            }
        }
        break;
    default:
        for (size_t x = 0; x < width; x++) {
            const int32_t u = p->width - rect.y - rect.height;
            const int32_t v = rect.x + (int32_t)x;
            const uint8_t *row = picture_row(p, u, v, rect.height, (uint8_t *)space);
            for (size_t y = 0; y < height; y++) {
                tile[y * stride + x] = tw_ns_load32(row + 4 * (height - 1 - y));
            }
        }
        break;
    }
}

/* Black is 0 in every format. What is known of a shadow's pixels stays as it is. */
static void blacken(const tw_ns_surface *panel, tw_ns_rect rect) {
    for (int32_t y = rect.y; y < rect.y + rect.height; y++) {
        memset(tw_ns_at(panel, rect.x, y), 0, (size_t)rect.width * (size_t)panel->stored);
    }
}

/* Where the picture lies on the panel. */
static tw_ns_rect placed(const tw_ns_surface *panel, tw_ns_view view) {
    const tw_ns_rect on = view.picture;
    switch (view.rotation) {
    case 0: return on;
    case 1: return (tw_ns_rect){panel->width - on.y - on.height, on.x, on.height, on.width};
    case 2:
        return (tw_ns_rect){
            panel->width - on.x - on.width, panel->height - on.y - on.height, on.width, on.height};
    default: return (tw_ns_rect){on.y, panel->height - on.x - on.width, on.height, on.width};
    }
}

/* Cut `rect` to `with`, wherever both are; false where nothing is left. */
static bool intersect(tw_ns_rect *rect, tw_ns_rect with) {
    const int64_t x = tw_ns_max(rect->x, with.x);
    const int64_t y = tw_ns_max(rect->y, with.y);
    const int64_t right = (int64_t)rect->x + rect->width;
    const int64_t with_right = (int64_t)with.x + with.width;
    const int64_t bottom = (int64_t)rect->y + rect->height;
    const int64_t with_bottom = (int64_t)with.y + with.height;
    const int64_t width = (right < with_right ? right : with_right) - x;
    const int64_t height = (bottom < with_bottom ? bottom : with_bottom) - y;
    if (width <= 0 || height <= 0) {
        return false;
    }
    *rect = (tw_ns_rect){(int32_t)x, (int32_t)y, (int32_t)width, (int32_t)height};
    return true;
}

void tw_ns_render(const tw_ns_surface *screen, tw_ns_view view, const tw_ns_surface *panel, tw_ns_rect rect) {
    painter p;
    if (!tw_ns_clip(&rect, panel->width, panel->height)
        || !prepare(&p, screen, view, panel->width, panel->height)) {
        return;
    }
    const tw_ns_rect picture = placed(panel, view);
    tw_ns_rect part = rect;
    if (!intersect(&part, picture)) {
        blacken(panel, rect);
        return;
    }
    const int32_t bottom = part.y + part.height;
    const int32_t right = part.x + part.width;
    blacken(panel, (tw_ns_rect){rect.x, rect.y, rect.width, part.y - rect.y});
    blacken(panel, (tw_ns_rect){rect.x, part.y, part.x - rect.x, part.height});
    blacken(panel, (tw_ns_rect){right, part.y, rect.x + rect.width - right, part.height});
    blacken(panel, (tw_ns_rect){rect.x, bottom, rect.width, rect.y + rect.height - bottom});
    if (!p.scaled && view.rotation == 0) {
        const tw_ns_rect source = {
            part.x - picture.x + view.window.x, part.y - picture.y + view.window.y, part.width, part.height};
        tw_ns_convert(screen, source, panel, part.x, part.y);
        return;
    }
    uint32_t tile[TILE];
    const bool quarter = (view.rotation & 1) != 0;
    const int32_t columns = quarter ? TILE_ROWS : TILE_LENGTH;
    const int32_t rows = quarter ? TILE_LENGTH : TILE_ROWS;
    for (int32_t y = part.y; y < bottom; y += rows) {
        for (int32_t x = part.x; x < right; x += columns) {
            const int32_t width = tw_ns_min(columns, right - x);
            const int32_t height = tw_ns_min(rows, bottom - y);
            paint(&p, (tw_ns_rect){x - picture.x, y - picture.y, width, height}, tile, (size_t)width);
            for (int32_t row = 0; row < height; row++) {
                tw_ns_convert_row(panel->format, (const uint8_t *)(tile + row * width),
                    tw_ns_at(panel, x, y + row), (size_t)width);
            }
        }
    }
}

/* The image over `count` pixels, both blue, green, red and a fourth byte. */
static void cover(uint8_t *restrict pixels, const uint8_t *restrict image, size_t count) {
    for (size_t i = 0; i < 4 * count; i++) {
        const uint32_t through = 255U - image[i | 3];
        const uint32_t sum = image[i] + (pixels[i] * through + 127) / 255;
        pixels[i] = (uint8_t)(sum < 255 ? sum : 255);
    }
}

void tw_ns_blend(const tw_ns_surface *screen, tw_ns_view view, const tw_ns_surface *panel, tw_ns_rect rect,
    const uint8_t *image, tw_ns_rect place) {
    painter p;
    if (place.width < 1 || place.height < 1 || !tw_ns_clip(&rect, panel->width, panel->height)
        || !intersect(&rect, place) || !prepare(&p, screen, view, panel->width, panel->height)) {
        return;
    }
    const tw_ns_rect picture = placed(panel, view);
    uint32_t tile[TILE];
    for (int32_t y = rect.y; y < rect.y + rect.height; y += CURSOR_SIDE) {
        for (int32_t x = rect.x; x < rect.x + rect.width; x += CURSOR_SIDE) {
            const int32_t width = tw_ns_min(CURSOR_SIDE, rect.x + rect.width - x);
            const int32_t height = tw_ns_min(CURSOR_SIDE, rect.y + rect.height - y);
            tw_ns_rect part = {x, y, width, height};
            memset(tile, 0, sizeof tile);
            if (intersect(&part, picture)) {
                const tw_ns_rect from = {part.x - picture.x, part.y - picture.y, part.width, part.height};
                paint(&p, from, tile + (part.y - y) * width + (part.x - x), (size_t)width);
            }
            for (int32_t row = 0; row < height; row++) {
                uint8_t *pixels = (uint8_t *)(tile + row * width);
                const size_t above = (size_t)((int64_t)y + row - place.y);
                const size_t at = above * (size_t)place.width + (size_t)((int64_t)x - place.x);
                cover(pixels, image + 4 * at, (size_t)width);
                tw_ns_convert_row(panel->format, pixels, tw_ns_at(panel, x, y + row), (size_t)width);
            }
        }
    }
}

void tw_ns_cursor_clamp(uint8_t *image, int32_t width, int32_t height, tw_ns_rect *seen) {
    int32_t left = width;
    int32_t right = 0;
    int32_t top = height;
    int32_t bottom = 0;
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++, image += 4) {
            const uint8_t alpha = image[3];
            for (int32_t c = 0; c < 3; c++) {
                image[c] = image[c] < alpha ? image[c] : alpha;
            }
            if (alpha != 0) {
                left = tw_ns_min(left, x);
                right = tw_ns_max(right, x + 1);
                top = tw_ns_min(top, y);
                bottom = y + 1;
            }
        }
    }
    const bool any = right > left;
    *seen = any ? (tw_ns_rect){left, top, right - left, bottom - top} : (tw_ns_rect){0, 0, 0, 0};
}

void tw_ns_cursor_shrink(const uint8_t *image, int32_t width, int32_t height, tw_ns_rect part,
    int32_t rotation, uint8_t *to, int32_t to_width, int32_t to_height) {
    const bool quarter = (rotation & 1) != 0;
    /* It is only read. */
    const tw_ns_surface source = {
        .pixels = (uint8_t *)(uintptr_t)image, .width = width, .height = height, .stored = 4};
    const tw_ns_view view = {
        .window = part,
        .picture = {0, 0, to_width, to_height},
        .rotation = rotation,
    };
    const int32_t columns = quarter ? to_height : to_width;
    const int32_t rows = quarter ? to_width : to_height;
    painter p;
    if (!prepare(&p, &source, view, columns, rows)) {
        return;
    }
    uint32_t tile[TILE] = {0};
    for (int32_t y = 0; y < rows; y += CURSOR_SIDE) {
        for (int32_t x = 0; x < columns; x += CURSOR_SIDE) {
            const int32_t across = tw_ns_min(CURSOR_SIDE, columns - x);
            const int32_t down = tw_ns_min(CURSOR_SIDE, rows - y);
            paint(&p, (tw_ns_rect){x, y, across, down}, tile, (size_t)across);
            for (int32_t row = 0; row < down; row++) {
                memcpy(to + 4 * ((size_t)(y + row) * (size_t)columns + (size_t)x), tile + row * across,
                    4 * (size_t)across);
            }
        }
    }
}
