/* Messages of a session: what each consists of and when it may come, in one table; and what is done with those that do
 * not draw. */
#include "tw_internal.h"

/* ---- Fields ----------------------------------------------------------------------------------------------- */

/* What a message consists of, in order. What is checked is what was read before it. */
enum {
    NONE, /* the list ends */
    RECT,
    POINT,
    REST,     /* all that is left */
    TEXT,     /* the same, and UTF-8 */
    PIXEL,    /* the same: 1 to 3 bytes */
    PAIRS,    /* the same: at most 65,536 times two */
    AREA,     /* checks two sides */
    SAMPLING, /* checks a number for being one of JPEG's samplings */
    SHAPE,    /* all that is left, rows of a cursor; checks these and its five numbers */
    ANY_8,    /* from here on: in the order of `limits` */
    ANY_16,
    ANY_VARINT,
    COUNTED, /* from 1 on */
    BIT,
    UP_TO_2,
    UP_TO_3,
    SIDE,
    SHAPE_SIDE,
    SHAPE_PLACE,
    CLIPBOARD,
    SLOT,
    QUALITY,
    SAMPLING_BYTE,
    INFLATED,
    FPS,
    SET_QUALITY,
    STAMP,
    PROOF
};

/* From `low` to `high` in so many bytes, 0: a varint. More than four are taken as they are. */
static const struct {
    uint8_t size, low;
    uint32_t high;
} limits[] = {
    {1, 0, 0xFF},                    /* ANY_8 */
    {2, 0, 0xFFFF},                  /* ANY_16 */
    {0, 0, 0xFFFFFFFF},              /* ANY_VARINT */
    {0, 1, 0xFFFFFFFF},              /* COUNTED */
    {1, 0, 1},                       /* BIT */
    {1, 0, 2},                       /* UP_TO_2 */
    {1, 0, 3},                       /* UP_TO_3 */
    {2, 1, TW_MAX_SIDE},             /* SIDE */
    {1, 0, TW_MAX_CURSOR_SIDE},      /* SHAPE_SIDE */
    {1, 0, TW_MAX_CURSOR_SIDE - 1},  /* SHAPE_PLACE */
    {0, 0, TW_MAX_CLIPBOARD},        /* CLIPBOARD */
    {0, 0, TW_MAX_CACHE_SLOTS - 1},  /* SLOT */
    {1, 1, 100},                     /* QUALITY */
    {1, 0, 0x13},                    /* SAMPLING_BYTE */
    {1, TW_MSG_RAW, TW_MSG_PALETTE}, /* INFLATED */
    {1, 1, 60},                      /* FPS */
    {1, 10, 90},                     /* SET_QUALITY */
    {TW_STAMP_SIZE, 0, 0},           /* STAMP */
    {TW_PROOF_SIZE, 0, 0},           /* PROOF */
};

static void take_rest(tw_reader *reader, tw_body *body, size_t least, size_t most) {
    body->rest = reader->at;
    body->length = tw_left(reader);
    reader->at = reader->end;
    if (body->length < least) {
        tw_refuse(reader, TW_CODE_PROTOCOL);
    } else if (body->length > most) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    }
}

#if TW_WITH_CURSOR
static void check_shape(tw_reader *reader, tw_body *body) {
    const uint32_t *n = body->number; /* width, height, hot x, hot y, row */
    const size_t stride = (size_t)4 * n[0];
    bool sound;
    take_rest(reader, body, 0, TW_MAX_MESSAGE);
    if (n[0] == 0 || n[1] == 0) {
        sound = (n[0] | n[1] | n[2] | n[3] | n[4]) == 0 && body->length == 0;
    } else {
        sound = n[2] < n[0] && n[3] < n[1] && body->length != 0 && body->length % stride == 0
                && n[4] + body->length / stride <= n[1];
    }
    if (!sound) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    }
}
#endif

static uint32_t *read_number(tw_reader *reader, tw_body *body, uint32_t *number, unsigned place) {
    const unsigned size = limits[place].size;
    if (size > 4) {
        body->rest = tw_read_bytes(reader, size);
        body->length = size;
    } else {
        *number++ = size == 0 ? tw_read_varint(reader, limits[place].low, limits[place].high)
                              : tw_read_number(reader, size, limits[place].low, limits[place].high);
    }
    return number;
}

