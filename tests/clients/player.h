/* Takes a client through a recorded session (tests/clients/sessions). Included once by each program that does.
 *
 * C99 and C++17, little- and big-endian, 32 and 64 bit: only files are asked of the system. */
#ifndef TW_PLAYER_H
#define TW_PLAYER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tilewire/tilewire.h"

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

enum { MAX_NUMBERS = 8 };

typedef struct session {
    uint8_t *file; /* all of it */
    const uint8_t *records, *end;
    unsigned width, height, pixel_format, strip_rows, receive_size, model_kib, cache_slots, cache_slot_bytes;
    unsigned jpeg, cursor, cursor_side, capabilities, key;
    uint64_t boot_id;
    uint8_t nonce[TW_NONCE_SIZE];
} session;

/* One of: h HELLO as it was sent, b bytes of the server, m a mark, X the line breaks and the device comes back, or
 * what the device does. */
typedef struct record {
    char kind;
    uint32_t length;
    const uint8_t *data;
} record;

/* A device. Its memory is what malloc() gives, so that a sanitizer or valgrind knows its ends and that nobody set it. */
typedef struct player {
    const session *from;
    tw_client *client;
    tw_client_config config;
    uint8_t *block, *pixels, *receive, *cache, *cursor, *jpeg; /* as given to the client */
    size_t block_size, pixels_size, cache_size, cursor_size, jpeg_size, picture_size;
    uint8_t *picture; /* of a strip device: what the panel shows */
    unsigned width, height, stored, odd;
    uint32_t events, sent; /* hashes: of all that was reported, and of all that was sent */
    uint64_t sent_bytes;
    tw_resume resume;
} player;

static uint32_t read_u32(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* ---- The file ---------------------------------------------------------------------------------------------- */

static uint8_t *read_file(const char *name, size_t *size) {
    FILE *file = fopen(name, "rb");
    size_t room = 1 << 16, length = 0, got;
    uint8_t *data = (uint8_t *)malloc(room);
    CHECK(file != NULL && data != NULL);
    while ((got = fread(data + length, 1, room - length, file)) != 0) {
        length += got;
        if (length == room) {
            room *= 2;
            data = (uint8_t *)realloc(data, room);
            CHECK(data != NULL);
        }
    }
    (void)fclose(file);
    *size = length;
    return data;
}

static void set_field(session *made, const char *name, const char *value) {
    const struct {
        const char *name;
        unsigned *field;
    } known[] = {
        {"width", &made->width},
        {"height", &made->height},
        {"pixel_format", &made->pixel_format},
        {"strip_rows", &made->strip_rows},
        {"receive_size", &made->receive_size},
        {"model_kib", &made->model_kib},
        {"cache_slots", &made->cache_slots},
        {"cache_slot_bytes", &made->cache_slot_bytes},
        {"jpeg", &made->jpeg},
        {"cursor", &made->cursor},
        {"cursor_side", &made->cursor_side},
        {"capabilities", &made->capabilities},
        {"key", &made->key},
    };
    if (strcmp(name, "boot_id") == 0) {
        made->boot_id = strtoull(value, NULL, 16);
        return;
    }
    for (unsigned i = 0; strcmp(name, "nonce") == 0 && i < TW_NONCE_SIZE; i++) {
        const char digits[3] = {value[2 * i], value[2 * i + 1], 0};
        made->nonce[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    if (strcmp(name, "nonce") == 0) {
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            *known[i].field = (unsigned)strtoul(value, NULL, 10);
            return;
        }
    }
    fprintf(stderr, "what is %s?\n", name);
    abort();
}

static void load(session *made, const char *name) {
    static const char first[] = "tilewire session 1\n", last[] = "records\n";
    size_t size;
    const uint8_t *at, *line;
    memset(made, 0, sizeof *made);
    at = made->file = read_file(name, &size);
    made->end = at + size;
    CHECK(size > sizeof first && memcmp(at, first, sizeof first - 1) == 0);
    for (at += sizeof first - 1; memcmp(at, last, sizeof last - 1) != 0; at++) {
        char words[2][40];
        unsigned word = 0, length = 0;
        memset(words, 0, sizeof words);
        for (line = at; *at != '\n'; at++) {
            CHECK(at + sizeof last < made->end && at - line < 39);
            if (*at == ' ') {
                word = 1;
                length = 0;
            } else {
                words[word][length++] = (char)*at;
            }
        }
        set_field(made, words[0], words[1]);
    }
    made->records = at + sizeof last - 1;
}

/* The next record; 0 at the end. */
static int next_record(const session *from, const uint8_t **at, record *got) {
    if (*at == from->end) {
        return 0;
    }
    CHECK(from->end - *at >= 5);
    got->kind = (char)**at;
    got->length = read_u32(*at + 1);
    got->data = *at + 5;
    CHECK(got->length <= (size_t)(from->end - got->data));
    *at = got->data + got->length;
    return 1;
}

/* ---- What the client reports ------------------------------------------------------------------------------- */

static void note(player *seen, uint32_t what) {
    seen->events = (seen->events ^ what) * 16777619U;
}

static void note_bytes(player *seen, const void *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        note(seen, ((const uint8_t *)bytes)[i]);
    }
}

static void on_welcome(void *user, const tw_welcome *welcome) {
    player *seen = (player *)user;
    note_bytes(seen, welcome->session, welcome->session_length);
    note(seen, welcome->width << 16 | welcome->height);
    note(seen, welcome->role << 8 | welcome->resumed);
    note(seen, (uint32_t)welcome->capabilities);
    if (welcome->token != NULL) {
        note_bytes(seen, welcome->token, TW_TOKEN_SIZE);
    }
}

static tw_drawn on_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    player *seen = (player *)user;
    const uint8_t *from = (const uint8_t *)pixels;
    CHECK(width >= 1 && height >= 1 && x + width <= seen->width && y + height <= seen->height);
    if (seen->picture != NULL) {
        const size_t length = (size_t)width * seen->stored;
        CHECK(from == seen->pixels && length * height <= seen->pixels_size);
        for (unsigned row = 0; row < height; row++) {
            memcpy(seen->picture + ((size_t)(y + row) * seen->width + x) * seen->stored, from + row * length,
                length);
        }
    } else {
        CHECK(from == seen->pixels + ((size_t)y * seen->width + x) * seen->stored);
    }
    return TW_DRAW_DONE;
}

