/* Sessions of the lwIP port on lwIP itself, driven line by line: a command on standard input, its status as "= STATUS"
 * on standard output, and between them what the callbacks say, "SESSION WHAT ...". Interrupts are signals. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lwip/mem.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"

#include "line.h"
#include "tw_lwip.h"

#define SESSIONS 2
#define MOST_WIDTH 1024
#define MOST_HEIGHT 600
#define SLOTS 64
#define SLOT_BYTES 8192
#define WORDS 16
#define LOOK_MS 5 /* an interrupt may come between the last look and the sleep */
#define DMA_NS 100000

typedef struct device {
    tw_lwip session;
    tw_lwip_config config;
    int is_made;
    uint8_t key[TW_KEY_SIZE];
    char host[64];
    uint16_t framebuffer[MOST_WIDTH * MOST_HEIGHT], shown[MOST_WIDTH * MOST_HEIGHT];
    unsigned width, height;
    unsigned hold; /* 1: what is drawn stays pending until "drawn"; 2: until a DMA has it, soon */
    volatile sig_atomic_t is_drawing;
    unsigned eager; /* types a key: 1: when let in, before tw_lwip_poll(); 2: now; 3: at the first picture */
    uint8_t receive[65536], memory[TW_CLIENT_SIZE(48, MOST_WIDTH)], cache[TW_CACHE_SIZE(SLOTS, SLOT_BYTES)];
    char copied[TW_MAX_CLIPBOARD];
} device;

static device devices[SESSIONS];
static int has_no_randomness;
static timer_t dma, finger;
static volatile sig_atomic_t storm_left, storm_at;
static int hurries; /* how often a session wanted to be called again at once */

static unsigned long number(const char *text) {
    return strtoul(text, NULL, 0);
}

#define SAY(...) \
    do { \
        (void)printf(__VA_ARGS__); \
        (void)fflush(stdout); \
    } while (0)

static long index_of(const device *one) {
    return (long)(one - devices);
}

/* ---- Interrupts ------------------------------------------------------------------------------------------- */

static void set_timer(timer_t timer, long nanoseconds, long again) {
    const struct itimerspec when = {{0, again}, {0, nanoseconds}};
    if (timer_settime(timer, 0, &when, NULL) != 0) {
        abort();
    }
}

static void on_dma(int unused) {
    (void)unused;
    for (device *one = devices; one != devices + SESSIONS; one++) {
        if (one->is_drawing) {
            one->is_drawing = 0;
            tw_lwip_draw_done(&one->session);
        }
    }
}

/* Of a storm: finger 1 at x = 0, 1, 2... with y its mirror, so that a torn one is seen; at last it is lifted. */
static void on_finger(int unused) {
    tw_finger one;
    (void)unused;
    one.id = 1;
    one.x = (unsigned)storm_at;
    one.y = 4095U - one.x;
    if (storm_left == 0 || !tw_lwip_touch_from_isr(&devices[0].session, &one, storm_left > 1)) {
        return;
    }
    storm_at++;
    storm_left--;
}

static void start_timers(void) {
    struct sigaction action;
    struct sigevent event;
    memset(&action, 0, sizeof action);
    memset(&event, 0, sizeof event);
    action.sa_flags = SA_RESTART;
    event.sigev_notify = SIGEV_SIGNAL;
    action.sa_handler = on_dma;
    event.sigev_signo = SIGALRM;
    if (sigaction(SIGALRM, &action, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &event, &dma) != 0) {
        abort();
    }
    action.sa_handler = on_finger;
    event.sigev_signo = SIGUSR1;
    if (sigaction(SIGUSR1, &action, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &event, &finger) != 0) {
        abort();
    }
}

/* ---- Callbacks -------------------------------------------------------------------------------------------- */

static tw_drawn on_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    device *one = user;
    (void)x;
    (void)y;
    (void)width;
    (void)height;
    (void)pixels;
    if (one->hold == 2) {
        one->is_drawing = 1;
        set_timer(dma, DMA_NS, 0);
    } else if (one->hold == 1) {
        SAY("%ld pending\n", index_of(one));
    }
    return one->hold ? TW_DRAW_PENDING : TW_DRAW_DONE;
}

static void on_welcome(void *user, const tw_welcome *welcome) {
    device *one = user;
    one->eager = one->eager == 1 ? 2 : one->eager;
    SAY("%ld welcome %u %ux%u\n", index_of(user), welcome->resumed, welcome->width, welcome->height);
}

static void be_eager(device *one) {
    one->eager = 0;
    SAY("%ld eager %u\n", index_of(one), tw_lwip_key(&one->session, 0xFF0D, 1));
}