static void read_fields(tw_reader *reader, tw_body *body, const uint8_t *fields) {
    uint32_t *number = body->number;
    for (; *fields != NONE; fields++) {
        switch (*fields) {
        case RECT: body->rect = tw_read_rect(reader); break;
        case POINT: body->point = tw_read_point(reader); break;
        case REST: take_rest(reader, body, 0, TW_MAX_MESSAGE); break;
        case PIXEL: take_rest(reader, body, 1, 3); break;
        case TEXT: body->rest = (const uint8_t *)tw_read_text(reader, 0, TW_MAX_TEXT, &body->length); break;
#if TW_WITH_EVENTS
        case PAIRS:
            take_rest(reader, body, 0, 2 * 65536);
            if (body->length % 2 != 0) {
                tw_refuse(reader, TW_CODE_PROTOCOL);
            }
            break;
#endif
#if TW_WITH_RESIZE
        case AREA:
            if (body->number[0] * body->number[1] > TW_MAX_PIXELS) {
                tw_refuse(reader, TW_CODE_BAD_VALUE);
            }
            break;
#endif
#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK
        case SAMPLING:
            if ((body->number[1] & 15) > 3) {
                tw_refuse(reader, TW_CODE_BAD_VALUE);
            }
            break;
#endif
#if TW_WITH_CURSOR
        case SHAPE: check_shape(reader, body); break;
#endif
        default: number = read_number(reader, body, number, *fields - (unsigned)ANY_8); break;
        }
    }
}

/* ---- What is done ----------------------------------------------------------------------------------------- */

static tw_status take_goodbye(tw_client *client, const tw_body *body) {
    client->goodbye = (uint16_t)body->number[0];
    client->said_goodbye = 1;
    tw_end_by(client, TW_ENDED_BY_PEER);
    if (client->callbacks->goodbye != NULL) {
        client->callbacks->goodbye(client->user, body->number[0], (const char *)body->rest, body->length);
    }
    return TW_OK;
}

static tw_status take_ping(tw_client *client, const tw_body *body) {
    memcpy(client->pong, body->rest, sizeof client->pong);
    client->pong_owed = 1;
    tw_settle(client);
    return TW_OK;
}

/* Of what is left out in tw_config.h, and so was never offered. */
static tw_status take_unwanted(tw_client *client, const tw_body *body) {
    (void)client;
    (void)body;
    return TW_CODE_NOT_OFFERED;
}

#if TW_WITH_EVENTS
static tw_status take_pong(tw_client *client, const tw_body *body) {
    tw_reader reader = tw_reader_of(body->rest, body->length);
    if (client->callbacks->pong != NULL) {
        client->callbacks->pong(client->user, tw_read_long(&reader));
    }
    return TW_OK;
}

static tw_status take_notice(tw_client *client, const tw_body *body) {
    if (client->callbacks->notice != NULL) {
        client->callbacks->notice(client->user, body->number[0], (const char *)body->rest, body->length);
    }
    return TW_OK;
}

static tw_status take_setting(tw_client *client, const tw_body *body) {
    tw_setting setting;
    setting.fps = body->number[0];
    setting.quality = body->number[1];
    setting.adaptive = body->number[2];
    if (client->callbacks->setting != NULL) {
        client->callbacks->setting(client->user, &setting);
    }
    return TW_OK;
}

static tw_status take_view_state(tw_client *client, const tw_body *body) {
    tw_view_state view;
    view.mode = body->number[0];
    view.rotation = body->number[1];
    view.follow = body->number[2];
    view.session_width = body->number[3];
    view.session_height = body->number[4];
    view.x = body->rect.x;
    view.y = body->rect.y;
    view.width = body->rect.width;
    view.height = body->rect.height;
    if (client->callbacks->view_state != NULL) {
        client->callbacks->view_state(client->user, &view);
    }
    return TW_OK;
}

static tw_status take_control_state(tw_client *client, const tw_body *body) {
    if (client->callbacks->control_state != NULL) {
        client->callbacks->control_state(client->user, body->number[0], body->number[1]);
    }
    return TW_OK;
}

static tw_status take_bell(tw_client *client, const tw_body *body) {
    (void)body;
    if (client->callbacks->bell != NULL) {
        client->callbacks->bell(client->user);
    }
    return TW_OK;
}

static tw_status take_input_echo(tw_client *client, const tw_body *body) {
    const uint32_t input = body->number[0];
    if (input > client->input) {
        return TW_CODE_BAD_VALUE;
    }
#    if TW_WITH_STATISTICS
    client->answered = input > client->answered ? input : client->answered;
#    endif
    if (client->callbacks->input_echo != NULL) {
        client->callbacks->input_echo(client->user, input);
    }
    return TW_OK;
}

static tw_status take_explanation(tw_client *client, const tw_body *body) {
    tw_explanation explanation;
    explanation.update = body->number[0];
    explanation.encode_us = body->number[1];
    explanation.in_flight = body->number[2];
    explanation.bytes_per_s = body->number[3];
    explanation.round_trip_us = body->number[4];
    explanation.operations = body->rest;
    explanation.count = body->length / 2;
    if (explanation.update != client->ended) {
        return TW_CODE_BAD_VALUE;
    }
    if (client->callbacks->explanation != NULL) {
        client->callbacks->explanation(client->user, &explanation);
    }
    return TW_OK;
}
#endif

