#include "device.h"

#include <string.h>

#include "../board/clock.h"
#include "../board/entropy.h"
#include "../board/exits.h"
#include "../board/format.h"
#include "../board/map.h"
#include "events.h"
#include "input.h"
#include "memory.h"
#include "random.h"
#include "report.h"

static const char *yes(unsigned is) {
    return is ? "true" : "false";
}

static uint32_t now_us(void *user) {
    (void)user;
    return (uint32_t)fw_clock_us();
}

/* ---- What the client tells ---- */

static void on_welcome(void *user, const tw_welcome *welcome) {
    fw_device *device = user;
    tw_client *client = device->of();
    device->is_resumed = welcome->resumed == TW_RESUMED_RESUMED;
    fw_log("welcome to %.*s, %ux%u%s", welcome->session_length, welcome->session, welcome->width,
        welcome->height, device->is_resumed ? ", resumed" : "");
    fw_event("welcome",
        ",\"session\":%.*j,\"width\":%u,\"height\":%u,\"role\":%u,\"viewer\":%u,\"resumed\":%s",
        welcome->session_length, welcome->session, welcome->width, welcome->height, welcome->role,
        welcome->viewer, yes(device->is_resumed));
    if (client != NULL && (device->config.fit || device->config.rotation != 0)) {
        const tw_status status = tw_client_view(
            client, device->config.fit ? TW_VIEW_FIT : TW_VIEW_ONE_TO_ONE, device->config.rotation, 1, 0, 0);
        if (status != TW_OK) {
            fw_event("error", ",\"code\":%u,\"text\":%j", status, tw_status_text(status));
        }
    }
}

/* A panel without a readable framebuffer: rows of pixels go out to it, as over its bus. */
static tw_drawn on_strip(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    const fw_device *device = user;
    const uint8_t *from = pixels;
    const size_t row = (size_t)width * device->panel.pixel_bytes;
    for (unsigned i = 0; i < height; i++) {
        uint8_t *to = (uint8_t *)device->panel.memory + (y + i) * device->panel.stride
                      + (size_t)x * device->panel.pixel_bytes;
        if (device->config.big_endian) {
            for (size_t at = 0; at + 1 < row; at += 2) {
                to[at] = from[at + 1];
                to[at + 1] = from[at];
            }
        } else {
            memcpy(to, from, row);
        }
        from += row;
    }
    fw_report_drawn(width * height);
    return TW_DRAW_DONE;
}

static tw_drawn on_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    (void)user;
    (void)x;
    (void)y;
    (void)pixels;
    fw_report_drawn(width * height);
    return TW_DRAW_DONE;
}

static tw_drawn on_present(void *user, uint32_t update, uint32_t input) {
    fw_device *device = user;
    fw_report_update(device->of());
    (void)input;
    if (!device->is_whole) {
        device->is_whole = 1;
        fw_event("picture", ",\"update\":%u,\"resumed\":%s", update, yes(device->is_resumed));
    }
    return TW_DRAW_DONE;
}

static void on_goodbye(void *user, unsigned code, const char *text, size_t length) {
    (void)user;
    fw_log("the server said goodbye: %.*s", length, text);
    fw_event("goodbye", ",\"code\":%u,\"text\":%.*j", code, length, text);
}

static void on_notice(void *user, unsigned code, const char *text, size_t length) {
    (void)user;
    fw_log("notice: %.*s", length, text);
    fw_event("notice", ",\"code\":%u,\"text\":%.*j", code, length, text);
}

static void on_view(void *user, const tw_view_state *view) {
    (void)user;
    fw_event("view",
        ",\"mode\":\"%s\",\"rotation\":%u,\"session_width\":%u,\"session_height\":%u,\"x\":%u,\"y\":%u,"
        "\"width\":%u"
        ",\"height\":%u",
        view->mode == TW_VIEW_FIT ? "fit" : "1:1", 90 * view->rotation, view->session_width,
        view->session_height, view->x, view->y, view->width, view->height);
}

