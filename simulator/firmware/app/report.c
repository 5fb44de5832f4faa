#include "report.h"

#include "events.h"

enum { LAST = 64 };

static struct {
    uint64_t pixels, decode_us, input_sum_us;
    uint32_t updates, decode_max_us;
    uint32_t input_count, input_max_us;
    uint32_t last_us[LAST];
    uint32_t decode_seen_us, inputs_seen; /* of this connection */
} seen;

void fw_report_connection(void) {
    seen.decode_seen_us = seen.inputs_seen = 0;
}

void fw_report_drawn(uint32_t pixels) {
    seen.pixels += pixels;
}

uint64_t fw_report_pixels(void) {
    return seen.pixels;
}

static void take_input(uint32_t took_us) {
    seen.last_us[seen.input_count % LAST] = took_us;
    seen.input_count++;
    seen.input_sum_us += took_us;
    seen.input_max_us = took_us > seen.input_max_us ? took_us : seen.input_max_us;
}

void fw_report_update(const tw_client *client) {
    tw_statistics now;
    uint32_t took_us;
    tw_client_statistics(client, &now);
    took_us = now.decode_us - seen.decode_seen_us;
    seen.decode_seen_us = now.decode_us;
    seen.decode_us += took_us;
    seen.decode_max_us = took_us > seen.decode_max_us ? took_us : seen.decode_max_us;
    seen.updates++;
    if (now.inputs_shown != seen.inputs_seen) {
        seen.inputs_seen = now.inputs_shown;
        take_input(now.input_to_picture_us);
    }
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
