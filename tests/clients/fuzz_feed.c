/* Feeds the client whatever a server could send. Three programs from one source:
 *
 *   clang -fsanitize=fuzzer,address,undefined -DTW_FUZZER ...   libFuzzer target
 *   fuzz_feed < FILE                                            one input from stdin
 *   fuzz_feed ROUNDS FILE...                                    each file, and ROUNDS seeded mutations of it
 *
 * An input is one byte of set-up, one of splitting, and the bytes of the server. From 128 on splitting means that the
 * line breaks half-way: the client is made again in the same memory, with what can be resumed, and the other half comes
 * on the new connection. What is asserted beyond the sanitizers' own checks: a call takes no more than it is given;
 * memory beside the panel's rows is left alone; however the bytes are split, the same errors, events and pixels come of
 * them; and what the client answers stays whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tilewire/tilewire.h"

#define MAX_INPUT (1 << 16)
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

enum { WIDTH = 37, HEIGHT = 21, PADDING = 8, SENTINEL = 0xA5, SLOTS = 5, SLOT_BYTES = 300, CURSOR = 12 };

typedef struct device {
    tw_client *client;
    tw_client_config config;
    tw_resume resume;
    uint8_t *block, *pixels, *receive, *cache, *cursor, *jpeg_stream, *jpeg_picture;
    uint8_t picture[(WIDTH * 4 + PADDING) * HEIGHT]; /* in strip mode: what the panel shows */
    size_t block_size, stride, pixels_size;
    unsigned width, height, stored, hold;
    int strips, resized;
    uint32_t events; /* a hash of all that was reported */
} device;

/* The server's side of a handshake without proof, up to the capabilities; WELCOME's length is in its second byte. A token
 * and how the resumption went follow. */
static const uint8_t handshake[] = {0x97, 'T', 'W', '\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1, 2,
    3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x10, 33, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4, 1, 0,
    0, 0, 5, 3, 30, 75, 1, 6, 8, 0, 0, 0, 0, 0, 0, 0, 0};
enum { WELCOME_AT = 32, CAPABILITIES_AT = sizeof handshake - 8, TOKEN_FIELD = 20, RESUMED_FIELD = 3 };

static void note(device *seen, uint32_t what) {
    seen->events = (seen->events ^ what) * 16777619U;
}

static void note_bytes(device *seen, const void *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        note(seen, ((const uint8_t *)bytes)[i]);
    }
}

static tw_drawn on_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    device *seen = (device *)user;
    CHECK(width >= 1 && height >= 1 && x + width <= seen->width && y + height <= seen->height);
    if (seen->strips && !seen->resized) {
        for (unsigned row = 0; row < height; row++) {
            memcpy(seen->picture + ((size_t)(y + row) * WIDTH + x) * seen->stored,
                (const uint8_t *)pixels + (size_t)row * width * seen->stored, (size_t)width * seen->stored);
        }
    } else {
        volatile uint8_t last = ((const uint8_t *)pixels)[width * seen->stored - 1];
        (void)last;
    }
    return seen->hold ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

