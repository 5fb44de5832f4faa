/* Input from other threads and from interrupts, and its way to the client.
 *
 * What happened (keys, text, wishes) goes through a ThreadX queue and is refused where that is full. How things are now
 * (pointer, fingers, wheel) is kept beside it in a short list: motion takes the place of older motion, though not of a
 * press, and where the list is full, changes give way to newer ones of their kind. Numbers keep both in one order. */
#include "tw_threadx.h"

#include <string.h>

#include "tw_threadx_internal.h"

/* TW_THREADX_MOTION.kind */
#define POINTER 1
#define TOUCH 2
#define WHEEL 3

/* Word 1 of a message: what it is, and a small number. Word 0 is the input's number. */
#define KEY 1UL
#define TEXT 2UL
#define CLIPBOARD 3UL
#define SETTING 4UL
#define VIEW 5UL
#define CONTROL 6UL
#define RESIZE 7UL
#define RESIZE_SESSION 8UL
#define REFRESH 9UL
#define CLOSE 10UL
#define KIND(word) ((word) & 0xFFUL)
#define SMALL(word) ((word) >> 8)

/* The rest of a message: numbers, bytes of text, or a pointer. */
#define FIRST 2
#define TEXT_BYTES ((TW_THREADX_MESSAGE_WORDS - FIRST) * sizeof(ULONG))

#define WHEEL_MOST 32767
#define CLIPBOARD_CHUNK ((ULONG)1024) /* fits into the smallest TW_SEND_SIZE */

/* ---- Motion ----------------------------------------------------------------------------------------------- */

static UINT is_small(LONG number) {
    return number >= -WHEEL_MOST && number <= WHEEL_MOST;
}

/* 1: `motion` says all that `old` said, which was where nothing began or ended. A wheel's way is added up. */
static UINT joins(const TW_THREADX_MOTION *old, TW_THREADX_MOTION *motion) {
    if (old->kind != motion->kind) {
        return 0;
    }
    if (motion->kind == WHEEL) {
        if (!is_small(old->dx + motion->dx) || !is_small(old->dy + motion->dy)) {
            return 0;
        }
        motion->dx += old->dx;
        motion->dy += old->dy;
        return 1;
    }
    return old->moves && motion->moves;
}

/* What is down from now on. */
static VOID note_down(TW_THREADX *session, TW_THREADX_MOTION *motion) {
    if (motion->kind == POINTER) {
        motion->moves = motion->count == session->buttons;
        session->buttons = motion->count;
    } else if (motion->kind == TOUCH) {
        motion->moves = motion->count == session->finger_count
                        && memcmp(motion->ids, session->finger_ids, motion->count) == 0;
        session->finger_count = motion->count;
        memcpy(session->finger_ids, motion->ids, motion->count);
    }
}

static VOID forget(TW_THREADX *session, UINT place) {
    TW_THREADX_MOTION *at = &session->motions[place];
    session->motion_count--;
    memmove(at, at + 1, (session->motion_count - place) * sizeof *at);
}

/* The newest of its kind in the places from `first` on, or the end. */
static UINT find_newest(const TW_THREADX *session, UCHAR kind, UINT first) {
    for (UINT place = session->motion_count; place > first; place--) {
        if (session->motions[place - 1].kind == kind) {
            return place - 1;
        }
    }
    return session->motion_count;
}

/* The newest of each kind stays, unless it is of this kind. */
static VOID make_room(TW_THREADX *session, TW_THREADX_MOTION *motion) {
    UINT place = find_newest(session, motion->kind, 0);
    if (place == session->motion_count) {
        place = 0;
        while (find_newest(session, session->motions[place].kind, place + 1) == session->motion_count) {
            place++;
        }
    } else if (motion->kind == WHEEL) {
        (void)joins(&session->motions[place], motion);
    }
    forget(session, place);
    session->lost++;
}

static UINT move(TW_THREADX *session, TW_THREADX_MOTION *motion) {
    TX_INTERRUPT_SAVE_AREA
    TW_THREADX_MOTION *newest;
    TX_DISABLE
    if (!session->is_open) {
        TX_RESTORE
        return NX_NOT_CONNECTED;
    }
    note_down(session, motion);
    newest = session->motion_count != 0 ? &session->motions[session->motion_count - 1] : NULL;
    if (newest != NULL && newest->number == session->number && joins(newest, motion)) {
        session->motion_count--;
        session->joined++;
    } else if (session->motion_count == TW_THREADX_MOTIONS) {
        make_room(session, motion);
    }
    motion->number = ++session->number;
    session->motions[session->motion_count++] = *motion;
    TX_RESTORE
    tw_threadx_wake(session);
    return TX_SUCCESS;
}

