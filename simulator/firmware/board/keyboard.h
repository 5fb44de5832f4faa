/* The keyboard: a PL050 with a PS/2 keyboard, as X keysyms of the US layout. */
#ifndef FW_KEYBOARD_H
#define FW_KEYBOARD_H

#include <stdint.h>

typedef struct fw_key {
    uint32_t keysym;
    unsigned pressed; /* a key that is held comes again and again, as the keyboard repeats it */
} fw_key;

void fw_keyboard_start(void);
/* 1: `key` is the next change; 0: nothing is new. */
int fw_keyboard_read(fw_key *key);
/* Scancodes and changes that found no room. */
uint32_t fw_keyboard_lost(void);

#endif
