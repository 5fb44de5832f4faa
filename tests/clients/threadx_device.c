/* Sessions of the ThreadX port on the stand-in, driven line by line: a command on standard input, its status as
 * "= STATUS ..." on standard output, and between them what the callbacks say, "SESSION WHAT ...". */
#define _POSIX_C_SOURCE 200809L

#include <stdlib.h>
#include <string.h>

#include "tw_threadx.h"

#include "host.h"

#define SESSIONS 2
#define MOST_WIDTH 1024
#define MOST_HEIGHT 600
#define STACK (1 << 20) /* the sanitizers need it */
#ifndef PAYLOAD
#    define PAYLOAD 256 /* so that what comes comes in chains */
#endif
#define SLOTS 64
#define SLOT_BYTES 8192
#define WORDS 16

typedef struct device {
    TW_THREADX session;
    TW_THREADX_CONFIG config;
    uint8_t key[TW_KEY_SIZE];
    uint16_t framebuffer[MOST_WIDTH * MOST_HEIGHT], shown[MOST_WIDTH * MOST_HEIGHT];
    unsigned width, height;
    UINT is_nosy;
    UINT is_eager; /* types a key at the first picture */
    UINT hold;     /* 1: what is drawn stays pending until "drawn"; 2: until a DMA has it, soon */
    uint8_t receive[65536], memory[TW_CLIENT_SIZE(48, MOST_WIDTH)], cache[TW_CACHE_SIZE(SLOTS, SLOT_BYTES)];
    uint8_t jpeg[TW_JPEG_MEMORY_SIZE];
    ULONG queue[TW_THREADX_QUEUE_SIZE(64) / sizeof(ULONG)];
    CHAR copied[TW_MAX_CLIPBOARD];
    CHAR trusted[1024]; /* a file */
} device;

static CHAR device_name[] = "device";
static device devices[SESSIONS];
static _Alignas(4096) UCHAR stacks[SESSIONS + 1][STACK];
static TX_THREAD commander;
static NX_IP ip;
static NX_PACKET_POOL packets;
static TX_BYTE_POOL bytes;
static UCHAR packet_memory[(PAYLOAD + 128) * 256], byte_memory[1 << 22];
static UINT has_no_randomness;

static unsigned long number(const char *text) {
    return strtoul(text, NULL, 0);
}

/* What the threads share is read and written with interrupts off. */
static UINT read_shared(const UINT *value) {
    TX_INTERRUPT_SAVE_AREA
    UINT found;
    TX_DISABLE
    found = *value;
    TX_RESTORE
    return found;
}

static void write_shared(UINT *shared, UINT value) {
    TX_INTERRUPT_SAVE_AREA
    TX_DISABLE
    *shared = value;
    TX_RESTORE
}

static long index_of(const device *one) {
    return (long)(one - devices);
}

/* ---- Callbacks -------------------------------------------------------------------------------------------- */

static void interrupt_drawn(void *given) {
    (void)tw_threadx_draw_done(&((device *)given)->session);
}

static tw_drawn on_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    device *one = user;
    const UINT hold = read_shared(&one->hold);
    (void)x;
    (void)y;
    (void)width;
    (void)height;
    (void)pixels;
    if (hold == 2) {
        host_interrupt(interrupt_drawn, one, 0);
    } else if (hold == 1) {
        host_say("%ld pending\n", index_of(one));
    }
    return hold ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

static void on_welcome(void *user, const tw_welcome *welcome) {
    host_say("%ld welcome %u %ux%u\n", index_of(user), welcome->resumed, welcome->width, welcome->height);
}

/* Whoever takes the processor from the session's thread while that decodes. */
static void interrupt_eager(void *given) {
    device *one = given;
    host_say("%ld eager %u\n", index_of(one), tw_threadx_key(&one->session, 0xFF0D, 1, TX_NO_WAIT));
}

static tw_drawn on_present(void *user, uint32_t update, uint32_t input) {
    device *one = user;
    TX_INTERRUPT_SAVE_AREA
    if (one->is_eager) {
        one->is_eager = 0;
        host_interrupt(interrupt_eager, one, 1);
    }
    TX_DISABLE
    memcpy(one->shown, one->framebuffer, sizeof one->shown);
    TX_RESTORE
    if (input != 0) {
        host_say("%ld input %u\n", index_of(one), (unsigned)input);
    }
    (void)update;
    return TW_DRAW_DONE;
}

static void on_goodbye(void *user, unsigned code, const char *text, size_t length) {
    host_say("%ld goodbye %u %.*s\n", index_of(user), code, (int)length, text);
}

