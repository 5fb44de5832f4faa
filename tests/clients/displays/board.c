#define _POSIX_C_SOURCE 200809L

#include "board.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "flush_display.h"
#include "spi_panel.h"

static void give_up(const char *why) {
    (void)!write(STDERR_FILENO, why, strlen(why));
    (void)!write(STDERR_FILENO, "\n", 1);
    abort();
}

#define REQUIRE(condition, why) \
    do { \
        if (!(condition)) { \
            give_up(why); \
        } \
    } while (0)

static tw_client *volatile served;
static board_counts counts;

void board_serve(tw_client *client) {
    served = client;
}

board_counts board_count(void) {
    return counts;
}

static void say_drawn(void) {
    REQUIRE(served != NULL, "drawn, and nobody has asked");
    REQUIRE(tw_client_pending(served), "drawn, and nothing was pending");
    tw_client_draw_done(served);
}

/* ---- The DMA ---------------------------------------------------------------------------------------------- */

typedef void (*take_bytes)(const uint8_t *bytes, size_t count);

static timer_t ticks;
static unsigned bytes_a_tick;
static long between_ns;

static struct {
    const uint8_t *volatile at; /* NULL: it rests */
    size_t left;
    take_bytes take;
    void (*done)(void);
} dma;

static void tick_after(long nanoseconds) {
    const struct itimerspec when = {{0, 0}, {0, nanoseconds}};
    REQUIRE(timer_settime(ticks, 0, &when, NULL) == 0, "no timer");
}

/* The pixels are read here, little by little: who changes them too early spoils the picture. */
static void on_tick(int unused) {
    const size_t part = dma.left < bytes_a_tick ? dma.left : bytes_a_tick;
    (void)unused;
    if (dma.at == NULL) {
        return;
    }
    dma.take(dma.at, part);
    dma.at += part;
    dma.left -= part;
    if (dma.left == 0) {
        dma.at = NULL;
        dma.done();
    }
    if (dma.at != NULL) {
        tick_after(between_ns);
    }
}

static void begin(const void *bytes, size_t count, take_bytes take, void (*done)(void)) {
    REQUIRE(dma.at == NULL, "the DMA is at it already");
    REQUIRE(count != 0 && count <= 65535, "more than a DMA counts");
    counts.transfers++;
    counts.most_bytes = count > counts.most_bytes ? (unsigned)count : counts.most_bytes;
    dma.left = count;
    dma.take = take;
    dma.done = done;
    dma.at = bytes;
    tick_after(between_ns);
}

void board_start(unsigned bytes, long tick_ns) {
    struct sigaction action;
    struct sigevent event;
    bytes_a_tick = bytes;
    between_ns = tick_ns;
    memset(&action, 0, sizeof action);
    memset(&event, 0, sizeof event);
    action.sa_flags = SA_RESTART;
    action.sa_handler = on_tick;
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGALRM;
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0 && timer_create(CLOCK_MONOTONIC, &event, &ticks) == 0,
        "no timer");
}

/* ---- A panel that takes areas ----------------------------------------------------------------------------- */

static uint16_t panel[FLUSH_WIDTH * FLUSH_HEIGHT];
static flush_area sent;
static unsigned sent_at; /* bytes of it that came */

const uint16_t *board_panel(void) {
    return panel;
}

static void take_area(const uint8_t *bytes, size_t count) {
    const unsigned width = (unsigned)(sent.x2 - sent.x1 + 1);
    for (size_t i = 0; i < count; i++, sent_at++) {
        const unsigned pixel = sent_at / 2, x = (unsigned)sent.x1 + pixel % width,
                       y = (unsigned)sent.y1 + pixel / width;
        ((uint8_t *)panel)[2 * (y * FLUSH_WIDTH + x) + sent_at % 2] = bytes[i];
    }
}

void flush_board_start(const flush_area *area, uint16_t *pixels) {
    REQUIRE(area->x1 >= 0 && area->x1 <= area->x2 && area->x2 < (int)FLUSH_WIDTH && area->y1 >= 0
                && area->y1 <= area->y2 && area->y2 < (int)FLUSH_HEIGHT,
        "an area outside the panel");
    sent = *area;
    sent_at = 0;
    begin(pixels, 2U * (size_t)(sent.x2 - sent.x1 + 1) * (size_t)(sent.y2 - sent.y1 + 1), take_area,
        flush_display_ready);
}

