#include "input.h"

#include <string.h>

#include "../board/keyboard.h"
#include "../board/tablet.h"
#include "session.h"

enum { WAITING = 64 };

static fw_input queue[WAITING];
static unsigned head, tail;  /* count up for ever */
static fw_input newest;      /* put last, also when it has been sent */
static int newest_is_motion; /* what is down was down before it */
static uint32_t lost;
static tw_finger fingers[TW_MAX_FINGERS];
static size_t finger_count;
static unsigned tablet_buttons;

int fw_input_has_room(void) {
    return head - tail < WAITING;
}

uint32_t fw_input_lost(void) {
    return lost;
}

static int same_fingers(const fw_input *one, const fw_input *other) {
    int same = one->count == other->count;
    for (size_t i = 0; same && i < one->count; i++) {
        same = one->fingers[i].id == other->fingers[i].id;
    }
    return same;
}

/* Whether `newer` only moves what `older` has down. */
static int is_motion(const fw_input *newer, const fw_input *older) {
    return newer->kind == older->kind
           && ((newer->kind == FW_INPUT_POINTER && newer->buttons == older->buttons)
               || (newer->kind == FW_INPUT_TOUCH && same_fingers(newer, older)));
}

void fw_input_put(const fw_input *input) {
    const int moves = is_motion(input, &newest);
    /* Motion gives way to newer motion; where a press began does not. */
    if (head != tail && moves && newest_is_motion) {
        queue[(head - 1) % WAITING] = *input;
    } else if (fw_input_has_room()) {
        queue[head % WAITING] = *input;
        head++;
    } else {
        lost++;
        return;
    }
    newest = *input;
    newest_is_motion = moves;
}

void fw_input_pointer(unsigned x, unsigned y, unsigned buttons) {
    fw_input input;
    memset(&input, 0, sizeof input);
    input.kind = FW_INPUT_POINTER;
    input.x = x;
    input.y = y;
    input.buttons = buttons;
    fw_input_put(&input);
}

void fw_input_key(uint32_t keysym, unsigned pressed) {
    fw_input input;
    memset(&input, 0, sizeof input);
    input.kind = FW_INPUT_KEY;
    input.keysym = keysym;
    input.pressed = pressed;
    fw_input_put(&input);
}

void fw_input_finger(unsigned id, unsigned x, unsigned y, int is_down) {
    fw_input input;
    size_t at = 0;
    while (at < finger_count && fingers[at].id != id) {
        at++;
    }
    if (!is_down) {
        if (at == finger_count) {
            return;
        }
        finger_count--;
        memmove(&fingers[at], &fingers[at + 1], (finger_count - at) * sizeof fingers[0]);
    } else if (at < TW_MAX_FINGERS) {
        fingers[at].id = id;
        fingers[at].x = x;
        fingers[at].y = y;
        finger_count += at == finger_count;
    }
    memset(&input, 0, sizeof input);
    input.kind = FW_INPUT_TOUCH;
    input.count = finger_count;
    memcpy(input.fingers, fingers, sizeof fingers);
    fw_input_put(&input);
}

void fw_input_reset(void) {
    head = tail = 0;
    memset(&newest, 0, sizeof newest);
    newest_is_motion = 0;
    finger_count = 0;
    tablet_buttons = 0;
}

static void wheel(int notches) {
    fw_input input;
    memset(&input, 0, sizeof input);
    input.kind = FW_INPUT_WHEEL;
    input.dy = notches * TW_WHEEL_NOTCH;
    fw_input_put(&input);
}

static void read_tablet(unsigned width, unsigned height, int with_touch) {
    fw_tablet_state state;
    while (fw_input_has_room() && fw_tablet_read(&state)) {
        const unsigned x = state.x * width / (FW_TABLET_MOST + 1),
                       y = state.y * height / (FW_TABLET_MOST + 1);
        if (state.wheel != 0) {
            wheel(state.wheel);
        }
        if (!with_touch) {
            fw_input_pointer(x, y, state.buttons);
        } else if ((state.buttons | tablet_buttons) & FW_TABLET_LEFT) {
            fw_input_finger(0, x, y, (state.buttons & FW_TABLET_LEFT) != 0);
        }
        tablet_buttons = state.buttons;
    }
}

unsigned fw_input_poll(unsigned width, unsigned height, int with_touch) {
    fw_key key;
    unsigned done = 0;
    while (fw_input_has_room() && fw_keyboard_read(&key)) {
        fw_input_key(key.keysym, key.pressed);
    }
    read_tablet(width, height, with_touch);
    while (head != tail) {
        const tw_status status = fw_session_input(&queue[tail % WAITING]);
        if (status == TW_CODE_FULL) {
            break;
        }
        lost += status != TW_OK;
        tail++;
        done++;
    }
    return done;
}
