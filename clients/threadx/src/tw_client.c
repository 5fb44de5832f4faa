/* The client's life: made, fed, ended. */
#include "tw_internal.h"

#define MS_PER_S 1000U
#define PANEL_CAPABILITIES \
    ((uint32_t)(TW_CAPABILITY_VIEW_ONLY | TW_CAPABILITY_TOUCH | (TW_WITH_RESIZE ? TW_CAPABILITY_RESIZE : 0) \
                | (TW_WITH_CLIPBOARD ? TW_CAPABILITY_CLIPBOARD : 0) \
                | (TW_WITH_EVENTS ? TW_CAPABILITY_EXPLAIN | TW_CAPABILITY_BELL | TW_CAPABILITY_INPUT_ECHO \
                                  : 0)))

/* The block has room to align it. */
#define ALIGNMENT 8U
typedef char tw_client_size_is_large_enough[sizeof(tw_client) + ALIGNMENT <= TW_CLIENT_SIZE(0, 0) ? 1 : -1];
#if TW_WITH_JPEG
typedef char
    tw_jpeg_size_is_large_enough[sizeof(tw_jpeg_decoder) + ALIGNMENT <= TW_JPEG_MEMORY_SIZE ? 1 : -1];
#endif

static size_t gap_before(const void *memory) {
    return (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT;
}

static const tw_callbacks no_callbacks = {
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};

/* What is not named is as large as the panel, and the wire has no smaller limits than these two; rectangles lie inside
 * the panel anyway. */
static uint32_t widest_rect(const tw_client_config *config) {
    const unsigned wanted = config->max_rect_width != 0 ? config->max_rect_width : config->width;
    return config->max_rect_width == 0 && wanted < TW_MIN_RECT_WIDTH ? TW_MIN_RECT_WIDTH : wanted;
}

/* Bytes of the block beyond the client itself. */
static size_t model_size(const tw_client_config *config) {
    return config->model_kib == 0 || !TW_WITH_CODEC
               ? 0
               : (size_t)config->model_kib * 1024 + TW_CODEC_ROWS_SIZE(widest_rect(config));
}

size_t tw_client_size(const tw_client_config *config) {
    return (size_t)TW_CLIENT_SIZE(0, 0) + (config != NULL ? model_size(config) : 0);
}

static tw_status set_up_panel(tw_client *client, const tw_client_config *config) {
    client->width = config->width;
    client->height = config->height;
    client->format = (uint8_t)config->pixel_format;
    client->packed = tw_packed_size(config->pixel_format);
    if (config->width < 1 || config->width > TW_MAX_SIDE || config->height < 1 || config->height > TW_MAX_SIDE
        || client->width * client->height > TW_MAX_PIXELS || config->pixel_format < TW_PIXEL_RGB565
        || config->pixel_format > TW_PIXEL_GREY8) {
        return TW_CODE_ARGUMENT;
    }
    if (client->packed == 0) {
        return TW_CODE_UNSUPPORTED;
    }
    client->stored = client->packed == 3 ? 4 : client->packed;
    client->big_endian = config->big_endian != 0;
    client->strips = config->framebuffer == NULL;
    if (client->big_endian && config->pixel_format != TW_PIXEL_RGB565) {
        return TW_CODE_ARGUMENT;
    }
    if ((config->framebuffer == NULL) == (config->strip == NULL)) {
        return TW_CODE_ARGUMENT;
    }
    if (tw_in_strips(client)) {
        tw_client_surface(client, config->strip, config->strip_size, 0);
    } else {
        tw_client_surface(client, config->framebuffer, config->framebuffer_size, config->stride);
    }
    return tw_check_surface(client);
}

static tw_status set_up_limits(tw_client *client, const tw_client_config *config) {
    const uint32_t pixels = client->width * client->height;
    if (config->receive == NULL || config->receive_size > TW_MAX_MESSAGE) {
        return TW_CODE_ARGUMENT;
    }
    if (config->receive_size < TW_MIN_MESSAGE) {
        return TW_CODE_MEMORY;
    }
    client->receive = (uint8_t *)config->receive;
    client->max_message = (uint32_t)config->receive_size;
    client->max_rect_width = widest_rect(config);
    client->max_rect_area = config->max_rect_area != 0 ? config->max_rect_area : pixels;
    if (config->max_rect_area == 0 && client->max_rect_area < TW_MIN_RECT_AREA) {
        client->max_rect_area = TW_MIN_RECT_AREA;
    }
    if (client->max_rect_width < TW_MIN_RECT_WIDTH || client->max_rect_width > TW_MAX_SIDE
        || client->max_rect_area < TW_MIN_RECT_AREA || client->max_rect_area > TW_MAX_SIDE * TW_MAX_SIDE) {
        return TW_CODE_ARGUMENT;
    }
    return TW_OK;
}

#if TW_WITH_CODEC
/* `block`: what follows the client itself. */
static tw_status set_up_codec(tw_client *client, const tw_client_config *config, void *block) {
    if (config->model_kib == 0) {
        return TW_OK;
    }
    if (config->model_kib != 16 && config->model_kib != 32 && config->model_kib != 48) {
        return TW_CODE_ARGUMENT;
    }
    client->model_kib = (uint8_t)config->model_kib;
    client->model = (tw_codec_model *)block;
    client->rows = (uint32_t *)block + config->model_kib * 256;
    return TW_OK;
}
#endif

#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK
static tw_status set_up_jpeg(tw_client *client, const tw_client_config *config) {
    const unsigned all =
        TW_SUBSAMPLING_S444 | TW_SUBSAMPLING_S422 | TW_SUBSAMPLING_S420 | TW_SUBSAMPLING_GREY;
    if (config->jpeg == NULL && config->jpeg_memory == NULL) {
        return TW_OK;
    }
    if ((config->jpeg_subsamplings & ~all) != 0) {
        return TW_CODE_ARGUMENT;
    }
    client->jpeg_subsamplings = (uint8_t)(config->jpeg_subsamplings != 0 ? config->jpeg_subsamplings : all);
#    if TW_WITH_JPEG_HOOK
    if (config->jpeg != NULL) {
        if (config->jpeg_stream == NULL) {
            return TW_CODE_ARGUMENT;
        }
        if (config->jpeg_stream_size < TW_JPEG_SIZE(config->receive_size)) {
            return TW_CODE_MEMORY;
        }
        client->jpeg = config->jpeg;
        client->jpeg_stream = (uint8_t *)config->jpeg_stream;
        return TW_OK;
    }
#    endif
#    if TW_WITH_JPEG
    if (config->jpeg_memory_size < TW_JPEG_MEMORY_SIZE) {
        return TW_CODE_MEMORY;
    }
    client->decoder =
        (tw_jpeg_decoder *)(void *)((uint8_t *)config->jpeg_memory + gap_before(config->jpeg_memory));
    client->decoder->quality = 0;
#    endif
    return TW_OK;
}
#endif

/* Whether it asks for something that tw_config.h leaves out. */
static bool wants_too_much(const tw_client_config *config) {
    return (config->model_kib != 0 && !TW_WITH_CODEC)
           || (config->jpeg != NULL && !TW_WITH_JPEG_HOOK)
           /* `jpeg` takes its place */
           || (config->jpeg_memory != NULL && config->jpeg == NULL && !TW_WITH_JPEG)
           || (config->strip != NULL && !TW_WITH_STRIPS) || (config->key != NULL && !TW_WITH_HMAC)
           || (config->resume != NULL && config->resume->valid && !TW_WITH_RESUME)
           || (config->cursor == TW_CURSOR_LOCAL && !TW_WITH_CURSOR)
           || (config->cache != NULL && !TW_WITH_CACHE);
}

static tw_status set_up(tw_client *client, const tw_client_config *config, void *block) {
    if (wants_too_much(config)) {
        return TW_CODE_UNSUPPORTED;
    }
    TW_TRY(set_up_panel(client, config));
    TW_TRY(set_up_limits(client, config));
#if TW_WITH_CODEC
    TW_TRY(set_up_codec(client, config, block));
#else
    (void)block;
#endif
#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK
    TW_TRY(set_up_jpeg(client, config));
#endif
    if (config->device_id == NULL || config->density > 0xFFFF || config->cursor > TW_CURSOR_LOCAL
        || (config->capabilities & ~PANEL_CAPABILITIES) != 0
        || (config->key != NULL && config->ticket != NULL)
        || (config->ticket != NULL && (config->ticket_size < 1 || config->ticket_size > 64))) {
        return TW_CODE_ARGUMENT;
    }
    client->callbacks = config->callbacks != NULL ? config->callbacks : &no_callbacks;
    client->user = config->user;
    client->now_us = config->now_us;
#if TW_WITH_CURSOR
    if (config->cursor == TW_CURSOR_LOCAL) {
        TW_TRY(tw_cursor_start(client, config));
    }
#endif
    client->offered = config->capabilities;
    if (TW_WITH_COPY && !tw_in_strips(client) && !config->unreadable) {
        client->offered |= TW_CAPABILITY_COPY;
    }
#if TW_WITH_CACHE
    if (config->cache != NULL) {
        TW_TRY(tw_cache_start(client, config));
    }
#endif
    return tw_greet(client, config);
}

tw_status tw_client_init(tw_client **client, const tw_client_config *config, void *memory, size_t size) {
    const size_t gap = gap_before(memory);
    tw_client *made;
    *client = NULL;
    if (memory == NULL || config == NULL) {
        return TW_CODE_ARGUMENT;
    }
    if (size < sizeof *made + gap + model_size(config)) {
        return TW_CODE_MEMORY;
    }
    made = (tw_client *)(void *)((uint8_t *)memory + gap);
    memset(made, 0, sizeof *made);
    TW_TRY(set_up(made, config, made + 1));
    *client = made;
    return TW_OK;
}

void tw_end_by(tw_client *client, uint8_t by) {
    if (client->ended_by == TW_ALIVE) {
        client->ended_by = by;
#if TW_WITH_STATISTICS
        client->statistics.updates_dropped = client->state == TW_IN_UPDATING;
#endif
    }
#if TW_WITH_HMAC
    tw_wipe(client->key, sizeof client->key);
#endif
#if TW_WITH_CURSOR
    tw_cursor_leave(client);
#endif
}

/* The peer broke the protocol: the first error is kept and said. */
static tw_status fail(tw_client *client, tw_status status) {
    if (client->error == TW_OK) {
        client->error = status;
        if (client->ended_by != TW_ENDED_HERE) {
            tw_settle(client);
            tw_queue_goodbye(client, status < TW_CODE_CLOSED ? (unsigned)status : (unsigned)TW_CODE_INTERNAL);
        }
        tw_end_by(client, TW_ENDED_HERE);
    }
    return client->error;
}

/* The header of a message byte by byte: type, then a length of at most three bytes. */
static tw_status take_header_byte(tw_client *client) {
    const unsigned at = client->header_length - 1U;
    const uint8_t byte = client->header[at], type = client->header[0];
    if (at == 0) {
        return TW_OK;
    }
    client->length |= (uint32_t)(byte & 0x7F) << (7 * (at - 1));
    if (byte >= 0x80) {
        return at == 3 ? TW_CODE_TOO_LONG : TW_OK;
    }
    if (byte == 0 && at > 1) {
        return TW_CODE_PROTOCOL;
    }
    if (client->length > client->max_message) {
        return TW_CODE_TOO_LONG;
    }
    client->in_body = 1;
    client->kind = tw_kind_of(type);
    if (client->kind == NULL && type >= TW_DRAWING_FIRST && type <= TW_DRAWING_LAST) {
        return TW_CODE_PROTOCOL; /* the picture would be wrong without it */
    }
    return client->kind == NULL && type >= TW_MSG_ACK && type <= TW_MSG_RESIZE_SESSION ? TW_CODE_BAD_STATE
                                                                                       : TW_OK;
}

/* Takes header bytes until the header is whole or the data ends. */
static tw_status take_header(tw_client *client, const uint8_t **at, const uint8_t *data_end) {
    while (!client->in_body && *at != data_end) {
        client->header[client->header_length++] = *(*at)++;
        TW_TRY(client->state == TW_IN_GREETED ? tw_take_prefix_byte(client) : take_header_byte(client));
    }
    return TW_OK;
}

#if TW_WITH_STATISTICS
static unsigned count_slot(const tw_kind *kind) {
    return kind != NULL ? tw_slot_of(kind->type) : 0;
}
#endif

static void count_message(tw_client *client) {
#if TW_WITH_STATISTICS
    const unsigned slot = client->state == TW_IN_GREETED ? 0 : count_slot(client->kind);
    client->messages_of[slot]++;
    client->bytes_of[slot] += client->header_length + client->length;
#else
    (void)client;
#endif
}

static void next_message(tw_client *client) {
    client->header_length = client->in_body = 0;
    client->length = client->received = 0;
}

static tw_status take_body(tw_client *client, const uint8_t **at, const uint8_t *data_end) {
    const uint32_t missing = client->length - client->received;
    const size_t given = (size_t)(data_end - *at);
    const uint32_t part = given < missing ? (uint32_t)given : missing;
    const uint8_t *body = *at;
    const bool greeted = client->state == TW_IN_GREETED;
    *at += part;
    if (!greeted && client->kind == NULL) {
        client->received += part; /* skipped, without a place to keep it */
        if (part == missing) {
            TW_TRY(client->state & TW_IN_SESSION ? TW_OK : TW_CODE_BAD_STATE);
            count_message(client);
            next_message(client);
        }
        return TW_OK;
    }
    if (part != client->length) { /* a message that lies whole in `data` is read where it is */
        memcpy(client->receive + client->received, body, part);
        client->received += part;
        body = client->receive;
        if (part != missing) {
            return TW_OK;
        }
    }
    count_message(client);
    TW_TRY(greeted ? tw_take_reply(client, body, client->length)
                   : tw_take_message(client, client->kind, body, client->length));
    if (tw_has_tile(client) && body != client->receive) {
        /* Pixels are pending in the middle of a rectangle: the rest of it must outlive `data`. */
        const size_t done = (size_t)(client->tile.at - body);
        memcpy(client->receive, body, client->length);
        client->tile.at = client->receive + done;
        client->tile.end = client->receive + client->length;
    }
    next_message(client);
    return TW_OK;
}

static void measure(tw_client *client) {
    const uint32_t now = tw_now_us(client);
    client->decode_us += now - client->decode_since;
#if TW_WITH_STATISTICS
    client->statistics.decode_us += now - client->decode_since;
#endif
    client->decode_since = now;
}

static tw_status step(tw_client *client, const uint8_t **at, const uint8_t *data_end) {
    if (tw_has_tile(client)) {
        return tw_draw_tile(client);
    }
#if TW_WITH_CURSOR
    if (client->cursor.due) {
        tw_cursor_step(client);
        return TW_OK;
    }
#endif
    if (client->present_due) {
        tw_present(client);
        return TW_OK;
    }
    if (client->ack_due) { /* and nothing is pending: its pixels are out */
        measure(client);
        client->ack_due = 0;
        client->ack_owed = 1;
        tw_settle(client);
        return TW_OK;
    }
    if (client->ended_by == TW_ENDED_BY_PEER) {
        return TW_CODE_BAD_STATE; /* nothing follows GOODBYE */
    }
    TW_TRY(take_header(client, at, data_end));
    return client->in_body ? take_body(client, at, data_end) : TW_OK;
}

static bool has_work(const tw_client *client) {
#if TW_WITH_CURSOR
    if (client->cursor.due) {
        return true;
    }
#endif
    return tw_has_tile(client) || client->ack_due;
}

static tw_status take(tw_client *client, const uint8_t **at, const uint8_t *data_end) {
    while (!client->pending && (*at != data_end || has_work(client))) {
        const tw_status status = step(client, at, data_end);
        if (status != TW_OK) {
            return fail(client, status);
        }
        if (client->ended_by == TW_ENDED_HERE) { /* by a callback */
            break;
        }
    }
    return client->ended_by == TW_ALIVE ? TW_OK : TW_CODE_CLOSED;
}

tw_status tw_client_feed(tw_client *client, const void *data, size_t length, size_t *consumed) {
    const uint8_t *const start = length != 0 ? (const uint8_t *)data : client->header;
    const uint8_t *at = start;
    tw_status status;
    *consumed = 0;
#if TW_WITH_CURSOR
    if (client->ended_by != TW_ALIVE) {
        tw_cursor_run(client);
    }
#endif
    if (client->error != TW_OK) {
        return client->error;
    }
    if (client->ended_by == TW_ENDED_HERE || client->ended_by == TW_ENDED_BY_STREAM) {
        *consumed = length;
        return TW_CODE_CLOSED;
    }
    if (length != 0) {
        client->heard = 1;
    }
    client->decode_since = tw_now_us(client);
    status = take(client, &at, start + length);
#if TW_WITH_CURSOR
    tw_cursor_run(client);
#endif
    measure(client);
    *consumed = (size_t)(at - start);
#if TW_WITH_STATISTICS
    client->statistics.bytes += *consumed;
#endif
    return status;
}

void tw_client_draw_done(tw_client *client) {
    client->pending = 0;
}

unsigned tw_client_pending(const tw_client *client) {
    return client->pending;
}

void tw_client_close(tw_client *client, unsigned code) {
    if (client->ended_by == TW_ALIVE) {
        tw_settle(client);
        tw_queue_goodbye(client, code & 0xFFFF);
        client->goodbye = (uint16_t)code;
        client->said_goodbye = 1;
    }
    tw_end_by(client, TW_ENDED_HERE);
}

tw_status tw_client_end(tw_client *client) {
    if (client->ended_by == TW_ALIVE) {
        if (client->header_length != 0 || client->state == TW_IN_UPDATING) {
            client->error = TW_CODE_TRUNCATED;
        }
        tw_end_by(client, TW_ENDED_BY_STREAM);
    }
    return client->error;
}

tw_status tw_client_tick(tw_client *client, uint32_t now_ms) {
    const bool in_session = (client->state & TW_IN_SESSION) != 0;
    const uint32_t quiet_ms = now_ms - client->quiet_since_ms;
#if TW_WITH_CURSOR
    tw_cursor_run(client);
#endif
    if (client->ended_by != TW_ALIVE) {
        return client->error != TW_OK ? client->error : TW_CODE_CLOSED;
    }
    if (!client->timing || (in_session && client->heard)) {
        client->timing = 1;
        client->heard = client->unanswered = 0;
        client->quiet_since_ms = now_ms;
    } else if (!in_session) {
        if (quiet_ms >= TW_HELLO_TIMEOUT_S * MS_PER_S) {
            return fail(client, TW_CODE_TIMEOUT);
        }
    } else if (quiet_ms >= TW_PING_INTERVAL_S * MS_PER_S) {
        if (client->unanswered == TW_PING_MISSES) {
            return fail(client, TW_CODE_TIMEOUT);
        }
        client->unanswered++;
        client->quiet_since_ms = now_ms;
        /* Where the send buffer is full the server has not read for long, and counts as silent as well. */
        return tw_client_ping(client, now_ms) == TW_CODE_CLOSED ? TW_CODE_CLOSED : TW_OK;
    }
    return TW_OK;
}

tw_phase tw_client_phase(const tw_client *client) {
    if (client->ended_by != TW_ALIVE) {
        return TW_CLOSED;
    }
    return client->state & TW_IN_SESSION ? TW_OPEN : TW_CONNECTING;
}

tw_status tw_client_error(const tw_client *client) {
    return client->error;
}

uint32_t tw_client_shown(const tw_client *client) {
    return client->ack_due ? client->ended - 1 : client->ended;
}

#if TW_WITH_STATISTICS
void tw_client_statistics(const tw_client *client, tw_statistics *statistics) {
    *statistics = client->statistics;
}

void tw_client_count(const tw_client *client, unsigned type, uint32_t *messages, uint64_t *bytes) {
    const unsigned slot = count_slot(tw_kind_of(type));
    *messages = slot != 0 || type == 0 ? client->messages_of[slot] : 0;
    *bytes = slot != 0 || type == 0 ? client->bytes_of[slot] : 0;
}
#endif