static void on_input_echo(void *user, uint32_t input) {
    host_say("%ld input %u\n", index_of(user), (unsigned)input);
}

static void on_clipboard(void *user, uint32_t total, uint32_t offset, const uint8_t *data, size_t length) {
    host_say("%ld clipboard %u %u %.*s\n", index_of(user), (unsigned)total, (unsigned)offset, (int)length,
        (const char *)data);
}

static void on_setting(void *user, const tw_setting *setting) {
    host_say("%ld setting %u %u %u\n", index_of(user), setting->fps, setting->quality, setting->adaptive);
}

static void on_view_state(void *user, const tw_view_state *view) {
    host_say("%ld view %u %u %u %u,%u\n", index_of(user), view->mode, view->rotation, view->follow, view->x,
        view->y);
}

static void on_resize(void *user, unsigned width, unsigned height) {
    device *one = user;
    tw_client_surface(tw_threadx_client(&one->session), one->framebuffer, sizeof one->framebuffer, 0);
    host_say("%ld resize %ux%u\n", index_of(one), width, height);
}

static const tw_callbacks callbacks = {
    .welcome = on_welcome,
    .draw = on_draw,
    .present = on_present,
    .goodbye = on_goodbye,
    .input_echo = on_input_echo,
    .clipboard = on_clipboard,
    .setting = on_setting,
    .view_state = on_view_state,
    .resize = on_resize,
};

/* What a session's own thread may not do. */
static VOID be_nosy(device *one) {
    const UINT stopped = tw_threadx_stop(&one->session, 10), deleted = tw_threadx_delete(&one->session, 10);
    host_say(
        "%ld inside %u %u %u\n", index_of(one), stopped, deleted, tw_threadx_stop(&one->session, TX_NO_WAIT));
}

static VOID on_state(VOID *user, UINT state, UINT code, ULONG wait_ms) {
    device *one = user;
    host_say("%ld state %u %u %u\n", index_of(user), state, code, wait_ms);
    if (state == TW_THREADX_OPEN && read_shared(&one->is_nosy)) {
        be_nosy(one);
    }
}

static VOID on_clipboard_sent(VOID *user, const VOID *text, UINT status) {
    host_say("%ld copied %u %d\n", index_of(user), status, text == ((device *)user)->copied);
}

static uint32_t now_us(void *user) {
    (void)user;
    return host_now_us();
}

static UINT fill_random(VOID *user, VOID *memory, ULONG length) {
    (void)user;
    return !read_shared(&has_no_randomness) && host_random(memory, length) ? TX_SUCCESS : TX_NOT_DONE;
}

static UINT resolve_nothing(VOID *user, NXD_ADDRESS *server, ULONG wait_option) {
    host_say("%ld resolve %u\n", index_of(user), wait_option);
    *server = host_server(NX_IP_VERSION_V4);
    return NX_SUCCESS;
}

#if TW_THREADX_WITH_TLS
static UINT set_up_tls(VOID *user, NX_SECURE_TLS_SESSION *tls) {
    return host_tls_setup(tls, ((device *)user)->trusted);
}
#endif

/* ---- Making one ------------------------------------------------------------------------------------------- */

