/* One TCP connection: NetX Duo wakes the session's thread, which then receives and sends without waiting. */
#include "tw_threadx.h"

#include "tw_threadx_internal.h"

/* While a connection is made, NetX Duo tells only some that it stands. */
#define LOOK_TICKS 2UL
/* For what TLS puts after the data of a record. */
#define TLS_TRAILER ((ULONG)64)

/* Runs in the IP thread. */
static VOID on_event(NX_TCP_SOCKET *socket) {
    UCHAR *at = (UCHAR *)socket;
    tw_threadx_wake((TW_THREADX *)(VOID *)(at - offsetof(TW_THREADX, socket)));
}

UINT tw_threadx_link_create(TW_THREADX *session, CHAR *name, NX_IP *ip) {
    const ULONG window = session->config.window != 0 ? session->config.window : TW_THREADX_WINDOW;
    UINT status = nx_tcp_socket_create(ip, &session->socket, name, NX_IP_NORMAL, NX_FRAGMENT_OKAY,
        NX_IP_TIME_TO_LIVE, window, NX_NULL, on_event);
    if (status != NX_SUCCESS) {
        return status;
    }
    status = nx_tcp_socket_receive_notify(&session->socket, on_event);
    if (status == NX_SUCCESS) {
        status = nx_tcp_socket_window_update_notify_set(&session->socket, on_event);
    }
    if (status != NX_SUCCESS) {
        (void)nx_tcp_socket_delete(&session->socket);
    }
    return status;
}

static UINT await_established(TW_THREADX *session) {
    const ULONG since_ms = tw_threadx_now_ms(session);
    for (;;) {
        ULONG state = NX_TCP_CLOSED;
        const UINT status = nx_tcp_socket_info_get(&session->socket, NX_NULL, NX_NULL, NX_NULL, NX_NULL,
            NX_NULL, NX_NULL, NX_NULL, &state, NX_NULL, NX_NULL, NX_NULL);
        if (status != NX_SUCCESS) {
            return status;
        }
        if (state == NX_TCP_ESTABLISHED || state == NX_TCP_CLOSE_WAIT) {
            return NX_SUCCESS;
        }
        if (state != NX_TCP_SYN_SENT && state != NX_TCP_SYN_RECEIVED) {
            return NX_NOT_CONNECTED;
        }
        if (!tw_threadx_is_wanted(session)) {
            return NX_WAIT_ABORTED;
        }
        if (tw_threadx_now_ms(session) - since_ms >= TW_THREADX_CONNECT_MS) {
            return NX_IN_PROGRESS;
        }
        tw_threadx_wait(session, LOOK_TICKS);
    }
}

UINT tw_threadx_link_open(TW_THREADX *session) {
    TW_THREADX_CONFIG *config = &session->config;
    UINT status;
    if (config->resolve != NULL) {
        status =
            config->resolve(config->client.user, &config->server, tw_threadx_ticks(TW_THREADX_CONNECT_MS));
        if (status != NX_SUCCESS) {
            return status;
        }
    }
    status = nx_tcp_client_socket_bind(&session->socket, NX_ANY_PORT, NX_NO_WAIT);
    if (status != NX_SUCCESS) {
        return status;
    }
    session->is_bound = 1;
    status = nxd_tcp_client_socket_connect(&session->socket, &config->server, config->port, NX_NO_WAIT);
    if (status == NX_IN_PROGRESS) {
        status = await_established(session);
    }
#if TW_THREADX_WITH_TLS
    if (status == NX_SUCCESS && config->tls_setup != NULL) {
        status = tw_threadx_tls_open(session);
    }
#endif
    return status;
}

UINT tw_threadx_link_receive(TW_THREADX *session, NX_PACKET **packet) {
    UINT status;
    *packet = NULL;
#if TW_THREADX_WITH_TLS
    if (session->has_tls) {
        status = nx_secure_tls_session_receive(&session->tls, packet, NX_NO_WAIT);
        if (status == NX_SUCCESS && *packet == NULL) {
            return NX_NO_PACKET;
        }
    } else
#endif
    {
        status = nx_tcp_socket_receive(&session->socket, packet, NX_NO_WAIT);
    }
    session->own.packets_received += status == NX_SUCCESS;
    return status;
}

VOID tw_threadx_link_release(TW_THREADX *session, NX_PACKET *packet) {
#if TW_THREADX_WITH_TLS
    if (session->has_tls) {
        (void)nx_secure_tls_packet_release(packet);
        return;
    }
#endif
    (void)session;
    (void)nx_packet_release(packet);
}

