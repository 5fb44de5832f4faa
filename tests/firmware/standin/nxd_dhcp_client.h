/* NetX Duo's DHCP client. */
#ifndef NXD_DHCP_CLIENT_H
#define NXD_DHCP_CLIENT_H

#include "nx_api.h"

#define NX_DHCP_OPTION_DNS_SVR 6

typedef struct NX_DHCP_STRUCT {
    ULONG nx_dhcp_id;
} NX_DHCP;

UINT nx_dhcp_create(NX_DHCP *dhcp, NX_IP *ip, CHAR *name);
UINT nx_dhcp_start(NX_DHCP *dhcp);
UINT nx_dhcp_user_option_retrieve(NX_DHCP *dhcp, UINT option, UCHAR *value, UINT *size);

#endif
