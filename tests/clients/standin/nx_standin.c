#define _POSIX_C_SOURCE 200809L

#include "nx_api.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALIVE 0x4E582121U
#define MSS 1460U
/* Packets that one read may take, in a chain. */
#define CHAIN 3U

static void enter(void) {
    (void)tx_standin_disable();
}

static UINT leave(UINT status) {
    tx_standin_restore(1);
    return status;
}

/* What is not counted here. */
static void clear(ULONG *value) {
    if (value != NULL) {
        *value = 0;
    }
}

/* 1: a service for threads alone, or for tx_application_define() too, is called from elsewhere. */
static int is_wrong_caller(int may_init) {
    const tx_standin_caller caller = tx_standin_who();
    return caller == TX_STANDIN_ISR || (caller == TX_STANDIN_INIT && !may_init);
}

/* Waits with nobody to refuse it: the stand-in's own thread. */
static void pause_a_bit(void) {
    (void)poll(NULL, 0, 1);
}

/* ---- Packets ---------------------------------------------------------------------------------------------- */

UINT nx_packet_pool_create(NX_PACKET_POOL *pool, CHAR *name, ULONG payload, VOID *memory, ULONG size) {
    const ULONG step = (ULONG)(sizeof(NX_PACKET) + (payload + 15) / 16 * 16);
    UCHAR *at = memory;
    if (pool == NULL || memory == NULL || pool->id == ALIVE) {
        return NX_PTR_ERROR;
    }
    if (payload == 0 || size < step) {
        return NX_SIZE_ERROR;
    }
    if (is_wrong_caller(1)) {
        return NX_CALLER_ERROR;
    }
    enter();
    memset(pool, 0, sizeof *pool);
    pool->payload = payload;
    pool->name = name;
    pool->total = pool->available = size / step;
    for (ULONG i = 0; i < pool->total; i++, at += step) {
        NX_PACKET *packet = (NX_PACKET *)(void *)at;
        memset(packet, 0, sizeof *packet);
        packet->pool = pool;
        packet->nx_packet_data_start = at + sizeof *packet;
        packet->nx_packet_data_end = packet->nx_packet_data_start + payload;
        packet->queue_next = pool->free;
        pool->free = packet;
    }
    pool->id = ALIVE;
    return leave(NX_SUCCESS);
}

