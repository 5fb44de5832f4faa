#define _POSIX_C_SOURCE 200809L

#include "line.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lwip/dns.h"
#include "lwip/init.h"
#include "lwip/ip4.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"

#define BRIDGES 8
#define MOST_PACKETS 512
#define MTU 1500
#define CHUNK 4096
#define DNS_PORT 53
#define DNS_HEADER 12

static uint32_t skipped_ms;
static unsigned seed = 1; /* the same packets are lost in each run */

uint32_t sys_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U) + skipped_ms;
}

void line_skip(uint32_t milliseconds) {
    skipped_ms += milliseconds;
}

unsigned lwip_test_random(void) {
    return (unsigned)rand_r(&seed);
}

/* ---- The wire --------------------------------------------------------------------------------------------- */

typedef struct packet {
    uint32_t due_ms;
    uint16_t length;
    uint8_t data[MTU];
} packet;

static struct netif wire;
static packet packets[MOST_PACKETS];
static unsigned first, count, delay_ms, loss_permille;

/* A packet leaves, and is the wire's. */
static err_t leave(struct netif *netif, struct pbuf *given, const ip4_addr_t *address) {
    packet *one = &packets[(first + count) % MOST_PACKETS];
    (void)netif;
    (void)address;
    if (count == MOST_PACKETS || given->tot_len > MTU || lwip_test_random() % 1000 < loss_permille) {
        return ERR_OK;
    }
    one->due_ms = sys_now() + delay_ms;
    one->length = pbuf_copy_partial(given, one->data, given->tot_len, 0);
    count++;
    return ERR_OK;
}

/* One packet arrives. 0: none is due. */
static int arrive(void) {
    const packet *one = &packets[first];
    struct pbuf *taken;
    if (count == 0 || (int32_t)(sys_now() - one->due_ms) < 0) {
        return 0;
    }
    taken = pbuf_alloc(PBUF_RAW, one->length, PBUF_POOL);
    first = (first + 1) % MOST_PACKETS;
    count--;
    if (taken != NULL && pbuf_take(taken, one->data, one->length) == ERR_OK) {
        if (wire.input(taken, &wire) != ERR_OK) {
            (void)pbuf_free(taken);
        }
    } /* else it is lost, as in any driver that has no memory */
    return 1;
}

static err_t set_up_wire(struct netif *netif) {
    netif->name[0] = 't';
    netif->name[1] = 'w';
    netif->output = leave;
    netif->mtu = MTU;
    return ERR_OK;
}

void line_set(unsigned delay, unsigned loss) {
    delay_ms = delay;
    loss_permille = loss;
}

void line_plug(unsigned is_in) {
    (is_in ? netif_set_link_up : netif_set_link_down)(&wire);
}

unsigned line_packets(void) {
    return count;
}

/* ---- The bridge ------------------------------------------------------------------------------------------- */

typedef struct bridge {
    struct tcp_pcb *pcb; /* NULL: there is none */
    int socket;
    int near_ended, far_ended; /* lwIP's side, the host's */
    struct pbuf *chain;        /* for the host */
    uint8_t waiting[CHUNK];    /* for lwIP */
    size_t length;
} bridge;

static bridge bridges[BRIDGES];
static unsigned is_stalled;
static unsigned own_memory; /* of who listens, bytes of lwIP's heap */

static void forget(bridge *one) {
    if (one->pcb != NULL) {
        tcp_arg(one->pcb, NULL);
        tcp_recv(one->pcb, NULL);
        tcp_err(one->pcb, NULL);
        one->pcb = NULL;
    }
    if (one->chain != NULL) {
        (void)pbuf_free(one->chain);
        one->chain = NULL;
    }
    close(one->socket);
}

static void reset(bridge *one) {
    struct tcp_pcb *pcb = one->pcb;
    forget(one);
    tcp_abort(pcb);
}

static void on_error(void *given, err_t error) {
    bridge *one = given;
    (void)error;
    one->pcb = NULL;
    forget(one);
}

