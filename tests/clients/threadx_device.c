/* Sessions of the ThreadX port on the stand-in, driven line by line: a command on standard input, its status as
 * "= STATUS ..." on standard output, and between them what the callbacks say, "SESSION WHAT ...". */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tw_threadx.h"

#define SESSIONS 2
#define MOST_WIDTH 1024
#define MOST_HEIGHT 600
#define STACK (1 << 20) /* the sanitizers need it */
#define PAYLOAD 256
#define SLOTS 64
#define SLOT_BYTES 8192
#define WORDS 16

typedef struct device {
    TW_THREADX session;
    TW_THREADX_CONFIG config;
    uint8_t key[TW_KEY_SIZE];
    uint16_t framebuffer[MOST_WIDTH * MOST_HEIGHT], shown[MOST_WIDTH * MOST_HEIGHT];
    unsigned width, height;
    unsigned hold; /* 1: what is drawn stays pending until "drawn"; 2: until a DMA has it, soon */
    unsigned updates;
    uint8_t receive[65536], memory[TW_CLIENT_SIZE(48, MOST_WIDTH)], cache[TW_CACHE_SIZE(SLOTS, SLOT_BYTES)];
    ULONG queue[TW_THREADX_QUEUE_SIZE(64) / sizeof(ULONG)];
    CHAR copied[TW_MAX_CLIPBOARD];
} device;

static CHAR device_name[] = "device";
static device devices[SESSIONS];
static _Alignas(4096) UCHAR stacks[SESSIONS + 1][STACK];
static TX_THREAD commander;
static NX_IP ip;
static NX_PACKET_POOL packets;
static TX_BYTE_POOL bytes;
static UCHAR packet_memory[(PAYLOAD + 128) * 256], byte_memory[1 << 22];
static pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER; /* shown, hold, updates, standard output */
static int has_no_randomness;

static unsigned long number(const char *text) {
    return strtoul(text, NULL, 0);
}

#define SAY(...) \
    do { \
        (void)pthread_mutex_lock(&mine); \
        (void)printf(__VA_ARGS__); \
        (void)fflush(stdout); \
        (void)pthread_mutex_unlock(&mine); \
    } while (0)

static long index_of(const device *one) {
    return (long)(one - devices);
}

/* ---- Callbacks -------------------------------------------------------------------------------------------- */

static void *interrupt_drawn(void *given) {
    tx_standin_interrupt(1);
    (void)tw_threadx_draw_done(&((device *)given)->session);
    return NULL;
}

static void start_interrupt(void *(*routine)(void *), void *given, int waits) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, routine, given) != 0) {
        abort();
    }
    (void)(waits ? pthread_join(thread, NULL) : pthread_detach(thread));
}

static tw_drawn on_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    device *one = user;
    unsigned hold;
    (void)x;
    (void)y;
    (void)width;
    (void)height;
    (void)pixels;
    (void)pthread_mutex_lock(&mine);
    hold = one->hold;
    (void)pthread_mutex_unlock(&mine);
    if (hold == 2) {
        start_interrupt(interrupt_drawn, one, 0);
    } else if (hold == 1) {
        SAY("%ld pending\n", index_of(one));
    }
    return hold ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

static void on_welcome(void *user, const tw_welcome *welcome) {
    SAY("%ld welcome %u %ux%u\n", index_of(user), welcome->resumed, welcome->width, welcome->height);
}

static tw_drawn on_present(void *user, uint32_t update, uint32_t input) {
    device *one = user;
    (void)pthread_mutex_lock(&mine);
    memcpy(one->shown, one->framebuffer, sizeof one->shown);
    one->updates++;
    (void)pthread_mutex_unlock(&mine);
    if (input != 0) {
        SAY("%ld input %u\n", index_of(one), (unsigned)input);
    }
    (void)update;
    return TW_DRAW_DONE;
}

static void on_goodbye(void *user, unsigned code, const char *text, size_t length) {
    SAY("%ld goodbye %u %.*s\n", index_of(user), code, (int)length, text);
}

static void on_input_echo(void *user, uint32_t input) {
    SAY("%ld input %u\n", index_of(user), (unsigned)input);
}