#if TW_WITH_CLIPBOARD
static tw_status take_clipboard(tw_client *client, const tw_body *body) {
    const uint32_t total = body->number[0], offset = body->number[1];
    TW_TRY(tw_follow_clipboard(client->clipboard_in, total, offset, body->length));
    if (client->callbacks->clipboard != NULL) {
        client->callbacks->clipboard(client->user, total, offset, body->rest, body->length);
    }
    return TW_OK;
}
#endif

#if TW_WITH_RESIZE
static tw_status take_resize(tw_client *client, const tw_body *body) {
    client->width = body->number[0];
    client->height = body->number[1];
#    if TW_WITH_CURSOR
    tw_cursor_forget(client);
#    endif
    if (client->callbacks->resize != NULL) {
        client->pending = 1; /* no cursor is drawn before the surface is known to fit */
        client->callbacks->resize(client->user, client->width, client->height);
        client->pending = 0;
    }
    /* Not ours to complain about: the server named a size that we cannot hold. */
    return tw_check_surface(client) == TW_OK ? TW_OK : TW_CODE_BAD_VALUE;
}
#endif

#if TW_WITH_CURSOR
static tw_status take_cursor_shape(tw_client *client, const tw_body *body) {
    tw_shape shape;
    shape.width = (uint8_t)body->number[0];
    shape.height = (uint8_t)body->number[1];
    shape.hot_x = (uint8_t)body->number[2];
    shape.hot_y = (uint8_t)body->number[3];
    return tw_cursor_take_shape(client, &shape, body->number[4], body->rest, body->length);
}

static tw_status take_cursor_position(tw_client *client, const tw_body *body) {
    if (client->cursor.coming == NULL) {
        return TW_CODE_NOT_OFFERED;
    }
    if (body->point.x >= client->width || body->point.y >= client->height) {
        return TW_CODE_BAD_VALUE;
    }
    tw_cursor_place(client, body->point.x, body->point.y);
    return TW_OK;
}
#endif

/* ---- The table -------------------------------------------------------------------------------------------- */

/* What tw_config.h leaves out: refused, whatever is in it. */
#define UNWANTED(type, states) \
    { \
        take_unwanted, type, states, 0, { \
            REST \
        } \
    }

#define HOLE \
    { \
        NULL, 0, 0, 0, { \
            NONE \
        } \
    }

/* In the order of their types, for each to be found at once: 0x00 to 0x1F, then 0x40 on. What TW_WITH_EVENTS leaves out
 * is unknown, and passed over. */
