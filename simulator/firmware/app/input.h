/* What the user does, on its way to the client. It waits here while the client's buffer is full, and is thrown away while
 * the server has not let us in. */
#ifndef FW_INPUT_H
#define FW_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "tilewire/tilewire.h"

typedef enum fw_input_kind {
    FW_INPUT_POINTER,
    FW_INPUT_WHEEL,
    FW_INPUT_TOUCH,
    FW_INPUT_KEY,
    FW_INPUT_TEXT
} fw_input_kind;

typedef struct fw_input {
    fw_input_kind kind;
    unsigned x, y, buttons; /* pointer */
    int dx, dy;             /* wheel */
    tw_finger fingers[TW_MAX_FINGERS];
    size_t count; /* of fingers; bytes of text */
    uint32_t keysym;
    unsigned pressed;
    char text[TW_MAX_TEXT];
} fw_input;

/* 1: there is room for another. */
int fw_input_has_room(void);
/* With room. Motion takes the place of motion that still waits. */
void fw_input_put(const fw_input *input);
/* A finger goes to a place on the panel, or leaves it. */
void fw_input_finger(unsigned id, unsigned x, unsigned y, int is_down);
void fw_input_key(uint32_t keysym, unsigned pressed);
void fw_input_pointer(unsigned x, unsigned y, unsigned buttons);

/* Reads the keyboard and the touch screen, and hands on what waits. `with_touch`: the screen is touched, else it is a
 * pointer. Inputs that were handed on. */
unsigned fw_input_poll(unsigned width, unsigned height, int with_touch);
/* A new connection: nothing is held, nothing waits. */
void fw_input_reset(void);
uint32_t fw_input_lost(void);

#endif
