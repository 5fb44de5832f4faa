/* tilewire-view: connects to a server, waits for a whole picture, and writes it as a PPM file. A line that breaks in
 * between is connected again, and what was shown already does not come twice where the server still knows it.
 *
 * An example of how a program uses the client; a device does the same with a panel instead of a file. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <poll.h>
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
    unsigned long seconds;    /* that the picture may still change after it is whole */
    unsigned long reconnects; /* in a row, before it gives up */
    const char *text;         /* typed once the picture is whole; NULL: nothing */
    int statistics;           /* 1: they are printed */
    int tls;
    tw_posix_trust trust;
} options;

/* Without news for so long, what was resumed is the whole picture: the server had nothing to add. Where the end may have
 * come inside an update, it certainly has; it only might be slow. */
#define QUIET_MS 1000
#define QUIET_TORN_MS 10000
#define MOST_RECONNECTS 1000000
#define MOST_SECONDS 1000000

/* What the callbacks know of one connection. */
typedef struct viewer {
    unsigned updates;
    int welcomed, resumed;
    int said_goodbye;
} viewer;

static uint16_t framebuffer[WIDTH * HEIGHT];
static uint8_t receive[65536];
static uint8_t memory[TW_CLIENT_SIZE(48, WIDTH)];
static uint8_t cache[TW_CACHE_SIZE(CACHE_SLOTS, CACHE_SLOT_BYTES)];
#if TW_WITH_JPEG
static uint8_t jpeg_memory[TW_JPEG_MEMORY_SIZE];
#endif
static tw_posix connection;

static void on_welcome(void *user, const tw_welcome *welcome) {
    viewer *seen = user;
    seen->welcomed = 1;
    seen->resumed = welcome->resumed == TW_RESUMED_RESUMED;
}

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
    .welcome = on_welcome,
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

/* What outlives a connection. */
typedef struct device {
    const options *given;
    const uint8_t *key; /* NULL: none */
    uint64_t boot_id;
    tw_resume resume;
    int has_picture; /* the framebuffer was whole once */
    int torn;        /* and may have half an update over it */
    int typed;
} device;

/* In the same memory each time; framebuffer and cache stay as they are, for the server to go on with. */
static tw_status make_client(tw_client **client, const device *self, viewer *user) {
    tw_client_config config;
    memset(&config, 0, sizeof config);
    if (tw_posix_random(config.nonce, sizeof config.nonce) != 0) {
        return TW_CODE_INTERNAL;
    }
    config.boot_id = self->boot_id;
    config.resume = self->resume.valid ? &self->resume : NULL;
    config.device_id = self->given->device_id;
    config.key = self->key;
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
#if TW_WITH_JPEG
    config.jpeg_memory = jpeg_memory;
    config.jpeg_memory_size = sizeof jpeg_memory;
#endif
    config.callbacks = &callbacks;
    config.user = user;
    config.now_us = tw_posix_now_us;
    return tw_client_init(client, &config, memory, sizeof memory);
}

/* Whether it is time to close: the picture has been whole for as long as was asked. */
static int is_enough(const device *self, const viewer *seen, uint32_t whole_ms) {
    const uint32_t period_ms = (uint32_t)self->given->seconds * 1000;
    const uint32_t quiet_ms = seen->updates != 0 ? 0 : self->torn ? QUIET_TORN_MS : QUIET_MS;
    return whole_ms >= (period_ms > quiet_ms ? period_ms : quiet_ms);
}

/* 0: the connection was closed as planned. -1: it ended otherwise, and *why is a sentence where none was said
 * yet. */
