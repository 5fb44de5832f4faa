/* NetX Duo's names and types as far as the device's ThreadX build has to do with them; see tx_api.h. */
#ifndef NX_API_H
#define NX_API_H

#include "tx_api.h"

#define NX_NULL ((void *)0)
#define NX_TRUE 1
#define NX_FALSE 0
#define NX_NO_WAIT 0UL
#define NX_SUCCESS 0x00
#define NX_NOT_CONNECTED 0x38
#define NX_NOT_SUCCESSFUL 0x43
#define NX_UNHANDLED_COMMAND 0x44
#define NX_RECEIVE_PACKET 0UL
#define NX_IP_VERSION_V4 4UL
#define IP_ADDRESS(a, b, c, d) ((ULONG)(a) << 24 | (ULONG)(b) << 16 | (ULONG)(c) << 8 | (ULONG)(d))

#define NX_LINK_PACKET_SEND 0
#define NX_LINK_INITIALIZE 1
#define NX_LINK_ENABLE 2
#define NX_LINK_DISABLE 3
#define NX_LINK_PACKET_BROADCAST 4
#define NX_LINK_ARP_SEND 5
#define NX_LINK_ARP_RESPONSE_SEND 6
#define NX_LINK_MULTICAST_JOIN 8
#define NX_LINK_MULTICAST_LEAVE 9
#define NX_LINK_GET_STATUS 10
#define NX_LINK_DEFERRED_PROCESSING 18
#define NX_LINK_INTERFACE_ATTACH 19

typedef struct NXD_ADDRESS_STRUCT {
    ULONG nxd_ip_version;
    union {
        ULONG v4;
        ULONG v6[4];
    } nxd_ip_address;
} NXD_ADDRESS;

typedef struct NX_INTERFACE_STRUCT {
    UCHAR nx_interface_address_mapping_needed, nx_interface_link_up;
    ULONG nx_interface_physical_address_msw, nx_interface_physical_address_lsw;
    ULONG nx_interface_ip_mtu_size;
} NX_INTERFACE;

typedef struct NX_PACKET_STRUCT {
    ULONG nx_packet_length;
    UCHAR *nx_packet_data_start, *nx_packet_data_end;
    UCHAR *nx_packet_prepend_ptr, *nx_packet_append_ptr;
    union {
        NX_INTERFACE *nx_packet_interface_ptr;
    } nx_packet_address;
} NX_PACKET;

typedef struct NX_PACKET_POOL_STRUCT {
    ULONG nx_packet_pool_available, nx_packet_pool_total, nx_packet_pool_empty_requests;
} NX_PACKET_POOL;

typedef struct NX_TCP_SOCKET_STRUCT {
    struct NX_TCP_SOCKET_STRUCT *nx_tcp_socket_created_next;
} NX_TCP_SOCKET;

typedef struct NX_IP_STRUCT {
    NX_PACKET_POOL *nx_ip_default_packet_pool;
    NX_TCP_SOCKET *nx_ip_tcp_created_sockets_ptr;
    ULONG nx_ip_tcp_created_sockets_count;
} NX_IP;

typedef struct NX_IP_DRIVER_STRUCT {
    UINT nx_ip_driver_command, nx_ip_driver_status;
    ULONG nx_ip_driver_physical_address_msw, nx_ip_driver_physical_address_lsw;
    NX_PACKET *nx_ip_driver_packet;
    ULONG *nx_ip_driver_return_ptr;
    NX_IP *nx_ip_driver_ptr;
    NX_INTERFACE *nx_ip_driver_interface;
} NX_IP_DRIVER;

VOID nx_system_initialize(VOID);
UINT nx_packet_pool_create(NX_PACKET_POOL *pool, CHAR *name, ULONG payload, VOID *memory, ULONG size);
UINT nx_packet_allocate(NX_PACKET_POOL *pool, NX_PACKET **packet, ULONG type, ULONG wait_option);
UINT nx_packet_data_extract_offset(
    NX_PACKET *packet, ULONG offset, VOID *buffer, ULONG size, ULONG *bytes_copied);
UINT nx_packet_release(NX_PACKET *packet);
UINT nx_packet_transmit_release(NX_PACKET *packet);
UINT nx_ip_create(NX_IP *ip, CHAR *name, ULONG address, ULONG mask, NX_PACKET_POOL *pool,
    VOID (*driver)(NX_IP_DRIVER *request), VOID *stack, ULONG stack_size, UINT priority);
UINT nx_ip_address_get(NX_IP *ip, ULONG *address, ULONG *mask);
UINT nx_ip_gateway_address_set(NX_IP *ip, ULONG address);
UINT nx_ip_driver_direct_command(NX_IP *ip, UINT command, ULONG *value);
UINT nx_arp_enable(NX_IP *ip, VOID *cache, ULONG size);
UINT nx_icmp_enable(NX_IP *ip);
UINT nx_udp_enable(NX_IP *ip);
UINT nx_tcp_enable(NX_IP *ip);
UINT nx_tcp_socket_disconnect(NX_TCP_SOCKET *socket, ULONG wait_option);

#endif
