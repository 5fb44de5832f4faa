/* Input, and its way to the client. What the main loop says goes there at once. What an interrupt says waits in a ring:
 * one entry is always free, so that full and empty differ. */
#include <string.h>

#include "tw_lwip_internal.h"

#define CLIPBOARD_CHUNK ((uint32_t)1024) /* fits into the smallest TW_SEND_SIZE */

/* ---- From an interrupt ------------------------------------------------------------------------------------ */

static uint8_t next_place(uint8_t place) {
    return (uint8_t)(place + 1U < TW_LWIP_TOUCHES ? place + 1U : 0U);
}

unsigned tw_lwip_touch_from_isr(tw_lwip *session, const tw_finger *fingers, size_t count) {
    const uint8_t head = session->touch_head, next = next_place(head);
    volatile tw_lwip_touches *touches = &session->touches[head];
    if (!session->is_open || count > TW_MAX_FINGERS) {
        return 0;
    }
    if (session->touch_overflow || next == session->touch_tail) {
        TW_LWIP_BARRIER();
        session->touch_overflow = 1;
        session->touches_lost = session->touches_lost + 1;
        return 0;
    }
    touches->count = (uint8_t)count;
    for (size_t i = 0; i < count; i++) {
        touches->ids[i] = (uint8_t)fingers[i].id;
        touches->x[i] = (uint16_t)fingers[i].x;
        touches->y[i] = (uint16_t)fingers[i].y;
    }
    TW_LWIP_BARRIER();
    session->touch_head = next;
    return 1;
}

/* ---- To the client ---------------------------------------------------------------------------------------- */

static tw_status count_input(tw_lwip *session, tw_status status) {
    if (status == TW_OK) {
        session->own.inputs++;
    } else if (status != TW_CODE_FULL) {
        session->own.inputs_refused++;
    }
    return status;
}

static unsigned have_same_fingers(
    const volatile tw_lwip_touches *one, const volatile tw_lwip_touches *other) {
    if (one->count != other->count) {
        return 0;
    }
    for (unsigned i = 0; i < one->count; i++) {
        if (one->ids[i] != other->ids[i]) {
            return 0;
        }
    }
    return 1;
}

/* Whether it only moves what is down: then nothing began or ended with it. */
static unsigned only_moves(const tw_lwip *session, const volatile tw_lwip_touches *touches) {
    if (touches->count != session->finger_count) {
        return 0;
    }
    for (unsigned i = 0; i < touches->count; i++) {
        if (touches->ids[i] != session->finger_ids[i]) {
            return 0;
        }
    }
    return 1;
}

static tw_status send_touches(tw_lwip *session, const volatile tw_lwip_touches *touches) {
    tw_finger fingers[TW_MAX_FINGERS];
    tw_status status;
    for (unsigned i = 0; i < touches->count; i++) {
        fingers[i].id = touches->ids[i];
        fingers[i].x = touches->x[i];
        fingers[i].y = touches->y[i];
    }
    status = count_input(session, tw_client_touch(session->client, fingers, touches->count, NULL));
    if (status != TW_CODE_FULL) {
        session->finger_count = touches->count;
        for (unsigned i = 0; i < touches->count; i++) {
            session->finger_ids[i] = touches->ids[i];
        }
    }
    return status;
}

/* The client is full: motion gives way to newer motion, where something begins or ends stays. 1: a place was freed. */
static unsigned make_room(tw_lwip *session) {
    const uint8_t tail = session->touch_tail, next = next_place(tail), after = next_place(next);
    if (next == session->touch_head || !have_same_fingers(&session->touches[tail], &session->touches[next])) {
        return 0;
    }
    if (!only_moves(session, &session->touches[tail])) {
        if (after == session->touch_head
            || !have_same_fingers(&session->touches[next], &session->touches[after])) {
            return 0;
        }
        for (unsigned i = 0; i < session->touches[tail].count; i++) {
            session->touches[next].x[i] = session->touches[tail].x[i];
            session->touches[next].y[i] = session->touches[tail].y[i];
        }
    }
    session->own.inputs_joined++;
    TW_LWIP_BARRIER();
    session->touch_tail = next;
    return 1;
}

/* 1: the client is full. */
static unsigned send_ring(tw_lwip *session) {
    /* Read first: from then on the interrupt writes nothing, so all that it wrote goes before the lift. */
    const unsigned has_lost = session->touch_overflow;
    TW_LWIP_BARRIER();
    while (session->touch_tail != session->touch_head) {
        const uint8_t tail = session->touch_tail;
        TW_LWIP_BARRIER();
        if (send_touches(session, &session->touches[tail]) != TW_CODE_FULL) {
            TW_LWIP_BARRIER();
            session->touch_tail = next_place(tail);
        } else if (!make_room(session)) {
            return 1;
        }
    }
    if (has_lost) { /* some may have been lifted since */
        if (count_input(session, tw_client_touch(session->client, NULL, 0, NULL)) == TW_CODE_FULL) {
            return 1;
        }
        session->touch_overflow = 0;
        session->finger_count = 0;
    }
    return 0;
}

#if TW_WITH_CLIPBOARD
static void end_clipboard(tw_lwip *session, tw_status status) {
    const uint8_t *text = session->clipboard;
    session->clipboard = NULL;
    if (session->config.clipboard_sent != NULL) {
        session->config.clipboard_sent(session->config.client.user, text, status);
    }
}

