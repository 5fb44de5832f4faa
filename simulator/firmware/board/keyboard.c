#include "keyboard.h"

#include <stddef.h>

#include "gic.h"
#include "map.h"

enum {
    CONTROL = 0x00,
    STATUS = 0x04,
    DATA = 0x08,
    ENABLED_WITH_INTERRUPT = 0x14,
    RECEIVED = 0x10,
    RING = 256, /* a power of two */
    RELEASE = 0xF0,
    EXTENDED = 0xE0,
    PAUSE = 0xE1,
    PAUSE_REST = 7, /* bytes that follow */
    CODES = 0x88,   /* of scancode set 2, extended ones beyond */
    FAKE_SHIFT = CODES + 0x12,
    FAKE_RIGHT_SHIFT = CODES + 0x59,
    KEYSYM_PAUSE = 0xFF13,
    KEYSYM_CAPS_LOCK = 0xFFE5,
    KEYSYM_NUM_LOCK = 0xFF7F,
    KEYSYM_SHIFT_L = 0xFFE1,
    KEYSYM_SHIFT_R = 0xFFE2,
};

/* A key's keysym, and the one with shift. Letters heed the caps lock, the keypad heeds the num lock. */
typedef struct meaning {
    uint16_t plain, shifted;
} meaning;

#define LETTER(upper) {(upper) + 0x20, (upper)}
#define SAME(keysym) {(keysym), (keysym)}

static const meaning meanings[2 * CODES] = {
    [0x1C] = LETTER('A'),
    [0x32] = LETTER('B'),
    [0x21] = LETTER('C'),
    [0x23] = LETTER('D'),
    [0x24] = LETTER('E'),
    [0x2B] = LETTER('F'),
    [0x34] = LETTER('G'),
    [0x33] = LETTER('H'),
    [0x43] = LETTER('I'),
    [0x3B] = LETTER('J'),
    [0x42] = LETTER('K'),
    [0x4B] = LETTER('L'),
    [0x3A] = LETTER('M'),
    [0x31] = LETTER('N'),
    [0x44] = LETTER('O'),
    [0x4D] = LETTER('P'),
    [0x15] = LETTER('Q'),
    [0x2D] = LETTER('R'),
    [0x1B] = LETTER('S'),
    [0x2C] = LETTER('T'),
    [0x3C] = LETTER('U'),
    [0x2A] = LETTER('V'),
    [0x1D] = LETTER('W'),
    [0x22] = LETTER('X'),
    [0x35] = LETTER('Y'),
    [0x1A] = LETTER('Z'),
    [0x16] = {'1', '!'},
    [0x1E] = {'2', '@'},
    [0x26] = {'3', '#'},
    [0x25] = {'4', '$'},
    [0x2E] = {'5', '%'},
    [0x36] = {'6', '^'},
    [0x3D] = {'7', '&'},
    [0x3E] = {'8', '*'},
    [0x46] = {'9', '('},
    [0x45] = {'0', ')'},
    [0x0E] = {'`', '~'},
    [0x4E] = {'-', '_'},
    [0x55] = {'=', '+'},
    [0x5D] = {'\\', '|'},
    [0x54] = {'[', '{'},
    [0x5B] = {']', '}'},
    [0x4C] = {';', ':'},
    [0x52] = {'\'', '"'},
    [0x41] = {',', '<'},
    [0x49] = {'.', '>'},
    [0x4A] = {'/', '?'},
    [0x61] = {'<', '>'},
    [0x29] = SAME(' '),
    [0x66] = SAME(0xFF08) /* BackSpace */,
    [0x0D] = {0xFF09, 0xFE20} /* Tab, ISO_Left_Tab */,
    [0x5A] = SAME(0xFF0D) /* Return */,
    [0x76] = SAME(0xFF1B) /* Escape */,
    [0x12] = SAME(KEYSYM_SHIFT_L),
    [0x59] = SAME(KEYSYM_SHIFT_R),
    [0x58] = SAME(KEYSYM_CAPS_LOCK),
    [0x14] = SAME(0xFFE3) /* Control_L */,
    [0x11] = SAME(0xFFE9) /* Alt_L */,
    [0x77] = SAME(KEYSYM_NUM_LOCK),
    [0x7E] = SAME(0xFF14) /* Scroll_Lock */,
    [0x05] = SAME(0xFFBE) /* F1 */,
    [0x06] = SAME(0xFFBF),
    [0x04] = SAME(0xFFC0),
    [0x0C] = SAME(0xFFC1),
    [0x03] = SAME(0xFFC2),
    [0x0B] = SAME(0xFFC3),
    [0x83] = SAME(0xFFC4),
    [0x0A] = SAME(0xFFC5),
    [0x01] = SAME(0xFFC6),
    [0x09] = SAME(0xFFC7),
    [0x78] = SAME(0xFFC8),
    [0x07] = SAME(0xFFC9) /* F12 */,
    /* The keypad: KP_Insert and so on; plain digits, which an X server types without a num lock of its own. */
    [0x70] = {0xFF9E, '0'},
    [0x69] = {0xFF9C, '1'},
    [0x72] = {0xFF99, '2'},
    [0x7A] = {0xFF9B, '3'},
    [0x6B] = {0xFF96, '4'},
    [0x73] = {0xFF9D, '5'},
    [0x74] = {0xFF98, '6'},
    [0x6C] = {0xFF95, '7'},
    [0x75] = {0xFF97, '8'},
    [0x7D] = {0xFF9A, '9'},
    [0x71] = {0xFF9F, '.'},
    [0x7C] = SAME(0xFFAA) /* KP_Multiply */,
    [0x7B] = SAME(0xFFAD) /* KP_Subtract */,
    [0x79] = SAME(0xFFAB) /* KP_Add */,
    [CODES + 0x4A] = SAME(0xFFAF) /* KP_Divide */,
    [CODES + 0x5A] = SAME(0xFF8D) /* KP_Enter */,
    [CODES + 0x14] = SAME(0xFFE4) /* Control_R */,
    [CODES + 0x11] = SAME(0xFFEA) /* Alt_R */,
    [CODES + 0x1F] = SAME(0xFFEB) /* Super_L */,
    [CODES + 0x27] = SAME(0xFFEC) /* Super_R */,
    [CODES + 0x2F] = SAME(0xFF67) /* Menu */,
    [CODES + 0x7C] = SAME(0xFF61) /* Print */,
    [CODES + 0x70] = SAME(0xFF63) /* Insert */,
    [CODES + 0x71] = SAME(0xFFFF) /* Delete */,
    [CODES + 0x6C] = SAME(0xFF50) /* Home */,
    [CODES + 0x69] = SAME(0xFF57) /* End */,
    [CODES + 0x7D] = SAME(0xFF55) /* Prior */,
    [CODES + 0x7A] = SAME(0xFF56) /* Next */,
    [CODES + 0x6B] = SAME(0xFF51) /* Left */,
    [CODES + 0x75] = SAME(0xFF52) /* Up */,
    [CODES + 0x74] = SAME(0xFF53) /* Right */,
    [CODES + 0x72] = SAME(0xFF54) /* Down */,
};

