/* What the caller sends: input with its numbers, and wishes. */
#include "tw_internal.h"

#define VARINT_MAX 5

static bool is_on_panel(const tw_client *client, unsigned x, unsigned y) {
    /* A panel that may be resized reports in the size that it has; the server clamps what is out of date. */
    if (client->capabilities & TW_CAPABILITY_RESIZE) {
        return x < TW_MAX_SIDE && y < TW_MAX_SIDE;
    }
    return x < client->width && y < client->height;
}

static uint8_t *put_point(uint8_t *out, unsigned x, unsigned y) {
    return tw_put_number(out, (uint32_t)x | (uint32_t)y << 12, 3);
}

/* Every input begins with its number. */
static uint8_t *begin_input(const tw_client *client, uint8_t *body) {
    return tw_put_varint(body, client->input + 1);
}

static tw_status send_input(tw_client *client, unsigned type, const uint8_t *body, const uint8_t *end,
    const void *tail, size_t tail_length, uint32_t *input) {
    const tw_status status = tw_send(client, type, body, (size_t)(end - body), tail, tail_length);
#if TW_WITH_STATISTICS
    client->statistics.inputs_refused += status == TW_CODE_FULL;
#endif
    TW_TRY(status);
    client->input++;
#if TW_WITH_STATISTICS
    client->sent_us[client->input % TW_TIMED_INPUTS] = tw_now_us(client);
#endif
    if (input != NULL) {
        *input = client->input;
    }
    return TW_OK;
}

tw_status tw_client_pointer(tw_client *client, unsigned x, unsigned y, unsigned buttons, uint32_t *input) {
    uint8_t body[VARINT_MAX + 4];
    if (!is_on_panel(client, x, y) || buttons > 0xFF) {
        return TW_CODE_ARGUMENT;
    }
    TW_TRY(send_input(client, TW_MSG_POINTER, body,
        tw_put_number(put_point(begin_input(client, body), x, y), buttons, 1), NULL, 0, input));
#if TW_WITH_CURSOR
    tw_cursor_place(client, x, y);
#endif
    return TW_OK;
}

tw_status tw_client_wheel(tw_client *client, int dx, int dy, uint32_t *input) {
    uint8_t body[VARINT_MAX + 4];
    if (dx < -32768 || dx > 32767 || dy < -32768 || dy > 32767) {
        return TW_CODE_ARGUMENT;
    }
    return send_input(client, TW_MSG_WHEEL, body,
        tw_put_number(tw_put_number(begin_input(client, body), (uint32_t)dx, 2), (uint32_t)dy, 2), NULL, 0,
        input);
}

tw_status tw_client_key(tw_client *client, uint32_t keysym, unsigned pressed, uint32_t *input) {
    uint8_t body[VARINT_MAX + 5];
    if (keysym == 0 || keysym > 0x1FFFFFFF || pressed > 1) {
        return TW_CODE_ARGUMENT;
    }
    return send_input(client, TW_MSG_KEY, body,
        tw_put_number(tw_put_number(begin_input(client, body), keysym, 4), pressed, 1), NULL, 0, input);
}

tw_status tw_client_text(tw_client *client, const char *text, size_t length, uint32_t *input) {
    uint8_t body[VARINT_MAX];
    if (text == NULL || length == 0 || length > TW_MAX_TEXT || !tw_is_utf8((const uint8_t *)text, length)) {
        return TW_CODE_ARGUMENT;
    }
    return send_input(client, TW_MSG_TEXT_INPUT, body, begin_input(client, body), text, length, input);
}

tw_status tw_client_touch(tw_client *client, const tw_finger *fingers, size_t count, uint32_t *input) {
    uint8_t body[VARINT_MAX + 4 * TW_MAX_FINGERS];
    uint8_t *out = begin_input(client, body);
    if (count > TW_MAX_FINGERS) {
        return TW_CODE_ARGUMENT;
    }
    for (size_t i = 0; i < count; i++) {
        if (fingers[i].id > 0xFF || !is_on_panel(client, fingers[i].x, fingers[i].y)) {
            return TW_CODE_ARGUMENT;
        }
        for (size_t j = 0; j < i; j++) {
            if (fingers[i].id == fingers[j].id) {
                return TW_CODE_ARGUMENT;
            }
        }
        out = put_point(tw_put_number(out, fingers[i].id, 1), fingers[i].x, fingers[i].y);
    }
    if (client->state & TW_IN_SESSION && !(client->capabilities & TW_CAPABILITY_TOUCH)) {
        return TW_CODE_NOT_OFFERED;
    }
    return send_input(client, TW_MSG_TOUCH, body, out, NULL, 0, input);
}

tw_status tw_client_setting(tw_client *client, const tw_setting *setting) {
    uint8_t body[3];
    if (setting->fps < 1 || setting->fps > 60 || setting->quality < 10 || setting->quality > 90
        || setting->adaptive > 1) {
        return TW_CODE_ARGUMENT;
    }
    body[0] = (uint8_t)setting->fps;
    body[1] = (uint8_t)setting->quality;
    body[2] = (uint8_t)setting->adaptive;
    return tw_send(client, TW_MSG_SETTING, body, sizeof body, NULL, 0);
}

