/* The local cursor: a shape from the server over the picture, at the place of the last motion.
 *
 * Without an overlay it is drawn into the framebuffer, over pixels that are saved. They are put back before an operation
 * touches them, without a word to the panel: at END the cursor is drawn again, and both places are handed out. While
 * something is pending no pixel changes; what is due then is done by the next step that finds nothing pending. */
#include "tw_internal.h"

#if TW_WITH_CURSOR

/* What is due. */
enum { REDRAW = 1, HAND_OUT_STALE = 2, HAND_OUT = 4 };

static uint32_t at_most(uint32_t value, uint32_t bound) {
    return value < bound ? value : bound;
}

tw_status tw_cursor_start(tw_client *client, const tw_client_config *config) {
    tw_cursor *cursor = &client->cursor;
    const size_t side = config->cursor_max_side, pixels = side * side;
    const bool overlay = client->callbacks->cursor_shape != NULL;
    if (side < 1 || side > TW_MAX_CURSOR_SIDE || config->cursor_memory == NULL
        || (!overlay && (tw_in_strips(client) || config->unreadable))) {
        return TW_CODE_ARGUMENT;
    }
    if (config->cursor_memory_size < TW_CURSOR_SIZE(side, overlay ? 0U : (size_t)tw_stored(client))) {
        return TW_CODE_MEMORY;
    }
    cursor->max_side = (uint8_t)side;
    cursor->coming = (uint8_t *)config->cursor_memory;
    if (!overlay) {
        cursor->pixels = cursor->coming + 4 * pixels;
        cursor->under = cursor->pixels + 4 * pixels;
    }
    if (config->resume != NULL && config->resume->valid && config->resume->cursor_side == side
        && config->resume->cursor_width <= side && config->resume->cursor_height <= side
        && config->resume->cursor_hot_x < config->resume->cursor_width
        && config->resume->cursor_hot_y < config->resume->cursor_height) {
        cursor->kept.width = config->resume->cursor_width;
        cursor->kept.height = config->resume->cursor_height;
        cursor->kept.hot_x = config->resume->cursor_hot_x;
        cursor->kept.hot_y = config->resume->cursor_hot_y;
    }
    return TW_OK;
}

static bool is_overlay(const tw_cursor *cursor) {
    return cursor->under == NULL;
}

/* The rows that are saved and those of the framebuffer, one way or the other. */
static void exchange(tw_client *client, bool save) {
    const tw_rect *at = &client->cursor.at;
    const ptrdiff_t step = (ptrdiff_t)client->stride,
                    row = (ptrdiff_t)((size_t)at->width * tw_stored(client));
    uint8_t *there = tw_pixel_at(client, at->x, at->y), *here = client->cursor.under;
    if (save) {
        tw_copy_rows(client, here, row, there, step, at);
    } else {
        tw_copy_rows(client, there, step, here, row, at);
    }
}

static void take_off(tw_client *client) {
    tw_cursor *cursor = &client->cursor;
    if (cursor->at.width != 0) {
        exchange(client, false);
        cursor->stale = cursor->at;
        cursor->at.width = 0;
    }
}

void tw_uncover(tw_client *client, const tw_rect *rect) {
    const tw_rect *at = &client->cursor.at;
    if (rect->x < at->x + at->width && at->x < rect->x + rect->width && rect->y < at->y + at->height
        && at->y < rect->y + rect->height) {
        take_off(client);
    }
}

/* Red, green and blue of a stored pixel, eight bits each: what it has of them is repeated. */
static void expand(const tw_client *client, const uint8_t *stored, uint32_t *channels) {
    const uint32_t low = stored[0];
    uint32_t value;
    switch (client->format) {
    case TW_PIXEL_RGB565:
        value = client->big_endian ? low << 8 | stored[1] : low | (uint32_t)stored[1] << 8;
        channels[0] = value >> 11 << 3 | value >> 13;
        channels[1] = (value >> 5 & 63) << 2 | (value >> 9 & 3);
        channels[2] = (value & 31) << 3 | (value >> 2 & 7);
        break;
    case TW_PIXEL_XRGB8888:
        channels[0] = stored[2];
        channels[1] = stored[1];
        channels[2] = low;
        break;
    case TW_PIXEL_RGB332:
        channels[0] = (low >> 5) * 0x49 >> 1;
        channels[1] = (low >> 2 & 7) * 0x49 >> 1;
        channels[2] = (low & 3) * 0x55;
        break;
    default: channels[0] = channels[1] = channels[2] = low; break;
    }
}

