#include "config.h"

#include <string.h>

#include "../board/format.h"
#include "panels.h"

#define MAGIC_LINE "tilewire-device 1"
#define END_LINE "end"

typedef struct word {
    const char *at;
    size_t length;
} word;

typedef struct standard {
    const char *name;
    unsigned width, height, pixel_format, big_endian, readable;
    uint32_t receive_bytes;
    unsigned max_rect_width;
    uint32_t max_rect_area;
    unsigned model_kib, cache_slots;
    uint32_t cache_slot_bytes;
    unsigned cursor_side, density;
} standard;

#define PANEL_ENTRY(name, width, height, format, big_endian, readable, message, rect, area, model, slots, \
    bytes, cursor, density) \
    {name, width, height, TW_PIXEL_##format, big_endian, readable, message, rect, area, model, slots, bytes, \
        cursor, density},
static const standard standards[] = {FW_PANELS(PANEL_ENTRY)};
#undef PANEL_ENTRY

static int is(word is, const char *text) {
    return is.length == strlen(text) && memcmp(is.at, text, is.length) == 0;
}

static int is_space(char byte) {
    return byte == ' ' || byte == '\t' || byte == '\r';
}

static word trimmed(word of) {
    while (of.length != 0 && is_space(of.at[0])) {
        of.at++;
        of.length--;
    }
    while (of.length != 0 && is_space(of.at[of.length - 1])) {
        of.length--;
    }
    return of;
}

/* What is before `separator`, which `rest` then begins behind; all of it where there is none. */
static word cut(word *rest, char separator) {
    word head = *rest;
    const char *found = rest->length != 0 ? memchr(rest->at, separator, rest->length) : NULL;
    if (found == NULL) {
        rest->at += rest->length;
        rest->length = 0;
    } else {
        head.length = (size_t)(found - head.at);
        rest->length -= head.length + 1;
        rest->at = found + 1;
        while (separator == ' ' && rest->length != 0 && is_space(rest->at[0])) {
            rest->at++;
            rest->length--;
        }
    }
    return head;
}

/* The parsers: 0, or -1 where the value is none. */

static int number(word value, uint32_t least, uint32_t most, uint32_t *to) {
    uint32_t sum = 0;
    if (value.length == 0 || value.length > 9) {
        return -1;
    }
    for (size_t i = 0; i < value.length; i++) {
        if (value.at[i] < '0' || value.at[i] > '9') {
            return -1;
        }
        sum = 10 * sum + (uint32_t)(value.at[i] - '0');
    }
    if (sum < least || sum > most) {
        return -1;
    }
    *to = sum;
    return 0;
}

static int count(word value, uint32_t least, uint32_t most, unsigned *to) {
    uint32_t wide;
    if (number(value, least, most, &wide) != 0) {
        return -1;
    }
    *to = wide;
    return 0;
}

static int yes_or_no(word value, unsigned *to) {
    if (!is(value, "yes") && !is(value, "no")) {
        return -1;
    }
    *to = is(value, "yes") ? 1 : 0;
    return 0;
}

static int words(word value, char *to, size_t size) {
    if (value.length == 0 || value.length >= size) {
        return -1;
    }
    memcpy(to, value.at, value.length);
    to[value.length] = '\0';
    return 0;
}

static int digit(char byte) {
    return byte >= '0' && byte <= '9'   ? byte - '0'
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                        : -1;
}

static int hex(word value, uint8_t to[32], unsigned *has) {
    if (value.length != 64) {
        return -1;
    }
    for (size_t i = 0; i < 32; i++) {
        const int high = digit(value.at[2 * i]), low = digit(value.at[2 * i + 1]);
        if (high < 0 || low < 0) {
            return -1;
        }
        to[i] = (uint8_t)(high << 4 | low);
    }
    *has = 1;
    return 0;
}

static int address(word value, uint8_t to[4]) {
    for (unsigned i = 0; i < 4; i++) {
        uint32_t part;
        if (number(i < 3 ? cut(&value, '.') : value, 0, 255, &part) != 0) {
            return -1;
        }
        to[i] = (uint8_t)part;
    }
    return 0;
}

static int server(word value, fw_config *config) {
    const word name = cut(&value, ':');
    uint32_t port;
    if (words(name, config->server, sizeof config->server) != 0 || number(value, 1, 65535, &port) != 0) {
        return -1;
    }
    config->port = (uint16_t)port;
    return 0;
}

static int net(word value, fw_config *config) {
    if (!is(value, "lan9118") && !is(value, "virtio")) {
        return -1;
    }
    config->is_virtio = is(value, "virtio") ? 1 : 0;
    return 0;
}

