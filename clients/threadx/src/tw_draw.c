/* Updates: BEGIN, drawing operations, END. */
#include "tw_internal.h"

uint32_t tw_now_us(const tw_client *client) {
    return client->now_us != NULL ? client->now_us(client->user) : 0;
}

tw_status tw_check_surface(const tw_client *client) {
    const size_t row = (size_t)client->width * tw_stored(client);
    const size_t step = tw_in_strips(client) ? 0 : client->stride;
    if (client->surface == NULL || (((uintptr_t)client->surface | step) & (tw_stored(client) - 1U)) != 0) {
        return TW_CODE_ARGUMENT;
    }
    /* A stride of any size must not overflow; the longest row of a panel is far shorter than that. */
    if (client->height > 1 && step != 0 && (step < row || step > SIZE_MAX / (2 * TW_MAX_SIDE))) {
        return TW_CODE_MEMORY;
    }
    return client->surface_size < row || client->surface_size - row < step * (client->height - 1)
               ? TW_CODE_MEMORY
               : TW_OK;
}

void tw_client_surface(tw_client *client, void *memory, size_t size, size_t stride) {
    client->surface = (uint8_t *)memory;
    client->surface_size = size;
    client->stride = stride != 0 ? stride : (size_t)client->width * tw_stored(client);
}

tw_status tw_take_begin(tw_client *client, const tw_body *body) {
    const uint32_t update = body->number[0], input = body->number[1];
    if (update != client->begun + 1 || input > client->input) {
        return TW_CODE_BAD_VALUE;
    }
    client->begun = update;
    client->echo = input;
    client->state = TW_IN_UPDATING;
    return TW_OK;
}

#if TW_WITH_STATISTICS
/* At END: how long the input took that this update is the first to name. */
static void count_update(tw_client *client) {
    tw_statistics *statistics = &client->statistics;
    const uint32_t input = client->echo;
    statistics->updates++;
    if (input > client->answered) {
        client->answered = input;
        if (client->input - input < TW_TIMED_INPUTS) {
            const uint32_t took_us = tw_now_us(client) - client->sent_us[input % TW_TIMED_INPUTS];
            statistics->inputs_shown++;
            statistics->input_to_picture_us = took_us;
            statistics->input_to_picture_sum_us += took_us;
        }
    }
}
#endif

tw_status tw_take_end(tw_client *client, const tw_body *body) {
    (void)body;
    client->ended = client->begun;
    client->state = TW_IN_OPEN;
    client->present_due = client->ack_due = 1;
#if TW_WITH_STATISTICS
    count_update(client);
#endif
#if TW_WITH_CURSOR
    tw_cursor_at_end(client);
#endif
    return TW_OK;
}

void tw_present(tw_client *client) {
    const tw_callbacks *callbacks = client->callbacks;
    client->present_due = 0;
    client->pending = 1;
    if (callbacks->present == NULL
        || callbacks->present(client->user, client->ended, client->echo) == TW_DRAW_DONE) {
        client->pending = 0;
    }
}

tw_status tw_check_inside(const tw_client *client, const tw_rect *rect) {
    return rect->x + rect->width <= client->width && rect->y + rect->height <= client->height
               ? TW_OK
               : TW_CODE_BAD_VALUE;
}

tw_status tw_check_limits(const tw_client *client, const tw_rect *rect) {
    TW_TRY(tw_check_inside(client, rect));
    return rect->width <= client->max_rect_width && rect->width * rect->height <= client->max_rect_area
               ? TW_OK
               : TW_CODE_NOT_OFFERED;
}

uint8_t *tw_pixel_at(const tw_client *client, uint32_t x, uint32_t y) {
    return client->surface + y * client->stride + (size_t)x * tw_stored(client);
}

void tw_show(
    tw_client *client, uint32_t x, uint32_t y, uint32_t width, uint32_t height, const uint8_t *pixels) {
    const tw_callbacks *callbacks = client->callbacks;
    client->pending = 1; /* before the call: a DMA may be faster than its return */
    if (callbacks->draw == NULL
        || callbacks->draw(client->user, x, y, width, height, pixels) == TW_DRAW_DONE) {
        client->pending = 0;
    }
}

void tw_show_rect(tw_client *client, const tw_rect *rect) {
    tw_show(client, rect->x, rect->y, rect->width, rect->height, tw_pixel_at(client, rect->x, rect->y));
}

