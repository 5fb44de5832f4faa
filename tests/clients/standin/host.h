/* What the program that the tests drive (threadx_device.c) needs of the machine below the kernel. All else in it is
 * ThreadX and NetX Duo, so it runs as it stands on the real ones too, where somebody supplies this file's functions.
 * There a thread can be stopped anywhere: neither stdio nor malloc may be used beside these. */
#ifndef HOST_H
#define HOST_H

#include <stddef.h>
#include <stdint.h>

#include "nx_api.h"

/* An IP instance with TCP that takes its packets from `pool`. */
void host_ip_create(NX_IP *ip, NX_PACKET_POOL *pool);
/* Where the test's server listens: NX_IP_VERSION_V4 or _V6. */
NXD_ADDRESS host_server(UINT version);

#ifdef NX_SECURE_ENABLE
#    include "nx_secure_tls_api.h"
/* For TW_THREADX_CONFIG.tls_setup: trusts the authority whose certificate (DER) is in that file, and a server that is
 * called localhost. */
UINT host_tls_setup(NX_SECURE_TLS_SESSION *tls, const char *trusted);
#endif

/* A line without its end, for as long as that takes; 0: no more will come. */
int host_read_line(char *line, size_t size);
/* One line of output, whole. */
void host_say(const char *format, ...);
/* Microseconds of any clock. */
uint32_t host_now_us(void);
int host_random(void *memory, size_t length);
int host_save(const char *path, const void *data, size_t length);

/* Runs it as an interrupt; `waits`: until it has ended, so `given` may be on the stack. */
void host_interrupt(void (*routine)(void *), void *given, int waits);

/* Pieces of the byte pool in use, and their bytes; sockets. */
ULONG host_allocated(const TX_BYTE_POOL *pool, ULONG *bytes);
ULONG host_sockets(const NX_IP *ip);
/* The most bytes of its stack that a thread has used. */
ULONG host_stack_used(const TX_THREAD *thread);

/* The next so many packets that the program asks for are refused; negative: all from here on. */
void host_refuse(NX_PACKET_POOL *pool, LONG refusals);
/* The window of the peer: so many bytes may still be sent; negative: any. */
void host_window(NX_TCP_SOCKET *socket, LONG bytes);
/* The network: 0: the cable is out; 1: as at first; 2: no address yet, DHCP is still asking. */
void host_link(NX_IP *ip, UINT state);

#endif