static void blend(const tw_client *client, uint8_t *stored, const uint8_t *pixel) {
    uint32_t channels[3], value;
    if ((pixel[0] | pixel[1] | pixel[2] | pixel[3]) == 0) {
        return;
    }
    expand(client, stored, channels);
    for (unsigned i = 0; i < 3; i++) {
        /* colour + background * (255 - alpha) / 255, rounded; the quotient is exact below 65,535. */
        const uint32_t share = channels[i] * (255U - pixel[3]) + 127;
        channels[i] = at_most(pixel[2 - i] + ((share + 1 + (share >> 8)) >> 8), 255);
    }
    value = tw_value_of(client->format, channels[0], channels[1], channels[2]);
    tw_store_values(client, stored, &value, 1);
}

/* Moved onto the panel where RESIZE left the hot spot outside: there is always something to draw. */
static void draw(tw_client *client) {
    tw_cursor *cursor = &client->cursor;
    const tw_shape *shape = &cursor->shape;
    tw_rect *at = &cursor->at;
    const uint32_t x = at_most(cursor->x, client->width - 1), y = at_most(cursor->y, client->height - 1);
    const uint32_t left = shape->hot_x > x ? shape->hot_x - x : 0;
    const uint32_t top = shape->hot_y > y ? shape->hot_y - y : 0;
    at->x = x + left - shape->hot_x;
    at->y = y + top - shape->hot_y;
    at->width = at_most(shape->width - left, client->width - at->x);
    at->height = at_most(shape->height - top, client->height - at->y);
    exchange(client, true);
    for (uint32_t row = 0; row < at->height; row++) {
        const uint8_t *pixel = cursor->pixels + 4 * ((top + row) * shape->width + left);
        uint8_t *stored = tw_pixel_at(client, at->x, at->y + row);
        for (uint32_t i = 0; i < at->width; i++, pixel += 4, stored += tw_stored(client)) {
            blend(client, stored, pixel);
        }
    }
}

static void redraw(tw_client *client) {
    tw_cursor *cursor = &client->cursor;
    const tw_rect *at = &cursor->at, *stale = &cursor->stale;
    take_off(client);
    if (cursor->placed && cursor->shape.width != 0) {
        draw(client);
        if (stale->x >= at->x && stale->x + stale->width <= at->x + at->width && stale->y >= at->y
            && stale->y + stale->height <= at->y + at->height) {
            cursor->stale.width = 0; /* handed out with the new place */
        }
    }
    cursor->due = (uint8_t)((stale->width != 0 ? HAND_OUT_STALE : 0) | (at->width != 0 ? HAND_OUT : 0));
}

void tw_cursor_step(tw_client *client) {
    tw_cursor *cursor = &client->cursor;
    if (cursor->due & REDRAW) {
        redraw(client);
    }
    if (cursor->due & HAND_OUT_STALE) {
        const tw_rect stale = cursor->stale;
        cursor->due &= (uint8_t)~HAND_OUT_STALE;
        cursor->stale.width = 0;
        tw_show_rect(client, &stale);
    } else if (cursor->due & HAND_OUT) {
        cursor->due = 0;
        tw_show_rect(client, &cursor->at);
    }
}

void tw_cursor_run(tw_client *client) {
    while (!client->pending && client->cursor.due) {
        tw_cursor_step(client);
    }
}

/* Draws it where and as it is now, as soon as nothing is pending. */
static void renew(tw_client *client) {
    client->cursor.due |= REDRAW;
    tw_cursor_run(client);
}

/* Tells the overlay of a shape; its pixels have just come. */
static void change_overlay(tw_client *client) {
    const tw_shape *shape = &client->cursor.shape;
    client->callbacks->cursor_shape(client->user, shape->width, shape->height, shape->hot_x, shape->hot_y,
        shape->width != 0 ? client->cursor.coming : NULL);
}