static void on_bell(void *user) {
    (void)user;
    fw_event("bell", "");
}

static const tw_callbacks with_framebuffer = {
    .welcome = on_welcome,
    .draw = on_draw,
    .present = on_present,
    .goodbye = on_goodbye,
    .notice = on_notice,
    .view_state = on_view,
    .bell = on_bell,
};

static const tw_callbacks with_strip = {
    .welcome = on_welcome,
    .draw = on_strip,
    .present = on_present,
    .goodbye = on_goodbye,
    .notice = on_notice,
    .view_state = on_view,
    .bell = on_bell,
};

void fw_device_connecting(fw_device *device) {
    device->is_whole = device->is_resumed = 0;
    fw_report_connection();
    fw_input_reset();
    fw_event("connecting", ",\"server\":%j,\"port\":%u", device->config.server, device->config.port);
}

/* Whose fault it was that a connection ended. */
static int exit_of(unsigned code) {
    switch (code) {
    case TW_CODE_NORMAL:
    case TW_CODE_SESSION_ENDED:
    case TW_CODE_REPLACED: return FW_EXIT_ENDED;
    case TW_CODE_VERSION:
    case TW_CODE_UNSUPPORTED:
    case TW_CODE_AUTH_FAILED:
    case TW_CODE_AUTH_REQUIRED:
    case TW_CODE_NO_SESSION: return FW_EXIT_REFUSED;
    case TW_CODE_PROTOCOL:
    case TW_CODE_TOO_LONG:
    case TW_CODE_BAD_VALUE:
    case TW_CODE_BAD_STATE:
    case TW_CODE_NOT_OFFERED:
    case TW_CODE_BAD_PAYLOAD:
    case TW_CODE_NOT_TILEWIRE: return FW_EXIT_GARBAGE;
    case TW_CODE_ARGUMENT:
    case TW_CODE_MEMORY: return FW_EXIT_INTERNAL;
    default: return FW_EXIT_LOST;
    }
}

void fw_device_left(unsigned code, int is_final, uint32_t wait_ms, const fw_device *device) {
    const char *text = tw_status_text(code);
    fw_event("lost", ",\"code\":%u,\"text\":%j", code, text);
    if (is_final || !device->config.reconnect) {
        fw_end(exit_of(code), "the connection is over: %s", text);
    }
    fw_log("the connection is over: %s; again in %u ms", text, wait_ms);
    fw_event("retry", ",\"wait_ms\":%u", wait_ms);
}

/* ---- Start ---- */

static void read_config(fw_config *config) {
    char problem[192];
    switch (fw_config_parse(
        (const char *)(uintptr_t)FW_CONFIG, FW_CONFIG_SIZE, config, problem, sizeof problem)) {
    case FW_CONFIG_GOOD: return;
    case FW_CONFIG_MISSING: fw_end(FW_EXIT_NO_CONFIG, "%s", problem);
    default: fw_end(FW_EXIT_BAD_CONFIG, "%s", problem);
    }
}

static void seed(const fw_config *config) {
    uint8_t drawn[32];
    if (fw_entropy_read(drawn, sizeof drawn) == 0) {
        fw_random_seed(drawn, sizeof drawn);
    }
    if (config->has_seed) {
        fw_random_seed(config->seed, sizeof config->seed);
    }
    if (config->has_key && !fw_random_is_good()) {
        fw_end(FW_EXIT_NO_RANDOM,
            "a key needs random numbers: an entropy device, or `seed` in the configuration");
    }
}

