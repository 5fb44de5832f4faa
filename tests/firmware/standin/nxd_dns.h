/* NetX Duo's DNS client. */
#ifndef NXD_DNS_H
#define NXD_DNS_H

#include "nx_api.h"

typedef struct NX_DNS_STRUCT {
    ULONG nx_dns_id;
} NX_DNS;

UINT nx_dns_create(NX_DNS *dns, NX_IP *ip, UCHAR *domain);
UINT nx_dns_server_add(NX_DNS *dns, ULONG address);
UINT nx_dns_host_by_name_get(NX_DNS *dns, UCHAR *name, ULONG *address, ULONG wait_option);

#endif