static tw_drawn on_present(void *user, uint32_t update, uint32_t input) {
    device *one = user;
    (void)update;
    if (one->eager == 3) {
        be_eager(one);
    }
    memcpy(one->shown, one->framebuffer, sizeof one->shown);
    if (input != 0) {
        SAY("%ld input %u\n", index_of(one), (unsigned)input);
    }
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

static void on_resize(void *user, unsigned width, unsigned height) {
    device *one = user;
    tw_client_surface(tw_lwip_client(&one->session), one->framebuffer, sizeof one->framebuffer, 0);
    SAY("%ld resize %ux%u\n", index_of(one), width, height);
}

static const tw_callbacks callbacks = {
    .welcome = on_welcome,
    .draw = on_draw,
    .present = on_present,
    .goodbye = on_goodbye,
    .input_echo = on_input_echo,
    .clipboard = on_clipboard,
    .resize = on_resize,
};

static void on_state(void *user, tw_lwip_state state, unsigned code, uint32_t wait_ms) {
    SAY("%ld state %u %u %u\n", index_of(user), (unsigned)state, code, (unsigned)wait_ms);
}

static void on_clipboard_sent(void *user, const void *text, tw_status status) {
    SAY("%ld copied %d %d\n", index_of(user), (int)status, text == ((device *)user)->copied);
}

static tw_status fill_random(void *user, void *memory, size_t length) {
    FILE *source = has_no_randomness ? NULL : fopen("/dev/urandom", "rb");
    size_t got = 0;
    (void)user;
    if (source != NULL) {
        got = fread(memory, 1, length, source);
        (void)fclose(source);
    }
    return got == length ? TW_OK : TW_CODE_INTERNAL;
}

/* ---- Making one ------------------------------------------------------------------------------------------- */

static void set_key(device *one, const char *hex) {
    for (size_t i = 0; i < sizeof one->key; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        one->key[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    one->config.client.key = one->key;
}

static void set(device *one, const char *word) {
    tw_lwip_config *config = &one->config;
    const char *value = strchr(word, '=') + 1;
    if (strncmp(word, "key=", 4) == 0) {
        set_key(one, value);
    } else if (strncmp(word, "width=", 6) == 0) {
        one->width = config->client.width = (unsigned)number(value);
    } else if (strncmp(word, "height=", 7) == 0) {
        one->height = config->client.height = (unsigned)number(value);
    } else if (strncmp(word, "memory=", 7) == 0) {
        config->memory_size = number(value);
    } else if (strncmp(word, "host=", 5) == 0) {
        (void)snprintf(one->host, sizeof one->host, "%s", value);
        config->host = one->host;
        ip_addr_set_zero(&config->address);
    } else if (strncmp(word, "address=", 8) == 0) {
        (void)ipaddr_aton(value, &config->address);
    } else if (strncmp(word, "hold=", 5) == 0) {
        one->hold = (unsigned)number(value);
    } else if (strncmp(word, "eager=", 6) == 0) {
        one->eager = (unsigned)number(value);
    } else if (strncmp(word, "max_message=", 12) == 0) {
        config->client.receive_size = number(value);
    } else {
        abort();
    }
}

static tw_status create(device *one, unsigned port, char **words, int count) {
    tw_lwip_config *config = &one->config;
    tw_status status;
    if (one->is_made && !tw_lwip_is_resting(&one->session)) {
        return TW_CODE_BAD_STATE;
    }
    memset(config, 0, sizeof *config);
    one->width = 320;
    one->height = 240;
    one->hold = one->eager = 0;
    config->client.device_id = one == devices ? "lwip-0" : "lwip-1";
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
    config->client.receive = one->receive;
    config->client.receive_size = sizeof one->receive;
    config->client.cache = one->cache;
    config->client.cache_size = sizeof one->cache;
    config->client.cache_slots = SLOTS;
    config->client.cache_slot_bytes = SLOT_BYTES;
    config->memory = one->memory;
    config->memory_size = sizeof one->memory;
    config->port = (u16_t)port;
    config->random = fill_random;
    config->state = on_state;
    config->clipboard_sent = on_clipboard_sent;
    (void)ipaddr_aton(LINE_ADDRESS, &config->address);
    for (int i = 0; i < count; i++) {
        set(one, words[i]);
    }
    line_bridge(port);
    status = tw_lwip_init(&one->session, config);
    one->is_made = status == TW_OK;
    return status;
}

/* ---- Commands --------------------------------------------------------------------------------------------- */

/* A word that is not given. */
static char none[] = "0";

typedef struct command {
    device *one;
    char *words[WORDS];
    int count;
} command;

static int is(const command *given, const char *name) {
    return strcmp(given->words[0], name) == 0;
}

static unsigned value(const command *given, int place) {
    return (unsigned)number(given->words[place]);
}

static int touch(const command *given) {
    tw_finger fingers[WORDS];
    const size_t count = (size_t)given->count - 2;
    for (int i = 2; i < given->count; i++) {
        char *at = given->words[i];
        fingers[i - 2].id = (unsigned)strtoul(at, &at, 0);
        fingers[i - 2].x = (unsigned)strtoul(at + 1, &at, 0);
        fingers[i - 2].y = (unsigned)strtoul(at + 1, &at, 0);
    }
    if (is(given, "!touch")) {
        return !tw_lwip_touch_from_isr(&given->one->session, fingers, count);
    }
    return (int)tw_lwip_touch(&given->one->session, fingers, count);
}

static int type(const command *given) {
    size_t taken = 0;
    const tw_status status =
        tw_lwip_text(&given->one->session, given->words[2], strlen(given->words[2]), &taken);
    SAY("%ld taken %zu\n", index_of(given->one), taken);
    return (int)status;
}

static int copy(const command *given) {
    const size_t times = value(given, 3), length = strlen(given->words[2]);
    char *text = given->one->copied;
    for (size_t i = 0; i < times && (i + 1) * length <= sizeof given->one->copied; i++) {
        memcpy(text + i * length, given->words[2], length);
    }
    return (int)tw_lwip_clipboard(&given->one->session, text, times * length);
}

static int dump(const command *given) {
    const device *one = given->one;
    FILE *file = fopen(given->words[2], "wb");
    size_t done = 0;
    if (file != NULL) {
        done = fwrite(one->shown, 2, (size_t)one->width * one->height, file);
        (void)fclose(file);
    }
    return done != (size_t)one->width * one->height;
}

static int report(const command *given) {
    tw_lwip_statistics found;
    const struct tcp_pcb *pcb = given->one->session.pcb;
    if (!given->one->is_made) {
        return 1;
    }
    tw_lwip_get_statistics(&given->one->session, &found);
    SAY("%ld statistics state=%u code=%u error=%d attempts=%u connections=%u bytes_received=%llu "
        "bytes_sent=%llu inputs=%u joined=%u lost=%u refused=%u shortages=%u window_waits=%u draw_waits=%u "
        "client_bytes=%llu updates=%u window=%u\n",
        index_of(given->one), (unsigned)found.state, found.code, -(int)found.error, (unsigned)found.attempts,
        (unsigned)found.connections, (unsigned long long)found.bytes_received,
        (unsigned long long)found.bytes_sent, (unsigned)found.inputs, (unsigned)found.inputs_joined,
        (unsigned)found.inputs_lost, (unsigned)found.inputs_refused, (unsigned)found.memory_shortages,
        (unsigned)found.window_waits, (unsigned)found.draw_waits, (unsigned long long)found.client.bytes,
        (unsigned)found.client.updates, pcb != NULL ? (unsigned)pcb->rcv_wnd : 0U);
    return 0;
}

/* What of lwIP's memory is in use: bytes of its heap, and where it has pools, what is taken from those. */
static int count_resources(void) {
    unsigned pbufs = 0, segments = 0;
#if !MEMP_MEM_MALLOC
    pbufs = (unsigned)lwip_stats.memp[MEMP_PBUF]->used + (unsigned)lwip_stats.memp[MEMP_PBUF_POOL]->used;
    segments = (unsigned)lwip_stats.memp[MEMP_TCP_SEG]->used;
#endif
    SAY("0 resources pcbs=%u pbufs=%u segments=%u heap=%u wire=%u\n", line_pcbs(), pbufs, segments,
        line_memory(), line_packets());
    return 0;
}

/* 1: takes all that lwIP's heap has, 0: gives it back. */
static void hoard(int takes) {
    static void *pieces[MEM_SIZE / 16];
    static size_t taken;
    for (size_t size = 1024; takes && size >= 16; size /= 4) {
        while (taken < MEM_SIZE / 16 && (pieces[taken] = mem_malloc((mem_size_t)size)) != NULL) {
            taken++;
        }
    }
    while (!takes && taken != 0) {
        mem_free(pieces[--taken]);
    }
}

/* Of the test, not of the session. */
static int run_line(const command *given) {
    if (is(given, "line")) {
        line_set(value(given, 2), value(given, 3));
    } else if (is(given, "plug")) {
        line_plug(value(given, 2));
    } else if (is(given, "stall")) {
        line_stall(value(given, 2));
    } else if (is(given, "cut")) {
        line_cut();
    } else if (is(given, "skip")) {
        line_skip(value(given, 2));
    } else if (is(given, "resources")) {
        return count_resources();
    } else if (is(given, "hoard")) {
        hoard((int)value(given, 2));
    } else if (is(given, "norandom")) {
        has_no_randomness = (int)value(given, 2);
    } else if (is(given, "hold")) {
        given->one->hold = value(given, 2);
    } else if (is(given, "dump")) {
        return dump(given);
    } else if (is(given, "storm")) {
        storm_left = (sig_atomic_t)value(given, 2);
        storm_at = 0;
        set_timer(finger, (long)value(given, 3), (long)value(given, 3));
    } else {
        (void)fprintf(stderr, "no command %s\n", given->words[0]);
        abort();
    }
    return 0;
}

static int run_life(const command *given) {
    tw_lwip *session = &given->one->session;
    if (is(given, "create")) {
        return (int)create(
            given->one, value(given, 2), (char **)(uintptr_t)given->words + 3, given->count - 3);
    }
    if (is(given, "start")) {
        return (int)tw_lwip_start(session);
    }
    if (is(given, "stop")) {
        tw_lwip_stop(session);
        return 0;
    }
    if (is(given, "hurries")) {
        return hurries;
    }
    if (is(given, "resting")) {
        return !tw_lwip_is_resting(session);
    }
    if (is(given, "drawn")) {
        tw_lwip_draw_done(session);
        return 0;
    }
    if (is(given, "statistics")) {
        return report(given);
    }
    return run_line(given);
}

static int run(const command *given) {
    tw_lwip *session = &given->one->session;
    if (is(given, "pointer")) {
        return (int)tw_lwip_pointer(session, value(given, 2), value(given, 3), value(given, 4));
    }
    if (is(given, "touch") || is(given, "!touch")) {
        return touch(given);
    }
    if (is(given, "wheel")) {
        return (int)tw_lwip_wheel(
            session, (int)strtol(given->words[2], NULL, 0), (int)strtol(given->words[3], NULL, 0));
    }
    if (is(given, "key")) {
        return (int)tw_lwip_key(session, value(given, 2), value(given, 3));
    }
    if (is(given, "text")) {
        return type(given);
    }
    if (is(given, "copy")) {
        return copy(given);
    }
    if (is(given, "pause")) {
        tw_lwip_pause(session, value(given, 2));
        return 0;
    }
    if (is(given, "close")) {
        tw_client_close(tw_lwip_client(session), value(given, 2));
        return 0;
    }
    if (is(given, "resize")) {
        return (int)tw_client_resize(tw_lwip_client(session), value(given, 2), value(given, 3));
    }
    return run_life(given);
}

static void obey(char *line) {
    command given;
    char *rest = NULL;
    memset(&given, 0, sizeof given);
    for (int i = 0; i < WORDS; i++) {
        given.words[i] = none;
    }
    for (char *word = strtok_r(line, " ", &rest); word != NULL && given.count < WORDS;
        word = strtok_r(NULL, " ", &rest)) {
        given.words[given.count++] = word;
    }
    if (given.count < 2) {
        abort();
    }
    given.one = &devices[number(given.words[1]) % SESSIONS];
    SAY("= %d\n", run(&given));
}

/* What has come of the standard input; whole lines are obeyed. 0: it has ended. */
static int listen_to_commands(void) {
    static char text[8192];
    static size_t length;
    char *line = text, *line_end;
    const ssize_t got = read(STDIN_FILENO, text + length, sizeof text - 1 - length);
    if (got <= 0) {
        return 0;
    }
    length += (size_t)got;
    text[length] = 0;
    while ((line_end = strchr(line, '\n')) != NULL) {
        *line_end = 0;
        obey(line);
        line = line_end + 1;
    }
    length -= (size_t)(line - text);
    memmove(text, line, length);
    return 1;
}

int main(void) {
    uint32_t wait_ms = 0;
    start_timers();
    line_start();
    for (;;) {
        if (line_wait((int)wait_ms) && !listen_to_commands()) {
            return 0;
        }
        line_poll();
        sys_check_timeouts();
        wait_ms = sys_timeouts_sleeptime();
        for (device *one = devices; one != devices + SESSIONS; one++) {
            if (one->is_made) {
                uint32_t left_ms;
                if (one->eager == 2) {
                    be_eager(one);
                }
                left_ms = tw_lwip_poll(&one->session, sys_now());
                hurries += left_ms == 0;
                wait_ms = left_ms < wait_ms ? left_ms : wait_ms;
            }
        }
        wait_ms = wait_ms < LOOK_MS ? wait_ms : LOOK_MS;
    }
}