UINT tw_threadx_pointer(TW_THREADX *session, UINT x, UINT y, UINT buttons) {
    TW_THREADX_MOTION motion;
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(x < TW_MAX_SIDE && y < TW_MAX_SIDE && buttons <= 0xFF, NX_INVALID_PARAMETERS);
    memset(&motion, 0, sizeof motion);
    motion.kind = POINTER;
    motion.count = (UCHAR)buttons;
    motion.x[0] = (USHORT)x;
    motion.y[0] = (USHORT)y;
    return move(session, &motion);
}

UINT tw_threadx_touch(TW_THREADX *session, const tw_finger *fingers, UINT count) {
    TW_THREADX_MOTION motion;
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(fingers != NULL || count == 0, TX_PTR_ERROR);
    TW_THREADX_REQUIRE(count <= TW_MAX_FINGERS, NX_INVALID_PARAMETERS);
    memset(&motion, 0, sizeof motion);
    motion.kind = TOUCH;
    motion.count = (UCHAR)count;
    for (UINT i = 0; i < count; i++) {
        TW_THREADX_REQUIRE(fingers[i].id <= 0xFF && fingers[i].x < TW_MAX_SIDE && fingers[i].y < TW_MAX_SIDE,
            NX_INVALID_PARAMETERS);
        motion.ids[i] = (UCHAR)fingers[i].id;
        motion.x[i] = (USHORT)fingers[i].x;
        motion.y[i] = (USHORT)fingers[i].y;
    }
    return move(session, &motion);
}

UINT tw_threadx_wheel(TW_THREADX *session, INT dx, INT dy) {
    TW_THREADX_MOTION motion;
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(is_small(dx) && is_small(dy), NX_INVALID_PARAMETERS);
    memset(&motion, 0, sizeof motion);
    motion.kind = WHEEL;
    motion.dx = dx;
    motion.dy = dy;
    return move(session, &motion);
}

/* ---- Messages --------------------------------------------------------------------------------------------- */

static VOID refuse(TW_THREADX *session, ULONG number) {
    TX_INTERRUPT_SAVE_AREA
    TX_DISABLE
    session->refused++;
    if (session->number == number) {
        session->number--; /* so that motion around it is joined */
    }
    TX_RESTORE
}

/* Words 1 and later are filled in. */
static UINT post(TW_THREADX *session, ULONG *message, ULONG wait_option) {
    TX_INTERRUPT_SAVE_AREA
    UINT status;
    TX_DISABLE
    if (!session->is_open) {
        TX_RESTORE
        return NX_NOT_CONNECTED;
    }
    message[0] = ++session->number;
    TX_RESTORE
    status = tx_queue_send(&session->queue, message, wait_option);
    if (status != TX_SUCCESS) {
        refuse(session, message[0]);
        return status;
    }
    tw_threadx_wake(session);
    return TX_SUCCESS;
}

static UINT post_words(
    TW_THREADX *session, ULONG kind, ULONG small, ULONG first, ULONG second, ULONG wait_option) {
    ULONG message[TW_THREADX_MESSAGE_WORDS] = {0};
    if (small > 0xFFFFFFUL) {
        return NX_INVALID_PARAMETERS;
    }
    message[1] = kind | small << 8;
    message[FIRST] = first;
    message[FIRST + 1] = second;
    return post(session, message, wait_option);
}

UINT tw_threadx_key(TW_THREADX *session, ULONG keysym, UINT pressed, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    return post_words(session, KEY, pressed, keysym, 0, wait_option);
}

UINT tw_threadx_setting(TW_THREADX *session, const tw_setting *setting, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(setting != NULL, TX_PTR_ERROR);
    return post_words(session, SETTING, setting->adaptive, setting->fps, setting->quality, wait_option);
}

UINT tw_threadx_view(
    TW_THREADX *session, UINT mode, UINT rotation, UINT follow, UINT x, UINT y, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(mode <= 0xFF && rotation <= 0xFF && follow <= 0xFF, NX_INVALID_PARAMETERS);
    return post_words(session, VIEW, mode | rotation << 8 | follow << 16, x, y, wait_option);
}

UINT tw_threadx_control(TW_THREADX *session, UINT action, ULONG viewer, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    return post_words(session, CONTROL, action, viewer, 0, wait_option);
}

UINT tw_threadx_resize(TW_THREADX *session, UINT width, UINT height, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    return post_words(session, RESIZE, 0, width, height, wait_option);
}

UINT tw_threadx_resize_session(TW_THREADX *session, UINT width, UINT height, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    return post_words(session, RESIZE_SESSION, 0, width, height, wait_option);
}