UINT tw_threadx_is_later(UINT status) {
    return status == NX_NO_PACKET || status == NX_WINDOW_OVERFLOW || status == NX_TX_QUEUE_DEPTH;
}

static UINT allocate(TW_THREADX *session, NX_PACKET **packet) {
#if TW_THREADX_WITH_TLS
    if (session->has_tls) {
        return nx_secure_tls_packet_allocate(&session->tls, session->pool, packet, NX_NO_WAIT);
    }
#endif
    return nx_packet_allocate(session->pool, packet, NX_TCP_PACKET, NX_NO_WAIT);
}

static UINT submit(TW_THREADX *session, NX_PACKET *packet) {
#if TW_THREADX_WITH_TLS
    if (session->has_tls) {
        /* A record that is not taken whole would end TLS, so here, and only here, the window is waited for. */
        return nx_secure_tls_session_send(&session->tls, packet, tw_threadx_ticks(TW_THREADX_FAREWELL_MS));
    }
#endif
    return nx_tcp_socket_send(&session->socket, packet, NX_NO_WAIT);
}

/* How much fits into one packet, and into one segment. */
static ULONG room_in(TW_THREADX *session, const NX_PACKET *packet, size_t wanted) {
    ULONG room = (ULONG)(packet->nx_packet_data_end - packet->nx_packet_append_ptr);
    ULONG segment = 0;
    if (nx_tcp_socket_mss_get(&session->socket, &segment) == NX_SUCCESS && segment != 0 && segment < room) {
        room = segment;
    }
#if TW_THREADX_WITH_TLS
    if (session->has_tls && room > 2 * TLS_TRAILER) {
        room -= TLS_TRAILER;
    }
#endif
    return wanted < room ? (ULONG)wanted : room;
}

/* One packet; *sent: bytes that are NetX Duo's now. */
static UINT send_some(TW_THREADX *session, const uint8_t *data, size_t length, ULONG *sent) {
    NX_PACKET *packet = NULL;
    ULONG part;
    UINT status = allocate(session, &packet);
    *sent = 0;
    if (status != NX_SUCCESS) {
        return status;
    }
    part = room_in(session, packet, length);
    status = nx_packet_data_append(packet, (VOID *)(uintptr_t)data, part, session->pool, NX_NO_WAIT);
    if (status == NX_SUCCESS) {
        status = submit(session, packet);
        if (status == NX_SUCCESS) {
            *sent = part;
            session->own.packets_sent++;
            return NX_SUCCESS;
        }
        /* What the window took of a packet is cut off its front. */
        if (tw_threadx_is_later(status) && packet->nx_packet_length < part) {
            *sent = part - packet->nx_packet_length;
        }
    }
    tw_threadx_link_release(session, packet);
    return status;
}

UINT tw_threadx_link_write(TW_THREADX *session) {
    for (;;) {
        size_t waiting;
        ULONG sent;
        UINT status;
        const uint8_t *data = tw_client_output(session->client, &waiting);
        if (waiting == 0) {
            return NX_SUCCESS;
        }
        status = send_some(session, data, waiting, &sent);
        tw_client_sent(session->client, sent);
        session->own.bytes_sent += sent;
        if (status != NX_SUCCESS) {
            session->own.packet_shortages += status == NX_NO_PACKET;
            session->own.window_waits += status == NX_WINDOW_OVERFLOW || status == NX_TX_QUEUE_DEPTH;
            return status;
        }
    }
}

VOID tw_threadx_link_close(TW_THREADX *session) {
    const ULONG ticks = tw_threadx_ticks(TW_THREADX_FAREWELL_MS);
    NX_PACKET *packet = NULL;
    if (session->packet != NULL) {
        tw_threadx_link_release(session, session->packet);
        session->packet = session->piece = NULL;
    }
#if TW_THREADX_WITH_TLS
    tw_threadx_tls_close(session, ticks);
#endif
    if (!session->is_bound) {
        return;
    }
    /* The window is open again for the peer's last words, and its end. */
    while (nx_tcp_socket_receive(&session->socket, &packet, NX_NO_WAIT) == NX_SUCCESS) {
        (void)nx_packet_release(packet);
    }
    (void)nx_tcp_socket_disconnect(&session->socket, ticks);
    (void)nx_tcp_client_socket_unbind(&session->socket);
    session->is_bound = 0;
}
