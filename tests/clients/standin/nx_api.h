/* A stand-in for NetX Duo on POSIX sockets, for tests: packet pools, packets in chains, and TCP client sockets whose
 * callbacks come from a thread of their own, as NetX Duo's come from its IP thread. Names, arguments and status codes
 * are those of NetX Duo's documentation. What a test needs beyond that is at the end. */
#ifndef NX_API_H
#define NX_API_H

#include "tx_api.h"

#define NX_NULL ((void *)0)
#define NX_NO_WAIT 0U

#define NX_SUCCESS 0x00U
#define NX_NO_PACKET 0x01U
#define NX_PTR_ERROR 0x07U
#define NX_SIZE_ERROR 0x09U
#define NX_OPTION_ERROR 0x0AU
#define NX_CALLER_ERROR 0x11U
#define NX_NOT_ENABLED 0x14U
#define NX_WAIT_ABORTED 0x1AU
#define NX_IP_ADDRESS_ERROR 0x21U
#define NX_ALREADY_BOUND 0x22U
#define NX_NOT_BOUND 0x24U
#define NX_NOT_CLOSED 0x35U
#define NX_IN_PROGRESS 0x37U
#define NX_NOT_CONNECTED 0x38U
#define NX_WINDOW_OVERFLOW 0x39U
#define NX_DISCONNECT_FAILED 0x41U
#define NX_STILL_BOUND 0x42U
#define NX_INVALID_PARAMETERS 0x4DU
#define NX_TX_QUEUE_DEPTH 0x49U
#define NX_CONTINUE 0x55U

#define NX_TCP_CLOSED 1U
#define NX_TCP_SYN_SENT 3U
#define NX_TCP_SYN_RECEIVED 4U
#define NX_TCP_ESTABLISHED 5U
#define NX_TCP_CLOSE_WAIT 6U
#define NX_TCP_FIN_WAIT_1 7U

#define NX_IP_VERSION_V4 4U
#define NX_IP_VERSION_V6 6U
#define IP_ADDRESS(a, b, c, d) ((ULONG)(a) << 24 | (ULONG)(b) << 16 | (ULONG)(c) << 8 | (ULONG)(d))

#define NX_IP_NORMAL 0U
#define NX_FRAGMENT_OKAY 0U
#define NX_IP_TIME_TO_LIVE 0x80U
#define NX_ANY_PORT 0U
/* Room in front of a packet's data for the headers below. */
#define NX_TCP_PACKET 76U

typedef struct NXD_ADDRESS_STRUCT {
    ULONG nxd_ip_version;
    union {
        ULONG v4;
        ULONG v6[4];
    } nxd_ip_address;
} NXD_ADDRESS;

typedef struct NX_PACKET_STRUCT {
    struct NX_PACKET_STRUCT *nx_packet_next, *queue_next;
    struct NX_PACKET_POOL_STRUCT *pool;
    UCHAR *nx_packet_data_start, *nx_packet_data_end;
    UCHAR *nx_packet_prepend_ptr, *nx_packet_append_ptr;
    ULONG nx_packet_length; /* of the whole chain */
    UINT is_allocated;
} NX_PACKET;

typedef struct NX_PACKET_POOL_STRUCT {
    ULONG id, payload, total, available;
    CHAR *name;
    NX_PACKET *free;
    LONG refusals; /* see below */
} NX_PACKET_POOL;

typedef struct NX_IP_STRUCT {
    ULONG id;
    NX_PACKET_POOL *pool;
    UINT has_tcp, sockets;
    UINT link; /* see below */
} NX_IP;

