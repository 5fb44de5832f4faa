#define _POSIX_C_SOURCE 200809L

#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct interrupt {
    void (*routine)(void *);
    void *given;
} interrupt;

void host_ip_create(NX_IP *ip, NX_PACKET_POOL *pool) {
    nx_standin_ip_create(ip, pool);
    if (nx_tcp_enable(ip) != NX_SUCCESS) {
        abort();
    }
}

NXD_ADDRESS host_server(UINT version) {
    NXD_ADDRESS address;
    memset(&address, 0, sizeof address);
    address.nxd_ip_version = version;
    if (version == NX_IP_VERSION_V4) {
        address.nxd_ip_address.v4 = IP_ADDRESS(127, 0, 0, 1);
    } else {
        address.nxd_ip_address.v6[3] = 1;
    }
    return address;
}

#ifdef NX_SECURE_ENABLE
UINT host_tls_setup(NX_SECURE_TLS_SESSION *tls, const char *trusted) {
    return nx_standin_tls_create(tls, trusted, "localhost");
}
#endif

int host_read_line(char *line, size_t size) {
    char *end;
    if (fgets(line, (int)size, stdin) == NULL) {
        return 0;
    }
    end = strchr(line, '\n');
    if (end != NULL) {
        *end = 0;
    }
    return 1;
}

void host_say(const char *format, ...) {
    va_list rest;
    va_start(rest, format);
    flockfile(stdout);
    (void)vprintf(format, rest);
    (void)fflush(stdout);
    funlockfile(stdout);
    va_end(rest);
}

uint32_t host_now_us(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U);
}

int host_random(void *memory, size_t length) {
    FILE *source = fopen("/dev/urandom", "rb");
    size_t got = 0;
    if (source != NULL) {
        got = fread(memory, 1, length, source);
        (void)fclose(source);
    }
    return got == length;
}

int host_save(const char *path, const void *data, size_t length) {
    FILE *file = fopen(path, "wb");
    size_t done = 0;
    if (file != NULL) {
        done = fwrite(data, 1, length, file);
        done = fclose(file) == 0 ? done : 0;
    }
    return done == length;
}

static void *run(void *given) {
    interrupt one;
    memcpy(&one, given, sizeof one);
    free(given);
    tx_standin_interrupt(1);
    one.routine(one.given);
    return NULL;
}

void host_interrupt(void (*routine)(void *), void *given, int waits) {
    pthread_t thread;
    interrupt *one = malloc(sizeof *one);
    if (one == NULL) {
        abort();
    }
    one->routine = routine;
    one->given = given;
    if (pthread_create(&thread, NULL, run, one) != 0) {
        abort();
    }
    (void)(waits ? pthread_join(thread, NULL) : pthread_detach(thread));
}

ULONG host_allocated(const TX_BYTE_POOL *pool, ULONG *bytes) {
    *bytes = pool->used;
    return pool->allocated;
}

ULONG host_sockets(const NX_IP *ip) {
    return ip->sockets;
}

ULONG host_stack_used(const TX_THREAD *thread) {
    return tx_standin_stack_used(thread);
}

void host_refuse(NX_PACKET_POOL *pool, LONG refusals) {
    nx_standin_refuse(pool, refusals);
}

void host_window(NX_TCP_SOCKET *socket, LONG bytes) {
    nx_standin_window(socket, bytes);
}

void host_link(NX_IP *ip, UINT state) {
    nx_standin_link(ip, state);
}