UINT tw_threadx_refresh(TW_THREADX *session, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    return post_words(session, REFRESH, 0, 0, 0, wait_option);
}

UINT tw_threadx_close(TW_THREADX *session, UINT code, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    return post_words(session, CLOSE, code, 0, 0, wait_option);
}

UINT tw_threadx_pause(TW_THREADX *session, UINT paused) {
    TX_INTERRUPT_SAVE_AREA
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(paused <= 1, NX_INVALID_PARAMETERS);
    TX_DISABLE
    session->pause = paused;
    session->pause_is_due = 1;
    TX_RESTORE
    tw_threadx_wake(session);
    return TX_SUCCESS;
}

/* Bytes of a piece that ends where a character does; 0: there is no such place. */
static size_t piece_of(const CHAR *text, ULONG length) {
    size_t part = TEXT_BYTES;
    if (length <= part) {
        return length;
    }
    while (part > 0 && ((UCHAR)text[part] & 0xC0) == 0x80) {
        part--;
    }
    return part;
}

UINT tw_threadx_text(TW_THREADX *session, const CHAR *text, ULONG length, ULONG *taken, ULONG wait_option) {
    ULONG at = 0;
    UINT status = TX_SUCCESS;
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(text != NULL, TX_PTR_ERROR);
    while (at < length && status == TX_SUCCESS) {
        ULONG message[TW_THREADX_MESSAGE_WORDS] = {0};
        const size_t part = piece_of(text + at, length - at);
        if (part == 0) {
            status = NX_INVALID_PARAMETERS;
            break;
        }
        message[1] = TEXT | (ULONG)part << 8;
        memcpy(&message[FIRST], text + at, part);
        status = post(session, message, wait_option);
        if (status == TX_SUCCESS) {
            at += (ULONG)part;
        }
    }
    if (taken != NULL) {
        *taken = at;
    }
    return status;
}

UINT tw_threadx_clipboard(TW_THREADX *session, const VOID *text, ULONG length, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(text != NULL, TX_PTR_ERROR);
    TW_THREADX_REQUIRE(length <= TW_MAX_CLIPBOARD, NX_INVALID_PARAMETERS);
#if TW_WITH_CLIPBOARD
    ULONG message[TW_THREADX_MESSAGE_WORDS] = {0};
    message[1] = CLIPBOARD;
    message[FIRST] = length;
    memcpy(&message[FIRST + 1], &text, sizeof text); /* a pointer may take two words */
    return post(session, message, wait_option);
#else
    (void)wait_option;
    return TX_FEATURE_NOT_ENABLED;
#endif
}

/* ---- To the client ---------------------------------------------------------------------------------------- */

#if TW_WITH_CLIPBOARD
static VOID end_clipboard(TW_THREADX *session, UINT status) {
    const VOID *text;
    memcpy(&text, &session->message[FIRST + 1], sizeof text);
    session->clipboard_at = 0;
    if (session->config.clipboard_sent != NULL) {
        session->config.clipboard_sent(session->config.client.user, text, status);
    }
}

/* In chunks; TW_CODE_FULL: this is not all yet. */
static tw_status send_clipboard(TW_THREADX *session) {
    const ULONG length = session->message[FIRST];
    const UCHAR *text;
    memcpy(&text, &session->message[FIRST + 1], sizeof text);
    for (;;) {
        const ULONG at = session->clipboard_at, left = length - at;
        const ULONG part = left < CLIPBOARD_CHUNK ? left : CLIPBOARD_CHUNK;
        const tw_status status =
            tw_client_clipboard(session->client, (uint32_t)length, (uint32_t)at, text + at, part);
        if (status == TW_CODE_FULL) {
            return status;
        }
        session->clipboard_at += part;
        if (status != TW_OK || session->clipboard_at == length) {
            end_clipboard(session, status == TW_OK ? TX_SUCCESS : NX_NOT_CONNECTED);
            return status;
        }
    }
}
#endif

static tw_status send_setting(tw_client *client, const ULONG *message) {
    tw_setting setting;
    setting.fps = (unsigned)message[FIRST];
    setting.quality = (unsigned)message[FIRST + 1];
    setting.adaptive = (unsigned)SMALL(message[1]);
    return tw_client_setting(client, &setting);
}

