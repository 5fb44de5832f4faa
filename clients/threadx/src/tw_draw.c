/* Updates: BEGIN, drawing operations, END. */
#include "tw_internal.h"

uint32_t tw_now_us(const tw_client *client) {
    return client->now_us != NULL ? client->now_us(client->user) : 0;
}

tw_status tw_check_surface(const tw_client *client) {
    const size_t row = (size_t)client->width * client->stored;
    if (client->surface == NULL
        || ((uintptr_t)client->surface | (client->strips ? 0 : client->stride)) % client->stored != 0) {
        return TW_CODE_ARGUMENT;
    }
    if (client->strips) {
        return client->surface_size < row ? TW_CODE_MEMORY : TW_OK;
    }
    /* By division, since a stride of any size must not overflow. */
    if (client->stride < row || client->surface_size < row
        || (client->height > 1 && (client->surface_size - row) / (client->height - 1) < client->stride)) {
        return TW_CODE_MEMORY;
    }
    return TW_OK;
}

void tw_client_surface(tw_client *client, void *memory, size_t size, size_t stride) {
    client->surface = (uint8_t *)memory;
    client->surface_size = size;
    client->stride = stride != 0 ? stride : (size_t)client->width * client->stored;
}

tw_status tw_take_begin(tw_client *client, tw_reader *reader) {
    const uint32_t update = tw_read_varint(reader, 1, 0xFFFFFFFF);
    const uint32_t input = tw_read_varint(reader, 0, 0xFFFFFFFF);
    TW_TRY(tw_admit(client, reader, TW_IN_OPEN));
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

tw_status tw_take_end(tw_client *client, tw_reader *reader) {
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
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
    return client->surface + y * client->stride + (size_t)x * client->stored;
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
        client->tile.at += (size_t)width * client->packed;
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

tw_status tw_draw_tile(tw_client *client) {
    tw_tile *tile = &client->tile;
    const tw_rect *rect = &tile->rect;
    while (tile->row < rect->height && !client->pending) {
        const uint32_t y = rect->y + tile->row;
        uint32_t rows = rect->height - tile->row;
        uint8_t *out = client->surface;
        size_t stride = client->stride;
#if TW_WITH_JPEG
        if (tile->type == TW_MSG_JPEG && client->decoder != NULL) {
            TW_TRY(tw_jpeg_draw(client));
            continue;
        }
#endif
        if (client->strips) {
            stride = (size_t)rect->width * client->stored;
            if (client->surface_size / stride < rows) {
                rows = (uint32_t)(client->surface_size / stride);
            }
        } else {
            out = tw_pixel_at(client, rect->x, y);
        }
        TW_TRY(decode_rows(client, out, stride, rows));
        tile->row += rows;
        tw_show(client, rect->x, y, rect->width, rows, out);
    }
    return TW_OK;
}

/* The tile is not begun before its first row is due: a payload that is refused draws nothing. */
static void set_tile(tw_client *client, unsigned type, const tw_rect *rect, const tw_reader *reader) {
    tw_tile *tile = &client->tile;
    tile->type = (uint8_t)type;
    tile->rect = *rect;
    tile->row = rect->height;
    tile->at = reader->at;
    tile->end = reader->end;
}

static tw_status start_tile(tw_client *client) {
#if TW_WITH_CURSOR
    tw_uncover(client, &client->tile.rect);
#endif
    client->tile.row = 0;
    return tw_draw_tile(client);
}

static tw_status take_fill(tw_client *client, tw_reader *reader) {
    const tw_rect rect = tw_read_rect(reader);
    const size_t length = tw_left(reader);
    if (length < 1) {
        tw_refuse(reader, TW_CODE_PROTOCOL);
    } else if (length > 3) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    }
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
    TW_TRY(tw_check_inside(client, &rect));
    if (length != client->packed) {
        return TW_CODE_BAD_PAYLOAD;
    }
    set_tile(client, TW_MSG_FILL, &rect, reader);
    return start_tile(client);
}

static tw_status take_pixels(tw_client *client, unsigned type, tw_reader *reader) {
    const tw_rect rect = tw_read_rect(reader);
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
    TW_TRY(tw_check_limits(client, &rect));
    if (type == TW_MSG_RAW && tw_left(reader) != (size_t)rect.width * rect.height * client->packed) {
        return TW_CODE_BAD_PAYLOAD;
    }
    set_tile(client, type, &rect, reader);
    if (type == TW_MSG_PALETTE) {
        TW_TRY(tw_palette_start(client));
    }
    return start_tile(client);
}

#if TW_WITH_COPY
static void copy(tw_client *client, const tw_rect *rect, const tw_point *source) {
    const size_t length = (size_t)rect->width * client->stored;
    uint8_t *to = tw_pixel_at(client, rect->x, rect->y);
    const uint8_t *from = tw_pixel_at(client, source->x, source->y);
    for (uint32_t i = 0; i < rect->height; i++) {
        /* Downwards the last row goes first, before it is written over. */
        const size_t row = (source->y < rect->y ? rect->height - 1 - i : i) * client->stride;
        memmove(to + row, from + row, length);
    }
    tw_show(client, rect->x, rect->y, rect->width, rect->height, to);
}
#endif

static tw_status take_copy(tw_client *client, tw_reader *reader) {
    const tw_rect rect = tw_read_rect(reader);
    const tw_point source = tw_read_point(reader);
    tw_rect from = rect;
    from.x = source.x;
    from.y = source.y;
    tw_read_end(reader);
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
    if (!(client->capabilities & TW_CAPABILITY_COPY)) {
        return TW_CODE_NOT_OFFERED;
    }
    TW_TRY(tw_check_inside(client, &rect));
    TW_TRY(tw_check_inside(client, &from));
#if TW_WITH_CURSOR
    tw_uncover(client, &rect);
    tw_uncover(client, &from);
#endif
#if TW_WITH_COPY
    copy(client, &rect, &source);
#endif
    return TW_OK;
}

static tw_status take_cache_store(tw_client *client, tw_reader *reader) {
    const uint32_t slot = tw_read_varint(reader, 0, TW_MAX_CACHE_SLOTS - 1);
    const tw_rect rect = tw_read_rect(reader);
    tw_read_end(reader);
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
#if TW_WITH_CACHE
    return tw_cache_store(client, slot, &rect);
#else
    (void)slot;
    (void)rect;
    return TW_CODE_NOT_OFFERED;
#endif
}

static tw_status take_cache_draw(tw_client *client, tw_reader *reader) {
    const uint32_t slot = tw_read_varint(reader, 0, TW_MAX_CACHE_SLOTS - 1);
    const tw_point position = tw_read_point(reader);
    tw_read_end(reader);
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
#if TW_WITH_CACHE
    return tw_cache_draw(client, slot, &position);
#else
    (void)slot;
    (void)position;
    return TW_CODE_NOT_OFFERED;
#endif
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

static tw_status take_codec(tw_client *client, tw_reader *reader) {
    const tw_rect rect = tw_read_rect(reader);
    const uint32_t epoch = tw_read_number(reader, 1, 0, 0xFF);
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
#if TW_WITH_CODEC
    if (client->model == NULL) {
        return TW_CODE_NOT_OFFERED;
    }
    TW_TRY(tw_check_limits(client, &rect));
    TW_TRY(follow_epoch(client, epoch));
    set_tile(client, TW_MSG_CODEC, &rect, reader);
    return tw_codec_begin(
               &client->codec, client->model, client->rows, reader->at, tw_left(reader), rect.width)
               ? start_tile(client)
               : TW_CODE_BAD_PAYLOAD;
#else
    (void)rect;
    (void)epoch;
    return TW_CODE_NOT_OFFERED;
#endif
}

static tw_status take_jpeg(tw_client *client, tw_reader *reader) {
    const tw_rect rect = tw_read_rect(reader);
    const uint32_t quality = tw_read_number(reader, 1, 1, 100);
    const uint32_t sampling = tw_read_number(reader, 1, 0, 0x13);
    if ((sampling & 15) > 3) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    }
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
    if ((client->jpeg_subsamplings >> (sampling & 15) & 1) == 0) {
        return TW_CODE_NOT_OFFERED;
    }
    TW_TRY(tw_check_limits(client, &rect));
    set_tile(client, TW_MSG_JPEG, &rect, reader);
    client->doubled = (uint8_t)(sampling >> 4);
#if TW_WITH_JPEG
    if (client->decoder != NULL) {
        tw_jpeg_start(client, quality, sampling & 15);
        return start_tile(client);
    }
#endif
#if TW_WITH_JPEG_HOOK
    TW_TRY(tw_jpeg_hook_start(client, quality, sampling & 15));
#else
    (void)quality;
#endif
    return start_tile(client);
}

/* Never offered: what is well-formed is refused for that, the rest for what is wrong with it. */
static tw_status take_deflate(tw_client *client, tw_reader *reader) {
    (void)tw_read_rect(reader);
    (void)tw_read_number(reader, 1, TW_MSG_RAW, TW_MSG_PALETTE);
    TW_TRY(tw_admit(client, reader, TW_IN_UPDATING));
    return TW_CODE_NOT_OFFERED;
}

tw_status tw_take_drawing(tw_client *client, unsigned type, tw_reader *reader) {
    switch (type) {
    case TW_MSG_FILL: return take_fill(client, reader);
    case TW_MSG_COPY: return take_copy(client, reader);
    case TW_MSG_CACHE_STORE: return take_cache_store(client, reader);
    case TW_MSG_CACHE_DRAW: return take_cache_draw(client, reader);
    case TW_MSG_RAW:
    case TW_MSG_PALETTE: return take_pixels(client, type, reader);
    case TW_MSG_CODEC: return take_codec(client, reader);
    case TW_MSG_DEFLATE: return take_deflate(client, reader);
    case TW_MSG_JPEG: return take_jpeg(client, reader);
    default: return TW_CODE_PROTOCOL;
    }
}