static void fill_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    const uint32_t pixel = tw_pixel(client, client->tile.at);
    for (; rows != 0; rows--, out += stride) {
        tw_fill_pixels(client, out, pixel, client->tile.rect.width);
    }
}

static void raw_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    const uint32_t width = client->tile.rect.width;
    for (; rows != 0; rows--, out += stride) {
        tw_store_pixels(client, out, client->tile.at, width);
        client->tile.at += (size_t)width * tw_packed(client);
    }
}

#if TW_WITH_CODEC
static tw_status codec_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    const tw_tile *tile = &client->tile;
    const bool last = tile->row + rows == tile->rect.height;
    for (; rows != 0; rows--, out += stride) {
        const uint32_t *values = tw_codec_row(&client->codec, tile->at);
        if (values == NULL) {
            return TW_CODE_BAD_PAYLOAD;
        }
        tw_store_values(client, out, values, tile->rect.width);
    }
    return !last || tw_codec_end(&client->codec) ? TW_OK : TW_CODE_BAD_PAYLOAD;
}
#endif

static tw_status decode_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    switch (client->tile.type) {
    case TW_MSG_FILL: fill_rows(client, out, stride, rows); return TW_OK;
    case TW_MSG_RAW: raw_rows(client, out, stride, rows); return TW_OK;
#if TW_WITH_CODEC
    case TW_MSG_CODEC: return codec_rows(client, out, stride, rows);
#endif
#if TW_WITH_JPEG_HOOK
    case TW_MSG_JPEG: tw_jpeg_hook_rows(client, out, stride, rows); return TW_OK;
#endif
    default: return tw_palette_rows(client, out, stride, rows);
    }
}

static tw_status draw_rows(tw_client *client) {
    tw_tile *tile = &client->tile;
    const tw_rect *rect = &tile->rect;
    const uint32_t y = rect->y + tile->row;
    uint32_t rows = rect->height - tile->row;
    uint8_t *out = client->surface;
    size_t stride = client->stride;
#if TW_WITH_JPEG
    if (tile->type == TW_MSG_JPEG && client->decoder != NULL) {
        return tw_jpeg_draw(client);
    }
#endif
    if (tw_in_strips(client)) {
        stride = (size_t)rect->width * tw_stored(client);
        if (client->surface_size / stride < rows) {
            rows = (uint32_t)(client->surface_size / stride);
        }
    } else {
        out = tw_pixel_at(client, rect->x, y);
    }
    TW_TRY(decode_rows(client, out, stride, rows));
    tile->row += rows;
    tw_show(client, rect->x, y, rect->width, rows, out);
    return TW_OK;
}

tw_status tw_draw_tile(tw_client *client) {
    do {
        TW_TRY(draw_rows(client));
    } while (tw_has_tile(client) && !client->pending && client->ended_by == TW_ALIVE);
    return TW_OK;
}

#if TW_WITH_CODEC
/* Resets the model where the message says so, and refuses one that was made with another. */
static tw_status follow_epoch(tw_client *client, uint32_t given) {
    const bool reset = (given & 0x80) != 0;
    const uint32_t due = (client->epoch + (reset ? 1U : 0U)) & 0x7F;
    if ((!reset && !client->coded) || (given & 0x7F) != due) {
        return TW_CODE_BAD_VALUE;
    }
    if (reset) {
        tw_codec_reset(client->model, client->model_kib, (tw_codec_format)(client->format - TW_PIXEL_RGB565));
        client->coded = 1;
        client->epoch = (uint8_t)due;
    }
    return TW_OK;
}
#endif

#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK
static tw_status begin_jpeg(tw_client *client, uint32_t quality, uint32_t sampling) {
    client->doubled = (uint8_t)(sampling >> 4);
#    if TW_WITH_JPEG
    if (client->decoder != NULL) {
        tw_jpeg_start(client, quality, sampling & 15);
        return TW_OK;
    }
#    endif
#    if TW_WITH_JPEG_HOOK
    return tw_jpeg_hook_start(client, quality, sampling & 15);
#    else
    return TW_CODE_INTERNAL; /* not offered */
#    endif
}
#endif

