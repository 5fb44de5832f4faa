/* The device on bare metal: one main loop, lwIP, the client's lwIP port. */
#include <string.h>

#include "lwip/dhcp.h"
#include "lwip/dns.h"
#include "lwip/ip4_addr.h"
#include "lwip/memp.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"

#include "tw_lwip.h"

#include "../board/clock.h"
#include "../board/cpu.h"
#include "../board/exits.h"
#include "../board/format.h"
#include "../board/gic.h"
#include "../board/keyboard.h"
#include "../board/tablet.h"
#include "../board/trap.h"
#include "../board/uart.h"
#include "../net/lwip_netif.h"
#include "control.h"
#include "events.h"
#include "input.h"
#include "random.h"
#include "replay.h"
#include "session.h"

enum { BUSY_MS = 200 }; /* for so long something may follow what happened */

static fw_device device;
static struct netif netif;
static tw_lwip session;
static int is_started, is_stopping;

uint32_t fw_lwip_random(void) {
    uint32_t value;
    fw_random(&value, sizeof value);
    return value;
}

void fw_lwip_assert(const char *message, const char *file, int line) {
    fw_end(FW_EXIT_INTERNAL, "lwIP: %s (%s:%d)", message, file, line);
}

/* ---- The session ---- */

static tw_client *client_of(void) {
    return tw_lwip_client(&session);
}

static tw_status draw_random(void *user, void *bytes, size_t length) {
    (void)user;
    fw_random(bytes, length);
    return TW_OK;
}

static void on_state(void *user, tw_lwip_state state, unsigned code, uint32_t wait_ms) {
    (void)user;
    switch (state) {
    case TW_LWIP_CONNECTING: fw_device_connecting(&device); break;
    case TW_LWIP_WAITING: fw_device_left(code, 0, wait_ms, &device); break;
    case TW_LWIP_ENDED: fw_device_left(code, 1, 0, &device); break;
    case TW_LWIP_STOPPED:
        if (is_stopping) {
            fw_end(FW_EXIT_STOPPED, "stopped");
        }
        break;
    default: break;
    }
}

tw_status fw_session_input(fw_input *input) {
    size_t taken = 0;
    tw_status status;
    if (!is_started) {
        return TW_CODE_BAD_STATE;
    }
    switch (input->kind) {
    case FW_INPUT_POINTER: return tw_lwip_pointer(&session, input->x, input->y, input->buttons);
    case FW_INPUT_WHEEL: return tw_lwip_wheel(&session, input->dx, input->dy);
    case FW_INPUT_TOUCH: return tw_lwip_touch(&session, input->fingers, input->count);
    case FW_INPUT_KEY: return tw_lwip_key(&session, input->keysym, input->pressed);
    default:
        status = tw_lwip_text(&session, input->text, input->count, &taken);
        input->count -= taken;
        memmove(input->text, input->text + taken, input->count);
        return status;
    }
}

static void start_session(void) {
    tw_lwip_config config;
    tw_status status;
    memset(&config, 0, sizeof config);
    config.client = device.client;
    config.memory = device.memory;
    config.memory_size = device.memory_size;
    config.host = device.config.server;
    config.port = device.config.port;
    config.random = draw_random;
    config.state = on_state;
    status = tw_lwip_init(&session, &config);
    if (status == TW_OK) {
        is_started = 1;
        status = tw_lwip_start(&session);
    }
    if (status != TW_OK) {
        fw_end(status == TW_CODE_ARGUMENT ? FW_EXIT_BAD_CONFIG : FW_EXIT_INTERNAL,
            "the session cannot be started: %s", tw_status_text(status));
    }
}

/* ---- The address ---- */

static void on_status(struct netif *changed) {
    static int was_up = 0;
    static uint32_t was_address;
    const int is_up = netif_is_link_up(changed);
    const uint8_t *at = (const uint8_t *)netif_ip4_addr(changed);
    if (is_up != was_up) {
        was_up = is_up;
        fw_log("Ethernet: the link is %s", is_up ? "up" : "down");
        fw_event("link", ",\"up\":%s", is_up ? "true" : "false");
    }
    if (netif_ip4_addr(changed)->addr != was_address) {
        was_address = netif_ip4_addr(changed)->addr;
        fw_log("address %u.%u.%u.%u", at[0], at[1], at[2], at[3]);
        fw_event("address", ",\"address\":\"%u.%u.%u.%u\"", at[0], at[1], at[2], at[3]);
    }
}

static ip4_addr_t address_of(const uint8_t bytes[4]) {
    ip4_addr_t address;
    IP4_ADDR(&address, bytes[0], bytes[1], bytes[2], bytes[3]);
    return address;
}