static int ip(word value, fw_config *config) {
    word place = cut(&value, ' ');
    word gateway;
    config->is_static = is(place, "dhcp") ? 0 : 1;
    if (!config->is_static) {
        return value.length == 0 ? 0 : -1;
    }
    gateway = cut(&value, ' ');
    if (address(cut(&place, '/'), config->address) != 0 || count(place, 1, 30, &config->prefix_bits) != 0
        || address(gateway, config->gateway) != 0) {
        return -1;
    }
    return value.length == 0 ? 0 : address(value, config->dns);
}

static int format(word value, fw_config *config) {
    config->pixel_format = is(value, "rgb565") ? TW_PIXEL_RGB565 : TW_PIXEL_XRGB8888;
    return is(value, "rgb565") || is(value, "xrgb8888") ? 0 : -1;
}

static int cursor(word value, fw_config *config) {
    config->cursor = is(value, "none")      ? TW_CURSOR_NONE
                     : is(value, "picture") ? TW_CURSOR_IN_PICTURE
                                            : TW_CURSOR_LOCAL;
    return is(value, "none") || is(value, "picture") || is(value, "local") ? 0 : -1;
}

static int model(word value, fw_config *config) {
    return count(value, 0, 48, &config->model_kib) == 0 && config->model_kib % 16 == 0 ? 0 : -1;
}

static int cache(word value, fw_config *config) {
    const word slots = cut(&value, ' ');
    if (is(slots, "0") && value.length == 0) {
        config->cache_slots = 0;
        return 0;
    }
    return count(slots, 1, TW_MAX_CACHE_SLOTS, &config->cache_slots) == 0
                   && number(value, 1, 1 << 20, &config->cache_slot_bytes) == 0
               ? 0
               : -1;
}

static int max_rect(word value, fw_config *config) {
    const word width = cut(&value, ' ');
    return count(width, TW_MIN_RECT_WIDTH, TW_MAX_SIDE, &config->max_rect_width) == 0
                   && number(value, TW_MIN_RECT_AREA, TW_MAX_PIXELS, &config->max_rect_area) == 0
               ? 0
               : -1;
}

static int rotate(word value, fw_config *config) {
    uint32_t degrees;
    if (number(value, 0, 270, &degrees) != 0 || degrees % 90 != 0) {
        return -1;
    }
    config->rotation = degrees / 90;
    return 0;
}

/* The panel's own values, which other lines may change. */
static int panel(word value, fw_config *config) {
    word width;
    if (words(value, config->panel, sizeof config->panel) != 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof standards / sizeof standards[0]; i++) {
        const standard *found = &standards[i];
        if (is(value, found->name)) {
            config->width = found->width;
            config->height = found->height;
            config->pixel_format = found->pixel_format;
            config->big_endian = found->big_endian;
            config->strip_rows = found->readable ? 0 : found->max_rect_area / found->width;
            config->receive_bytes = found->receive_bytes;
            config->max_rect_width = found->max_rect_width;
            config->max_rect_area = found->max_rect_area;
            config->model_kib = found->model_kib;
            config->cache_slots = found->cache_slots;
            config->cache_slot_bytes = found->cache_slot_bytes;
            config->cursor_side = found->cursor_side;
            config->density = found->density;
            return 0;
        }
    }
    width = cut(&value, 'x');
    return count(width, 1, TW_MAX_SIDE, &config->width) == 0
                   && count(value, 1, TW_MAX_SIDE, &config->height) == 0
               ? 0
               : -1;
}

/* 0, -1: not a value, -2: not a key. */
static int set(word key, word value, fw_config *config) {
    if (is(key, "server")) {
        return server(value, config);
    }
    if (is(key, "panel")) {
        return 0; /* first of all, in another round */
    }
    if (is(key, "format")) {
        return format(value, config);
    }
    if (is(key, "device_id")) {
        return words(value, config->device_id, sizeof config->device_id);
    }
    if (is(key, "key")) {
        return hex(value, config->key, &config->has_key);
    }
    if (is(key, "seed")) {
        return hex(value, config->seed, &config->has_seed);
    }
    if (is(key, "net")) {
        return net(value, config);
    }
    if (is(key, "ip")) {
        return ip(value, config);
    }
    if (is(key, "strip")) {
        return count(value, 0, TW_MAX_SIDE, &config->strip_rows);
    }
    if (is(key, "cursor")) {
        return cursor(value, config);
    }
    if (is(key, "cursor_side")) {
        return count(value, 1, TW_MAX_CURSOR_SIDE, &config->cursor_side);
    }
    if (is(key, "model")) {
        return model(value, config);
    }
    if (is(key, "cache")) {
        return cache(value, config);
    }
    if (is(key, "jpeg")) {
        return yes_or_no(value, &config->jpeg);
    }
    if (is(key, "copy")) {
        return yes_or_no(value, &config->copy);
    }
    if (is(key, "receive")) {
        return number(value, TW_MIN_MESSAGE, TW_MAX_MESSAGE, &config->receive_bytes);
    }
    if (is(key, "max_rect")) {
        return max_rect(value, config);
    }
    if (is(key, "density")) {
        return count(value, 0, 10000, &config->density);
    }
    if (is(key, "rotate")) {
        return rotate(value, config);
    }
    if (is(key, "fit")) {
        return yes_or_no(value, &config->fit);
    }
    if (is(key, "reconnect")) {
        return yes_or_no(value, &config->reconnect);
    }
    if (is(key, "watchdog")) {
        return count(value, 0, 3600, &config->watchdog_s);
    }
    if (is(key, "mips")) {
        return count(value, 0, 1000, &config->mips);
    }
    if (is(key, "replay")) {
        return number(value, 1, 0x10000000, &config->replay_bytes);
    }
    return -2;
}