/* In chunks; 1: this is not all yet. */
static unsigned send_clipboard(tw_lwip *session) {
    while (session->clipboard != NULL) {
        const uint32_t at = session->clipboard_at, left = session->clipboard_size - at;
        const uint32_t length = left < CLIPBOARD_CHUNK ? left : CLIPBOARD_CHUNK;
        const tw_status status = tw_client_clipboard(
            session->client, session->clipboard_size, at, session->clipboard + at, length);
        if (status == TW_CODE_FULL) {
            return 1;
        }
        session->clipboard_at = at + length;
        if (status != TW_OK || session->clipboard_at == session->clipboard_size) {
            end_clipboard(session, status == TW_OK ? TW_OK : TW_CODE_CLOSED);
        }
    }
    return 0;
}
#endif

unsigned tw_lwip_input_send(tw_lwip *session) {
    if (session->pause_is_due) {
        if (tw_client_pause(session->client, session->pause) == TW_CODE_FULL) {
            return 1;
        }
        session->pause_is_due = 0;
    }
#if TW_WITH_CLIPBOARD
    if (send_clipboard(session)) {
        return 1;
    }
#endif
    return send_ring(session);
}

void tw_lwip_input_open(tw_lwip *session, unsigned is_open) {
    session->is_open = 0;
    /* Input for a screen that is not there any more would do harm on the next. */
    session->touch_tail = session->touch_head;
    session->touch_overflow = 0;
    session->finger_count = 0;
#if TW_WITH_CLIPBOARD
    if (session->clipboard != NULL) {
        end_clipboard(session, TW_CODE_CLOSED);
    }
#endif
    if (is_open) {
        session->pause_is_due = session->pause; /* a connection begins without a pause */
        session->is_open = 1;
    }
}

/* ---- From the main loop ----------------------------------------------------------------------------------- */

/* What came before goes first. */
static tw_status get_ready(tw_lwip *session) {
    if (!session->is_open) {
        session->own.inputs_refused++;
        return TW_CODE_BAD_STATE;
    }
    return send_ring(session) ? TW_CODE_FULL : TW_OK;
}

static tw_status send_now(tw_lwip *session, tw_status status) {
    (void)count_input(session, status);
    (void)tw_lwip_tcp_write(session);
    return status;
}

tw_status tw_lwip_pointer(tw_lwip *session, unsigned x, unsigned y, unsigned buttons) {
    const tw_status status = get_ready(session);
    return status != TW_OK ? status
                           : send_now(session, tw_client_pointer(session->client, x, y, buttons, NULL));
}

tw_status tw_lwip_wheel(tw_lwip *session, int dx, int dy) {
    const tw_status status = get_ready(session);
    return status != TW_OK ? status : send_now(session, tw_client_wheel(session->client, dx, dy, NULL));
}

tw_status tw_lwip_touch(tw_lwip *session, const tw_finger *fingers, size_t count) {
    const tw_status status = get_ready(session);
    return status != TW_OK ? status
                           : send_now(session, tw_client_touch(session->client, fingers, count, NULL));
}

static tw_status get_ready_for_text(tw_lwip *session) {
    const tw_status status = get_ready(session);
    return status == TW_OK && session->clipboard != NULL ? TW_CODE_FULL : status;
}

tw_status tw_lwip_key(tw_lwip *session, uint32_t keysym, unsigned pressed) {
    const tw_status status = get_ready_for_text(session);
    return status != TW_OK ? status
                           : send_now(session, tw_client_key(session->client, keysym, pressed, NULL));
}

/* Bytes of a piece that ends where a character does; 0: there is no such place. */
static size_t piece_of(const char *text, size_t length) {
    size_t part = TW_MAX_TEXT;
    if (length <= part) {
        return length;
    }
    while (part > 0 && ((unsigned char)text[part] & 0xC0U) == 0x80U) {
        part--;
    }
    return part;
}

tw_status tw_lwip_text(tw_lwip *session, const char *text, size_t length, size_t *taken) {
    tw_status status = get_ready_for_text(session);
    size_t at = 0;
    while (status == TW_OK && at < length) {
        const size_t part = piece_of(text + at, length - at);
        status = part == 0 ? TW_CODE_ARGUMENT
                           : send_now(session, tw_client_text(session->client, text + at, part, NULL));
        if (status == TW_OK) {
            at += part;
        }
    }
    if (taken != NULL) {
        *taken = at;
    }
    return status;
}

tw_status tw_lwip_clipboard(tw_lwip *session, const void *text, size_t length) {
#if TW_WITH_CLIPBOARD
    tw_status status = get_ready_for_text(session);
    if (status == TW_OK && (text == NULL || length > TW_MAX_CLIPBOARD)) {
        status = TW_CODE_ARGUMENT;
    }
    if (status == TW_OK) {
        session->clipboard = (const uint8_t *)text;
        session->clipboard_size = (uint32_t)length;
        session->clipboard_at = 0;
        (void)send_clipboard(session);
        (void)tw_lwip_tcp_write(session);
    }
    return status;
#else
    (void)session;
    (void)text;
    (void)length;
    return TW_CODE_UNSUPPORTED;
#endif
}

void tw_lwip_pause(tw_lwip *session, unsigned paused) {
    session->pause = paused != 0;
    session->pause_is_due = 1;
    if (session->is_open) {
        (void)tw_lwip_input_send(session);
        (void)tw_lwip_tcp_write(session);
    }
}
