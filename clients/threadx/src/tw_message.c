/* Messages of a session that do not draw, and the way to those that do. */
#include "tw_internal.h"

tw_status tw_admit(const tw_client *client, const tw_reader *reader, unsigned states) {
    TW_TRY(reader->status);
    return (client->state & states) != 0 ? TW_OK : TW_CODE_BAD_STATE;
}

static tw_status need(const tw_client *client, uint32_t capability) {
    return (client->capabilities & capability) != 0 ? TW_OK : TW_CODE_NOT_OFFERED;
}

static tw_status take_goodbye(tw_client *client, tw_reader *reader) {
    const uint32_t code = tw_read_number(reader, 2, 0, 0xFFFF);
    size_t length;
    const char *text = tw_read_text(reader, 0, TW_MAX_TEXT, &length);
    TW_TRY(tw_admit(client, reader, TW_IN_ANY));
    client->goodbye = (uint16_t)code;
    client->said_goodbye = 1;
    tw_end_by(client, TW_ENDED_BY_PEER);
    if (client->callbacks->goodbye != NULL) {
        client->callbacks->goodbye(client->user, code, text, length);
    }
    return TW_OK;
}

static tw_status take_ping(tw_client *client, tw_reader *reader) {
    const uint8_t *stamp = tw_read_bytes(reader, sizeof client->pong);
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    memcpy(client->pong, stamp, sizeof client->pong);
    client->pong_owed = 1;
    tw_settle(client);
    return TW_OK;
}

static tw_status take_pong(tw_client *client, tw_reader *reader) {
    const uint64_t stamp = tw_read_long(reader);
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    if (client->callbacks->pong != NULL) {
        client->callbacks->pong(client->user, stamp);
    }
    return TW_OK;
}

static tw_status take_notice(tw_client *client, tw_reader *reader) {
    const uint32_t code = tw_read_number(reader, 2, 0, 0xFFFF);
    size_t length;
    const char *text = tw_read_text(reader, 0, TW_MAX_TEXT, &length);
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    if (client->callbacks->notice != NULL) {
        client->callbacks->notice(client->user, code, text, length);
    }
    return TW_OK;
}

static tw_status take_clipboard(tw_client *client, tw_reader *reader) {
    const uint32_t total = tw_read_varint(reader, 0, TW_MAX_CLIPBOARD);
    const uint32_t offset = tw_read_varint(reader, 0, TW_MAX_CLIPBOARD);
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    TW_TRY(need(client, TW_CAPABILITY_CLIPBOARD));
#if TW_WITH_CLIPBOARD
    TW_TRY(tw_follow_clipboard(client->clipboard_in, total, offset, tw_left(reader)));
    if (client->callbacks->clipboard != NULL) {
        client->callbacks->clipboard(client->user, total, offset, reader->at, tw_left(reader));
    }
#else
    (void)total;
    (void)offset;
#endif
    return TW_OK;
}

static tw_status take_setting(tw_client *client, tw_reader *reader) {
    const tw_setting setting = tw_read_setting(reader);
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    if (client->callbacks->setting != NULL) {
        client->callbacks->setting(client->user, &setting);
    }
    return TW_OK;
}

static tw_status take_resize(tw_client *client, tw_reader *reader) {
    const uint32_t width = tw_read_number(reader, 2, 1, TW_MAX_SIDE);
    const uint32_t height = tw_read_number(reader, 2, 1, TW_MAX_SIDE);
    if (width * height > TW_MAX_PIXELS) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    }
    TW_TRY(tw_admit(client, reader, TW_IN_OPEN));
    TW_TRY(need(client, TW_CAPABILITY_RESIZE));
    client->width = width;
    client->height = height;
#if TW_WITH_CURSOR
    tw_cursor_forget(client);
#endif
    if (client->callbacks->resize != NULL) {
        client->callbacks->resize(client->user, width, height);
    }
    /* Not ours to complain about: the server named a size that we cannot hold. */
    return tw_check_surface(client) == TW_OK ? TW_OK : TW_CODE_BAD_VALUE;
}

static tw_status take_view_state(tw_client *client, tw_reader *reader) {
    tw_view_state view;
    tw_rect window;
    view.mode = tw_read_number(reader, 1, 0, TW_VIEW_FIT);
    view.rotation = tw_read_number(reader, 1, 0, TW_ROTATION_R270);
    view.follow = tw_read_number(reader, 1, 0, 1);
    view.session_width = tw_read_number(reader, 2, 1, TW_MAX_SIDE);
    view.session_height = tw_read_number(reader, 2, 1, TW_MAX_SIDE);
    window = tw_read_rect(reader);
    view.x = window.x;
    view.y = window.y;
    view.width = window.width;
    view.height = window.height;
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    if (client->callbacks->view_state != NULL) {
        client->callbacks->view_state(client->user, &view);
    }
    return TW_OK;
}

static tw_status take_control_state(tw_client *client, tw_reader *reader) {
    const uint32_t role = tw_read_number(reader, 1, 0, TW_ROLE_CONTROL);
    const uint32_t holder = tw_read_varint(reader, 0, 0xFFFFFFFF);
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    if (client->callbacks->control_state != NULL) {
        client->callbacks->control_state(client->user, role, holder);
    }
    return TW_OK;
}

