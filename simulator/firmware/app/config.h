/* What the device is told before it starts: lines `key = value` in RAM, between `tilewire-device 1` and `end`.
 *
 *   server       NAME:PORT or A.B.C.D:PORT       panel        a standard panel's name, or WIDTHxHEIGHT
 *   format       rgb565 | xrgb8888               device_id    1 to 64 bytes
 *   key          64 hex digits                   seed         64 hex digits nobody knows, where there is no entropy device
 *   net          lan9118 | virtio                ip           dhcp, or A.B.C.D/BITS GATEWAY [DNS]
 *   strip        rows of a panel that cannot be read; 0: a framebuffer
 *   cursor       none | picture | local          cursor_side  1 to 64
 *   model        0, 16, 32 or 48 KiB             cache        SLOTS BYTES, or 0
 *   jpeg         yes | no                        copy         yes | no
 *   receive      bytes of the largest message    max_rect     WIDTH AREA
 *   density      dots per inch, 0: not said      rotate       0 | 90 | 180 | 270
 *   fit          yes | no                        reconnect    yes | no
 *   watchdog     seconds, 0: never               mips         10^6 instructions a second under -icount, 0: not known
 *   replay       bytes of a recording at 0x70000000; then there is no network
 *
 * `server` is needed, or `replay`; the rest is the panel's, or as small as can be. */
#ifndef FW_CONFIG_H
#define FW_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "tilewire/tilewire.h"

enum { FW_NAME_SIZE = 256 };

typedef struct fw_config {
    char server[FW_NAME_SIZE];
    uint16_t port;
    char panel[32]; /* its name, or the size */
    unsigned width, height, pixel_format, big_endian;
    char device_id[65];
    uint8_t key[TW_KEY_SIZE], seed[32];
    unsigned has_key, has_seed;
    unsigned is_virtio;
    unsigned is_static;
    uint8_t address[4], gateway[4], dns[4];
    unsigned prefix_bits;
    unsigned strip_rows;
    unsigned cursor, cursor_side;
    unsigned model_kib, cache_slots;
    uint32_t cache_slot_bytes;
    unsigned jpeg, copy;
    uint32_t receive_bytes;
    unsigned max_rect_width;
    uint32_t max_rect_area;
    unsigned density, rotation, fit, reconnect;
    unsigned watchdog_s, mips;
    uint32_t replay_bytes;
} fw_config;

typedef enum fw_config_result { FW_CONFIG_GOOD, FW_CONFIG_MISSING, FW_CONFIG_WRONG } fw_config_result;

/* `text` has `size` bytes, most of them not the configuration's. Where it is not good, `problem` is a sentence; it never
 * holds a key. */
fw_config_result fw_config_parse(
    const char *text, size_t size, fw_config *config, char *problem, size_t problem_size);

#endif