static err_t on_received(void *given, struct tcp_pcb *pcb, struct pbuf *taken, err_t error) {
    bridge *one = given;
    (void)pcb;
    (void)error;
    if (taken == NULL) {
        one->near_ended = 1;
    } else if (one->chain == NULL) {
        one->chain = taken;
    } else {
        pbuf_cat(one->chain, taken);
    }
    return ERR_OK;
}

static int open_far(unsigned port) {
    struct sockaddr_in address;
    const int opened = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (opened < 0 || connect(opened, (struct sockaddr *)&address, sizeof address) != 0
        || fcntl(opened, F_SETFL, O_NONBLOCK) != 0) {
        close(opened);
        return -1;
    }
    return opened;
}

static err_t on_accepted(void *given, struct tcp_pcb *pcb, err_t error) {
    bridge *one = bridges;
    const int opened = open_far((unsigned)(uintptr_t)given);
    (void)error;
    while (one != bridges + BRIDGES && one->pcb != NULL) {
        one++;
    }
    if (opened < 0 || one == bridges + BRIDGES) {
        tcp_abort(pcb); /* nobody there: the device sees a reset */
        return ERR_ABRT;
    }
    memset(one, 0, sizeof *one);
    one->pcb = pcb;
    one->socket = opened;
    tcp_arg(pcb, one);
    tcp_recv(pcb, on_received);
    tcp_err(pcb, on_error);
    tcp_nagle_disable(pcb);
    return ERR_OK;
}

unsigned line_memory(void) {
    return (unsigned)lwip_stats.mem.used - own_memory;
}

void line_bridge(unsigned port) {
    const unsigned before = line_memory();
    struct tcp_pcb *pcb = tcp_new();
    if (pcb == NULL || tcp_bind(pcb, IP_ADDR_ANY, (u16_t)port) != ERR_OK) {
        if (pcb != NULL) {
            (void)tcp_close(pcb); /* it is bridged already */
        }
        return;
    }
    pcb = tcp_listen(pcb);
    if (pcb == NULL) {
        abort();
    }
    tcp_arg(pcb, (void *)(uintptr_t)port);
    tcp_accept(pcb, on_accepted);
    own_memory += line_memory() - before;
}

/* -1: the host's side is broken. */
static int carry_far(bridge *one) {
    while (one->chain != NULL) {
        const ssize_t sent = send(one->socket, one->chain->payload, one->chain->len, MSG_NOSIGNAL);
        if (sent < 0) {
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        }
        one->chain = pbuf_free_header(one->chain, (u16_t)sent);
        tcp_recved(one->pcb, (u16_t)sent);
    }
    if (one->near_ended == 1) {
        one->near_ended = 2;
        (void)shutdown(one->socket, SHUT_WR);
    }
    return 0;
}

static int carry_near(bridge *one) {
    for (;;) {
        const size_t room = tcp_sndbuf(one->pcb), part = one->length < room ? one->length : room;
        if (one->length == 0 && !one->far_ended) {
            const ssize_t got = recv(one->socket, one->waiting, sizeof one->waiting, 0);
            if (got < 0) {
                return errno == EAGAIN || errno == EINTR ? 0 : -1;
            }
            one->length = (size_t)got;
            one->far_ended = got == 0;
            continue;
        }
        if (part == 0) {
            break;
        }
        if (tcp_write(one->pcb, one->waiting, (u16_t)part, TCP_WRITE_FLAG_COPY) != ERR_OK) {
            break;
        }
        one->length -= part;
        memmove(one->waiting, one->waiting + part, one->length);
    }
    (void)tcp_output(one->pcb);
    if (one->length == 0 && one->far_ended == 1 && tcp_shutdown(one->pcb, 0, 1) == ERR_OK) {
        one->far_ended = 2;
    }
    return 0;
}

static void carry(bridge *one) {
    if (carry_far(one) != 0 || carry_near(one) != 0) {
        reset(one);
    } else if (one->near_ended == 2 && one->far_ended == 2) {
        struct tcp_pcb *pcb = one->pcb;
        forget(one);
        (void)tcp_close(pcb);
    }
}