static void set_mask(int how) {
    sigset_t alarm_alone;
    (void)sigemptyset(&alarm_alone);
    (void)sigaddset(&alarm_alone, SIGALRM);
    REQUIRE(sigprocmask(how, &alarm_alone, NULL) == 0, "no mask");
}

void flush_board_lock(void) {
    set_mask(SIG_BLOCK);
}

void flush_board_unlock(void) {
    set_mask(SIG_UNBLOCK);
}

void flush_board_draw_done(void) {
    say_drawn();
}

/* ---- The chip of an SPI panel: an ILI9341 on a module that is upright with MX ------------------------------ */

static struct {
    uint8_t is_awake, is_on, is_565, order, is_writing;
    unsigned x1, x2, y1, y2, x, y; /* the window, and where the next pixel goes */
    unsigned high;                 /* first byte of a pixel; 0x100: it has not come */
    uint16_t glass[GLASS_SHORT * GLASS_LONG];
} chip;

const uint16_t *board_glass(void) {
    REQUIRE(chip.is_awake && chip.is_on, "the panel is dark");
    return chip.glass;
}

static void store(unsigned pixel) {
    const unsigned is_turned = chip.order & 0x20U;
    unsigned column = is_turned ? chip.y : chip.x, row = is_turned ? chip.x : chip.y;
    REQUIRE(column < GLASS_SHORT && row < GLASS_LONG, "a pixel outside the panel");
    if (chip.order & 0x40U) {
        column = GLASS_SHORT - 1 - column;
    }
    if (chip.order & 0x80U) {
        row = GLASS_LONG - 1 - row;
    }
    if (!(chip.order & 0x08U)) {
        pixel = pixel >> 11 | (pixel & 0x07E0U) | (pixel & 0x1FU) << 11;
    }
    chip.glass[row * GLASS_SHORT + (GLASS_SHORT - 1 - column)] = (uint16_t)pixel;
}

static void take_pixels(const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (chip.high == 0x100U) {
            chip.high = bytes[i];
            continue;
        }
        REQUIRE(chip.y <= chip.y2, "more pixels than the window has");
        store(chip.high << 8 | bytes[i]);
        chip.high = 0x100U;
        if (++chip.x > chip.x2) {
            chip.x = chip.x1;
            chip.y++;
        }
    }
}

static void set_range(unsigned *low, unsigned *high, const uint8_t *given, size_t count) {
    REQUIRE(count == 4, "a range has four bytes");
    *low = (unsigned)given[0] << 8 | given[1];
    *high = (unsigned)given[2] << 8 | given[3];
    REQUIRE(*low <= *high, "a range that ends before it begins");
}

void spi_board_command(uint8_t command, const uint8_t *parameters, size_t count) {
    REQUIRE(dma.at == NULL, "a command while the DMA sends pixels");
    REQUIRE(chip.is_awake || command == 0x01 || command == 0x11, "a command to a panel that sleeps");
    switch (command) {
    case 0x01: memset(&chip, 0, sizeof chip); break;
    case 0x11: chip.is_awake = 1; break;
    case 0x29: chip.is_on = 1; break;
    case 0x2A: set_range(&chip.x1, &chip.x2, parameters, count); break;
    case 0x2B: set_range(&chip.y1, &chip.y2, parameters, count); break;
    case 0x2C:
        chip.x = chip.x1;
        chip.y = chip.y1;
        chip.high = 0x100U;
        counts.windows++;
        break;
    case 0x36: chip.order = parameters[0]; break;
    case 0x3A: chip.is_565 = parameters[0] == 0x55; break;
    default: give_up("a command that the chip does not know");
    }
    chip.is_writing = command == 0x2C;
}

static void end_pixels(void) {
    REQUIRE(chip.y == chip.y2 + 1 && chip.x == chip.x1, "fewer pixels than the window has");
    say_drawn();
}

void spi_board_send(const void *bytes, size_t count) {
    REQUIRE(chip.is_writing && chip.is_565, "pixels that were not announced");
    begin(bytes, count, take_pixels, end_pixels);
}

void spi_board_delay_ms(unsigned milliseconds) {
    REQUIRE(milliseconds >= 5, "the chip needs longer");
}