UINT nx_packet_pool_info_get(NX_PACKET_POOL *pool, ULONG *total, ULONG *available, ULONG *empty_requests,
    ULONG *empty_suspensions, ULONG *invalid_releases) {
    if (pool == NULL || pool->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    clear(empty_requests);
    clear(empty_suspensions);
    clear(invalid_releases);
    enter();
    if (total != NULL) {
        *total = pool->total;
    }
    if (available != NULL) {
        *available = pool->available;
    }
    return leave(NX_SUCCESS);
}

/* With the lock. */
static NX_PACKET *grab(NX_PACKET_POOL *pool, ULONG type) {
    NX_PACKET *packet = pool->free;
    if (packet == NULL) {
        return NULL;
    }
    pool->free = packet->queue_next;
    pool->available--;
    packet->nx_packet_next = packet->queue_next = NULL;
    packet->nx_packet_prepend_ptr = packet->nx_packet_append_ptr = packet->nx_packet_data_start + type;
    packet->nx_packet_length = 0;
    packet->is_allocated = 1;
    return packet;
}

UINT nx_packet_allocate(NX_PACKET_POOL *pool, NX_PACKET **packet, ULONG type, ULONG wait_option) {
    if (pool == NULL || pool->id != ALIVE || packet == NULL) {
        return NX_PTR_ERROR;
    }
    if (type > pool->payload) {
        return NX_INVALID_PARAMETERS;
    }
    if (wait_option != NX_NO_WAIT) {
        tx_standin_fail("nobody waits for a packet");
    }
    enter();
    *packet = NULL;
    if (pool->refusals != 0) {
        pool->refusals -= pool->refusals > 0;
        return leave(NX_NO_PACKET);
    }
    *packet = grab(pool, type);
    return leave(*packet != NULL ? NX_SUCCESS : NX_NO_PACKET);
}

/* Of one packet or a chain; whoever releases what is not his has a bug. */
static void give_back(NX_PACKET *packet) {
    while (packet != NULL) {
        NX_PACKET *next = packet->nx_packet_next;
        if (!packet->is_allocated) {
            tx_standin_fail("a packet is released twice");
        }
        packet->is_allocated = 0;
        /* So that whoever still reads it sees nonsense. */
        memset(packet->nx_packet_data_start, 0xDD, packet->pool->payload);
        packet->nx_packet_prepend_ptr = packet->nx_packet_append_ptr = NULL;
        packet->queue_next = packet->pool->free;
        packet->pool->free = packet;
        packet->pool->available++;
        packet = next;
    }
}

UINT nx_packet_release(NX_PACKET *packet) {
    if (packet == NULL) {
        return NX_PTR_ERROR;
    }
    enter();
    give_back(packet);
    tx_standin_changed();
    return leave(NX_SUCCESS);
}

/* With the lock: as much as fits, in a chain of at most `most` packets. */
static ULONG fill(NX_PACKET *packet, const UCHAR *data, ULONG size, ULONG most) {
    NX_PACKET *last = packet;
    ULONG done = 0, length = 1;
    while (last->nx_packet_next != NULL) {
        last = last->nx_packet_next;
    }
    for (;;) {
        const ULONG room = (ULONG)(last->nx_packet_data_end - last->nx_packet_append_ptr);
        const ULONG part = size - done < room ? size - done : room;
        memcpy(last->nx_packet_append_ptr, data + done, part);
        last->nx_packet_append_ptr += part;
        packet->nx_packet_length += part;
        done += part;
        if (done == size || length++ == most) {
            return done;
        }
        last->nx_packet_next = grab(packet->pool, 0);
        if (last->nx_packet_next == NULL) {
            return done;
        }
        last = last->nx_packet_next;
    }
}

UINT nx_packet_data_append(
    NX_PACKET *packet, VOID *data, ULONG size, NX_PACKET_POOL *pool, ULONG wait_option) {
    ULONG room;
    (void)wait_option;
    if (packet == NULL || data == NULL || pool == NULL || pool->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    if (size == 0) {
        return NX_SIZE_ERROR;
    }
    enter();
    room =
        (ULONG)(packet->nx_packet_data_end - packet->nx_packet_append_ptr) + pool->available * pool->payload;
    if (room < size) {
        return leave(NX_NO_PACKET);
    }
    (void)fill(packet, data, size, ~0U);
    return leave(NX_SUCCESS);
}

/* ---- Sockets ---------------------------------------------------------------------------------------------- */

void nx_standin_ip_create(NX_IP *ip, NX_PACKET_POOL *pool) {
    memset(ip, 0, sizeof *ip);
    ip->id = ALIVE;
    ip->pool = pool;
    ip->link = 1;
}

VOID nx_system_initialize(VOID) {}

void nx_standin_link(NX_IP *ip, UINT link) {
    enter();
    ip->link = link;
    tx_standin_changed();
    (void)leave(NX_SUCCESS);
}

void nx_standin_refuse(NX_PACKET_POOL *pool, LONG refusals) {
    enter();
    pool->refusals = refusals;
    (void)leave(NX_SUCCESS);
}

void nx_standin_window(NX_TCP_SOCKET *socket, LONG bytes) {
    VOID (*notify)(NX_TCP_SOCKET *);
    enter();
    socket->budget = bytes;
    notify = bytes != 0 ? socket->on_window : NULL;
    (void)leave(NX_SUCCESS);
    if (notify != NULL) {
        notify(socket);
    }
}

UINT nx_tcp_enable(NX_IP *ip) {
    if (ip == NULL || ip->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    ip->has_tcp = 1;
    return NX_SUCCESS;
}

UINT nx_tcp_socket_create(NX_IP *ip, NX_TCP_SOCKET *socket, CHAR *name, ULONG type_of_service, ULONG fragment,
    UINT time_to_live, ULONG window, VOID (*on_urgent)(NX_TCP_SOCKET *socket),
    VOID (*on_disconnect)(NX_TCP_SOCKET *socket)) {
    (void)on_urgent;
    if (ip == NULL || ip->id != ALIVE || socket == NULL || socket->id == ALIVE) {
        return NX_PTR_ERROR;
    }
    if (!ip->has_tcp) {
        return NX_NOT_ENABLED;
    }
    if (type_of_service != NX_IP_NORMAL || fragment != NX_FRAGMENT_OKAY || time_to_live > 0xFF || window == 0
        || window > 0xFFFF) {
        return NX_OPTION_ERROR;
    }
    if (is_wrong_caller(1)) {
        return NX_CALLER_ERROR;
    }
    enter();
    memset(socket, 0, sizeof *socket);
    socket->ip = ip;
    socket->name = name;
    socket->window = window;
    socket->state = NX_TCP_CLOSED;
    socket->on_disconnect = on_disconnect;
    socket->budget = -1;
    socket->host = -1;
    socket->id = ALIVE;
    ip->sockets++;
    return leave(NX_SUCCESS);
}

UINT nx_tcp_socket_delete(NX_TCP_SOCKET *socket) {
    if (socket == NULL || socket->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    if (is_wrong_caller(0)) {
        return NX_CALLER_ERROR;
    }
    enter();
    if (socket->is_bound) {
        return leave(NX_STILL_BOUND);
    }
    socket->id = 0;
    socket->ip->sockets--;
    return leave(NX_SUCCESS);
}

UINT nx_tcp_socket_receive_notify(NX_TCP_SOCKET *socket, VOID (*notify)(NX_TCP_SOCKET *socket)) {
    if (socket == NULL || socket->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    if (is_wrong_caller(1)) {
        return NX_CALLER_ERROR;
    }
    enter();
    socket->on_receive = notify;
    return leave(NX_SUCCESS);
}

UINT nx_tcp_socket_window_update_notify_set(NX_TCP_SOCKET *socket, VOID (*notify)(NX_TCP_SOCKET *socket)) {
    if (socket == NULL || socket->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    if (is_wrong_caller(1)) {
        return NX_CALLER_ERROR;
    }
    enter();
    socket->on_window = notify;
    return leave(NX_SUCCESS);
}

UINT nx_tcp_socket_info_get(NX_TCP_SOCKET *socket, ULONG *packets_sent, ULONG *bytes_sent,
    ULONG *packets_received, ULONG *bytes_received, ULONG *retransmitted, ULONG *queued,
    ULONG *checksum_errors, ULONG *state, ULONG *transmit_queue_depth, ULONG *transmit_window,
    ULONG *receive_window) {
    if (socket == NULL || socket->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    clear(packets_sent);
    clear(bytes_sent);
    clear(packets_received);
    clear(bytes_received);
    clear(retransmitted);
    clear(queued);
    clear(checksum_errors);
    clear(transmit_queue_depth);
    clear(transmit_window);
    clear(receive_window);
    enter();
    *state = socket->state;
    return leave(NX_SUCCESS);
}

UINT nx_tcp_socket_mss_get(NX_TCP_SOCKET *socket, ULONG *mss) {
    if (socket == NULL || socket->id != ALIVE || mss == NULL) {
        return NX_PTR_ERROR;
    }
    if (is_wrong_caller(1)) {
        return NX_CALLER_ERROR;
    }
    *mss = MSS;
    return NX_SUCCESS;
}

UINT nx_tcp_client_socket_bind(NX_TCP_SOCKET *socket, UINT port, ULONG wait_option) {
    (void)wait_option;
    if (socket == NULL || socket->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    if (port != NX_ANY_PORT) {
        tx_standin_fail("binds to any port alone");
    }
    if (is_wrong_caller(0)) {
        return NX_CALLER_ERROR;
    }
    enter();
    if (socket->is_bound) {
        return leave(NX_ALREADY_BOUND);
    }
    socket->is_bound = 1;
    return leave(NX_SUCCESS);
}

static int open_host(ULONG version) {
    const int yes = 1;
    const int opened =
        socket(version == NX_IP_VERSION_V4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)setsockopt(opened, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return opened;
}

static int connect_host(NX_TCP_SOCKET *socket) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (socket->peer.nxd_ip_version == NX_IP_VERSION_V4) {
        memset(&v4, 0, sizeof v4);
        v4.sin_family = AF_INET;
        v4.sin_port = htons((uint16_t)socket->port);
        v4.sin_addr.s_addr = htonl(socket->peer.nxd_ip_address.v4);
        return connect(socket->host, (struct sockaddr *)&v4, sizeof v4);
    }
    memset(&v6, 0, sizeof v6);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons((uint16_t)socket->port);
    for (int i = 0; i < 4; i++) {
        const uint32_t word = htonl(socket->peer.nxd_ip_address.v6[i]);
        memcpy(&v6.sin6_addr.s6_addr[4 * i], &word, sizeof word);
    }
    return connect(socket->host, (struct sockaddr *)&v6, sizeof v6);
}

/* Waits until the host's socket is ready: 1, or 0: it was told to end. */
static int ready(NX_TCP_SOCKET *socket, short events) {
    struct pollfd doors[2] = {{socket->host, events, 0}, {socket->waker[0], POLLIN, 0}};
    while (poll(doors, 2, -1) < 0) {
    }
    return doors[1].revents == 0;
}

static void set_state(NX_TCP_SOCKET *socket, ULONG state) {
    enter();
    socket->state = state;
    tx_standin_changed();
    (void)leave(NX_SUCCESS);
}

/* 1: frames come and go; 0: nobody waits for it any more. */
static int await_link(NX_TCP_SOCKET *socket) {
    for (;;) {
        UINT link, is_cut;
        enter();
        link = socket->ip->link;
        is_cut = socket->is_cut;
        (void)leave(NX_SUCCESS);
        if (link == 1 || is_cut) {
            return !is_cut;
        }
        pause_a_bit();
    }
}

/* 1: go on; 0: the stream is over, or nobody wants it any more; -1: it was reset. */
static int take_some(NX_TCP_SOCKET *socket) {
    UCHAR bytes[8192];
    NX_PACKET *packet = NULL;
    ULONG room = 0, done = 0;
    ssize_t got;
    while (room == 0 || packet == NULL) {
        enter();
        if (socket->is_cut) {
            if (packet != NULL) {
                give_back(packet);
            }
            (void)leave(NX_SUCCESS);
            return 0;
        }
        room = socket->queued < socket->window && socket->ip->link == 1 ? socket->window - socket->queued : 0;
        if (packet == NULL && room != 0) {
            packet = grab(socket->ip->pool, 0);
        }
        (void)leave(NX_SUCCESS);
        if (packet == NULL) {
            pause_a_bit();
        }
    }
    room = room < sizeof bytes ? room : (ULONG)sizeof bytes;
    room = room < CHAIN * socket->ip->pool->payload ? room : CHAIN * socket->ip->pool->payload;
    got = ready(socket, POLLIN) && await_link(socket) ? recv(socket->host, bytes, room, 0) : 0;
    if (got <= 0) {
        (void)nx_packet_release(packet);
        return got < 0 ? -1 : 0;
    }
    while (done < (ULONG)got) {
        enter();
        packet = packet != NULL ? packet : grab(socket->ip->pool, 0);
        if (packet == NULL) {
            const UINT is_cut = socket->is_cut;
            (void)leave(NX_SUCCESS);
            if (is_cut) {
                return 0;
            }
            pause_a_bit();
            continue;
        }
        done += fill(packet, bytes + done, (ULONG)got - done, CHAIN);
        if (socket->tail != NULL) {
            socket->tail->queue_next = packet;
        } else {
            socket->head = packet;
        }
        socket->tail = packet;
        socket->queued += packet->nx_packet_length;
        packet = NULL;
        (void)leave(NX_SUCCESS);
        if (socket->on_receive != NULL) {
            socket->on_receive(socket);
        }
    }
    return 1;
}

/* What NetX Duo's IP thread does for this socket. */
static void *serve(void *given) {
    NX_TCP_SOCKET *socket = given;
    int why = 0, going = 1;
    socklen_t size = sizeof why;
    if (!await_link(socket)) {
        set_state(socket, NX_TCP_CLOSED);
        return NULL;
    }
    if (connect_host(socket) != 0 && errno != EINPROGRESS) {
        set_state(socket, NX_TCP_CLOSED);
        return NULL;
    }
    if (!ready(socket, POLLOUT) || getsockopt(socket->host, SOL_SOCKET, SO_ERROR, &why, &size) != 0
        || why != 0) {
        set_state(socket, NX_TCP_CLOSED);
        return NULL;
    }
    set_state(socket, NX_TCP_ESTABLISHED);
    while (going > 0) {
        going = take_some(socket);
    }
    enter();
    socket->state = socket->state == NX_TCP_ESTABLISHED && going == 0 ? NX_TCP_CLOSE_WAIT : NX_TCP_CLOSED;
    tx_standin_changed();
    (void)leave(NX_SUCCESS);
    if (socket->on_disconnect != NULL) {
        socket->on_disconnect(socket);
    }
    return NULL;
}

UINT nxd_tcp_client_socket_connect(NX_TCP_SOCKET *socket, NXD_ADDRESS *server, UINT port, ULONG wait_option) {
    if (socket == NULL || socket->id != ALIVE || server == NULL) {
        return NX_PTR_ERROR;
    }
    if (server->nxd_ip_version != NX_IP_VERSION_V4 && server->nxd_ip_version != NX_IP_VERSION_V6) {
        return NX_IP_ADDRESS_ERROR;
    }
    if (wait_option != NX_NO_WAIT) {
        tx_standin_fail("nobody waits for a connection");
    }
    if (is_wrong_caller(0)) {
        return NX_CALLER_ERROR;
    }
    enter();
    if (!socket->is_bound || socket->is_connected) {
        return leave(!socket->is_bound ? NX_NOT_BOUND : NX_NOT_CLOSED);
    }
    if (socket->ip->link == 2) {
        return leave(NX_IP_ADDRESS_ERROR);
    }
    socket->peer = *server;
    socket->port = port;
    socket->is_cut = 0;
    socket->budget = -1;
    socket->host = open_host(server->nxd_ip_version);
    if (socket->host < 0 || pipe(socket->waker) != 0) {
        tx_standin_fail("the host has no sockets");
    }
    socket->state = NX_TCP_SYN_SENT;
    socket->is_connected = 1;
    if (pthread_create(&socket->thread, NULL, serve, socket) != 0) {
        tx_standin_fail("the host has no threads");
    }
    return leave(NX_IN_PROGRESS);
}

/* The stream is over; the host's side of it too. */
static void cut(NX_TCP_SOCKET *socket) {
    enter();
    socket->is_cut = 1;
    (void)leave(NX_SUCCESS);
    (void)!write(socket->waker[1], "", 1);
    (void)pthread_join(socket->thread, NULL);
    (void)close(socket->host);
    (void)close(socket->waker[0]);
    (void)close(socket->waker[1]);
    socket->host = -1;
    enter();
    socket->state = NX_TCP_CLOSED;
    socket->is_connected = 0;
    (void)leave(NX_SUCCESS);
}

UINT nx_tcp_socket_disconnect(NX_TCP_SOCKET *socket, ULONG wait_option) {
    const ULONG since = tx_standin_ticks();
    ULONG state;
    UINT status = NX_SUCCESS;
    if (socket == NULL || socket->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    if (is_wrong_caller(0)) {
        return NX_CALLER_ERROR;
    }
    enter();
    state = socket->state;
    if (!socket->is_connected) {
        return leave(NX_NOT_CONNECTED);
    }
    if (state == NX_TCP_ESTABLISHED) {
        socket->state = NX_TCP_FIN_WAIT_1;
        if (socket->ip->link == 1) {
            (void)shutdown(socket->host, SHUT_WR);
        }
        while (socket->state != NX_TCP_CLOSED) {
            if (tx_standin_wait(wait_option, since) != 0) {
                status = NX_DISCONNECT_FAILED;
                break;
            }
        }
    }
    (void)leave(NX_SUCCESS);
    cut(socket);
    return state == NX_TCP_CLOSED ? NX_NOT_CONNECTED : status;
}

UINT nx_tcp_client_socket_unbind(NX_TCP_SOCKET *socket) {
    if (socket == NULL || socket->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    if (socket->is_connected) {
        return NX_NOT_CLOSED;
    }
    if (is_wrong_caller(0)) {
        return NX_CALLER_ERROR;
    }
    enter();
    if (!socket->is_bound) {
        return leave(NX_NOT_BOUND);
    }
    while (socket->head != NULL) {
        NX_PACKET *packet = socket->head;
        socket->head = packet->queue_next;
        give_back(packet);
    }
    socket->tail = NULL;
    socket->queued = 0;
    socket->is_bound = 0;
    return leave(NX_SUCCESS);
}

UINT nx_tcp_socket_receive(NX_TCP_SOCKET *socket, NX_PACKET **packet, ULONG wait_option) {
    if (socket == NULL || socket->id != ALIVE || packet == NULL) {
        return NX_PTR_ERROR;
    }
    if (wait_option != NX_NO_WAIT) {
        tx_standin_fail("nobody waits for what may come");
    }
    if (is_wrong_caller(0)) {
        return NX_CALLER_ERROR;
    }
    enter();
    *packet = socket->head;
    if (!socket->is_bound) {
        return leave(NX_NOT_BOUND);
    }
    if (socket->head == NULL) {
        return leave(socket->state == NX_TCP_CLOSED || socket->state == NX_TCP_CLOSE_WAIT ? NX_NOT_CONNECTED
                                                                                          : NX_NO_PACKET);
    }
    socket->head = socket->head->queue_next;
    if (socket->head == NULL) {
        socket->tail = NULL;
    }
    socket->queued -= (*packet)->nx_packet_length;
    (*packet)->queue_next = NULL;
    tx_standin_changed();
    return leave(NX_SUCCESS);
}

/* With the lock: what the window and the host's buffer take of a packet is cut off its front. */
static UINT send_parts(NX_TCP_SOCKET *socket, NX_PACKET *packet) {
    for (NX_PACKET *part = packet; part != NULL; part = part->nx_packet_next) {
        while (part->nx_packet_prepend_ptr != part->nx_packet_append_ptr) {
            size_t length = (size_t)(part->nx_packet_append_ptr - part->nx_packet_prepend_ptr);
            ssize_t sent;
            if (socket->budget >= 0 && length > (size_t)socket->budget) {
                length = (size_t)socket->budget;
            }
            sent = length != 0 ? send(socket->host, part->nx_packet_prepend_ptr, length, MSG_NOSIGNAL) : 0;
            if (sent < 0 && errno != EAGAIN) {
                return NX_NOT_CONNECTED;
            }
            if (sent <= 0) {
                return NX_WINDOW_OVERFLOW;
            }
            part->nx_packet_prepend_ptr += sent;
            packet->nx_packet_length -= (ULONG)sent;
            socket->budget -= socket->budget > 0 ? (LONG)sent : 0;
        }
    }
    return NX_SUCCESS;
}

UINT nx_tcp_socket_send(NX_TCP_SOCKET *socket, NX_PACKET *packet, ULONG wait_option) {
    UINT status;
    if (socket == NULL || socket->id != ALIVE || packet == NULL) {
        return NX_PTR_ERROR;
    }
    if (wait_option != NX_NO_WAIT) {
        tx_standin_fail("nobody waits for the window");
    }
    if (is_wrong_caller(0)) {
        return NX_CALLER_ERROR;
    }
    enter();
    if (socket->state != NX_TCP_ESTABLISHED && socket->state != NX_TCP_CLOSE_WAIT) {
        return leave(NX_NOT_CONNECTED);
    }
    status = socket->ip->link == 1 ? send_parts(socket, packet) : NX_TX_QUEUE_DEPTH;
    if (status == NX_SUCCESS) {
        give_back(packet);
        tx_standin_changed();
    }
    return leave(status);
}
