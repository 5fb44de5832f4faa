/* The device on ThreadX and NetX Duo: the client's ThreadX port keeps the session in a thread of its own, another one looks
 * after everything else. */
#include <string.h>

#include "tx_api.h"

#include "nx_api.h"

#include "nxd_dhcp_client.h"
#include "nxd_dns.h"

#include "tw_threadx.h"

#include "tx_thread.h"
#include "tx_timer.h"

#include "../board/clock.h"
#include "../board/cpu.h"
#include "../board/exits.h"
#include "../board/format.h"
#include "../board/gic.h"
#include "../board/keyboard.h"
#include "../board/tablet.h"
#include "../board/trap.h"
#include "../board/uart.h"
#include "../net/netx_driver.h"
#include "control.h"
#include "events.h"
#include "input.h"
#include "random.h"
#include "replay.h"
#include "session.h"

enum {
    PACKET = 1568, /* a frame, and what NetX Duo keeps before it */
    PACKETS = 256,
    STACK = 16384,
    PRIORITY_IP = 2,
    PRIORITY_DEVICE = 8,
    PRIORITY_SESSION = 16,
    PRIORITY_IDLE = 31,
    WINDOW_LAN9118 = 6 * 1460,
    WINDOW_VIRTIO = 44 * 1460, /* without window scaling */
    ROUND_TICKS = 1,           /* of the device's thread */
    STATES = 8,
};

/* ThreadX and NetX Duo want names that they could write into. */
#define NAME(text) ((CHAR *)(uintptr_t)(text))

/* The port's, and in no header of it. */
VOID _tx_timer_interrupt(VOID);

static fw_device device;
static TW_THREADX session;
static TW_THREADX_CONFIG config;
static NX_PACKET_POOL pool;
static NX_IP ip;
static NX_DHCP dhcp;
static NX_DNS dns;
static TX_THREAD device_thread, idle_thread;
static TX_QUEUE states;
static TX_MUTEX telling;
static UINT is_started, is_stopping, has_mutex;

static uint8_t packets[PACKETS * (PACKET + sizeof(NX_PACKET))] __attribute__((aligned(64)));
static ULONG ip_stack[STACK / sizeof(ULONG)], arp_cache[1024 / sizeof(ULONG)],
    device_stack[STACK / sizeof(ULONG)], session_stack[STACK / sizeof(ULONG)],
    idle_stack[1024 / sizeof(ULONG)], input_queue[TW_THREADX_QUEUE_SIZE(64) / sizeof(ULONG)],
    state_queue[STATES * 4];

static void must(UINT status, const char *what) {
    if (status != TX_SUCCESS) {
        fw_end(FW_EXIT_INTERNAL, "%s: status %u", what, status);
    }
}

void fw_events_lock(void) {
    if (has_mutex && tx_thread_identify() != TX_NULL && _tx_thread_system_state == 0) {
        (void)tx_mutex_get(&telling, TX_WAIT_FOREVER);
    }
}

void fw_events_unlock(void) {
    if (has_mutex && tx_thread_identify() != TX_NULL && _tx_thread_system_state == 0) {
        (void)tx_mutex_put(&telling);
    }
}

/* ---- The session ---- */

/* The client is its thread's alone. */
static tw_client *client_of(void) {
    return is_started && tx_thread_identify() == &session.thread ? tw_threadx_client(&session) : NULL;
}

static UINT draw_random(VOID *user, VOID *bytes, ULONG length) {
    (void)user;
    fw_random(bytes, length);
    return TX_SUCCESS;
}

/* Told by the device's thread, which has the higher priority and so does it at once. */
static VOID on_state(VOID *user, UINT state, UINT code, ULONG wait_ms) {
    ULONG message[4] = {state, code, wait_ms, 0};
    (void)user;
    (void)tx_queue_send(&states, message, TX_NO_WAIT);
}

