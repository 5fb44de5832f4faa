/* An interrupt of the touch panel between any two instructions of the main loop's part of the ring: the processor traps
 * after each (x86's trap flag), and after the one whose turn it is, more fingers come than the ring holds, and all are
 * lifted. Whatever was lost, the last that the server hears is the lift. */
#define _GNU_SOURCE

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "tw_lwip_internal.h"

#ifndef __x86_64__
#    error "the trap flag is x86's"
#endif

#define TRAP 0x100
#define STORM (TW_LWIP_TOUCHES + 2)
#define LEAST_STEPS 200 /* so many instructions there are at least */

static tw_lwip session;
static uint8_t memory[TW_CLIENT_SIZE(0, 0)], framebuffer[64 * 64], receive[TW_MIN_MESSAGE];
static volatile unsigned long steps_left;
static volatile int is_armed;

unsigned tw_lwip_tcp_write(tw_lwip *unused) {
    (void)unused;
    return 1;
}

static void touch(unsigned id, size_t count) {
    tw_finger one;
    one.id = id;
    one.x = one.y = 5;
    (void)tw_lwip_touch_from_isr(&session, &one, count);
}

static void storm(void) {
    for (unsigned i = 0; i < STORM; i++) {
        touch(i, 1);
    }
    touch(0, 0);
}

static void on_trap(int number, siginfo_t *info, void *given) {
    ucontext_t *context = given;
    (void)number;
    (void)info;
    if (is_armed && --steps_left == 0) {
        is_armed = 0;
        storm();
    }
    if (!is_armed) {
        context->uc_mcontext.gregs[REG_EFL] &= ~(long long)TRAP;
    }
}

static void open_client(void) {
    static const uint8_t greeting[] = {0x97, 'T', 'W', '\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1,
        2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x10, 33, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4,
        1, 0, 0, 0, 5, 3, 30, 75, 1, 6, 8, TW_CAPABILITY_TOUCH, 0, 0, 0, 0, 0, 0, 0};
    tw_client_config config;
    size_t length;
    memset(&config, 0, sizeof config);
    config.device_id = "x";
    config.width = config.height = 64;
    config.pixel_format = TW_PIXEL_GREY8;
    config.framebuffer = framebuffer;
    config.framebuffer_size = sizeof framebuffer;
    config.receive = receive;
    config.receive_size = sizeof receive;
    config.capabilities = TW_CAPABILITY_TOUCH;
    config.unreadable = 1;
    if (tw_client_init(&session.client, &config, memory, sizeof memory) != TW_OK
        || tw_client_feed(session.client, greeting, sizeof greeting, &length) != TW_OK) {
        abort();
    }
    (void)tw_client_output(session.client, &length);
    tw_client_sent(session.client, length);
    tw_lwip_input_open(&session, 1);
    touch(100, 1);
}

/* How many fingers the last TOUCH names. */
static unsigned last_fingers(void) {
    size_t length, at = 0;
    unsigned fingers = ~0U;
    const uint8_t *data = tw_client_output(session.client, &length);
    while (at + 2 < length) { /* type, length and number of the input: a byte each */
        if (data[at] != TW_MSG_TOUCH || data[at + 1] > 5 || data[at + 2] > 0x7F) {
            abort();
        }
        fingers = data[at + 1] / 4U;
        at += 2U + data[at + 1];
    }
    return fingers;
}

/* 1: the storm came. */
static int try_at(unsigned long step) {
    open_client();
    steps_left = step;
    is_armed = 1;
    __asm__ volatile("pushfq; orq %0, (%%rsp); popfq" ::"i"(TRAP) : "memory", "cc");
    (void)tw_lwip_input_send(&session);
    __asm__ volatile("pushfq; andq %0, (%%rsp); popfq" ::"i"(~TRAP) : "memory", "cc");
    if (is_armed) {
        is_armed = 0;
        return 0;
    }
    if (tw_lwip_input_send(&session) || tw_lwip_input_send(&session)) {
        abort();
    }
    return 1;
}

int main(void) {
    struct sigaction action;
    unsigned long step = 1;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    if (sigaction(SIGTRAP, &action, NULL) != 0) {
        return 1;
    }
    for (; try_at(step); step++) {
        if (last_fingers() != 0) {
            (void)fprintf(stderr, "after %lu instructions: a finger is left on the panel\n", step);
            return 1;
        }
    }
    (void)printf("%lu\n", step);
    return step < LEAST_STEPS;
}
