#include "report.h"

#include <string.h>

#include "../board/clock.h"
#include "events.h"

enum { WAITING = 64, LAST = 64 };

static struct {
    uint32_t number;
    uint64_t sent_us;
} inputs[WAITING];
static unsigned input_head, input_tail; /* count up for ever */

static struct {
    uint64_t pixels, decode_us, input_sum_us;
    uint32_t updates, decode_max_us;
    uint32_t input_count, input_max_us;
    uint32_t last_us[LAST];
    uint32_t decode_seen_us; /* of this connection */
} seen;

void fw_report_input(uint32_t number) {
    if (number == 0) {
        return;
    }
    if (input_head - input_tail == WAITING) {
        input_tail++;
    }
    inputs[input_head % WAITING].number = number;
    inputs[input_head % WAITING].sent_us = fw_clock_us();
    input_head++;
}

void fw_report_connection(void) {
    input_tail = input_head;
    seen.decode_seen_us = 0;
}

/* Those up to `number` wait no longer. */
static void forget(uint32_t number, int is_shown) {
    while (input_tail != input_head && inputs[input_tail % WAITING].number <= number) {
        const uint32_t took_us = (uint32_t)(fw_clock_us() - inputs[input_tail % WAITING].sent_us);
        /* Of those that one update shows, the newest is the one that it waited for. */
        if (is_shown && inputs[input_tail % WAITING].number == number) {
            seen.last_us[seen.input_count % LAST] = took_us;
            seen.input_count++;
            seen.input_sum_us += took_us;
            seen.input_max_us = took_us > seen.input_max_us ? took_us : seen.input_max_us;
        }
        input_tail++;
    }
}

void fw_report_echo(uint32_t input) {
    forget(input, 0);
}

void fw_report_drawn(uint32_t pixels) {
    seen.pixels += pixels;
}

uint64_t fw_report_pixels(void) {
    return seen.pixels;
}

void fw_report_update(const tw_client *client, uint32_t input) {
#if TW_WITH_STATISTICS
    tw_statistics now;
    uint32_t took_us;
    tw_client_statistics(client, &now);
    took_us = now.decode_us - seen.decode_seen_us;
    seen.decode_seen_us = now.decode_us;
    seen.decode_us += took_us;
    seen.decode_max_us = took_us > seen.decode_max_us ? took_us : seen.decode_max_us;
#else
    (void)client;
#endif
    seen.updates++;
    forget(input, 1);
}

static void add_values(void) {
    const uint32_t count = seen.input_count < LAST ? seen.input_count : LAST;
    for (uint32_t i = 0; i < count; i++) {
        fw_event_add(i == 0 ? "%u" : ",%u", seen.last_us[(seen.input_count - count + i) % LAST]);
    }
}

void fw_report_add(unsigned mips) {
    const uint64_t hundredths = mips != 0 && seen.pixels != 0 ? seen.decode_us * mips * 100 / seen.pixels : 0;
    fw_event_add(",\"updates\":%u,\"pixels\":%U,\"decode_us\":{\"sum\":%U,\"max\":%u}", seen.updates,
        seen.pixels, seen.decode_us, seen.decode_max_us);
    if (mips != 0 && seen.pixels != 0) {
        fw_event_add(",\"instructions_per_pixel\":%U.%u%u", hundredths / 100,
            (unsigned)(hundredths / 10 % 10), (unsigned)(hundredths % 10));
    } else {
        fw_event_add(",\"instructions_per_pixel\":null");
    }
    fw_event_add(",\"input_to_picture_us\":{\"count\":%u,\"last\":%u,\"max\":%u,\"mean\":%u,\"values\":[",
        seen.input_count, seen.input_count != 0 ? seen.last_us[(seen.input_count - 1) % LAST] : 0U,
        seen.input_max_us, seen.input_count != 0 ? (unsigned)(seen.input_sum_us / seen.input_count) : 0U);
    add_values();
    fw_event_add("]}");
}
