#include "lwip_netif.h"

#include <string.h>

#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/pbuf.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include "../board/clock.h"

enum { LINK_EVERY_MS = 100 };

uint32_t fw_lwip_window = FW_WINDOW_LAN9118;

u32_t sys_now(void) {
    return fw_clock_ms();
}

static err_t output(struct netif *netif, struct pbuf *packet) {
    static uint32_t whole[FW_FRAME_ROOM(FW_FRAME_SIZE) / 4];
    const fw_ethernet *ethernet = netif->state;
    const size_t length = (size_t)packet->tot_len - ETH_PAD_SIZE;
    const uint8_t *frame = (const uint8_t *)packet->payload + ETH_PAD_SIZE;
    if (length > FW_FRAME_SIZE) {
        return ERR_BUF;
    }
    if (packet->next != NULL) {
        (void)pbuf_copy_partial(packet, whole, packet->tot_len, 0);
        frame = (const uint8_t *)whole + ETH_PAD_SIZE;
    }
    return ethernet->send(frame, length) == 0 ? ERR_OK : ERR_MEM;
}

static err_t begin(struct netif *netif) {
    const fw_ethernet *ethernet = netif->state;
    netif->output = etharp_output;
    netif->linkoutput = output;
    netif->mtu = 1500;
    netif->hwaddr_len = FW_MAC_SIZE;
    ethernet->mac(netif->hwaddr);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    return ERR_OK;
}

void fw_lwip_netif_start(struct netif *netif, const fw_ethernet *ethernet, const char *name, uint32_t window,
    netif_status_callback_fn status) {
    fw_lwip_window = window;
    lwip_init();
    (void)netif_add(netif, NULL, NULL, NULL, (void *)(uintptr_t)ethernet, begin, ethernet_input);
    netif_set_hostname(netif, name);
    netif_set_default(netif);
    netif_set_status_callback(netif, status);
    netif_set_link_callback(netif, status);
    netif_set_up(netif);
}

static void look_at_link(struct netif *netif, const fw_ethernet *ethernet) {
    static uint32_t looked_ms;
    const uint32_t now_ms = fw_clock_ms();
    if (looked_ms != 0 && now_ms - looked_ms < LINK_EVERY_MS) {
        return;
    }
    looked_ms = now_ms | 1;
    if (ethernet->link()) {
        netif_set_link_up(netif);
    } else {
        netif_set_link_down(netif);
    }
}

unsigned fw_lwip_netif_poll(struct netif *netif) {
    const fw_ethernet *ethernet = netif->state;
    size_t length;
    unsigned came = 0;
    look_at_link(netif, ethernet);
    while ((length = ethernet->waiting()) != 0) {
        struct pbuf *packet = pbuf_alloc(PBUF_RAW, (u16_t)FW_FRAME_ROOM(length), PBUF_POOL);
        came++;
        if (packet == NULL || packet->next != NULL) {
            ethernet->take(NULL);
            if (packet != NULL) {
                (void)pbuf_free(packet);
            }
            continue;
        }
        ethernet->take(packet->payload);
        pbuf_realloc(packet, (u16_t)(length + ETH_PAD_SIZE));
        if (netif->input(packet, netif) != ERR_OK) {
            (void)pbuf_free(packet);
        }
    }
    sys_check_timeouts();
    return came;
}