/* The next line, without spaces around it; 0: there is none. */
static int next_line(word *rest, word *line) {
    const char *end = rest->length != 0 ? memchr(rest->at, '\n', rest->length) : NULL;
    if (end == NULL) {
        return 0;
    }
    line->at = rest->at;
    line->length = (size_t)(end - rest->at);
    *line = trimmed(*line);
    rest->length -= (size_t)(end + 1 - rest->at);
    rest->at = end + 1;
    return 1;
}

static int is_comment(word line) {
    return line.length == 0 || line.at[0] == '#';
}

static fw_config_result take(word key, word value, fw_config *config, char *problem, size_t problem_size) {
    const int taken = set(key, value, config);
    if (taken == -2) {
        (void)fw_format(problem, problem_size,
            "the configuration has a line `%.*s`, which means nothing here", key.length, key.at);
        return FW_CONFIG_WRONG;
    }
    if (taken != 0) {
        const int is_secret = is(key, "key") || is(key, "seed");
        (void)fw_format(problem, problem_size, "the configuration's `%.*s` cannot be `%.*s`", key.length,
            key.at, is_secret ? (size_t)3 : value.length, is_secret ? "..." : value.at);
        return FW_CONFIG_WRONG;
    }
    return FW_CONFIG_GOOD;
}

fw_config_result fw_config_parse(
    const char *text, size_t size, fw_config *config, char *problem, size_t problem_size) {
    word rest = {text, size}, line, all;
    int has_panel = 0;
    memset(config, 0, sizeof *config);
    if (!next_line(&rest, &line) || !is(line, MAGIC_LINE)) {
        (void)fw_format(problem, problem_size, "no configuration begins with `" MAGIC_LINE "` in RAM");
        return FW_CONFIG_MISSING;
    }
    config->receive_bytes = 65536;
    config->pixel_format = TW_PIXEL_RGB565;
    config->jpeg = config->copy = config->reconnect = 1;
    config->watchdog_s = 10;
    (void)words((word){"tilewire-device", 15}, config->device_id, sizeof config->device_id);
    for (all = rest; next_line(&all, &line) && !is(line, END_LINE);) {
        const word key = trimmed(cut(&line, '='));
        if (is(key, "panel")) {
            has_panel = 1;
            if (panel(trimmed(line), config) != 0) {
                (void)fw_format(problem, problem_size, "the configuration's `panel` cannot be `%.*s`",
                    trimmed(line).length, trimmed(line).at);
                return FW_CONFIG_WRONG;
            }
        }
    }
    while (next_line(&rest, &line)) {
        word key;
        if (is(line, END_LINE)) {
            if (!has_panel || (config->port == 0 && config->replay_bytes == 0)) {
                (void)fw_format(
                    problem, problem_size, "the configuration says no `%s`", has_panel ? "server" : "panel");
                return FW_CONFIG_WRONG;
            }
            return FW_CONFIG_GOOD;
        }
        if (is_comment(line)) {
            continue;
        }
        if (memchr(line.at, '=', line.length) == NULL) {
            /* It may hold anything, a key too. */
            (void)fw_format(problem, problem_size, "the configuration has a line that is not `key = value`");
            return FW_CONFIG_WRONG;
        }
        key = trimmed(cut(&line, '='));
        if (take(key, trimmed(line), config, problem, problem_size) != FW_CONFIG_GOOD) {
            return FW_CONFIG_WRONG;
        }
    }
    (void)fw_format(problem, problem_size, "the configuration does not end with `" END_LINE "`");
    return FW_CONFIG_WRONG;
}