tw_status tw_cursor_take_shape(
    tw_client *client, const tw_shape *given, uint32_t row, const uint8_t *pixels, size_t length) {
    tw_cursor *cursor = &client->cursor;
    tw_shape *shape = &cursor->coming_shape;
    if (cursor->coming == NULL || given->width > cursor->max_side || given->height > cursor->max_side) {
        return TW_CODE_NOT_OFFERED;
    }
    if (row == 0) {
        *shape = *given;
    } else if (row != cursor->coming_row || given->width != shape->width || given->height != shape->height) {
        return TW_CODE_BAD_STATE;
    }
    memcpy(cursor->coming + (size_t)4 * row * shape->width, pixels, length);
    cursor->coming_row = (uint8_t)(row + (shape->width != 0 ? length / (4U * shape->width) : 0));
    if (cursor->coming_row != shape->height) {
        return TW_OK;
    }
    cursor->coming_row = 0; /* the next part begins anew */
    cursor->shape = *shape;
    if (is_overlay(cursor)) {
        change_overlay(client);
    } else {
        uint8_t *old = cursor->pixels;
        cursor->pixels = cursor->coming;
        cursor->coming = old;
        renew(client);
    }
    return TW_OK;
}

void tw_cursor_place(tw_client *client, uint32_t x, uint32_t y) {
    tw_cursor *cursor = &client->cursor;
    /* The nearest place on the panel, where the server moves it as well. */
    x = at_most(x, client->width - 1);
    y = at_most(y, client->height - 1);
    if (cursor->coming == NULL || (cursor->placed && cursor->x == x && cursor->y == y)) {
        return;
    }
    cursor->placed = 1;
    cursor->x = x;
    cursor->y = y;
    if (!is_overlay(cursor)) {
        renew(client);
    } else if (client->callbacks->cursor_position != NULL) {
        client->callbacks->cursor_position(client->user, cursor->x, cursor->y);
    }
}

void tw_cursor_forget(tw_client *client) {
    client->cursor.at.width = client->cursor.stale.width = 0;
    client->cursor.due = 0;
}

void tw_cursor_at_end(tw_client *client) {
    if (client->cursor.coming != NULL && !is_overlay(&client->cursor) && client->cursor.at.width == 0) {
        client->cursor.due = REDRAW;
    }
}

void tw_cursor_leave(tw_client *client) {
    tw_cursor *cursor = &client->cursor;
    if (cursor->coming == NULL) {
        return;
    }
    if (client->state & TW_IN_SESSION && cursor->shape.width != 0 && cursor->coming_row == 0) {
        cursor->kept = cursor->shape;
    }
    if (!is_overlay(cursor)) {
        cursor->shape.width = 0;
        renew(client);
    } else if (cursor->shape.width != 0) {
        memset(&cursor->shape, 0, sizeof cursor->shape);
        change_overlay(client);
    }
}

void tw_cursor_lift(tw_client *client) {
    take_off(client); /* also from under a transfer: what it shows last is the next connection's business */
    tw_cursor_run(client);
}

void tw_cursor_keep(tw_client *client, tw_resume *resume) {
    tw_cursor *cursor = &client->cursor;
    const tw_shape *kept = &cursor->kept;
    if (cursor->coming == NULL) {
        return;
    }
    if (cursor->pixels != NULL && cursor->pixels < cursor->coming) {
        /* Where a new client has it. */
        memcpy(cursor->coming, cursor->pixels, (size_t)4 * kept->width * kept->height);
    }
    resume->cursor_side = cursor->max_side;
    resume->cursor_width = kept->width;
    resume->cursor_height = kept->height;
    resume->cursor_hot_x = kept->hot_x;
    resume->cursor_hot_y = kept->hot_y;
}

void tw_cursor_resume(tw_client *client, bool resumed) {
    tw_cursor *cursor = &client->cursor;
    if (resumed && cursor->kept.width != 0) {
        cursor->shape = cursor->kept;
        if (is_overlay(cursor)) {
            change_overlay(client);
        }
    }
    cursor->kept.width = 0; /* until the end of this connection */
}

const void *tw_client_under(
    const tw_client *client, unsigned *x, unsigned *y, unsigned *width, unsigned *height) {
    const tw_rect *at = &client->cursor.at;
    *x = at->x;
    *y = at->y;
    *width = at->width;
    *height = at->height;
    return at->width != 0 ? client->cursor.under : NULL;
}

#endif
