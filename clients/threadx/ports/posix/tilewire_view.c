/* tilewire-view: connects to a server, waits for a whole picture, and writes it as a PPM file.
 *
 * An example of how a program uses the client; a device does the same with a panel instead of a file. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tw_posix.h"

#define WIDTH 1024
#define HEIGHT 600
#define CACHE_SLOTS 512
#define CACHE_SLOT_BYTES 8192 /* 64x64 pixels */

typedef struct options {
    const char *host, *port, *device_id, *key_file, *output;
    unsigned long seconds; /* that the picture may still change after it is whole */
    int tls;
    tw_posix_trust trust;
} options;

/* What the callbacks know. */
typedef struct viewer {
    unsigned updates;
    int said_goodbye;
} viewer;

static uint16_t framebuffer[WIDTH * HEIGHT];
static uint8_t receive[65536];
static uint8_t memory[TW_CLIENT_SIZE(48, WIDTH)];
static uint8_t cache[TW_CACHE_SIZE(CACHE_SLOTS, CACHE_SLOT_BYTES)];
static tw_posix connection;

static tw_drawn on_present(void *user, uint32_t update, uint32_t input) {
    (void)update;
    (void)input;
    ((viewer *)user)->updates++;
    return TW_DRAW_DONE;
}

static void on_goodbye(void *user, unsigned code, const char *text, size_t length) {
    ((viewer *)user)->said_goodbye = 1;
    fprintf(stderr, "tilewire-view: the server ended the connection: %.*s (%u)\n", (int)length, text, code);
}

static void on_notice(void *user, unsigned code, const char *text, size_t length) {
    (void)user;
    fprintf(stderr, "tilewire-view: notice %u: %.*s\n", code, (int)length, text);
}

static const tw_callbacks callbacks = {
    .present = on_present,
    .goodbye = on_goodbye,
    .notice = on_notice,
};

static int complain(const char *what, const char *why) {
    fprintf(stderr, "tilewire-view: %s: %s\n", what, why);
    return 1;
}