static int watch(tw_client *client, device *self, const viewer *seen, const char **why) {
    uint32_t whole_at_ms = 0;
    int over = 0, whole = 0, closing = 0;
    while (over == 0) {
        over = tw_posix_step(&connection, client, 50);
        if (seen->updates != 0) {
            self->has_picture = 1;
            self->torn = 0;
        }
        if (!whole && (seen->updates != 0 || (seen->resumed && self->has_picture))) {
            whole = 1;
            whole_at_ms = tw_posix_now_ms();
        }
        if (whole && !self->typed && self->given->text != NULL) {
            self->typed = 1;
            if (tw_client_text(client, self->given->text, strlen(self->given->text), NULL) != TW_OK) {
                (void)complain("--text", "not sent: 1 to 1000 bytes of UTF-8");
            }
        }
        if (whole && !closing && is_enough(self, seen, tw_posix_now_ms() - whole_at_ms)) {
            tw_client_close(client, TW_CODE_NORMAL);
            closing = 1;
        }
    }
    if (closing && (over < 0 || tw_client_error(client) == TW_OK)) {
        return 0;
    }
    if (over < 0) {
        *why = strerror(errno);
    } else if (tw_client_error(client) != TW_OK) {
        *why = tw_status_text(tw_client_error(client));
    } else if (!seen->said_goodbye) {
        *why = "the server closed the connection";
    }
    return -1;
}

#if TW_WITH_STATISTICS
/* One line for each connection; the times only where some input was timed. */
static void print_statistics(const tw_client *client) {
    tw_statistics seen;
    uint32_t jpegs;
    uint64_t jpeg_bytes;
    tw_client_statistics(client, &seen);
    tw_client_count(client, TW_MSG_JPEG, &jpegs, &jpeg_bytes);
    printf("updates=%u bytes=%llu jpegs=%u jpeg_bytes=%llu decode_us=%u inputs_refused=%u updates_dropped=%u "
           "inputs_shown=%u",
        (unsigned)seen.updates, (unsigned long long)seen.bytes, (unsigned)jpegs,
        (unsigned long long)jpeg_bytes, (unsigned)seen.decode_us, (unsigned)seen.inputs_refused,
        (unsigned)seen.updates_dropped, (unsigned)seen.inputs_shown);
    if (seen.inputs_shown != 0) {
        printf(" input_to_picture_us=%u mean_us=%llu", (unsigned)seen.input_to_picture_us,
            (unsigned long long)(seen.input_to_picture_sum_us / seen.inputs_shown));
    }
    (void)putchar('\n');
}
#endif

static int connect_to(const options *given, const char **problem) {
    if (tw_posix_connect(&connection, given->host, given->port, problem) != 0) {
        return -1;
    }
    return given->tls ? tw_posix_secure(&connection, given->host, &given->trust, problem) : 0;
}

/* One connection, from its client to its end. */
static int visit(device *self, viewer *seen, tw_retry *retry, const char **why) {
    tw_client *client = NULL;
    const tw_status status = make_client(&client, self, seen);
    int failed;
    if (status != TW_OK) {
        *retry = TW_RETRY_NEVER;
        *why = tw_status_text(status);
        return -1;
    }
    failed = connect_to(self->given, why) != 0 || watch(client, self, seen, why) != 0;
    *retry = tw_should_reconnect(tw_client_reason(client));
    tw_client_resume(client, &self->resume);
#if TW_WITH_STATISTICS
    if (self->given->statistics) {
        print_statistics(client);
    }
#endif
    self->torn |= tw_client_reason(client) != TW_CODE_CLOSED;
    tw_posix_disconnect(&connection);
    return failed ? -1 : 0;
}

static void pause_ms(uint32_t wait_ms) {
    (void)poll(NULL, 0, (int)wait_ms);
}