static void start_network(void) {
    const fw_config *config = &device.config;
    const fw_ethernet *ethernet = fw_device_ethernet(&device, NULL);
    const uint8_t *mac = netif.hwaddr;
    fw_lwip_netif_start(
        &netif, ethernet, "tilewire", config->is_virtio ? FW_WINDOW_VIRTIO : FW_WINDOW_LAN9118, on_status);
    fw_log("Ethernet: %s %x%x", ethernet->name, (unsigned)mac[0] << 16 | (unsigned)mac[1] << 8 | mac[2],
        (unsigned)mac[3] << 16 | (unsigned)mac[4] << 8 | mac[5]);
    if (config->is_static) {
        const uint32_t mask = 0xFFFFFFFFU << (32 - config->prefix_bits);
        const ip4_addr_t address = address_of(config->address), gateway = address_of(config->gateway);
        const ip_addr_t dns = address_of(config->dns);
        ip4_addr_t netmask;
        netmask.addr = lwip_htonl(mask);
        netif_set_addr(&netif, &address, &netmask, &gateway);
        dns_setserver(0, &dns);
    } else if (dhcp_start(&netif) != ERR_OK) {
        fw_end(FW_EXIT_INTERNAL, "DHCP cannot be started");
    }
}

/* ---- Control ---- */

static void stop(void) {
    is_stopping = 1;
    if (!is_started || tw_lwip_is_resting(&session)) {
        fw_end(FW_EXIT_STOPPED, "stopped");
    }
    tw_lwip_stop(&session);
}

static void drop(void) {
    while (tcp_active_pcbs != NULL) {
        tcp_abort(tcp_active_pcbs);
    }
}

static void add_stats(void) {
    const fw_ethernet *ethernet = netif.state;
    fw_ethernet_counts frames;
    tw_lwip_statistics now;
    memset(&now, 0, sizeof now);
    if (is_started) {
        tw_lwip_get_statistics(&session, &now);
    }
    ethernet->counts(&frames);
    fw_event_add(
        ",\"attempts\":%u,\"connections\":%u,\"reconnects\":%u,\"bytes\":{\"received\":%U,\"sent\":%U}",
        now.attempts, now.connections, now.connections != 0 ? now.connections - 1 : 0, now.bytes_received,
        now.bytes_sent);
    fw_event_add(",\"waits\":{\"memory\":%u,\"window\":%u,\"draw\":%u}", now.memory_shortages,
        now.window_waits, now.draw_waits);
    fw_event_add(",\"frames\":{\"received\":%u,\"sent\":%u,\"lost\":%u,\"refused\":%u},\"pools\":[",
        frames.received, frames.sent, frames.lost, frames.refused);
    fw_event_add("{\"name\":\"HEAP\",\"avail\":%u,\"used\":%u,\"max\":%u,\"err\":%u}",
        (unsigned)lwip_stats.mem.avail, (unsigned)lwip_stats.mem.used, (unsigned)lwip_stats.mem.max,
        (unsigned)lwip_stats.mem.err);
    for (unsigned i = 0; i < MEMP_MAX; i++) {
        const struct stats_mem *pool = lwip_stats.memp[i];
        fw_event_add(",{\"name\":%j,\"avail\":%u,\"used\":%u,\"max\":%u,\"err\":%u}", pool->name,
            (unsigned)pool->avail, (unsigned)pool->used, (unsigned)pool->max, (unsigned)pool->err);
    }
    fw_event_add("]");
}

/* ---- The main loop ---- */

/* Sleeps until something happens, or the tick. `heeded`: interrupts before the loop looked; what came since then it may
 * have looked for too early. */
static void rest(unsigned done, uint32_t heeded) {
    static uint32_t busy_ms;
    const uint32_t now_ms = fw_clock_ms();
    if (done != 0) {
        busy_ms = now_ms;
    }
    fw_clock_pace(now_ms - busy_ms < BUSY_MS ? FW_TICK_BUSY_US : FW_TICK_IDLE_US);
    (void)fw_cpu_mask();
    if (heeded == fw_gic_heeded()) {
        fw_cpu_sleep();
    }
    fw_cpu_unmask();
}

int main(void) {
    static const fw_control control = {&device, stop, drop, add_stats};
    fw_uart_start(FW_UART_LOG);
    fw_uart_start(FW_UART_CONTROL);
    fw_gic_start();
    fw_clock_start(fw_watchdog_tick);
    fw_cpu_unmask();
    fw_event("boot", ",\"system\":\"lwIP\"");
    device.of = client_of;
    fw_device_start(&device);
    fw_watchdog_start(device.config.watchdog_s * 1000);
    if (device.config.replay_bytes != 0) {
        fw_replay(&device);
    }
    fw_keyboard_start();
    fw_log("touch screen: %s", fw_tablet_start() == 0 ? "a virtio tablet" : "none");
    start_network();
    fw_uart_listen(FW_UART_CONTROL);
    for (;;) {
        const uint32_t heeded = fw_gic_heeded();
        unsigned done;
        fw_watchdog_kick();
        done = fw_lwip_netif_poll(&netif);
        if (!is_started && netif_is_link_up(&netif) && !ip4_addr_isany(netif_ip4_addr(&netif))) {
            start_session();
        }
        done += fw_control_poll(&control);
        done +=
            fw_input_poll(device.config.width, device.config.height, device.config.cursor == TW_CURSOR_NONE);
        if (is_started) {
            (void)tw_lwip_poll(&session, fw_clock_ms());
        }
        rest(done, heeded);
    }
}