/* 64 hex digits. */
static int read_key(const char *path, uint8_t *key) {
    FILE *file = fopen(path, "r");
    int good = file != NULL;
    for (int i = 0; good && i < TW_KEY_SIZE; i++) {
        char digits[3] = {0};
        char *end = digits;
        good = fread(digits, 1, 2, file) == 2;
        key[i] = (uint8_t)strtoul(digits, &end, 16);
        good = good && end == digits + 2 && digits[0] != '+' && digits[0] != '-' && digits[0] != ' ';
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return good ? 0 : -1;
}

/* RGB565 with the upper bits repeated below, so that white is white. */
static int write_ppm(const char *path) {
    FILE *file = fopen(path, "wb");
    int good;
    if (file == NULL) {
        return -1;
    }
    good = fprintf(file, "P6\n%d %d\n255\n", WIDTH, HEIGHT) > 0;
    for (int i = 0; good && i < WIDTH * HEIGHT; i++) {
        const unsigned red = framebuffer[i] >> 11, green = framebuffer[i] >> 5 & 63,
                       blue = framebuffer[i] & 31;
        const uint8_t pixel[3] = {(uint8_t)(red << 3 | red >> 2), (uint8_t)(green << 2 | green >> 4),
            (uint8_t)(blue << 3 | blue >> 2)};
        good = fwrite(pixel, sizeof pixel, 1, file) == 1;
    }
    return fclose(file) == 0 && good ? 0 : -1;
}

static tw_status make_client(tw_client **client, const options *given, const uint8_t *key, viewer *user) {
    tw_client_config config;
    memset(&config, 0, sizeof config);
    if (tw_posix_random(config.nonce, sizeof config.nonce) != 0
        || tw_posix_random(&config.boot_id, sizeof config.boot_id) != 0) {
        return TW_CODE_INTERNAL;
    }
    config.device_id = given->device_id;
    config.key = key;
    config.width = WIDTH;
    config.height = HEIGHT;
    config.pixel_format = TW_PIXEL_RGB565;
    config.framebuffer = framebuffer;
    config.framebuffer_size = sizeof framebuffer;
    config.receive = receive;
    config.receive_size = sizeof receive;
    config.model_kib = 48;
    config.cache = cache;
    config.cache_size = sizeof cache;
    config.cache_slots = CACHE_SLOTS;
    config.cache_slot_bytes = CACHE_SLOT_BYTES;
    config.callbacks = &callbacks;
    config.user = user;
    config.now_us = tw_posix_now_us;
    return tw_client_init(client, &config, memory, sizeof memory);
}

/* 0: the connection was closed as planned. */
static int watch(tw_client *client, const options *given, const viewer *seen) {
    const uint32_t period_ms = (uint32_t)given->seconds * 1000;
    uint32_t whole_at_ms = 0;
    int over = 0, closing = 0;
    while (over == 0) {
        over = tw_posix_step(&connection, client, 50);
        if (seen->updates != 0 && whole_at_ms == 0) {
            whole_at_ms = tw_posix_now_ms() | 1;
        }
        if (whole_at_ms != 0 && !closing && tw_posix_now_ms() - whole_at_ms >= period_ms) {
            tw_client_close(client, TW_CODE_NORMAL);
            closing = 1;
        }
    }
    if (over < 0 && !closing) {
        return complain("the socket failed", strerror(errno));
    }
    if (tw_client_error(client) != TW_OK) {
        return complain("the connection failed", tw_status_text(tw_client_error(client)));
    }
    if (!closing) {
        return seen->said_goodbye ? 1 : complain("the connection ended", "the server closed it");
    }
    return 0;
}

static int usage(void) {
    fputs("usage: tilewire-view [--seconds N] [--device-id NAME] [--auth-key-file FILE] [--output FILE.ppm]\n"
          "                     [--tls] [--ca FILE | --insecure-tls] HOST [PORT]\n",
        stderr);
    return 2;
}

/* 1: an option without a value. */
static int parse_switch(const char *word, options *given) {
    if (strcmp(word, "--tls") != 0 && strcmp(word, "--insecure-tls") != 0) {
        return 0;
    }
    given->tls = 1;
    given->trust.unchecked |= strcmp(word, "--insecure-tls") == 0;
    return 1;
}

/* 0, or -1. */
static int parse_option(const char *word, const char *value, options *given) {
    char *end = NULL;
    if (strcmp(word, "--seconds") == 0) {
        given->seconds = strtoul(value, &end, 10);
        return *value < '0' || *value > '9' || *end != 0 || given->seconds > 1000000 ? -1 : 0;
    }
    if (strcmp(word, "--device-id") == 0) {
        given->device_id = value;
    } else if (strcmp(word, "--auth-key-file") == 0) {
        given->key_file = value;
    } else if (strcmp(word, "--output") == 0) {
        given->output = value;
    } else if (strcmp(word, "--ca") == 0) {
        given->trust.ca_file = value;
        given->tls = 1;
    } else {
        return -1;
    }
    return 0;
}

static int parse(int count, char **words, options *given) {
    int at = 1;
    while (at < count && strncmp(words[at], "--", 2) == 0) {
        if (parse_switch(words[at], given)) {
            at++;
        } else if (at + 1 < count && parse_option(words[at], words[at + 1], given) == 0) {
            at += 2;
        } else {
            return -1;
        }
    }
    if (at >= count || count - at > 2 || words[at][0] == '-'
        || (given->trust.ca_file != NULL && given->trust.unchecked)) {
        return -1;
    }
    given->host = words[at];
    if (count - at == 2) {
        given->port = words[at + 1];
    }
    return 0;
}

static int connect_to(const options *given, const char **problem) {
    if (tw_posix_connect(&connection, given->host, given->port, problem) != 0) {
        return -1;
    }
    return given->tls ? tw_posix_secure(&connection, given->host, &given->trust, problem) : 0;
}

int main(int count, char **words) {
    options given = {NULL, "7800", "tilewire-view", NULL, "tilewire.ppm", 0, 0, {NULL, 0}};
    uint8_t key[TW_KEY_SIZE];
    viewer seen = {0, 0};
    tw_client *client = NULL;
    tw_status status;
    const char *problem = "";
    int failed;
    if (parse(count, words, &given) != 0) {
        return usage();
    }
    if (given.key_file != NULL && read_key(given.key_file, key) != 0) {
        return complain(given.key_file, "not a key of 64 hex digits");
    }
    status = make_client(&client, &given, given.key_file != NULL ? key : NULL, &seen);
    if (status != TW_OK) {
        return complain("cannot start", tw_status_text(status));
    }
    if (given.tls && !TW_POSIX_WITH_TLS) {
        return complain(
            "--tls, --ca, --insecure-tls", "this build has no TLS: OpenSSL's headers were not there");
    }
    if (given.trust.unchecked) {
        (void)complain(given.host, "its certificate is not checked (--insecure-tls): anybody could be there");
    }
    if (connect_to(&given, &problem) != 0) {
        (void)complain(given.host, problem);
        tw_posix_disconnect(&connection);
        return 1;
    }
    failed = watch(client, &given, &seen);
    tw_posix_disconnect(&connection);
    if (failed == 0 && write_ppm(given.output) != 0) {
        return complain(given.output, strerror(errno));
    }
    return failed;
}
