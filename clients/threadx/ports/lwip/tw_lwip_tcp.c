/* One TCP connection. lwIP's callbacks decode and send, and note what happened; a connection is ended by the main loop
 * alone, where no caller of a callback still holds the pcb. */
#include <string.h>

#include "tw_lwip_internal.h"

/* Half seconds after which lwIP calls back by itself. */
#define IDLE_HALF_SECONDS 2
/* Below that no smaller piece is tried where lwIP has no memory to send. */
#define LEAST_PIECE 32U

static tw_lwip *session_of(void *given) {
    return (tw_lwip *)given;
}

static err_t on_connected(void *given, struct tcp_pcb *pcb, err_t error) {
    (void)pcb;
    (void)error; /* always ERR_OK, says lwIP */
    session_of(given)->is_connected = 1;
    (void)tw_lwip_tcp_write(session_of(given));
    return ERR_OK;
}

static struct tcp_pcb *let_go(tw_lwip *session) {
    struct tcp_pcb *pcb = session->pcb;
    if (pcb != NULL) {
        tcp_arg(pcb, NULL);
        tcp_recv(pcb, NULL); /* lwIP throws away what still comes */
        tcp_sent(pcb, NULL);
        tcp_poll(pcb, NULL, 0);
        tcp_err(pcb, NULL);
        session->pcb = NULL;
    }
    return pcb;
}

static err_t on_received(void *given, struct tcp_pcb *pcb, struct pbuf *packet, err_t error) {
    tw_lwip *session = session_of(given);
    (void)pcb;
    (void)error; /* likewise */
    if (packet == NULL) {
        session->stream_ended = 1;
        if (session->is_shut) {
            (void)let_go(
                session); /* both ends are closed: it is in TIME-WAIT, and lwIP frees it when it likes */
        }
        return ERR_OK;
    }
    if (session->chain == NULL) {
        session->chain = packet;
        session->at = 0;
    } else if ((u32_t)session->chain->tot_len + packet->tot_len > 0xFFFFU) {
        return ERR_MEM; /* a scaled window is larger than a chain may be: lwIP keeps it and asks again */
    } else {
        pbuf_cat(session->chain, packet);
    }
    if (tw_lwip_tcp_decode(session) == TW_OK) {
        (void)tw_lwip_tcp_write(session);
    }
    return ERR_OK;
}

static err_t on_sent(void *given, struct tcp_pcb *pcb, u16_t length) {
    (void)pcb;
    (void)length;
    (void)tw_lwip_tcp_write(session_of(given));
    return ERR_OK;
}

static err_t on_idle(void *given, struct tcp_pcb *pcb) {
    (void)pcb;
    (void)tw_lwip_tcp_write(session_of(given));
    return ERR_OK;
}

/* The pcb is gone already. */
static void on_error(void *given, err_t error) {
    session_of(given)->pcb = NULL;
    session_of(given)->fault = error;
}

err_t tw_lwip_tcp_connect(tw_lwip *session, const ip_addr_t *address) {
    struct tcp_pcb *pcb = tcp_new_ip_type(IP_GET_TYPE(address));
    err_t error;
    session->stream_ended = session->is_connected = session->is_shut = session->is_held = 0;
    session->fault = ERR_OK;
    if (pcb == NULL) {
        session->own.memory_shortages++;
        return ERR_MEM;
    }
    session->pcb = pcb;
    tcp_arg(pcb, session);
    tcp_recv(pcb, on_received);
    tcp_sent(pcb, on_sent);
    tcp_poll(pcb, on_idle, IDLE_HALF_SECONDS);
    tcp_err(pcb, on_error);
    tcp_nagle_disable(pcb); /* input is small and must not wait for company */
    error = tcp_connect(pcb, address, session->config.port, on_connected);
    if (error != ERR_OK) {
        session->own.memory_shortages += error == ERR_MEM;
        tw_lwip_tcp_abort(session);
    }
    return error;
}

/* The first pbuf is done with. */
static void drop_first(tw_lwip *session) {
    struct pbuf *first = session->chain, *next = first->next;
    if (next != NULL) {
        pbuf_ref(next); /* pbuf_free() goes on to the next as long as nobody else holds it */
    }
    (void)pbuf_free(first);
    session->chain = next;
    session->at = 0;
}