typedef struct NX_TCP_SOCKET_STRUCT {
    ULONG id;
    CHAR *name;
    NX_IP *ip;
    ULONG window, state;
    UINT is_bound, is_connected, is_cut;
    NXD_ADDRESS peer;
    UINT port;
    int host, waker[2]; /* the host's socket; what ends its thread's waiting */
    pthread_t thread;
    NX_PACKET *head, *tail;
    ULONG queued; /* bytes */
    LONG budget;  /* see below */
    VOID (*on_disconnect)(struct NX_TCP_SOCKET_STRUCT *socket);
    VOID (*on_receive)(struct NX_TCP_SOCKET_STRUCT *socket);
    VOID (*on_window)(struct NX_TCP_SOCKET_STRUCT *socket);
} NX_TCP_SOCKET;

VOID nx_system_initialize(VOID);
UINT nx_packet_pool_create(NX_PACKET_POOL *pool, CHAR *name, ULONG payload, VOID *memory, ULONG size);
UINT nx_packet_pool_info_get(NX_PACKET_POOL *pool, ULONG *total, ULONG *available, ULONG *empty_requests,
    ULONG *empty_suspensions, ULONG *invalid_releases);
UINT nx_packet_allocate(NX_PACKET_POOL *pool, NX_PACKET **packet, ULONG type, ULONG wait_option);
UINT nx_packet_data_append(
    NX_PACKET *packet, VOID *data, ULONG size, NX_PACKET_POOL *pool, ULONG wait_option);
UINT nx_packet_release(NX_PACKET *packet);

UINT nx_tcp_enable(NX_IP *ip);
UINT nx_tcp_socket_create(NX_IP *ip, NX_TCP_SOCKET *socket, CHAR *name, ULONG type_of_service, ULONG fragment,
    UINT time_to_live, ULONG window, VOID (*on_urgent)(NX_TCP_SOCKET *socket),
    VOID (*on_disconnect)(NX_TCP_SOCKET *socket));
UINT nx_tcp_socket_delete(NX_TCP_SOCKET *socket);
UINT nx_tcp_socket_receive_notify(NX_TCP_SOCKET *socket, VOID (*notify)(NX_TCP_SOCKET *socket));
UINT nx_tcp_socket_window_update_notify_set(NX_TCP_SOCKET *socket, VOID (*notify)(NX_TCP_SOCKET *socket));
UINT nx_tcp_socket_info_get(NX_TCP_SOCKET *socket, ULONG *packets_sent, ULONG *bytes_sent,
    ULONG *packets_received, ULONG *bytes_received, ULONG *retransmitted, ULONG *queued,
    ULONG *checksum_errors, ULONG *state, ULONG *transmit_queue_depth, ULONG *transmit_window,
    ULONG *receive_window);
UINT nx_tcp_socket_mss_get(NX_TCP_SOCKET *socket, ULONG *mss);
UINT nx_tcp_client_socket_bind(NX_TCP_SOCKET *socket, UINT port, ULONG wait_option);
UINT nx_tcp_client_socket_unbind(NX_TCP_SOCKET *socket);
UINT nxd_tcp_client_socket_connect(NX_TCP_SOCKET *socket, NXD_ADDRESS *server, UINT port, ULONG wait_option);
UINT nx_tcp_socket_disconnect(NX_TCP_SOCKET *socket, ULONG wait_option);
UINT nx_tcp_socket_receive(NX_TCP_SOCKET *socket, NX_PACKET **packet, ULONG wait_option);
UINT nx_tcp_socket_send(NX_TCP_SOCKET *socket, NX_PACKET *packet, ULONG wait_option);

/* ---- Not of NetX Duo: for the tests ----------------------------------------------------------------------- */

void nx_standin_ip_create(NX_IP *ip, NX_PACKET_POOL *pool);
/* The next so many packets that somebody asks for without waiting are refused; negative: all from here on. */
void nx_standin_refuse(NX_PACKET_POOL *pool, LONG refusals);
/* The window of the peer: so many bytes may still be sent; negative: any. */
void nx_standin_window(NX_TCP_SOCKET *socket, LONG bytes);

/* 0: nothing comes or goes, and nothing that was sent is acknowledged; 1: as at first; 2: there is no address. */
void nx_standin_link(NX_IP *ip, UINT link);

#endif
