#include "replay.h"

#include "../board/exits.h"
#include "../board/format.h"
#include "../board/map.h"
#include "../board/trap.h"
#include "../timer.h"
#include "events.h"

enum { PIECE = 1460 }; /* as TCP brings it */

/* Since the last update was told. */
static struct {
    uint64_t ticks, began, pixels, bytes;
    uint32_t updates;
    uint64_t all_ticks, all_pixels;
} cost;

static tw_client *client;

static tw_client *of(void) {
    return client;
}

static tw_drawn on_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    (void)user;
    (void)x;
    (void)y;
    (void)pixels;
    cost.pixels += (uint64_t)width * height;
    return TW_DRAW_DONE;
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
    cost.updates++;
    cost.all_ticks += cost.ticks;
    cost.all_pixels += cost.pixels;
    cost.ticks = cost.pixels = 0;
    cost.began = fw_timer_ticks();
    return TW_DRAW_DONE;
}

void fw_replay(fw_device *device) {
    static const tw_callbacks callbacks = {.draw = on_draw, .present = on_present};
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
    fw_event_begin("replay");
    fw_event_add(",\"updates\":%u,\"bytes\":%u,\"pixels\":%U,\"decode_us\":%U", cost.updates, at,
        cost.all_pixels, cost.all_ticks * FW_TIMER_TICK_NS / 1000);
    if (device->config.mips != 0) {
        fw_event_add(",\"instructions\":%U", instructions(cost.all_ticks, device->config.mips));
    }
    fw_event_end();
    if (status != TW_OK || at != size || cost.updates == 0) {
        fw_end(FW_EXIT_BAD_RECORDING, "the recording stops at byte %u of %u after %u updates: %s", at, size,
            cost.updates,
            status != TW_OK ? tw_status_text(status) : tw_status_text(tw_client_reason(client)));
    }
    fw_end(FW_EXIT_STOPPED, "the recording was played: %u updates", cost.updates);
}
