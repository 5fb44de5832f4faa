#include "replay.h"

#include "../board/exits.h"
#include "../board/format.h"
#include "../board/map.h"
#include "../board/trap.h"
#include "../timer.h"
#include "events.h"
#include "report.h"

enum { PIECE = 1460 }; /* as TCP brings it */

/* Since the last update was told. */
static struct {
    uint64_t ticks, began, pixels, bytes; /* pixels and bytes: of those before */
    uint64_t all_ticks;
    uint32_t updates;
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
    tw_statistics now;
    (void)input;
    cost.ticks += fw_timer_ticks() - cost.began;
    tw_client_statistics(client, &now);
    fw_event_begin("update");
    fw_event_add(",\"update\":%u,\"bytes\":%U,\"pixels\":%U,\"decode_us\":%U", update, now.bytes - cost.bytes,
        cost.pixels, cost.ticks * FW_TIMER_TICK_NS / 1000);
    if (device->config.mips != 0) {
        fw_event_add(",\"instructions\":%U", instructions(cost.ticks, device->config.mips));
    }
    fw_event_end();
    fw_watchdog_kick();
    cost.bytes = now.bytes;
    cost.pixels = fw_report_pixels();
    cost.updates++;
    cost.all_ticks += cost.ticks;
    cost.ticks = 0;
    cost.began = fw_timer_ticks();
    return TW_DRAW_DONE;
}

void fw_replay(fw_device *device) {
    const tw_callbacks callbacks = {.draw = device->client.callbacks->draw, .present = on_present};
    const uint8_t *stream = (const uint8_t *)(uintptr_t)FW_RECORDING;
    const uint32_t size = device->config.replay_bytes;
    tw_client_config config = device->client;
    tw_status status;
    uint32_t at = 0;
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
        const uint32_t left = size - at, piece = left < PIECE ? left : PIECE;
        size_t consumed = 0;
        (void)tw_client_output(client, &queued);
        tw_client_sent(client, queued);
        cost.began = fw_timer_ticks();
        status = tw_client_feed(client, stream + at, piece, &consumed);
        cost.ticks += fw_timer_ticks() - cost.began;
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