static tw_status take_cursor_shape(tw_client *client, tw_reader *reader) {
    tw_shape shape;
    uint32_t row;
    size_t bytes, stride;
    bool sound;
    shape.width = (uint8_t)tw_read_number(reader, 1, 0, TW_MAX_CURSOR_SIDE);
    shape.height = (uint8_t)tw_read_number(reader, 1, 0, TW_MAX_CURSOR_SIDE);
    shape.hot_x = (uint8_t)tw_read_number(reader, 1, 0, TW_MAX_CURSOR_SIDE - 1);
    shape.hot_y = (uint8_t)tw_read_number(reader, 1, 0, TW_MAX_CURSOR_SIDE - 1);
    row = tw_read_number(reader, 1, 0, TW_MAX_CURSOR_SIDE - 1);
    bytes = tw_left(reader);
    stride = (size_t)4 * shape.width;
    if (shape.width == 0 || shape.height == 0) {
        sound = (shape.width | shape.height | shape.hot_x | shape.hot_y | row) == 0 && bytes == 0;
    } else {
        sound = shape.hot_x < shape.width && shape.hot_y < shape.height && bytes != 0 && bytes % stride == 0
                && row + bytes / stride <= shape.height;
    }
    if (!sound) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    }
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
#if TW_WITH_CURSOR
    return tw_cursor_take_shape(client, &shape, row, reader->at, bytes);
#else
    return TW_CODE_NOT_OFFERED;
#endif
}

static tw_status take_cursor_position(tw_client *client, tw_reader *reader) {
    const tw_point point = tw_read_point(reader);
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
#if TW_WITH_CURSOR
    if (client->cursor.coming == NULL) {
        return TW_CODE_NOT_OFFERED;
    }
    if (point.x >= client->width || point.y >= client->height) {
        return TW_CODE_BAD_VALUE;
    }
    tw_cursor_place(client, point.x, point.y);
    return TW_OK;
#else
    (void)point;
    return TW_CODE_NOT_OFFERED;
#endif
}

static tw_status take_bell(tw_client *client, tw_reader *reader) {
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    TW_TRY(need(client, TW_CAPABILITY_BELL));
    if (client->callbacks->bell != NULL) {
        client->callbacks->bell(client->user);
    }
    return TW_OK;
}

static tw_status take_input_echo(tw_client *client, tw_reader *reader) {
    const uint32_t input = tw_read_varint(reader, 1, 0xFFFFFFFF);
    TW_TRY(tw_admit(client, reader, TW_IN_SESSION));
    TW_TRY(need(client, TW_CAPABILITY_INPUT_ECHO));
    if (input > client->input) {
        return TW_CODE_BAD_VALUE;
    }
#if TW_WITH_STATISTICS
    client->answered = input;
#endif
    if (client->callbacks->input_echo != NULL) {
        client->callbacks->input_echo(client->user, input);
    }
    return TW_OK;
}

static tw_status take_explanation(tw_client *client, tw_reader *reader) {
    tw_explanation explanation;
    explanation.update = tw_read_varint(reader, 1, 0xFFFFFFFF);
    explanation.encode_us = tw_read_varint(reader, 0, 0xFFFFFFFF);
    explanation.in_flight = tw_read_varint(reader, 0, 0xFFFFFFFF);
    explanation.bytes_per_s = tw_read_varint(reader, 0, 0xFFFFFFFF);
    explanation.round_trip_us = tw_read_varint(reader, 0, 0xFFFFFFFF);
    explanation.operations = reader->at;
    explanation.count = tw_left(reader) / 2;
    if (tw_left(reader) > 2 * 65536) {
        tw_refuse(reader, TW_CODE_BAD_VALUE);
    } else if (tw_left(reader) % 2 != 0) {
        tw_refuse(reader, TW_CODE_PROTOCOL);
    }
    TW_TRY(tw_admit(client, reader, TW_IN_OPEN));
    TW_TRY(need(client, TW_CAPABILITY_EXPLAIN));
    if (explanation.update != client->ended) {
        return TW_CODE_BAD_VALUE;
    }
    if (client->callbacks->explanation != NULL) {
        client->callbacks->explanation(client->user, &explanation);
    }
    return TW_OK;
}

tw_status tw_take_message(tw_client *client, unsigned type, const uint8_t *body, size_t length) {
    tw_reader reader = tw_reader_of(body, length);
    switch (type) {
    case TW_MSG_GOODBYE: return take_goodbye(client, &reader);
    case TW_MSG_PROOF: return tw_take_proof(client, &reader, body, length);
    case TW_MSG_PING: return take_ping(client, &reader);
    case TW_MSG_PONG: return take_pong(client, &reader);
    case TW_MSG_NOTICE: return take_notice(client, &reader);
    case TW_MSG_CLIPBOARD: return take_clipboard(client, &reader);
    case TW_MSG_SETTING: return take_setting(client, &reader);
    case TW_MSG_RESIZE: return take_resize(client, &reader);
    case TW_MSG_WELCOME: return tw_take_welcome(client, &reader);
    case TW_MSG_VIEW_STATE: return take_view_state(client, &reader);
    case TW_MSG_CONTROL_STATE: return take_control_state(client, &reader);
    case TW_MSG_CURSOR_SHAPE: return take_cursor_shape(client, &reader);
    case TW_MSG_CURSOR_POSITION: return take_cursor_position(client, &reader);
    case TW_MSG_BELL: return take_bell(client, &reader);
    case TW_MSG_INPUT_ECHO: return take_input_echo(client, &reader);
    case TW_MSG_EXPLANATION: return take_explanation(client, &reader);
    case TW_MSG_BEGIN: return tw_take_begin(client, &reader);
    case TW_MSG_END: return tw_take_end(client, &reader);
    default: return tw_take_drawing(client, type, &reader);
    }
}