void line_stall(unsigned stalls) {
    is_stalled = stalls;
}

void line_cut(void) {
    for (bridge *one = bridges; one != bridges + BRIDGES; one++) {
        if (one->pcb != NULL) {
            reset(one);
        }
    }
}

unsigned line_pcbs(void) {
    unsigned found = 0;
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        found++;
    }
    for (const struct tcp_pcb *pcb = tcp_tw_pcbs; pcb != NULL; pcb = pcb->next) {
        found++;
    }
    for (const struct tcp_pcb *pcb = tcp_bound_pcbs; pcb != NULL; pcb = pcb->next) {
        found++;
    }
    return found;
}

/* ---- The name server -------------------------------------------------------------------------------------- */

/* A question of one name: the same with an answer behind it, or "no such name". */
static void answer(
    void *given, struct udp_pcb *pcb, struct pbuf *asked, const ip_addr_t *address, u16_t port) {
    static const uint8_t name[] = "\006server\004test";
    static const uint8_t found[] = {0xC0, DNS_HEADER, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, 1};
    uint8_t message[512];
    u16_t length = pbuf_copy_partial(asked, message, sizeof message - sizeof found, 0);
    const int is_known = memcmp(message + DNS_HEADER, name, sizeof name) == 0;
    struct pbuf *said;
    (void)given;
    (void)pbuf_free(asked);
    if (memcmp(message + DNS_HEADER + 1, "mute", 4) == 0) {
        return;
    }
    message[2] = 0x81;
    message[3] = is_known ? 0x80 : 0x83;
    if (is_known) {
        message[7] = 1;
        memcpy(message + length, found, sizeof found);
        length = (u16_t)(length + sizeof found);
    }
    said = pbuf_alloc(PBUF_TRANSPORT, length, PBUF_RAM);
    if (said != NULL) {
        (void)pbuf_take(said, message, length);
        (void)udp_sendto(pcb, said, address, port);
        (void)pbuf_free(said);
    }
}

/* ---- All of it -------------------------------------------------------------------------------------------- */

void line_start(void) {
    ip4_addr_t address, mask;
    ip_addr_t server;
    struct udp_pcb *names;
    lwip_init();
    if (!ip4addr_aton(LINE_ADDRESS, &address) || !ip4addr_aton("255.255.255.0", &mask)
        || !ipaddr_aton(LINE_ADDRESS, &server)) {
        abort();
    }
    if (netif_add(&wire, &address, &mask, &address, NULL, set_up_wire, ip4_input) == NULL) {
        abort();
    }
    netif_set_default(&wire);
    netif_set_link_up(&wire);
    netif_set_up(&wire);
    names = udp_new();
    if (names == NULL || udp_bind(names, IP_ADDR_ANY, DNS_PORT) != ERR_OK) {
        abort();
    }
    udp_recv(names, answer, NULL);
    dns_setserver(0, &server);
    own_memory = (unsigned)lwip_stats.mem.used;
}

void line_poll(void) {
    while (arrive()) {
    }
    for (bridge *one = bridges; one != bridges + BRIDGES && !is_stalled; one++) {
        if (one->pcb != NULL) {
            carry(one);
        }
    }
}

int line_wait(int timeout_ms) {
    struct pollfd doors[BRIDGES + 1];
    nfds_t used = 0;
    int ready;
    doors[used].fd = STDIN_FILENO;
    doors[used++].events = POLLIN;
    for (const bridge *one = bridges; one != bridges + BRIDGES && !is_stalled; one++) {
        if (one->pcb != NULL && one->length == 0 && !one->far_ended) {
            doors[used].fd = one->socket;
            doors[used++].events = POLLIN;
        }
    }
    ready = poll(doors, used, count != 0 && delay_ms == 0 ? 0 : timeout_ms);
    return ready > 0 && doors[0].revents != 0;
}
