#include "replay.h"

#include "../board/cpu.h"
#include "../board/exits.h"
#include "../board/format.h"
#include "../board/map.h"
#include "../board/trap.h"
#include "../timer.h"
#include "events.h"
#include "report.h"

enum {
    PIECE = 1460, /* as TCP brings it */
    PREFIX = 8,   /* magic, versions, length of the fields behind it */
};

/* Since the last update was told. */
static struct {
    uint64_t ticks, began, all_ticks, pixels; /* pixels and bytes: of those before */
    uint32_t bytes, fed, updates;
} cost;

static tw_client *client;

static tw_client *of(void) {
    return client;
}

/* CRC-32 as in PNG, of what the panel shows: whoever knows the picture sees that it is right. */
static uint32_t sum_of(const uint8_t *bytes, size_t length) {
    uint32_t sum = 0xFFFFFFFF;
    for (size_t i = 0; i < length; i++) {
        sum ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ (0xEDB88320 & (0 - (sum & 1)));
        }
    }
    return ~sum;
}

static uint64_t instructions(uint64_t ticks, unsigned mips) {
    return ticks * FW_TIMER_TICK_NS * mips / 1000;
}

/* The clock stands still for us while we tell. */
static tw_drawn on_present(void *user, uint32_t update, uint32_t input) {
    const fw_device *device = user;
    (void)input;
    cost.ticks += fw_timer_ticks() - cost.began;
    fw_event_begin("update");
    fw_event_add(",\"update\":%u,\"bytes\":%u,\"pixels\":%U,\"decode_us\":%U", update, cost.fed - cost.bytes,
        fw_report_pixels() - cost.pixels, cost.ticks * FW_TIMER_TICK_NS / 1000);
    if (device->config.mips != 0) {
        fw_event_add(",\"instructions\":%U", instructions(cost.ticks, device->config.mips));
    }
    fw_event_end();
    fw_watchdog_kick();
    cost.bytes = cost.fed;
    cost.pixels = fw_report_pixels();
    cost.updates++;
    cost.all_ticks += cost.ticks;
    cost.ticks = 0;
    cost.began = fw_timer_ticks();
    return TW_DRAW_DONE;
}

/* The stream's messages, walked ahead of the client. Updates name inputs that somebody made while it was recorded, and
 * the client knows that it made none: so as many are made here, and nobody reads them. */
static struct {
    uint32_t at;   /* where the next message begins */
    uint32_t made; /* inputs */
    int is_lost;   /* nothing that is known comes any more: the client will say so */
} walk;

/* A number in 7 bits a byte, the lowest first; advances `*at`. */
static uint32_t varint(const uint8_t *stream, uint32_t size, uint32_t *at) {
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 35 && *at < size; shift += 7) {
        const uint8_t byte = stream[(*at)++];
        value |= shift < 32 ? (uint32_t)(byte & 0x7F) << shift : 0;
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    walk.is_lost = 1;
    return 0;
}

static void make_inputs(uint32_t newest) {
    size_t queued;
    while (walk.made < newest && tw_client_pointer(client, 0, 0, 0, &walk.made) == TW_OK) {
        (void)tw_client_output(client, &queued);
        tw_client_sent(client, queued);
    }
}

/* How far the client may be fed from `at` on, `end` at most: to the end of an update, so that its bytes can be told, and
 * not into a message that names an input which is not made. */
static uint32_t walk_to(const uint8_t *stream, uint32_t size, uint32_t at, uint32_t end) {
    if (walk.at == 0 && size >= PREFIX) {
        walk.at = PREFIX + (uint32_t)(stream[PREFIX - 2] | stream[PREFIX - 1] << 8);
    }
    while (!walk.is_lost && walk.at + 1 < size && walk.at < end) {
        const uint8_t type = stream[walk.at];
        uint32_t body = walk.at + 1, input = 0, next;
        const uint32_t length = varint(stream, size, &body);
        next = body + length;
        if (type == TW_MSG_BEGIN) {
            (void)varint(stream, size, &body);
        }
        if (type == TW_MSG_BEGIN || type == TW_MSG_INPUT_ECHO) {
            input = varint(stream, size, &body);
        }
        if (input > walk.made) {
            if (walk.at > at) {
                return walk.at;
            }
            make_inputs(input);
        }
        walk.is_lost |= length > TW_MAX_MESSAGE;
        walk.at = next;
        if (type == TW_MSG_END && next <= end) {
            return next;
        }
    }
    return end;
}

void fw_replay(fw_device *device) {
    const tw_callbacks callbacks = {.draw = device->client.callbacks->draw, .present = on_present};
    const uint8_t *stream = (const uint8_t *)(uintptr_t)FW_RECORDING;
    const uint32_t size = device->config.replay_bytes;
    tw_client_config config = device->client;
    tw_status status;
    uint32_t at = 0, state;
    size_t queued;
    device->of = of;
    config.callbacks = &callbacks;
    config.boot_id = 1; /* nobody is there to tell it to */
    config.key = NULL;
    status = tw_client_init(&client, &config, device->memory, device->memory_size);
    if (status != TW_OK) {
        fw_end(FW_EXIT_INTERNAL, "the client cannot be made: %s", tw_status_text(status));
    }
    while (status == TW_OK && at < size) {
        const uint32_t left = size - at, most = left < PIECE ? left : PIECE;
        const uint32_t piece = walk_to(stream, size, at, at + most) - at;
        size_t consumed = 0;
        (void)tw_client_output(client, &queued);
        tw_client_sent(client, queued);
        cost.fed = at + piece;
        state = fw_cpu_mask(); /* the tick would be counted too */
        cost.began = fw_timer_ticks();
        status = tw_client_feed(client, stream + at, piece, &consumed);
        cost.ticks += fw_timer_ticks() - cost.began;
        fw_cpu_restore(state);
        at += (uint32_t)consumed;
        if (consumed < piece) {
            break;
        }
    }
    fw_watchdog_kick();
    fw_event_begin("replay");
    fw_event_add(",\"updates\":%u,\"bytes\":%u,\"pixels\":%U,\"decode_us\":%U", cost.updates, at,
        fw_report_pixels(), cost.all_ticks * FW_TIMER_TICK_NS / 1000);
    if (device->config.mips != 0) {
        fw_event_add(",\"instructions\":%U", instructions(cost.all_ticks, device->config.mips));
    }
    fw_event_add(",\"crc32\":%u", (unsigned)sum_of(device->panel.memory, device->panel.size));
    fw_event_end();
    if (status != TW_OK || at != size || cost.updates == 0) {
        fw_end(FW_EXIT_BAD_RECORDING, "the recording stops at byte %u of %u after %u updates: %s", at, size,
            cost.updates,
            status != TW_OK ? tw_status_text(status) : tw_status_text(tw_client_reason(client)));
    }
    fw_end(FW_EXIT_STOPPED, "the recording was played: %u updates", cost.updates);
}