/* What the kind of tile wants before its first row. */
static tw_status begin_tile(tw_client *client, const tw_body *body) {
    const tw_tile *tile = &client->tile;
    switch (body->type) {
    case TW_MSG_FILL: return body->length == tw_packed(client) ? TW_OK : TW_CODE_BAD_PAYLOAD;
    case TW_MSG_RAW:
        return body->length == (size_t)tile->rect.width * tile->rect.height * tw_packed(client)
                   ? TW_OK
                   : TW_CODE_BAD_PAYLOAD;
#if TW_WITH_CODEC
    case TW_MSG_CODEC:
        TW_TRY(follow_epoch(client, body->number[0]));
        return tw_codec_begin(
                   &client->codec, client->model, client->rows, tile->at, body->length, tile->rect.width)
                   ? TW_OK
                   : TW_CODE_BAD_PAYLOAD;
#endif
#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK
    case TW_MSG_JPEG: return begin_jpeg(client, body->number[0], body->number[1]);
#endif
    default: return tw_palette_start(client);
    }
}

static tw_status check_offered(const tw_client *client, const tw_body *body) {
#if TW_WITH_CODEC
    if (body->type == TW_MSG_CODEC && client->model == NULL) {
        return TW_CODE_NOT_OFFERED;
    }
#endif
#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK
    if (body->type == TW_MSG_JPEG && (client->jpeg_subsamplings >> (body->number[1] & 15) & 1) == 0) {
        return TW_CODE_NOT_OFFERED;
    }
#endif
    return body->type == TW_MSG_FILL ? tw_check_inside(client, &body->rect)
                                     : tw_check_limits(client, &body->rect);
}

tw_status tw_take_tile(tw_client *client, const tw_body *body) {
    tw_tile *tile = &client->tile;
    TW_TRY(check_offered(client, body));
    tile->type = (uint8_t)body->type;
    tile->rect = body->rect;
    tile->row = body->rect.height; /* none is left: a payload that is refused draws nothing */
    tile->at = body->rest;
    tile->end = body->rest + body->length;
    TW_TRY(begin_tile(client, body));
#if TW_WITH_CURSOR
    tw_uncover(client, &tile->rect);
#endif
    tile->row = 0;
    return tw_draw_tile(client);
}

#if TW_WITH_COPY || TW_WITH_CURSOR
/* To pixels that may be among those that are read: by way of the palette, which nobody needs now. */
static void copy_over(tw_client *client, uint8_t *to, const uint8_t *from, size_t length) {
    const bool up = to > from; /* the last ones go first, before they are written over */
    size_t at = up ? length : 0;
    for (size_t part; length != 0; length -= part) {
        part = length < sizeof client->palette ? length : sizeof client->palette;
        at -= up ? part : 0;
        memcpy(&client->palette, from + at, part);
        memcpy(to + at, &client->palette, part);
        at += up ? 0 : part;
    }
}

void tw_copy_rows(tw_client *client, uint8_t *to, ptrdiff_t to_step, const uint8_t *from, ptrdiff_t from_step,
    const tw_rect *size) {
    const size_t length = (size_t)size->width * tw_stored(client);
    const bool over = (uintptr_t)to - (uintptr_t)from + length - 1 < 2 * length - 1;
    for (uint32_t row = 0; row < size->height; row++, to += to_step, from += from_step) {
        if (over) {
            copy_over(client, to, from, length);
        } else {
            memcpy(to, from, length);
        }
    }
}

#endif

#if TW_WITH_COPY
tw_status tw_take_copy(tw_client *client, const tw_body *body) {
    ptrdiff_t step = (ptrdiff_t)client->stride;
    uint32_t last = 0;
    tw_rect from = body->rect;
    from.x = body->point.x;
    from.y = body->point.y;
    TW_TRY(tw_check_inside(client, &body->rect));
    TW_TRY(tw_check_inside(client, &from));
#    if TW_WITH_CURSOR
    tw_uncover(client, &body->rect);
    tw_uncover(client, &from);
#    endif
    if (from.y < body->rect.y) { /* downwards the last row goes first */
        last = body->rect.height - 1;
        step = -step;
    }
    tw_copy_rows(client, tw_pixel_at(client, body->rect.x, body->rect.y + last), step,
        tw_pixel_at(client, from.x, from.y + last), step, &from);
    tw_show_rect(client, &body->rect);
    return TW_OK;
}
#endif
