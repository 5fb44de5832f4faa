/* lwIP above an Ethernet controller. */
#ifndef FW_LWIP_NETIF_H
#define FW_LWIP_NETIF_H

#include "lwip/netif.h"
#include "lwip/opt.h"

#include "ethernet.h"

/* Adds `ethernet`, which has been started, as lwIP's one interface, and starts lwIP itself. `window`: bytes that a TCP
 * connection may have under way to here. `status` is called when the address or the link changes. */
void fw_lwip_netif_start(struct netif *netif, const fw_ethernet *ethernet, const char *name, uint32_t window,
    netif_status_callback_fn status);

/* Hands what came to lwIP, looks at the line, and lets lwIP's timers run. Frames that came. */
unsigned fw_lwip_netif_poll(struct netif *netif);

#endif