static void on_clipboard(void *user, uint32_t total, uint32_t offset, const uint8_t *data, size_t length) {
    SAY("%ld clipboard %u %u %.*s\n", index_of(user), (unsigned)total, (unsigned)offset, (int)length,
        (const char *)data);
}

static void on_setting(void *user, const tw_setting *setting) {
    SAY("%ld setting %u %u %u\n", index_of(user), setting->fps, setting->quality, setting->adaptive);
}

static void on_view_state(void *user, const tw_view_state *view) {
    SAY("%ld view %u %u %u %u,%u\n", index_of(user), view->mode, view->rotation, view->follow, view->x,
        view->y);
}

static void on_resize(void *user, unsigned width, unsigned height) {
    device *one = user;
    tw_client_surface(tw_threadx_client(&one->session), one->framebuffer, sizeof one->framebuffer, 0);
    SAY("%ld resize %ux%u\n", index_of(one), width, height);
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

static VOID on_state(VOID *user, UINT state, UINT code, ULONG wait_ms) {
    SAY("%ld state %u %u %u\n", index_of(user), state, code, wait_ms);
}

static VOID on_clipboard_sent(VOID *user, const VOID *text, UINT status) {
    SAY("%ld copied %u %d\n", index_of(user), status, text == ((device *)user)->copied);
}

static uint32_t now_us(void *user) {
    struct timespec now;
    (void)user;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U);
}

static UINT fill_random(VOID *user, VOID *memory, ULONG length) {
    FILE *source;
    size_t got = 0;
    int fails;
    (void)user;
    (void)pthread_mutex_lock(&mine);
    fails = has_no_randomness;
    (void)pthread_mutex_unlock(&mine);
    source = fails ? NULL : fopen("/dev/urandom", "rb");
    if (source != NULL) {
        got = fread(memory, 1, length, source);
        (void)fclose(source);
    }
    return got == length ? TX_SUCCESS : TX_NOT_DONE;
}

static UINT resolve_nothing(VOID *user, NXD_ADDRESS *server, ULONG wait_option) {
    SAY("%ld resolve %u\n", index_of(user), wait_option);
    server->nxd_ip_version = NX_IP_VERSION_V4;
    server->nxd_ip_address.v4 = IP_ADDRESS(127, 0, 0, 1);
    return NX_SUCCESS;
}

#if TW_THREADX_WITH_TLS
static UINT set_up_tls(VOID *user, NX_SECURE_TLS_SESSION *tls) {
    (void)user;
    return nx_secure_tls_session_create(tls, NULL, NULL, 0);
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
    if (out_of_pool) {
        config->byte_pool = &bytes;
        return;
    }
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
        config->server.nxd_ip_version = NX_IP_VERSION_V6;
        memset(&config->server.nxd_ip_address, 0, sizeof config->server.nxd_ip_address);
        config->server.nxd_ip_address.v6[3] = (ULONG)number(value);
    } else if (strncmp(word, "v4=", 3) == 0) {
        config->server.nxd_ip_address.v4 = (ULONG)number(value);
    } else if (strncmp(word, "resolve=", 8) == 0) {
        config->resolve = resolve_nothing;
        config->server.nxd_ip_version = 0;
    } else if (strncmp(word, "hold=", 5) == 0) {
        one->hold = (unsigned)number(value);
    } else if (strncmp(word, "max_message=", 12) == 0) {
        config->client.receive_size = (size_t)number(value);
    }
#if TW_THREADX_WITH_TLS
    else if (strncmp(word, "tls=", 4) == 0) {
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
    one->hold = 0;
    one->updates = 0;
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
    config->client.now_us = now_us;
    config->server.nxd_ip_version = NX_IP_VERSION_V4;
    config->server.nxd_ip_address.v4 = IP_ADDRESS(127, 0, 0, 1);
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
    SAY("%ld taken %u\n", index_of(given->one), taken);
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
    const device *one = given->one;
    FILE *file = fopen(given->words[2], "wb");
    size_t done = 0;
    if (file != NULL) {
        (void)pthread_mutex_lock(&mine);
        done = fwrite(one->shown, 2, (size_t)one->width * one->height, file);
        (void)pthread_mutex_unlock(&mine);
        (void)fclose(file);
    }
    return done == (size_t)one->width * one->height ? TX_SUCCESS : TX_NOT_DONE;
}