static void open_window(tw_lwip *session, u32_t taken) {
    session->own.bytes_received += taken;
    if (session->pcb != NULL && taken != 0) {
        tcp_recved(session->pcb, (u16_t)taken); /* a chain is never longer */
    }
}

tw_status tw_lwip_tcp_decode(tw_lwip *session) {
    size_t consumed;
    u32_t taken = 0;
    /* Rows of a rectangle and acknowledgements that waited for the DMA. */
    tw_status status = tw_client_feed(session->client, NULL, 0, &consumed);
    while (status == TW_OK && session->chain != NULL) {
        const struct pbuf *first = session->chain;
        const u16_t left = (u16_t)(first->len - session->at);
        /* The handshake byte by byte: callbacks of the first picture shall find that input is taken. */
        const u16_t part = left != 0 && !session->is_open ? 1 : left;
        if (part != 0) {
            status =
                tw_client_feed(session->client, (const u8_t *)first->payload + session->at, part, &consumed);
            taken += (u32_t)consumed;
            session->at = (u16_t)(session->at + consumed);
            tw_lwip_look_whether_open(session);
            if (consumed < part) {
                break;
            }
        }
        if (part == left) {
            drop_first(session);
        }
    }
    if (status == TW_OK && session->chain != NULL) {
        session->own.draw_waits += !session->is_held;
        session->is_held = 1;
    } else {
        session->is_held = 0;
    }
    open_window(session, taken);
    return status;
}

/* lwIP needs a piece of memory as large as what it is to send: where that is short, less will do for now. */
static err_t send_some(tw_lwip *session, const uint8_t *data, size_t length, size_t *sent) {
    const size_t room = tcp_sndbuf(session->pcb);
    size_t part = length < room ? length : room;
    err_t error = ERR_MEM;
    *sent = 0;
    if (part == 0 || tcp_sndqueuelen(session->pcb) >= TCP_SND_QUEUELEN) {
        session->own.window_waits++;
        return ERR_MEM;
    }
    if (part > 0xFFFFU) {
        part = 0xFFFFU;
    }
    while (error == ERR_MEM) {
        error = tcp_write(session->pcb, data, (u16_t)part, TCP_WRITE_FLAG_COPY);
        if (error == ERR_OK) {
            *sent = part;
        } else if (part <= LEAST_PIECE) {
            break;
        }
        part /= 2;
    }
    session->own.memory_shortages += error == ERR_MEM;
    return error;
}

unsigned tw_lwip_tcp_write(tw_lwip *session) {
    size_t waiting = 0, sent = 1;
    if (session->pcb == NULL || !session->is_connected) {
        return 0;
    }
    while (sent != 0) {
        const uint8_t *data = tw_client_output(session->client, &waiting);
        if (waiting == 0) {
            break;
        }
        if (send_some(session, data, waiting, &sent) != ERR_OK) {
            break;
        }
        tw_client_sent(session->client, sent);
        session->own.bytes_sent += sent;
    }
    (void)tcp_output(session->pcb); /* what it has no memory for now goes with the next, or by lwIP's timer */
    return waiting == 0;
}

void tw_lwip_tcp_discard(tw_lwip *session) {
    if (session->chain != NULL) {
        const u32_t left = (u32_t)session->chain->tot_len - session->at;
        (void)pbuf_free(session->chain);
        session->chain = NULL;
        open_window(session, left);
    }
}

void tw_lwip_tcp_close(tw_lwip *session) {
    struct tcp_pcb *pcb;
    tw_lwip_tcp_discard(session); /* before: a connection that is closed with unread bytes is reset */
    pcb = let_go(session);
    if (pcb != NULL && tcp_close(pcb) != ERR_OK) {
        tcp_abort(pcb);
    }
}

void tw_lwip_tcp_shut(tw_lwip *session) {
    if (!session->is_shut && tcp_shutdown(session->pcb, 0, 1) == ERR_OK) {
        session->is_shut = 1;
    }
}

void tw_lwip_tcp_abort(tw_lwip *session) {
    struct tcp_pcb *pcb;
    tw_lwip_tcp_discard(session);
    pcb = let_go(session);
    if (pcb != NULL) {
        tcp_abort(pcb);
    }
}