static tw_drawn on_present(void *user, uint32_t update, uint32_t input) {
    device *seen = (device *)user;
    note(seen, update);
    note(seen, input);
    return seen->hold ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

static void on_words(void *user, unsigned code, const char *text, size_t length) {
    note((device *)user, code);
    note_bytes((device *)user, text, length);
}

static void on_welcome(void *user, const tw_welcome *welcome) {
    note_bytes((device *)user, welcome->session, welcome->session_length);
    if (welcome->token != NULL) {
        note_bytes((device *)user, welcome->token, TW_TOKEN_SIZE);
    }
}

static void on_setting(void *user, const tw_setting *setting) {
    note((device *)user, setting->fps << 16 | setting->quality << 8 | setting->adaptive);
}

static void on_view_state(void *user, const tw_view_state *view) {
    note((device *)user, view->x + view->width * 5 + view->session_height * 7 + view->mode);
}

static void on_control_state(void *user, unsigned role, uint32_t holder) {
    note((device *)user, role + holder);
}

/* The new panel gets memory of exactly its size, as long as that is modest. */
static void on_resize(void *user, unsigned width, unsigned height) {
    device *seen = (device *)user;
    const size_t row = (size_t)width * seen->stored;
    note(seen, width << 16 | height);
    seen->resized = 1;
    if (row * height > MAX_INPUT) {
        return; /* the client has to notice that the old memory is too small */
    }
    free(seen->pixels);
    seen->width = width;
    seen->height = height;
    seen->stride = row;
    seen->pixels_size = seen->strips ? row : row * height;
    seen->pixels = (uint8_t *)calloc(1, seen->pixels_size);
    CHECK(seen->pixels != NULL);
    tw_client_surface(seen->client, seen->pixels, seen->pixels_size, seen->stride);
}

/* The pointer moves wherever the server rings. */
static void on_bell(void *user) {
    device *seen = (device *)user;
    size_t waiting;
    note(seen, 7);
    (void)tw_client_output(seen->client, &waiting);
    tw_client_sent(seen->client, waiting); /* so that it goes in, however the bytes were split */
    if (seen->events % 3 != 0) {
        CHECK(tw_client_pointer(
                  seen->client, seen->events % seen->width, seen->events / 64 % seen->height, 0, NULL)
              == TW_OK);
    }
}

static void on_cursor_shape(
    void *user, unsigned width, unsigned height, unsigned hot_x, unsigned hot_y, const uint8_t *pixels) {
    CHECK(width <= CURSOR && height <= CURSOR && (width == 0) == (height == 0) && (pixels == NULL) == !width);
    CHECK((hot_x < width && hot_y < height) || (width | hot_x | hot_y) == 0);
    note((device *)user, width << 16 | height << 8 | hot_y);
    note_bytes((device *)user, pixels, (size_t)4 * width * height);
}

static void on_cursor_position(void *user, unsigned x, unsigned y) {
    device *seen = (device *)user;
    CHECK(x < seen->width && y < seen->height);
    note(seen, x << 12 | y);
}

static void on_input_echo(void *user, uint32_t input) {
    note((device *)user, input);
}

static void on_clipboard(void *user, uint32_t total, uint32_t offset, const uint8_t *data, size_t length) {
    CHECK(offset + length <= total);
    note_bytes((device *)user, data, length);
}

static void on_pong(void *user, uint64_t stamp) {
    note((device *)user, (uint32_t)stamp);
}

static void on_explanation(void *user, const tw_explanation *explanation) {
    note_bytes((device *)user, explanation->operations, 2 * explanation->count);
}

static const tw_callbacks callbacks = {on_welcome, on_draw, on_present, on_words, on_words, on_setting,
    on_view_state, on_control_state, on_resize, on_bell, on_input_echo, on_clipboard, on_pong, on_explanation,
    NULL, NULL};
static const tw_callbacks overlay_callbacks = {on_welcome, on_draw, on_present, on_words, on_words,
    on_setting, on_view_state, on_control_state, on_resize, on_bell, on_input_echo, on_clipboard, on_pong,
    on_explanation, on_cursor_shape, on_cursor_position};

static void *exactly(size_t size);

/* A decoder of nothing: it looks at what it is given, and its pixels follow from that. */
static tw_status on_jpeg(void *user, const tw_jpeg *jpeg, tw_picture *picture) {
    device *seen = (device *)user;
    const uint8_t *at = jpeg->data, *end = jpeg->data + jpeg->length;
    size_t size, segment;
    CHECK(jpeg->data == seen->jpeg_stream && jpeg->length >= 309);
    CHECK(at[0] == 0xFF && at[1] == 0xD8 && end[-2] == 0xFF && end[-1] == 0xD9);
    /* Headers one after the other, then entropy-coded data without any marker, then EOI. */
    for (at += 2; at[1] != 0xDA; at += 2 + (at[2] << 8 | at[3])) {
        CHECK(at + 4 < end && at[0] == 0xFF && (at[1] == 0xDB || at[1] == 0xC0 || at[1] == 0xC4));
    }
    at += 2 + (at[2] << 8 | at[3]);
    CHECK(at < end - 2);
    segment = (size_t)(end - 2 - at);
    for (size_t i = 0; i < segment; i++) {
        CHECK(at[i] != 0xFF || at[++i] == 0);
    }
    CHECK(
        jpeg->width >= 1 && jpeg->width <= seen->width && jpeg->height >= 1 && jpeg->height <= seen->height);
    note(seen, jpeg->width << 16 | jpeg->height);
    note_bytes(seen, at, segment);
    if (at[0] == 0x2A) {
        return TW_CODE_BAD_PAYLOAD;
    }
    picture->step = at[0] & 1 ? 4 : 3;
    picture->stride = (size_t)jpeg->width * picture->step + (at[0] & 2);
    picture->red = picture->step - 1;
    size = picture->stride * (jpeg->height - 1) + (size_t)jpeg->width * picture->step;
    free(seen->jpeg_picture);
    picture->pixels = seen->jpeg_picture = (uint8_t *)exactly(size);
    for (size_t i = 0; i < size; i++) {
        seen->jpeg_picture[i] = (uint8_t)(at[i % segment] + i);
    }
    return TW_OK;
}

static void *exactly(size_t size) {
    void *memory = malloc(size);
    CHECK(memory != NULL);
    memset(memory, SENTINEL, size);
    return memory;
}

static void start(device *seen, unsigned set_up) {
    static const unsigned stored[] = {2, 4, 1, 1};
    tw_client_config config;
    static const uint8_t key[TW_KEY_SIZE] = {0};
    memset(seen, 0, sizeof *seen);
    memset(&config, 0, sizeof config);
    config.device_id = "fuzz";
    config.key = set_up & 64 ? key : NULL;
    config.width = seen->width = WIDTH;
    config.height = seen->height = HEIGHT;
    config.pixel_format = 1 + (set_up & 3);
    config.big_endian = (set_up & 3) == 0 && (set_up & 4) != 0;
    config.receive_size = set_up & 8 ? 1024 : 5000;
    config.capabilities = 0xFA;
    config.max_rect_area = set_up & 8 ? 400 : 0;
    config.model_kib = set_up & 8 ? 48 : 16;
    config.jpeg = on_jpeg;
    config.jpeg_stream_size = TW_JPEG_SIZE(config.receive_size);
    config.jpeg_stream = seen->jpeg_stream = (uint8_t *)exactly(config.jpeg_stream_size);
    config.callbacks = set_up & 16 ? &overlay_callbacks : &callbacks;
    config.user = seen;
    seen->strips = (set_up & 16) != 0;
    seen->hold = set_up >> 7;
    seen->stored = stored[set_up & 3];
    seen->stride = (size_t)WIDTH * seen->stored + (seen->strips ? 0 : PADDING);
    seen->pixels_size = seen->stride * (seen->strips ? 2 : HEIGHT);
    config.receive = seen->receive = (uint8_t *)exactly(config.receive_size);
    seen->pixels = (uint8_t *)exactly(seen->pixels_size);
    if (seen->strips) {
        config.strip = seen->pixels;
        config.strip_size = seen->pixels_size;
    } else {
        config.framebuffer = seen->pixels;
        config.framebuffer_size = seen->pixels_size;
        config.stride = seen->stride;
        config.cache_slots = SLOTS;
        config.cache_slot_bytes = SLOT_BYTES;
        config.cache_size = TW_CACHE_SIZE(SLOTS, SLOT_BYTES);
        config.cache = seen->cache = (uint8_t *)exactly(config.cache_size);
    }
    config.cursor = TW_CURSOR_LOCAL;
    config.cursor_max_side = CURSOR;
    config.cursor_memory_size = TW_CURSOR_SIZE(CURSOR, seen->strips ? 0 : seen->stored);
    config.cursor_memory = seen->cursor = (uint8_t *)exactly(config.cursor_memory_size);
    seen->config = config;
    seen->block_size = tw_client_size(&config);
    seen->block = (uint8_t *)exactly(seen->block_size);
    CHECK(tw_client_init(&seen->client, &config, seen->block, seen->block_size) == TW_OK);
}

static void stop(device *seen) {
    free(seen->block);
    free(seen->pixels);
    free(seen->receive);
    free(seen->cache);
    free(seen->cursor);
    free(seen->jpeg_stream);
    free(seen->jpeg_picture);
}

/* What is drawn lies on the panel, and has pixels under it; nothing is left of it when all is over. */
static void check_cursor(const device *seen) {
    unsigned x, y, width, height;
    const uint8_t *under = (const uint8_t *)tw_client_under(seen->client, &x, &y, &width, &height);
    const size_t size = (size_t)width * height * seen->stored;
    CHECK((under != NULL) == (width != 0));
    if (under != NULL) {
        CHECK(x + width <= seen->width && y + height <= seen->height);
        CHECK(under >= seen->cursor
              && under + size <= seen->cursor + TW_CURSOR_SIZE(CURSOR, (size_t)seen->stored));
        CHECK(tw_client_phase(seen->client) == TW_OPEN);
    }
}

/* Gives the client a piece in memory of its own, and waits for whatever it holds. */
static tw_status feed(device *seen, const uint8_t *data, size_t length) {
    uint8_t *piece = (uint8_t *)exactly(length != 0 ? length : 1);
    size_t at = 0, waiting;
    tw_status status;
    memcpy(piece, data, length);
    for (;;) {
        size_t consumed;
        status = tw_client_feed(seen->client, piece + at, length - at, &consumed);
        CHECK(consumed <= length - at);
        at += consumed;
        if (!tw_client_pending(seen->client)) {
            break;
        }
        /* Also after an error: the cursor is taken off, and the panel told. */
        CHECK(seen->hold);
        tw_client_draw_done(seen->client);
    }
    CHECK(at == length || status != TW_OK);
    (void)tw_client_output(seen->client, &waiting);
    tw_client_sent(seen->client, waiting > 3 ? waiting - 3 : waiting);
    free(piece);
    check_cursor(seen);
    return status;
}

/* The same device on its next connection: its panel is as RESIZE left it. */
static void come_back(device *seen) {
    tw_client_config *config = &seen->config;
    tw_client_resume(seen->client, &seen->resume);
    CHECK(!tw_client_pending(seen->client) && tw_client_phase(seen->client) == TW_CLOSED);
    config->resume = &seen->resume;
    config->width = seen->width;
    config->height = seen->height;
    if (seen->strips) {
        config->strip = seen->pixels;
        config->strip_size = seen->pixels_size;
    } else {
        config->framebuffer = seen->pixels;
        config->framebuffer_size = seen->pixels_size;
        config->stride = seen->stride;
    }
    if (tw_client_size(config)
        > seen->block_size) { /* the panel is wider now, and the model's rows with it */
        free(seen->block);
        seen->block_size = tw_client_size(config);
        seen->block = (uint8_t *)exactly(seen->block_size);
    }
    CHECK(tw_client_init(&seen->client, config, seen->block, seen->block_size) == TW_OK);
}

/* The server greets. A device that comes back with a token is taken to go on where it was. */
static tw_status greet(device *seen, unsigned set_up) {
    uint8_t greeting[sizeof handshake + TOKEN_FIELD + RESUMED_FIELD], *at = greeting + sizeof handshake;
    const int resumes = seen->config.resume != NULL && seen->resume.valid;
    tw_status status;
    memcpy(greeting, handshake, sizeof handshake);
    /* All that was offered is in force; a device with a key refuses this greeting. */
    greeting[CAPABILITIES_AT] = seen->strips ? 0xFA : 0xFB;
    memset(at, SENTINEL, TOKEN_FIELD);
    at[0] = TW_WELCOME_RESUME;
    at[1] = TW_TOKEN_SIZE + 2;
    at += TOKEN_FIELD;
    if (resumes) {
        *at++ = TW_WELCOME_RESUMED;
        *at++ = 1;
        *at++ = TW_RESUMED_RESUMED;
    }
    greeting[WELCOME_AT + 1] = (uint8_t)(at - greeting - WELCOME_AT - 2);
    status = feed(seen, greeting, (size_t)(at - greeting));
    CHECK(status == (set_up & 64 ? TW_CODE_AUTH_REQUIRED : TW_OK));
    if (status == TW_OK) {
        uint32_t input;
        CHECK(tw_client_pointer(seen->client, 1, 1, 0, &input) == TW_OK && input == 1);
    }
    return status;
}

/* One connection: the handshake where the set-up has it, then the server's bytes until it is over. */
static tw_status talk(device *seen, unsigned set_up, unsigned split, const uint8_t *data, size_t size) {
    tw_status status = set_up & 32 ? greet(seen, set_up) : TW_OK;
    /* After a GOODBYE nothing may come: what does is fed as well. */
    for (size_t at = 0; at < size && (status == TW_OK || status == TW_CODE_CLOSED);) {
        size_t length = split == 0 ? size : 1 + (split * (at + 1) * 2654435761U >> 16) % split;
        if (length > size - at) {
            length = size - at;
        }
        status = feed(seen, data + at, length);
        at += length;
    }
    return tw_client_end(seen->client);
}

static tw_status run(
    device *seen, unsigned set_up, unsigned split, int breaks, const uint8_t *data, size_t size) {
    const size_t first = breaks ? size / 2 : size;
    tw_status status;
    start(seen, set_up);
    status = talk(seen, set_up, split, data, first);
    while (tw_client_pending(seen->client)) { /* the cursor is taken off */
        tw_client_draw_done(seen->client);
        CHECK(feed(seen, data, 0) == (status == TW_OK ? TW_CODE_CLOSED : status));
    }
    if (breaks) {
        note(seen, (uint32_t)status);
        come_back(seen);
        status = talk(seen, set_up, split, data + first, size - first);
    }
    tw_client_resume(seen->client, &seen->resume);
    check_cursor(seen);
    return status;
}

static void check_padding(const device *seen) {
    for (size_t y = 0; !seen->strips && !seen->resized && y < HEIGHT; y++) {
        for (size_t x = (size_t)WIDTH * seen->stored; x < seen->stride; x++) {
            CHECK(seen->pixels[y * seen->stride + x] == SENTINEL);
        }
    }
}

static void one_input(const uint8_t *data, size_t size) {
    static device whole, cut;
    unsigned set_up, split;
    tw_status status;
    if (size < 2) {
        return;
    }
    set_up = data[0];
    split = data[1];
    status = run(&whole, set_up & 0x7F, 0, split >= 128, data + 2, size - 2);
    CHECK(status == run(&cut, set_up, 1 + split % 128, split >= 128, data + 2, size - 2));
    CHECK(whole.events == cut.events);
    check_padding(&whole);
    check_padding(&cut);
    if (tw_client_error(whole.client) == TW_OK) { /* an error leaves the picture as it happens to be */
        CHECK(memcmp(whole.picture, cut.picture, sizeof whole.picture) == 0);
        CHECK(whole.pixels_size == cut.pixels_size);
        CHECK(whole.strips || memcmp(whole.pixels, cut.pixels, whole.pixels_size) == 0);
    }
    stop(&whole);
    stop(&cut);
}

#include "fuzz_main.h"
