/* NetX Duo above an Ethernet controller. */
#ifndef FW_NETX_DRIVER_H
#define FW_NETX_DRIVER_H

#include "tx_api.h"

#include "nx_api.h"

#include "ethernet.h"

/* The controller of the driver below; it has been started with fw_netx_wake(). Before nx_ip_create(). */
void fw_netx_use(const fw_ethernet *ethernet);
/* In its interrupt. */
void fw_netx_wake(void);
/* For nx_ip_create(). */
VOID fw_netx_driver(NX_IP_DRIVER *request);

#endif