static void heed_states(void) {
    ULONG message[4];
    while (tx_queue_receive(&states, message, ROUND_TICKS) == TX_SUCCESS) {
        switch (message[0]) {
        case TW_THREADX_CONNECTING: fw_device_connecting(&device); break;
        case TW_THREADX_WAITING: fw_device_left(message[1], 0, message[2], &device); break;
        case TW_THREADX_ENDED: fw_device_left(message[1], 1, 0, &device); break;
        case TW_THREADX_STOPPED:
            if (is_stopping) {
                fw_end(FW_EXIT_STOPPED, "stopped");
            }
            break;
        default: break;
        }
    }
}

tw_status fw_session_input(fw_input *input) {
    UINT status = NX_NOT_CONNECTED;
    ULONG taken = 0;
    if (!is_started) {
        return TW_CODE_BAD_STATE;
    }
    switch (input->kind) {
    case FW_INPUT_POINTER: status = tw_threadx_pointer(&session, input->x, input->y, input->buttons); break;
    case FW_INPUT_WHEEL: status = tw_threadx_wheel(&session, input->dx, input->dy); break;
    case FW_INPUT_TOUCH: status = tw_threadx_touch(&session, input->fingers, input->count); break;
    case FW_INPUT_KEY: status = tw_threadx_key(&session, input->keysym, input->pressed, TX_NO_WAIT); break;
    default:
        status = tw_threadx_text(&session, input->text, input->count, &taken, TX_NO_WAIT);
        input->count -= taken;
        memmove(input->text, input->text + taken, input->count);
        break;
    }
    return status == TX_SUCCESS         ? TW_OK
           : status == TX_QUEUE_FULL    ? TW_CODE_FULL
           : status == NX_NOT_CONNECTED ? TW_CODE_BAD_STATE
                                        : TW_CODE_ARGUMENT;
}

/* A name, or an address in letters. */
static UINT resolve(VOID *user, NXD_ADDRESS *server, ULONG wait_option) {
    ULONG parts[4] = {0, 0, 0, 0};
    unsigned part = 0;
    const char *at = device.config.server;
    (void)user;
    server->nxd_ip_version = NX_IP_VERSION_V4;
    while ((*at >= '0' && *at <= '9') || (*at == '.' && part < 3)) {
        if (*at == '.') {
            part++;
        } else {
            parts[part] = 10 * parts[part] + (ULONG)(*at - '0');
        }
        at++;
    }
    if (*at == '\0' && part == 3) {
        server->nxd_ip_address.v4 = IP_ADDRESS(parts[0], parts[1], parts[2], parts[3]);
        return NX_SUCCESS;
    }
    return nx_dns_host_by_name_get(
        &dns, (UCHAR *)device.config.server, &server->nxd_ip_address.v4, wait_option);
}

static void start_session(void) {
    memset(&config, 0, sizeof config);
    config.client = device.client;
    config.memory = device.memory;
    config.memory_size = device.memory_size;
    config.queue = input_queue;
    config.queue_size = sizeof input_queue;
    config.port = device.config.port;
    config.resolve = resolve;
    config.window = device.config.is_virtio ? WINDOW_VIRTIO : WINDOW_LAN9118;
    config.random = draw_random;
    config.state = on_state;
    must(tw_threadx_create(&session, NAME("session"), &config, &ip, &pool, session_stack,
             sizeof session_stack, PRIORITY_SESSION),
        "the session cannot be made");
    is_started = 1;
    must(tw_threadx_start(&session), "the session cannot be started");
}

/* ---- The address ---- */

static ULONG number_of(const uint8_t bytes[4]) {
    return IP_ADDRESS(bytes[0], bytes[1], bytes[2], bytes[3]);
}