static struct {
    volatile uint32_t head, tail, lost;
    uint8_t bytes[RING];
} ring;

static uint16_t held[2 * CODES]; /* what a press was told as, for its release */
static unsigned is_release, is_extended, pause_left, pause_due, caps_lock, num_lock = 1;

static void handle(void *user) {
    (void)user;
    while ((FW_REGISTER(FW_KEYBOARD + STATUS) & RECEIVED) != 0) {
        const uint8_t byte = (uint8_t)FW_REGISTER(FW_KEYBOARD + DATA);
        if (ring.head - ring.tail < RING) {
            ring.bytes[ring.head % RING] = byte;
            ring.head++;
        } else {
            ring.lost++;
        }
    }
}

void fw_keyboard_start(void) {
    fw_gic_attach(FW_IRQ_KEYBOARD, handle, NULL);
    FW_REGISTER(FW_KEYBOARD + CONTROL) = ENABLED_WITH_INTERRUPT;
}

uint32_t fw_keyboard_lost(void) {
    return ring.lost;
}

static uint32_t keysym_of(unsigned code) {
    const meaning *means = &meanings[code];
    const unsigned shift = held[0x12] != 0 || held[0x59] != 0;
    unsigned upper = shift;
    if (means->plain >= 'a' && means->plain <= 'z') {
        upper ^= caps_lock;
    } else if (means->plain >= 0xFF95 && means->plain <= 0xFF9F) {
        upper ^= num_lock;
    }
    return upper ? means->shifted : means->plain;
}

/* 1: the scancode is a change that is told. */
static int change(unsigned code, unsigned released, fw_key *key) {
    key->pressed = !released;
    if (released) {
        key->keysym = held[code];
        held[code] = 0;
    } else if (held[code] != 0) {
        key->keysym = held[code];
    } else {
        key->keysym = keysym_of(code);
        held[code] = (uint16_t)key->keysym;
        /* The locks are the keyboard's: what they do is in the keysyms. */
        caps_lock ^= key->keysym == KEYSYM_CAPS_LOCK;
        num_lock ^= key->keysym == KEYSYM_NUM_LOCK;
    }
    return key->keysym != 0 && key->keysym != KEYSYM_CAPS_LOCK && key->keysym != KEYSYM_NUM_LOCK;
}

/* 1: the byte ends a change that is told. */
static int take(unsigned byte, fw_key *key) {
    unsigned code, released;
    if (pause_left != 0) {
        pause_left--;
        if (pause_left == 0) {
            key->keysym = KEYSYM_PAUSE;
            key->pressed = 1;
            pause_due = 1; /* it is never told as released, so that comes by itself */
            return 1;
        }
        return 0;
    }
    if (byte == PAUSE) {
        pause_left = PAUSE_REST;
        return 0;
    }
    if (byte == EXTENDED || byte == RELEASE) {
        is_extended |= byte == EXTENDED;
        is_release |= byte == RELEASE;
        return 0;
    }
    code = byte < CODES ? byte + (is_extended ? (unsigned)CODES : 0) : 0;
    released = is_release;
    is_extended = is_release = 0;
    if (code == FAKE_SHIFT || code == FAKE_RIGHT_SHIFT) {
        return 0;
    }
    return change(code, released, key);
}

int fw_keyboard_read(fw_key *key) {
    if (pause_due) {
        pause_due = 0;
        key->keysym = KEYSYM_PAUSE;
        key->pressed = 0;
        return 1;
    }
    while (ring.tail != ring.head) {
        const uint8_t byte = ring.bytes[ring.tail % RING];
        ring.tail++;
        if (take(byte, key)) {
            return 1;
        }
    }
    return 0;
}