static tw_status send_message(TW_THREADX *session) {
    tw_client *client = session->client;
    const ULONG *message = session->message;
    const unsigned small = (unsigned)SMALL(message[1]);
    const unsigned first = (unsigned)message[FIRST], second = (unsigned)message[FIRST + 1];
    switch (KIND(message[1])) {
    case KEY: return tw_client_key(client, first, small, NULL);
    case TEXT: return tw_client_text(client, (const char *)&message[FIRST], small, NULL);
#if TW_WITH_CLIPBOARD
    case CLIPBOARD: return send_clipboard(session);
#endif
    case SETTING: return send_setting(client, message);
    case VIEW: return tw_client_view(client, small & 0xFF, small >> 8 & 0xFF, small >> 16, first, second);
    case CONTROL: return tw_client_control(client, small, first);
    case RESIZE: return tw_client_resize(client, first, second);
    case RESIZE_SESSION: return tw_client_resize_session(client, first, second);
    case REFRESH: return tw_client_refresh(client);
    default: tw_client_close(client, small); return TW_OK;
    }
}

static tw_status send_motion(tw_client *client, const TW_THREADX_MOTION *motion) {
    tw_finger fingers[TW_MAX_FINGERS];
    switch (motion->kind) {
    case POINTER: return tw_client_pointer(client, motion->x[0], motion->y[0], motion->count, NULL);
    case WHEEL: return tw_client_wheel(client, (int)motion->dx, (int)motion->dy, NULL);
    default: break;
    }
    for (UINT i = 0; i < motion->count; i++) {
        fingers[i].id = motion->ids[i];
        fingers[i].x = motion->x[i];
        fingers[i].y = motion->y[i];
    }
    return tw_client_touch(client, fingers, motion->count, NULL);
}

/* The oldest motion, to be sent next: what comes from here on is newer. */
static UINT take_motion(TW_THREADX *session) {
    TX_INTERRUPT_SAVE_AREA
    UINT count;
    TX_DISABLE
    count = session->motion_count;
    if (count != 0) {
        session->motion = session->motions[0];
        forget(session, 0);
    }
    TX_RESTORE
    return count != 0;
}

static UINT pause_is_due(TW_THREADX *session, UINT *pause) {
    TX_INTERRUPT_SAVE_AREA
    UINT is_due;
    TX_DISABLE
    is_due = session->pause_is_due;
    *pause = session->pause;
    session->pause_is_due = 0;
    TX_RESTORE
    return is_due;
}

/* 1: the client has no room for it. */
static UINT send_pause(TW_THREADX *session) {
    UINT pause;
    if (!pause_is_due(session, &pause)) {
        return 0;
    }
    if (tw_client_pause(session->client, pause) == TW_CODE_FULL) {
        TX_INTERRUPT_SAVE_AREA
        TX_DISABLE
        session->pause_is_due = 1;
        TX_RESTORE
        return 1;
    }
    return 0;
}

/* 1: there is something to send. What is in hand stays there until the client has taken it. */
static UINT find_next(TW_THREADX *session) {
    if (!session->has_motion) {
        session->has_motion = take_motion(session);
    }
    if (!session->has_message) {
        session->has_message = tx_queue_receive(&session->queue, session->message, TX_NO_WAIT) == TX_SUCCESS;
    }
    return session->has_motion || session->has_message;
}

/* Numbers wrap: what is older is less than half the circle behind. */
static UINT is_motion_next(const TW_THREADX *session) {
    return session->has_motion
           && (!session->has_message || session->message[0] - session->motion.number < ~(ULONG)0 / 2);
}

UINT tw_threadx_input_send(TW_THREADX *session) {
    if (send_pause(session)) {
        return 1;
    }
    while (find_next(session)) {
        const UINT is_motion = is_motion_next(session);
        const tw_status status =
            is_motion ? send_motion(session->client, &session->motion) : send_message(session);
        if (status == TW_CODE_FULL) {
            return 1;
        }
        *(is_motion ? &session->has_motion : &session->has_message) = 0;
        if (status == TW_OK) {
            session->own.inputs++;
        } else {
            session->own.inputs_refused++;
        }
    }
    return 0;
}

VOID tw_threadx_input_open(TW_THREADX *session, UINT is_open) {
    TX_INTERRUPT_SAVE_AREA
    TX_DISABLE
    session->is_open = 0;
    session->motion_count = 0;
    session->buttons = session->finger_count = 0;
    TX_RESTORE
    session->has_motion = 0;
    /* Input for a screen that is not there any more would do harm on the next. */
    while (session->has_message
           || tx_queue_receive(&session->queue, session->message, TX_NO_WAIT) == TX_SUCCESS) {
#if TW_WITH_CLIPBOARD
        if (KIND(session->message[1]) == CLIPBOARD) {
            end_clipboard(session, NX_NOT_CONNECTED);
        }
#endif
        session->has_message = 0;
    }
    if (is_open) {
        TX_DISABLE
        session->is_open = 1;
        /* A connection begins without a pause. */
        session->pause_is_due = session->pause;
        TX_RESTORE
    }
}