static tw_drawn on_present(void *user, uint32_t update, uint32_t input) {
    note((player *)user, update);
    note((player *)user, input);
    return TW_DRAW_DONE;
}

static void on_words(void *user, unsigned code, const char *text, size_t length) {
    note((player *)user, code);
    note_bytes((player *)user, text, length);
}

static void on_setting(void *user, const tw_setting *setting) {
    note((player *)user, setting->fps << 16 | setting->quality << 8 | setting->adaptive);
}

static void on_view_state(void *user, const tw_view_state *view) {
    const uint32_t fields[] = {view->mode, view->rotation, view->follow, view->session_width,
        view->session_height, view->x, view->y, view->width, view->height};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        note((player *)user, fields[i]);
    }
}

static void on_control_state(void *user, unsigned role, uint32_t holder) {
    note((player *)user, role);
    note((player *)user, holder);
}

/* The framebuffer's memory stays: no session has a larger panel than its first one. */
static void on_resize(void *user, unsigned width, unsigned height) {
    player *seen = (player *)user;
    const size_t row = (size_t)width * seen->stored;
    note(seen, width << 16 | height);
    seen->width = width;
    seen->height = height;
    if (seen->picture == NULL && row * height <= seen->pixels_size) {
        tw_client_surface(seen->client, seen->pixels, seen->pixels_size, row);
    }
}

static void on_bell(void *user) {
    note((player *)user, 7);
}

static void on_input_echo(void *user, uint32_t input) {
    note((player *)user, input);
}

static void on_clipboard(void *user, uint32_t total, uint32_t offset, const uint8_t *data, size_t length) {
    CHECK(offset + length <= total);
    note((player *)user, total);
    note_bytes((player *)user, data, length);
}

static void on_pong(void *user, uint64_t stamp) {
    note((player *)user, (uint32_t)stamp);
    note((player *)user, (uint32_t)(stamp >> 32));
}

static void on_explanation(void *user, const tw_explanation *explanation) {
    note((player *)user, explanation->update);
    note((player *)user, explanation->encode_us);
    note((player *)user, explanation->round_trip_us);
    note_bytes((player *)user, explanation->operations, 2 * explanation->count);
}

static const tw_callbacks callbacks = {on_welcome, on_draw, on_present, on_words, on_words, on_setting,
    on_view_state, on_control_state, on_resize, on_bell, on_input_echo, on_clipboard, on_pong, on_explanation,
    NULL, NULL};

/* ---- The device -------------------------------------------------------------------------------------------- */

static uint8_t *memory_of(size_t size) {
    uint8_t *memory = (uint8_t *)malloc(size != 0 ? size : 1);
    CHECK(memory != NULL);
    return memory;
}

/* Makes a client, again where there was one, in the same memory. */
static tw_status greet(player *made, const uint8_t *nonce) {
    memcpy(made->config.nonce, nonce, TW_NONCE_SIZE);
    return tw_client_init(&made->client, &made->config, made->block + made->odd, made->block_size);
}