static const tw_kind kinds[] = {
    HOLE,
    {take_goodbye, TW_MSG_GOODBYE, TW_IN_ANY, 0, {ANY_16, TEXT}},
#if TW_WITH_HMAC
    {tw_take_proof, TW_MSG_PROOF, TW_IN_CHALLENGED, 0, {PROOF}},
#else
    UNWANTED(TW_MSG_PROOF, TW_IN_CHALLENGED),
#endif
    {take_ping, TW_MSG_PING, TW_IN_SESSION, 0, {STAMP}},
#if TW_WITH_EVENTS
    {take_pong, TW_MSG_PONG, TW_IN_SESSION, 0, {STAMP}},
    {take_notice, TW_MSG_NOTICE, TW_IN_SESSION, 0, {ANY_16, TEXT}},
#else
    HOLE,
    HOLE,
#endif
#if TW_WITH_CLIPBOARD
    {take_clipboard, TW_MSG_CLIPBOARD, TW_IN_SESSION, TW_CAPABILITY_CLIPBOARD, {CLIPBOARD, CLIPBOARD, REST}},
#else
    UNWANTED(TW_MSG_CLIPBOARD, TW_IN_SESSION),
#endif
#if TW_WITH_EVENTS
    {take_setting, TW_MSG_SETTING, TW_IN_SESSION, 0, {FPS, SET_QUALITY, BIT}},
#else
    HOLE,
#endif
#if TW_WITH_RESIZE
    {take_resize, TW_MSG_RESIZE, TW_IN_OPEN, TW_CAPABILITY_RESIZE, {SIDE, SIDE, AREA}},
#else
    UNWANTED(TW_MSG_RESIZE, TW_IN_OPEN),
#endif
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    {tw_take_welcome, TW_MSG_WELCOME, TW_IN_ANY, 0, {REST}},
#if TW_WITH_EVENTS
    {take_view_state, TW_MSG_VIEW_STATE, TW_IN_SESSION, 0, {BIT, UP_TO_3, BIT, SIDE, SIDE, RECT}},
    {take_control_state, TW_MSG_CONTROL_STATE, TW_IN_SESSION, 0, {UP_TO_2, ANY_VARINT}},
#else
    HOLE,
    HOLE,
#endif
#if TW_WITH_CURSOR
    {take_cursor_shape, TW_MSG_CURSOR_SHAPE, TW_IN_SESSION, 0,
        {SHAPE_SIDE, SHAPE_SIDE, SHAPE_PLACE, SHAPE_PLACE, SHAPE_PLACE, SHAPE}},
    {take_cursor_position, TW_MSG_CURSOR_POSITION, TW_IN_SESSION, 0, {POINT}},
#else
    UNWANTED(TW_MSG_CURSOR_SHAPE, TW_IN_SESSION),
    UNWANTED(TW_MSG_CURSOR_POSITION, TW_IN_SESSION),
#endif
#if TW_WITH_EVENTS
    {take_bell, TW_MSG_BELL, TW_IN_SESSION, TW_CAPABILITY_BELL, {NONE}},
    {take_input_echo, TW_MSG_INPUT_ECHO, TW_IN_SESSION, TW_CAPABILITY_INPUT_ECHO, {COUNTED}},
    {take_explanation, TW_MSG_EXPLANATION, TW_IN_OPEN, TW_CAPABILITY_EXPLAIN,
        {COUNTED, ANY_VARINT, ANY_VARINT, ANY_VARINT, ANY_VARINT, PAIRS}},
#else
    HOLE,
    HOLE,
    HOLE,
#endif
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    HOLE,
    {tw_take_begin, TW_MSG_BEGIN, TW_IN_OPEN, 0, {COUNTED, ANY_VARINT}},
    {tw_take_end, TW_MSG_END, TW_IN_UPDATING, 0, {NONE}},
    {tw_take_tile, TW_MSG_FILL, TW_IN_UPDATING, 0, {RECT, PIXEL}},
#if TW_WITH_COPY
    {tw_take_copy, TW_MSG_COPY, TW_IN_UPDATING, TW_CAPABILITY_COPY, {RECT, POINT}},
#else
    UNWANTED(TW_MSG_COPY, TW_IN_UPDATING),
#endif
#if TW_WITH_CACHE
    {tw_take_cache_store, TW_MSG_CACHE_STORE, TW_IN_UPDATING, TW_CAPABILITY_COPY, {SLOT, RECT}},
    {tw_take_cache_draw, TW_MSG_CACHE_DRAW, TW_IN_UPDATING, TW_CAPABILITY_COPY, {SLOT, POINT}},
#else
    UNWANTED(TW_MSG_CACHE_STORE, TW_IN_UPDATING),
    UNWANTED(TW_MSG_CACHE_DRAW, TW_IN_UPDATING),
#endif
    HOLE,
    HOLE,
    {tw_take_tile, TW_MSG_RAW, TW_IN_UPDATING, 0, {RECT, REST}},
    {tw_take_tile, TW_MSG_PALETTE, TW_IN_UPDATING, 0, {RECT, REST}},
#if TW_WITH_CODEC
    {tw_take_tile, TW_MSG_CODEC, TW_IN_UPDATING, 0, {RECT, ANY_8, REST}},
#else
    UNWANTED(TW_MSG_CODEC, TW_IN_UPDATING),
#endif
    {take_unwanted, TW_MSG_DEFLATE, TW_IN_UPDATING, 0, {RECT, INFLATED, REST}},
#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK
    {tw_take_tile, TW_MSG_JPEG, TW_IN_UPDATING, 0, {RECT, QUALITY, SAMPLING_BYTE, SAMPLING, REST}},
#else
    UNWANTED(TW_MSG_JPEG, TW_IN_UPDATING),
#endif
};

unsigned tw_slot_of(unsigned type) {
    return (type & 0x1F) | (type & 0x40) >> 1;
}

const tw_kind *tw_kind_of(unsigned type) {
    const unsigned slot = tw_slot_of(type);
    return type != 0 && slot < sizeof kinds / sizeof *kinds && kinds[slot].type == type ? &kinds[slot] : NULL;
}

tw_status tw_take_message(tw_client *client, const tw_kind *kind, const uint8_t *bytes, size_t length) {
    tw_reader reader = tw_reader_of(bytes, length);
    tw_body body;
    for (unsigned i = 0; i < sizeof body.number / sizeof *body.number; i++) {
        body.number[i] = 0;
    }
    body.type = kind->type;
    read_fields(&reader, &body, kind->fields);
    if (kind->type >= TW_DRAWING_FIRST) { /* the others may grow at their end */
        tw_read_end(&reader);
    }
    TW_TRY(reader.status);
    if ((client->state & kind->states) == 0) {
        return TW_CODE_BAD_STATE;
    }
    if ((client->capabilities & kind->capability) != kind->capability) {
        return TW_CODE_NOT_OFFERED;
    }
    return kind->take(client, &body);
}