static void light_panel(fw_device *device) {
    const fw_config *config = &device->config;
    const char *problem = fw_panel_problem(config->width, config->height);
    const unsigned bytes = config->pixel_format == TW_PIXEL_RGB565 ? 2 : 4;
    if (problem != NULL) {
        fw_end(FW_EXIT_BAD_PANEL, "the panel %s of %ux%u cannot be shown: %s", config->panel, config->width,
            config->height, problem);
    }
    fw_panel_start(&device->panel, config->width, config->height, bytes);
    fw_event("panel",
        ",\"width\":%u,\"height\":%u,\"format\":\"%s\",\"framebuffer\":%u,\"stride\":%u,\"strip\":%u",
        config->width, config->height, bytes == 2 ? "rgb565" : "xrgb8888",
        (unsigned)(uintptr_t)device->panel.memory, (unsigned)device->panel.stride, config->strip_rows);
}

static void make_room(fw_device *device) {
    const fw_config *config = &device->config;
    tw_client_config *client = &device->client;
    const unsigned bytes = device->panel.pixel_bytes;
    if (config->strip_rows != 0) {
        client->strip_size = config->strip_rows * device->panel.stride;
        client->strip = fw_memory_take(client->strip_size);
        client->big_endian = config->big_endian;
    } else {
        client->framebuffer = device->panel.memory;
        client->framebuffer_size = device->panel.size;
        client->unreadable = !config->copy;
    }
    client->receive_size = config->receive_bytes;
    client->receive = fw_memory_take(client->receive_size);
    if (config->cache_slots != 0 && config->strip_rows == 0 && config->copy) {
        client->cache_slots = config->cache_slots;
        client->cache_slot_bytes = config->cache_slot_bytes;
        client->cache_size = TW_CACHE_SIZE(config->cache_slots, config->cache_slot_bytes);
        client->cache = fw_memory_take(client->cache_size);
    }
    if (config->cursor == TW_CURSOR_LOCAL) {
        client->cursor_max_side = config->cursor_side != 0 ? config->cursor_side : 32;
        client->cursor_memory_size = TW_CURSOR_SIZE(client->cursor_max_side, bytes);
        client->cursor_memory = fw_memory_take(client->cursor_memory_size);
    }
    if (config->jpeg) {
        client->jpeg_memory_size = TW_JPEG_MEMORY_SIZE;
        client->jpeg_memory = fw_memory_take(client->jpeg_memory_size);
    }
    device->memory_size = tw_client_size(client);
    device->memory = fw_memory_take(device->memory_size);
}

void fw_device_start(fw_device *device) {
    const fw_config *config = &device->config;
    tw_client_config *client = &device->client;
    read_config(&device->config);
    if (config->strip_rows != 0 && config->cursor == TW_CURSOR_LOCAL) {
        fw_end(FW_EXIT_BAD_CONFIG,
            "a panel that cannot be read shows no local cursor: `cursor` is none or picture");
    }
    if (config->strip_rows > config->height) {
        fw_end(FW_EXIT_BAD_CONFIG, "the strip has more rows than the panel");
    }
    seed(config);
    light_panel(device);
    client->device_id = config->device_id;
    client->key = config->has_key ? config->key : NULL;
    client->width = config->width;
    client->height = config->height;
    client->pixel_format = config->pixel_format;
    client->callbacks = config->strip_rows != 0 ? &with_strip : &with_framebuffer;
    client->user = device;
    client->now_us = now_us;
    client->density = config->density;
    client->max_rect_width = config->max_rect_width;
    client->max_rect_area = config->max_rect_area;
    client->capabilities = TW_CAPABILITY_INPUT_ECHO | TW_CAPABILITY_BELL
                           | (config->cursor == TW_CURSOR_NONE ? TW_CAPABILITY_TOUCH : 0);
    client->cursor = config->cursor;
    client->model_kib = config->model_kib;
    make_room(device);
}

const fw_ethernet *fw_device_ethernet(const fw_device *device, void (*wake)(void)) {
    const fw_ethernet *ethernet = device->config.is_virtio ? &fw_virtio_net : &fw_lan9118;
    if (ethernet->start(wake) != 0) {
        fw_end(FW_EXIT_NO_ETHERNET, "this machine has no Ethernet controller %s", ethernet->name);
    }
    return ethernet;
}