static void use_dns(void) {
    UCHAR servers[16];
    UINT size = sizeof servers;
    ULONG server = number_of(device.config.dns);
    if (!device.config.is_static
        && nx_dhcp_user_option_retrieve(&dhcp, NX_DHCP_OPTION_DNS_SVR, servers, &size) == NX_SUCCESS
        && size >= 4) {
        memcpy(&server, servers, sizeof server);
    }
    (void)nx_dns_create(&dns, &ip, (UCHAR *)"tilewire");
    if (server != 0) {
        (void)nx_dns_server_add(&dns, server);
    }
}

/* Tells what changed; starts the session with the first address. */
static void look_at_network(void) {
    static ULONG was_up, was_address;
    ULONG up = NX_FALSE, address = 0, mask;
    (void)nx_ip_driver_direct_command(&ip, NX_LINK_GET_STATUS, &up);
    if (up != was_up) {
        was_up = up;
        fw_log("Ethernet: the link is %s", up ? "up" : "down");
        fw_event("link", ",\"up\":%s", up ? "true" : "false");
    }
    if (nx_ip_address_get(&ip, &address, &mask) == NX_SUCCESS && address != was_address) {
        was_address = address;
        fw_log("address %u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
        fw_event("address", ",\"address\":\"%u.%u.%u.%u\"", address >> 24, address >> 16 & 255,
            address >> 8 & 255, address & 255);
        if (!is_started && address != 0) {
            use_dns();
            start_session();
        }
    }
}

static void start_network(void) {
    const fw_config *from = &device.config;
    const fw_ethernet *ethernet = fw_device_ethernet(&device, fw_netx_wake);
    ULONG address = 0, mask = 0;
    fw_netx_use(ethernet);
    if (from->is_static) {
        address = number_of(from->address);
        mask = 0xFFFFFFFFU << (32 - from->prefix_bits);
    }
    nx_system_initialize();
    must(nx_packet_pool_create(&pool, NAME("packets"), PACKET, packets, sizeof packets), "packet pool");
    must(nx_ip_create(&ip, NAME("device"), address, mask, &pool, fw_netx_driver, ip_stack, sizeof ip_stack,
             PRIORITY_IP),
        "IP");
    must(nx_arp_enable(&ip, arp_cache, sizeof arp_cache), "ARP");
    must(nx_icmp_enable(&ip), "ICMP");
    must(nx_udp_enable(&ip), "UDP");
    must(nx_tcp_enable(&ip), "TCP");
    if (from->is_static) {
        must(nx_ip_gateway_address_set(&ip, number_of(from->gateway)), "gateway");
    } else {
        must(nx_dhcp_create(&dhcp, &ip, NAME("tilewire")), "DHCP");
    }
}

/* ---- Control ---- */

static void stop(void) {
    is_stopping = 1;
    if (!is_started || tw_threadx_stop(&session, TX_NO_WAIT) == TX_SUCCESS) {
        fw_end(FW_EXIT_STOPPED, "stopped");
    }
}

static void drop(void) {
    NX_TCP_SOCKET *socket = ip.nx_ip_tcp_created_sockets_ptr;
    for (ULONG i = 0; i < ip.nx_ip_tcp_created_sockets_count; i++) {
        (void)nx_tcp_socket_disconnect(socket, NX_NO_WAIT);
        socket = socket->nx_tcp_socket_created_next;
    }
}

static void add_thread(const TX_THREAD *thread, const char *comma) {
    const uint8_t *at = thread->tx_thread_stack_start;
    while (at < (const uint8_t *)thread->tx_thread_stack_end && *at == (TX_STACK_FILL & 255)) {
        at++;
    }
    fw_event_add("%s{\"name\":%j,\"size\":%u,\"used\":%u}", comma, thread->tx_thread_name,
        (unsigned)thread->tx_thread_stack_size,
        (unsigned)((const uint8_t *)thread->tx_thread_stack_end - at + 1));
}

static void add_stats(void) {
    TW_THREADX_STATISTICS now;
    fw_ethernet_counts frames;
    const TX_THREAD *thread = _tx_thread_created_ptr;
    memset(&now, 0, sizeof now);
    if (is_started) {
        (void)tw_threadx_statistics(&session, &now);
    }
    (device.config.is_virtio ? &fw_virtio_net : &fw_lan9118)->counts(&frames);
    fw_event_add(
        ",\"attempts\":%u,\"connections\":%u,\"reconnects\":%u,\"bytes\":{\"received\":%U,\"sent\":%U}",
        now.attempts, now.connections, now.connections != 0 ? now.connections - 1 : 0, now.bytes_received,
        now.bytes_sent);
    fw_event_add(",\"waits\":{\"memory\":%u,\"window\":%u,\"draw\":%u}", now.packet_shortages,
        now.window_waits, now.draw_waits);
    fw_event_add(",\"frames\":{\"received\":%u,\"sent\":%u,\"lost\":%u,\"refused\":%u}", frames.received,
        frames.sent, frames.lost, frames.refused);
    fw_event_add(
        ",\"pools\":[{\"name\":\"packets\",\"avail\":%u,\"used\":%u,\"max\":null,\"err\":%u}],\"threads\":[",
        pool.nx_packet_pool_total, pool.nx_packet_pool_total - pool.nx_packet_pool_available,
        pool.nx_packet_pool_empty_requests);
    for (ULONG i = 0; i < _tx_thread_created_count; i++) {
        add_thread(thread, i == 0 ? "" : ",");
        thread = thread->tx_thread_created_next;
    }
    fw_event_add("]");
}

/* ---- The threads ---- */

static VOID device_entry(ULONG unused) {
    static const fw_control control = {&device, stop, drop, add_stats};
    (void)unused;
    if (!device.config.is_static) {
        must(nx_dhcp_start(&dhcp), "DHCP");
    }
    for (;;) {
        fw_watchdog_kick();
        look_at_network();
        (void)fw_control_poll(&control);
        (void)fw_input_poll(
            device.config.width, device.config.height, device.config.cursor == TW_CURSOR_NONE);
        heed_states();
    }
}

static VOID idle_entry(ULONG unused) {
    (void)unused;
    for (;;) {
        fw_cpu_sleep();
    }
}

static void on_tick(void) {
    fw_watchdog_tick();
    _tx_timer_interrupt();
}

VOID tx_application_define(VOID *unused) {
    (void)unused;
    must(tx_mutex_create(&telling, NAME("telling"), TX_INHERIT), "mutex");
    has_mutex = 1;
    must(tx_queue_create(&states, NAME("states"), 4, state_queue, sizeof state_queue), "queue");
    start_network();
    must(tx_thread_create(&idle_thread, NAME("idle"), idle_entry, 0, idle_stack, sizeof idle_stack,
             PRIORITY_IDLE, PRIORITY_IDLE, TX_NO_TIME_SLICE, TX_AUTO_START),
        "idle thread");
    must(tx_thread_create(&device_thread, NAME("device"), device_entry, 0, device_stack, sizeof device_stack,
             PRIORITY_DEVICE, PRIORITY_DEVICE, TX_NO_TIME_SLICE, TX_AUTO_START),
        "device thread");
    fw_watchdog_start(device.config.watchdog_s * 1000);
    fw_clock_start(on_tick);
    fw_clock_pace(1000000 / TX_TIMER_TICKS_PER_SECOND);
}

int main(void) {
    fw_uart_start(FW_UART_LOG);
    fw_uart_start(FW_UART_CONTROL);
    fw_gic_start();
    fw_clock_start(NULL); /* it wakes, and is heeded by nobody yet */
    fw_event("boot", ",\"system\":\"ThreadX\"");
    device.of = client_of;
    fw_device_start(&device);
    if (device.config.replay_bytes != 0) {
        fw_replay(&device);
    }
    fw_keyboard_start();
    fw_log("touch screen: %s", fw_tablet_start() == 0 ? "a virtio tablet" : "none");
    fw_uart_listen(FW_UART_CONTROL);
    tx_kernel_enter();
    return FW_EXIT_INTERNAL;
}