tw_status tw_client_view(
    tw_client *client, unsigned mode, unsigned rotation, unsigned follow, unsigned x, unsigned y) {
    uint8_t body[6];
    if (mode > TW_VIEW_FIT || rotation > TW_ROTATION_R270 || follow > 1 || x >= TW_MAX_SIDE
        || y >= TW_MAX_SIDE) {
        return TW_CODE_ARGUMENT;
    }
    body[0] = (uint8_t)mode;
    body[1] = (uint8_t)rotation;
    body[2] = (uint8_t)follow;
    put_point(body + 3, x, y);
    return tw_send(client, TW_MSG_VIEW, body, sizeof body, NULL, 0);
}

tw_status tw_client_control(tw_client *client, unsigned action, uint32_t viewer) {
    uint8_t body[1 + VARINT_MAX];
    if (action > TW_CONTROL_PASS) {
        return TW_CODE_ARGUMENT;
    }
    body[0] = (uint8_t)action;
    return tw_send(client, TW_MSG_CONTROL, body, (size_t)(tw_put_varint(body + 1, viewer) - body), NULL, 0);
}

static tw_status send_size(tw_client *client, unsigned type, unsigned width, unsigned height) {
    uint8_t body[4];
    if (width < 1 || width > TW_MAX_SIDE || height < 1 || height > TW_MAX_SIDE
        || (uint32_t)width * height > TW_MAX_PIXELS) {
        return TW_CODE_ARGUMENT;
    }
    if (type == TW_MSG_RESIZE && client->state & TW_IN_SESSION
        && !(client->capabilities & TW_CAPABILITY_RESIZE)) {
        return TW_CODE_NOT_OFFERED;
    }
    tw_put_number(tw_put_number(body, width, 2), height, 2);
    return tw_send(client, type, body, sizeof body, NULL, 0);
}

tw_status tw_client_resize(tw_client *client, unsigned width, unsigned height) {
    return send_size(client, TW_MSG_RESIZE, width, height);
}

tw_status tw_client_resize_session(tw_client *client, unsigned width, unsigned height) {
    return send_size(client, TW_MSG_RESIZE_SESSION, width, height);
}

tw_status tw_client_ping(tw_client *client, uint64_t stamp) {
    uint8_t body[8];
    tw_put_number(tw_put_number(body, (uint32_t)stamp, 4), (uint32_t)(stamp >> 32), 4);
    return tw_send(client, TW_MSG_PING, body, sizeof body, NULL, 0);
}

tw_status tw_client_pause(tw_client *client, unsigned paused) {
    const uint8_t body = (uint8_t)paused;
    return paused > 1 ? TW_CODE_ARGUMENT : tw_send(client, TW_MSG_PAUSE, &body, 1, NULL, 0);
}

tw_status tw_client_refresh(tw_client *client) {
    return tw_send(client, TW_MSG_REFRESH, NULL, 0, NULL, 0);
}

#if TW_WITH_CLIPBOARD
/* Chunks of a text, of either direction: in order, none empty unless the text is, none beyond the end. */
tw_status tw_follow_clipboard(uint32_t *under_way, uint32_t total, uint32_t offset, size_t length) {
    if (offset != 0 && (total != under_way[0] || offset != under_way[1])) {
        return TW_CODE_BAD_STATE;
    }
    if (length > total || offset > total - length || (total != 0 && length == 0)) {
        return TW_CODE_BAD_VALUE;
    }
    under_way[0] = under_way[1] = 0;
    if (offset + length < total) {
        under_way[0] = total;
        under_way[1] = offset + (uint32_t)length;
    }
    return TW_OK;
}

tw_status tw_client_clipboard(
    tw_client *client, uint32_t total, uint32_t offset, const void *data, size_t length) {
    uint8_t body[2 * VARINT_MAX];
    uint32_t following[2];
    const uint8_t *end;
    if (total > TW_MAX_CLIPBOARD || offset > total || length > TW_MAX_CLIENT_MESSAGE - 8) {
        return TW_CODE_ARGUMENT;
    }
    if (client->state & TW_IN_SESSION && !(client->capabilities & TW_CAPABILITY_CLIPBOARD)) {
        return TW_CODE_NOT_OFFERED;
    }
    memcpy(following, client->clipboard_out, sizeof following);
    if (tw_follow_clipboard(following, total, offset, length) != TW_OK) {
        return TW_CODE_ARGUMENT;
    }
    end = tw_put_varint(tw_put_varint(body, total), offset);
    TW_TRY(tw_send(client, TW_MSG_CLIPBOARD, body, (size_t)(end - body), data, length));
    memcpy(client->clipboard_out, following, sizeof following);
    return TW_OK;
}
#endif