static void set_key(device *one, const char *hex) {
    for (size_t i = 0; i < sizeof one->key; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        one->key[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    one->config.client.key = one->key;
}

/* Everything in static memory, or everything that may out of the byte pool. */
static void set_memory(device *one, int out_of_pool) {
    TW_THREADX_CONFIG *config = &one->config;
    config->client.receive_size = sizeof one->receive;
    config->client.cache_slots = SLOTS;
    config->client.cache_slot_bytes = SLOT_BYTES;
    config->client.jpeg_memory_size = TW_JPEG_MEMORY_SIZE;
    if (out_of_pool) {
        config->byte_pool = &bytes;
        return;
    }
    config->client.jpeg_memory = one->jpeg;
    config->client.receive = one->receive;
    config->client.cache = one->cache;
    config->client.cache_size = sizeof one->cache;
    config->memory = one->memory;
    config->memory_size = sizeof one->memory;
    config->queue = one->queue;
    config->queue_size = sizeof one->queue;
}

static void set(device *one, const char *word) {
    TW_THREADX_CONFIG *config = &one->config;
    const char *value = strchr(word, '=') + 1;
    if (strncmp(word, "key=", 4) == 0) {
        set_key(one, value);
    } else if (strncmp(word, "width=", 6) == 0) {
        one->width = config->client.width = (unsigned)number(value);
    } else if (strncmp(word, "height=", 7) == 0) {
        one->height = config->client.height = (unsigned)number(value);
    } else if (strncmp(word, "window=", 7) == 0) {
        config->window = (ULONG)number(value);
    } else if (strncmp(word, "queue=", 6) == 0) {
        config->queue_size = (ULONG)TW_THREADX_QUEUE_SIZE(number(value));
    } else if (strncmp(word, "memory=", 7) == 0) {
        config->memory_size = (ULONG)number(value);
    } else if (strncmp(word, "v6=", 3) == 0) {
        config->server = host_server(NX_IP_VERSION_V6);
    } else if (strncmp(word, "v4=", 3) == 0) {
        config->server.nxd_ip_address.v4 = (ULONG)number(value);
    } else if (strncmp(word, "resolve=", 8) == 0) {
        config->resolve = resolve_nothing;
        config->server.nxd_ip_version = 0;
    } else if (strncmp(word, "hold=", 5) == 0) {
        one->hold = (unsigned)number(value);
    } else if (strncmp(word, "eager=", 6) == 0) {
        one->is_eager = (UINT)number(value);
    } else if (strncmp(word, "max_message=", 12) == 0) {
        config->client.receive_size = (size_t)number(value);
    }
#if TW_THREADX_WITH_TLS
    else if (strncmp(word, "tls=", 4) == 0) {
        strncpy(one->trusted, value, sizeof one->trusted - 1);
        config->tls_setup = set_up_tls;
    }
#endif
    else {
        abort();
    }
}

static UINT create(device *one, UINT port, int out_of_pool, char **words, int count) {
    TW_THREADX_CONFIG *config = &one->config;
    memset(config, 0, sizeof *config);
    one->width = 320;
    one->height = 240;
    one->hold = one->is_nosy = one->is_eager = 0;
    config->client.device_id = one == devices ? "threadx-0" : "threadx-1";
    config->client.pixel_format = TW_PIXEL_RGB565;
    config->client.framebuffer = one->framebuffer;
    config->client.framebuffer_size = sizeof one->framebuffer;
    config->client.width = one->width;
    config->client.height = one->height;
    config->client.model_kib = 48;
    config->client.capabilities =
        TW_CAPABILITY_TOUCH | TW_CAPABILITY_CLIPBOARD | TW_CAPABILITY_INPUT_ECHO | TW_CAPABILITY_RESIZE;
    config->client.callbacks = &callbacks;
    config->client.user = one;
    config->server = host_server(NX_IP_VERSION_V4);
    config->client.now_us = now_us;
    config->port = port;
    config->random = fill_random;
    config->state = on_state;
    config->clipboard_sent = on_clipboard_sent;
    set_memory(one, out_of_pool);
    for (int i = 0; i < count; i++) {
        set(one, words[i]);
    }
    return tw_threadx_create(&one->session, device_name, config, &ip, &packets,
        out_of_pool ? NULL : stacks[index_of(one)], STACK, 16);
}

/* ---- Commands --------------------------------------------------------------------------------------------- */

/* A word that is not given. */
static char none[] = "0";

typedef struct command {
    device *one;
    char *words[WORDS];
    int count;
    UINT status;
} command;

static int is(const command *given, const char *name) {
    return strcmp(given->words[0], name) == 0;
}

static UINT value(const command *given, int place) {
    return (UINT)number(given->words[place]);
}

static UINT touch(const command *given) {
    tw_finger fingers[WORDS];
    for (int i = 2; i < given->count; i++) {
        char *at = given->words[i];
        fingers[i - 2].id = (unsigned)strtoul(at, &at, 0);
        fingers[i - 2].x = (unsigned)strtoul(at + 1, &at, 0);
        fingers[i - 2].y = (unsigned)strtoul(at + 1, &at, 0);
    }
    return tw_threadx_touch(&given->one->session, fingers, (UINT)(given->count - 2));
}

static UINT type(const command *given) {
    ULONG taken = 0;
    const UINT status = tw_threadx_text(
        &given->one->session, given->words[2], (ULONG)strlen(given->words[2]), &taken, value(given, 3));
    host_say("%ld taken %u\n", index_of(given->one), taken);
    return status;
}

static UINT copy(const command *given) {
    const size_t times = value(given, 3), length = strlen(given->words[2]);
    CHAR *text = given->one->copied;
    for (size_t i = 0; i < times && (i + 1) * length <= sizeof given->one->copied; i++) {
        memcpy(text + i * length, given->words[2], length);
    }
    return tw_threadx_clipboard(&given->one->session, text, (ULONG)(times * length), TX_NO_WAIT);
}

static UINT set_speed(const command *given) {
    tw_setting setting;
    setting.fps = value(given, 2);
    setting.quality = value(given, 3);
    setting.adaptive = value(given, 4);
    return tw_threadx_setting(&given->one->session, &setting, TX_NO_WAIT);
}

static UINT dump(const command *given) {
    static uint16_t copy[MOST_WIDTH * MOST_HEIGHT];
    const device *one = given->one;
    const size_t pixels = (size_t)one->width * one->height;
    TX_INTERRUPT_SAVE_AREA
    TX_DISABLE
    memcpy(copy, one->shown, pixels * sizeof *copy);
    TX_RESTORE
    return host_save(given->words[2], copy, pixels * sizeof *copy) ? TX_SUCCESS : TX_NOT_DONE;
}

static UINT report(const command *given) {
    TW_THREADX_STATISTICS found;
    const UINT status = tw_threadx_statistics(&given->one->session, &found);
    if (status == TX_SUCCESS) {
        host_say("%ld statistics state=%u code=%u status=%u attempts=%u connections=%u packets_received=%u "
                 "packets_sent=%u bytes_received=%llu bytes_sent=%llu inputs=%u joined=%u lost=%u refused=%u "
                 "shortages=%u window_waits=%u draw_waits=%u client_bytes=%llu updates=%u inputs_shown=%u "
                 "input_to_picture_us=%u input_to_picture_sum_us=%llu updates_dropped=%u\n",
            index_of(given->one), found.state, found.code, found.status, found.attempts, found.connections,
            found.packets_received, found.packets_sent, (unsigned long long)found.bytes_received,
            (unsigned long long)found.bytes_sent, found.inputs, found.inputs_joined, found.inputs_lost,
            found.inputs_refused, found.packet_shortages, found.window_waits, found.draw_waits,
            (unsigned long long)found.client.bytes, (unsigned)found.client.updates,
            (unsigned)found.client.inputs_shown, (unsigned)found.client.input_to_picture_us,
            (unsigned long long)found.client.input_to_picture_sum_us, (unsigned)found.client.updates_dropped);
    }
    return status;
}

static UINT count_resources(void) {
    ULONG total = 0, available = 0, used = 0;
    const UINT status = nx_packet_pool_info_get(&packets, &total, &available, NX_NULL, NX_NULL, NX_NULL);
    const ULONG allocated = host_allocated(&bytes, &used);
    host_say("0 resources packets=%u bytes=%u allocated=%u sockets=%u\n", total - available, used, allocated,
        host_sockets(&ip));
    return status;
}

/* Started and stopped again before its thread has looked, so many times. */
static UINT flick(const command *given) {
    TW_THREADX *session = &given->one->session;
    UINT status = TX_SUCCESS;
    for (UINT i = value(given, 2); i != 0 && status == TX_SUCCESS; i--) {
        status = tw_threadx_start(session);
        if (status == TX_SUCCESS) {
            status = tw_threadx_stop(session, 500);
        }
    }
    return status;
}

/* Of the test, not of the session. */
static UINT run_other(const command *given) {
    if (is(given, "dump")) {
        return dump(given);
    }
    if (is(given, "hold")) {
        write_shared(&given->one->hold, value(given, 2));
        return TX_SUCCESS;
    }
    if (is(given, "nosy")) {
        write_shared(&given->one->is_nosy, value(given, 2));
        return TX_SUCCESS;
    }
    if (is(given, "resources")) {
        return count_resources();
    }
    if (is(given, "norandom")) {
        write_shared(&has_no_randomness, value(given, 2));
        return TX_SUCCESS;
    }
    if (is(given, "refuse")) {
        host_refuse(&packets, (LONG)strtol(given->words[2], NULL, 0));
        return TX_SUCCESS;
    }
    if (is(given, "window")) {
        host_window(&given->one->session.socket, (LONG)strtol(given->words[2], NULL, 0));
        return TX_SUCCESS;
    }
    if (is(given, "stack")) {
        host_say("%ld stack %u\n", index_of(given->one), host_stack_used(&given->one->session.thread));
        return TX_SUCCESS;
    }
    if (is(given, "clock")) {
        tx_time_set((ULONG)number(given->words[2]));
        return TX_SUCCESS;
    }
    if (is(given, "link")) {
        host_link(&ip, value(given, 2));
        return TX_SUCCESS;
    }
    host_say("no command %s\n", given->words[0]);
    abort();
}

static UINT run_life(const command *given) {
    TW_THREADX *session = &given->one->session;
    if (is(given, "create") || is(given, "pool")) {
        return create(given->one, value(given, 2), is(given, "pool"), (char **)(uintptr_t)given->words + 3,
            given->count - 3);
    }
    if (is(given, "start")) {
        return tw_threadx_start(session);
    }
    if (is(given, "stop")) {
        return tw_threadx_stop(session, value(given, 2));
    }
    if (is(given, "flick")) {
        return flick(given);
    }
    if (is(given, "delete")) {
        return tw_threadx_delete(session, value(given, 2));
    }
    if (is(given, "retry")) {
        return tw_threadx_retry(session);
    }
    if (is(given, "drawn")) {
        return tw_threadx_draw_done(session);
    }
    if (is(given, "statistics")) {
        return report(given);
    }
    return run_other(given);
}

static UINT run(const command *given) {
    TW_THREADX *session = &given->one->session;
    if (is(given, "pointer")) {
        return tw_threadx_pointer(session, value(given, 2), value(given, 3), value(given, 4));
    }
    if (is(given, "touch")) {
        return touch(given);
    }
    if (is(given, "wheel")) {
        return tw_threadx_wheel(
            session, (INT)strtol(given->words[2], NULL, 0), (INT)strtol(given->words[3], NULL, 0));
    }
    if (is(given, "key")) {
        return tw_threadx_key(session, value(given, 2), value(given, 3), value(given, 4));
    }
    if (is(given, "text")) {
        return type(given);
    }
    if (is(given, "copy")) {
        return copy(given);
    }
    if (is(given, "setting")) {
        return set_speed(given);
    }
    if (is(given, "view")) {
        return tw_threadx_view(session, value(given, 2), value(given, 3), value(given, 4), value(given, 5),
            value(given, 6), TX_NO_WAIT);
    }
    if (is(given, "control")) {
        return tw_threadx_control(session, value(given, 2), value(given, 3), TX_NO_WAIT);
    }
    if (is(given, "resize")) {
        return tw_threadx_resize(session, value(given, 2), value(given, 3), TX_NO_WAIT);
    }
    if (is(given, "resize_session")) {
        return tw_threadx_resize_session(session, value(given, 2), value(given, 3), TX_NO_WAIT);
    }
    if (is(given, "refresh")) {
        return tw_threadx_refresh(session, TX_NO_WAIT);
    }
    if (is(given, "close")) {
        return tw_threadx_close(session, value(given, 2), value(given, 3));
    }
    if (is(given, "pause")) {
        return tw_threadx_pause(session, value(given, 2));
    }
    return run_life(given);
}

static void interrupt(void *given) {
    command *one = given;
    one->status = run(one);
}

/* "!" in front: from an interrupt. */
static void obey(char *line) {
    command given;
    char *rest = NULL;
    const int is_interrupt = line[0] == '!';
    memset(&given, 0, sizeof given);
    for (int i = 0; i < WORDS; i++) {
        given.words[i] = none;
    }
    for (char *word = strtok_r(line + is_interrupt, " ", &rest); word != NULL && given.count < WORDS;
        word = strtok_r(NULL, " ", &rest)) {
        given.words[given.count++] = word;
    }
    if (given.count < 2) {
        abort();
    }
    given.one = &devices[number(given.words[1]) % SESSIONS];
    if (is_interrupt) {
        host_interrupt(interrupt, &given, 1);
    } else {
        given.status = run(&given);
    }
    host_say("= %u\n", given.status);
}

static VOID listen_to_commands(ULONG unused) {
    char line[4096];
    (void)unused;
    while (host_read_line(line, sizeof line)) {
        obey(line);
    }
    exit(0);
}

VOID tx_application_define(VOID *first_unused_memory) {
    (void)first_unused_memory;
    nx_system_initialize();
    if (nx_packet_pool_create(&packets, device_name, PAYLOAD, packet_memory, sizeof packet_memory)
            != NX_SUCCESS
        || tx_byte_pool_create(&bytes, device_name, byte_memory, sizeof byte_memory) != TX_SUCCESS
        || tx_thread_create(&commander, device_name, listen_to_commands, 0, stacks[SESSIONS], STACK, 20, 20,
               TX_NO_TIME_SLICE, TX_AUTO_START)
               != TX_SUCCESS) {
        abort();
    }
    host_ip_create(&ip, &packets);
}

int main(void) {
    tx_kernel_enter();
    return 0;
}
