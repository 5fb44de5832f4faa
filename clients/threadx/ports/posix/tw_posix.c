#define _POSIX_C_SOURCE 200809L

#include "tw_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tw_posix_tls.h"

#ifndef MSG_NOSIGNAL
#    define MSG_NOSIGNAL 0
#endif

#define TICK_MS 1000

static int would_block(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* 0, or -1 with errno. A blocking connect() would wait for minutes where nobody answers. */
static int connect_socket(int opened, const struct addrinfo *address) {
    struct pollfd door = {opened, POLLOUT, 0};
    socklen_t size = sizeof errno;
    int ready, why = 0;
    if (fcntl(opened, F_SETFL, O_NONBLOCK) != 0) {
        return -1;
    }
    if (connect(opened, address->ai_addr, address->ai_addrlen) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return -1;
    }
    do {
        ready = poll(&door, 1, TW_POSIX_CONNECT_MS);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0 || getsockopt(opened, SOL_SOCKET, SO_ERROR, &why, &size) != 0) {
        return -1;
    }
    errno = ready == 0 ? ETIMEDOUT : why;
    return errno == 0 ? 0 : -1;
}

static int open_socket(const struct addrinfo *address) {
    const int yes = 1;
    const int opened = socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (opened < 0) {
        return -1;
    }
    if (connect_socket(opened, address) != 0) {
        const int why = errno;
        close(opened);
        errno = why;
        return -1;
    }
    /* Input is small and must not wait for company. */
    (void)setsockopt(opened, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return opened;
}

int tw_posix_connect(tw_posix *link, const char *host, const char *port, const char **problem) {
    struct addrinfo wanted, *found = NULL;
    int failed;
    link->socket = -1;
    link->stream_ended = 0;
    link->tls = NULL;
    link->tls_more = link->tls_failed = 0;
    link->at = link->end = 0;
    memset(&wanted, 0, sizeof wanted);
    wanted.ai_socktype = SOCK_STREAM;
    failed = getaddrinfo(host, port, &wanted, &found);
    if (failed != 0) {
        *problem = gai_strerror(failed);
        return -1;
    }
    for (const struct addrinfo *each = found; each != NULL && link->socket < 0; each = each->ai_next) {
        link->socket = open_socket(each);
    }
    freeaddrinfo(found);
    if (link->socket < 0) {
        *problem = strerror(errno);
        return -1;
    }
    return 0;
}

/* A socket that is closed with unread bytes is reset, and the reset would overtake our last words. */
static void linger(tw_posix *link) {
    const uint32_t started_ms = tw_posix_now_ms();
    uint32_t passed_ms = 0;
    if (shutdown(link->socket, SHUT_WR) != 0) {
        return;
    }
    while (passed_ms < TW_POSIX_FAREWELL_MS) {
        struct pollfd door = {link->socket, POLLIN, 0};
        ssize_t got;
        if (poll(&door, 1, (int)(TW_POSIX_FAREWELL_MS - passed_ms)) == 0) {
            return;
        }
        got = recv(link->socket, link->chunk, sizeof link->chunk, 0);
        if (got == 0 || (got < 0 && !would_block())) {
            return;
        }
        passed_ms = tw_posix_now_ms() - started_ms;
    }
}

void tw_posix_disconnect(tw_posix *link) {
    if (link->socket < 0) {
        return;
    }
    if (link->tls != NULL) {
        tw_posix_tls_end(link);
    }
    linger(link);
    close(link->socket);
    link->socket = -1;
}

/* 0, or -1 where the socket failed. */
static int read_chunk(tw_posix *link) {
    const ssize_t got = link->tls != NULL ? tw_posix_tls_read(link, link->chunk, sizeof link->chunk)
                                          : recv(link->socket, link->chunk, sizeof link->chunk, 0);
    if (got > 0) {
        link->at = 0;
        link->end = (size_t)got;
    } else if (got == 0) {
        link->stream_ended = 1;
    } else if (!would_block()) {
        return -1;
    }
    return 0;
}

static int write_output(tw_posix *link, tw_client *client) {
    for (;;) {
        size_t length;
        const uint8_t *data = tw_client_output(client, &length);
        ssize_t sent;
        if (length == 0) {
            return 0;
        }
        sent = link->tls != NULL ? tw_posix_tls_write(link, data, length)
                                 : send(link->socket, data, length, MSG_NOSIGNAL);
        if (sent < 0) {
            return would_block() ? 0 : -1;
        }
        tw_client_sent(client, (size_t)sent);
    }
}

/* 0: go on, 1: the connection is over. */
static int decode(tw_posix *link, tw_client *client) {
    size_t consumed;
    const tw_status status = tw_client_feed(client, link->chunk + link->at, link->end - link->at, &consumed);
    link->at += consumed;
    if (status == TW_OK && link->stream_ended && !tw_client_pending(client)) {
        (void)(tw_client_end(client) == TW_OK); /* tw_client_error() keeps it */
        return 1;
    }
    return status != TW_OK;
}

int tw_posix_step(tw_posix *link, tw_client *client, int timeout_ms) {
    struct pollfd door;
    size_t waiting;
    int over;
    /* Nothing is read before the client has taken what is here: the server is held back by TCP. */
    const int reads = link->at == link->end && !link->stream_ended;
    /* What TLS holds decrypted, poll() does not know of. */
    const int more = reads && link->tls_more;
    (void)tw_client_output(client, &waiting);
    door.revents = 0;
    door.events = (short)((reads ? POLLIN : 0)
                          | (waiting != 0 || (link->tls != NULL && tw_posix_tls_unsent(link)) ? POLLOUT : 0));
    /* A reset is reported without being asked for: while a draw is pending that would go round and round. */
    door.fd = door.events != 0 ? link->socket : -1;
    if (poll(&door, 1, more ? 0 : timeout_ms < TICK_MS ? timeout_ms : TICK_MS) < 0 && errno != EINTR) {
        return -1;
    }
    if ((more || (door.revents & (POLLIN | POLLHUP | POLLERR))) && link->at == link->end
        && read_chunk(link) != 0) {
        return -1;
    }
    over = decode(link, client) || tw_client_tick(client, tw_posix_now_ms()) != TW_OK;
    if (write_output(link, client) != 0 && !over) {
        return -1;
    }
    return over;
}

int tw_posix_random(void *bytes, size_t length) {
    FILE *source = fopen("/dev/urandom", "rb");
    size_t got = 0;
    if (source != NULL) {
        got = fread(bytes, 1, length, source);
        (void)fclose(source);
    }
    return got == length ? 0 : -1;
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

uint32_t tw_posix_now_us(void *user) {
    (void)user;
    return (uint32_t)now_us();
}

uint32_t tw_posix_now_ms(void) {
    return (uint32_t)(now_us() / 1000);
}