/* Memory for a device; `odd`: how far from aligned all of it lies that need not be. */
static void set_up(player *made, const session *from, unsigned odd) {
    static const unsigned stored[] = {2, 4, 1, 1};
    static const uint8_t key[TW_KEY_SIZE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
        19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    tw_client_config *config = &made->config;
    memset(made, 0, sizeof *made);
    made->from = from;
    made->odd = odd;
    made->width = config->width = from->width;
    made->height = config->height = from->height;
    made->stored = stored[from->pixel_format - 1];
    made->pixels_size =
        (size_t)from->width * made->stored * (from->strip_rows ? from->strip_rows : from->height);
    made->pixels = memory_of(made->pixels_size);
    config->device_id = "recorded";
    config->boot_id = from->boot_id;
    config->key = from->key ? key : NULL;
    config->pixel_format = from->pixel_format;
    if (from->strip_rows != 0) {
        config->strip = made->pixels;
        config->strip_size = made->pixels_size;
        made->picture_size = (size_t)from->width * from->height * made->stored;
        made->picture = memory_of(made->picture_size);
        memset(made->picture, 0, made->picture_size);
    } else {
        config->framebuffer = made->pixels;
        config->framebuffer_size = made->pixels_size;
    }
    config->receive_size = from->receive_size;
    made->receive = memory_of(from->receive_size + odd);
    config->receive = made->receive + odd;
    config->model_kib = from->model_kib;
    config->capabilities = from->capabilities;
    if (from->cache_slots != 0) {
        config->cache_slots = from->cache_slots;
        config->cache_slot_bytes = from->cache_slot_bytes;
        made->cache_size = config->cache_size = TW_CACHE_SIZE(from->cache_slots, from->cache_slot_bytes);
        made->cache = memory_of(made->cache_size + odd);
        config->cache = made->cache + odd;
    }
    if (from->jpeg) {
        made->jpeg_size = config->jpeg_memory_size = TW_JPEG_MEMORY_SIZE;
        made->jpeg = memory_of(made->jpeg_size + odd);
        config->jpeg_memory = made->jpeg + odd;
    }
    config->cursor = from->cursor;
    if (from->cursor == TW_CURSOR_LOCAL) {
        config->cursor_max_side = from->cursor_side;
        made->cursor_size = config->cursor_memory_size = TW_CURSOR_SIZE(from->cursor_side, made->stored);
        made->cursor = memory_of(made->cursor_size + odd);
        config->cursor_memory = made->cursor + odd;
    }
    config->callbacks = &callbacks;
    config->user = made;
    made->block_size = tw_client_size(config);
    made->block = memory_of(made->block_size + odd);
}

static void tear_down(player *made) {
    free(made->block);
    free(made->pixels);
    free(made->receive);
    free(made->cache);
    free(made->cursor);
    free(made->jpeg);
    free(made->picture);
}

/* All that waits goes out. */
static void flush(player *seen) {
    size_t length;
    const uint8_t *data = tw_client_output(seen->client, &length);
    for (size_t i = 0; i < length; i++) {
        seen->sent = (seen->sent ^ data[i]) * 16777619U;
    }
    seen->sent_bytes += length;
    tw_client_sent(seen->client, length);
}

/* What the device did, as tools/record_session.py kept it. */
static tw_status act(tw_client *client, const record *what) {
    const uint8_t *data = what->data;
    uint32_t n[MAX_NUMBERS];
    size_t count = what->length / 4;
    memset(n, 0, sizeof n);
    for (size_t i = 0; i < count && i < MAX_NUMBERS; i++) {
        n[i] = read_u32(data + 4 * i);
    }
    switch (what->kind) {
    case 'P': return tw_client_pointer(client, n[0], n[1], n[2], NULL);
    case 'W': return tw_client_wheel(client, (int)n[0], (int)n[1], NULL);
    case 'K': return tw_client_key(client, n[0], n[1], NULL);
    case 'T': return tw_client_text(client, (const char *)data, what->length, NULL);
    case 'F': {
        tw_finger finger;
        finger.id = n[0];
        finger.x = n[1];
        finger.y = n[2];
        return tw_client_touch(client, &finger, count / 3, NULL);
    }
    case 'S': {
        tw_setting setting;
        setting.fps = n[0];
        setting.quality = n[1];
        setting.adaptive = n[2];
        return tw_client_setting(client, &setting);
    }
    case 'V': return tw_client_view(client, n[0], n[1], n[2], n[3], n[4]);
    case 'C': return tw_client_control(client, n[0], n[1]);
    case 'Z': return tw_client_resize(client, n[0], n[1]);
    case 'Y': return tw_client_resize_session(client, n[0], n[1]);
    case 'G': return tw_client_ping(client, n[0]);
    case 'U': return tw_client_pause(client, n[0]);
    case 'R': return tw_client_refresh(client);
#if TW_WITH_CLIPBOARD
    case 'L': return tw_client_clipboard(client, n[0], n[1], data + 8, what->length - 8);
#endif
    default: return TW_CODE_INTERNAL; /* no such kind */
    }
}

/* The line breaks; the device comes back in the same memory. */
static tw_status come_back(player *seen, const uint8_t *nonce) {
    tw_client_resume(seen->client, &seen->resume);
    seen->config.resume = &seen->resume;
    seen->config.width = seen->width;
    seen->config.height = seen->height;
    return greet(seen, nonce);
}

#endif