/* 0: the picture is there. */
static int stay(device *self) {
    tw_backoff backoff;
    uint32_t wait_ms = 0, random = 0;
    unsigned long failures = 0;
    int was_welcome = 0;
    memset(&backoff, 0, sizeof backoff);
    for (;;) {
        const uint32_t began_ms = tw_posix_now_ms();
        viewer seen = {0, 0, 0, 0};
        tw_retry retry = TW_RETRY_LATER;
        const char *why = NULL;
        if (visit(self, &seen, &retry, &why) == 0) {
            return 0;
        }
        if (why != NULL) {
            (void)complain(self->given->host, why);
        }
        was_welcome |= seen.welcomed;
        if (seen.welcomed && tw_posix_now_ms() - began_ms > wait_ms) {
            tw_backoff_reset(&backoff);
            failures = 0;
        }
        /* Whoever was never let in has a wrong address, key or certificate: waiting mends none of them. */
        if (!was_welcome || retry != TW_RETRY_LATER || failures >= self->given->reconnects) {
            return 1;
        }
        failures++;
        (void)tw_posix_random(
            &random, sizeof random); /* without it all is well but that others come at once too */
        wait_ms = tw_backoff_next(&backoff, random);
        fprintf(stderr, "tilewire-view: connecting again in %u ms\n", (unsigned)wait_ms);
        pause_ms(wait_ms);
    }
}

static int usage(void) {
    fputs("usage: tilewire-view [--seconds N] [--device-id NAME] [--auth-key-file FILE] [--output FILE.ppm]\n"
          "                     [--reconnects N] [--tls] [--ca FILE | --insecure-tls] [--text TEXT] "
          "[--statistics]\n"
          "                     HOST [PORT]\n",
        stderr);
    return 2;
}

/* 1: an option without a value. */
static int parse_switch(const char *word, options *given) {
    if (TW_WITH_STATISTICS && strcmp(word, "--statistics") == 0) {
        given->statistics = 1;
        return 1;
    }
    if (strcmp(word, "--tls") != 0 && strcmp(word, "--insecure-tls") != 0) {
        return 0;
    }
    given->tls = 1;
    given->trust.unchecked |= strcmp(word, "--insecure-tls") == 0;
    return 1;
}

/* 0, or -1. */
static int parse_number(const char *value, unsigned long most, unsigned long *number) {
    char *end = NULL;
    *number = strtoul(value, &end, 10);
    return *value < '0' || *value > '9' || *end != 0 || *number > most ? -1 : 0;
}

/* 0, or -1. */
static int parse_option(const char *word, const char *value, options *given) {
    if (strcmp(word, "--seconds") == 0) {
        return parse_number(value, MOST_SECONDS, &given->seconds);
    }
    if (strcmp(word, "--reconnects") == 0) {
        return parse_number(value, MOST_RECONNECTS, &given->reconnects);
    }
    if (strcmp(word, "--device-id") == 0) {
        given->device_id = value;
    } else if (strcmp(word, "--auth-key-file") == 0) {
        given->key_file = value;
    } else if (strcmp(word, "--output") == 0) {
        given->output = value;
    } else if (strcmp(word, "--text") == 0) {
        given->text = value;
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

int main(int count, char **words) {
    options given = {NULL, "7800", "tilewire-view", NULL, "tilewire.ppm", 0, 8, NULL, 0, 0, {NULL, 0}};
    uint8_t key[TW_KEY_SIZE];
    device self;
    if (parse(count, words, &given) != 0) {
        return usage();
    }
    memset(&self, 0, sizeof self);
    self.given = &given;
    if (given.key_file != NULL) {
        if (read_key(given.key_file, key) != 0) {
            return complain(given.key_file, "not a key of 64 hex digits");
        }
        self.key = key;
    }
    if (tw_posix_random(&self.boot_id, sizeof self.boot_id) != 0) {
        return complain("cannot start", "no random numbers");
    }
    if (given.tls && !TW_POSIX_WITH_TLS) {
        return complain(
            "--tls, --ca, --insecure-tls", "this build has no TLS: OpenSSL's headers were not there");
    }
    if (given.trust.unchecked) {
        (void)complain(given.host, "its certificate is not checked (--insecure-tls): anybody could be there");
    }
    if (stay(&self) != 0) {
        return 1;
    }
    return write_ppm(given.output) == 0 ? 0 : complain(given.output, strerror(errno));
}