static UINT report(const command *given) {
    TW_THREADX_STATISTICS found;
    const UINT status = tw_threadx_statistics(&given->one->session, &found);
    if (status == TX_SUCCESS) {
        SAY("%ld statistics state=%u code=%u status=%u attempts=%u connections=%u packets_received=%u "
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

static UINT hold(const command *given) {
    (void)pthread_mutex_lock(&mine);
    given->one->hold = value(given, 2);
    (void)pthread_mutex_unlock(&mine);
    return TX_SUCCESS;
}

static UINT count_resources(void) {
    ULONG total = 0, available = 0;
    const UINT status = nx_packet_pool_info_get(&packets, &total, &available, NX_NULL, NX_NULL, NX_NULL);
    SAY("0 resources packets=%u bytes=%u allocated=%u sockets=%u\n", total - available, bytes.used,
        bytes.allocated, ip.sockets);
    return status;
}

static UINT spoil_randomness(const command *given) {
    (void)pthread_mutex_lock(&mine);
    has_no_randomness = (int)value(given, 2);
    (void)pthread_mutex_unlock(&mine);
    return TX_SUCCESS;
}

/* Of the test, not of the session. */
static UINT run_other(const command *given) {
    if (is(given, "dump")) {
        return dump(given);
    }
    if (is(given, "hold")) {
        return hold(given);
    }
    if (is(given, "resources")) {
        return count_resources();
    }
    if (is(given, "norandom")) {
        return spoil_randomness(given);
    }
    if (is(given, "refuse")) {
        nx_standin_refuse(&packets, (LONG)strtol(given->words[2], NULL, 0));
        return TX_SUCCESS;
    }
    if (is(given, "window")) {
        nx_standin_window(&given->one->session.socket, (LONG)strtol(given->words[2], NULL, 0));
        return TX_SUCCESS;
    }
    if (is(given, "stack")) {
        SAY("%ld stack %u\n", index_of(given->one), tx_standin_stack_used(&given->one->session.thread));
        return TX_SUCCESS;
    }
    if (is(given, "exit")) {
        exit(0);
    }
    (void)fprintf(stderr, "no command %s\n", given->words[0]);
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
    if (is(given, "delete")) {
        return tw_threadx_delete(session, value(given, 2));
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

static void *interrupt(void *given) {
    command *one = given;
    tx_standin_interrupt(1);
    one->status = run(one);
    return NULL;
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
    for (char *word = strtok_r(line + is_interrupt, " \n", &rest); word != NULL && given.count < WORDS;
        word = strtok_r(NULL, " \n", &rest)) {
        given.words[given.count++] = word;
    }
    if (given.count < 2) {
        abort();
    }
    given.one = &devices[number(given.words[1]) % SESSIONS];
    if (is_interrupt) {
        start_interrupt(interrupt, &given, 1);
    } else {
        given.status = run(&given);
    }
    SAY("= %u\n", given.status);
}

static VOID listen_to_commands(ULONG unused) {
    char line[4096];
    (void)unused;
    while (fgets(line, sizeof line, stdin) != NULL) {
        obey(line);
    }
    exit(0);
}

VOID tx_application_define(VOID *first_unused_memory) {
    (void)first_unused_memory;
    nx_standin_ip_create(&ip, &packets);
    if (nx_packet_pool_create(&packets, device_name, PAYLOAD, packet_memory, sizeof packet_memory)
            != NX_SUCCESS
        || nx_tcp_enable(&ip) != NX_SUCCESS
        || tx_byte_pool_create(&bytes, device_name, byte_memory, sizeof byte_memory) != TX_SUCCESS
        || tx_thread_create(&commander, device_name, listen_to_commands, 0, stacks[SESSIONS], STACK, 20, 20,
               TX_NO_TIME_SLICE, TX_AUTO_START)
               != TX_SUCCESS) {
        abort();
    }
}

int main(void) {
    tx_kernel_enter();
    return 0;
}
