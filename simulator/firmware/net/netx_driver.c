#include "netx_driver.h"

#include <string.h>

#include "nx_arp.h"
#include "nx_ip.h"

enum {
    HEADER = 14,
    MTU = FW_FRAME_SIZE - HEADER,
    TYPE_IP = 0x0800,
    TYPE_ARP = 0x0806,
};

static const fw_ethernet *controller;
static NX_IP *ip;
static NX_INTERFACE *interface;

void fw_netx_use(const fw_ethernet *ethernet) {
    controller = ethernet;
}

void fw_netx_wake(void) {
    if (ip != NX_NULL) {
        _nx_ip_driver_deferred_processing(ip);
    }
}

static void put_mac(uint8_t *to, ULONG high, ULONG low) {
    to[0] = (uint8_t)(high >> 8);
    to[1] = (uint8_t)high;
    for (unsigned i = 0; i < 4; i++) {
        to[2 + i] = (uint8_t)(low >> (24 - 8 * i));
    }
}

/* The packet is ours, and goes back to its pool. NetX Duo calls a driver from one thread at a time. */
static UINT send(const NX_IP_DRIVER *request, unsigned type, unsigned is_broadcast) {
    static uint32_t words[FW_FRAME_ROOM(FW_FRAME_SIZE) / 4];
    uint8_t *frame = (uint8_t *)words;
    NX_PACKET *packet = request->nx_ip_driver_packet;
    ULONG length = packet->nx_packet_length;
    UINT status = NX_NOT_SUCCESSFUL;
    if (is_broadcast) {
        put_mac(frame, 0xFFFF, 0xFFFFFFFF);
    } else {
        put_mac(
            frame, request->nx_ip_driver_physical_address_msw, request->nx_ip_driver_physical_address_lsw);
    }
    put_mac(frame + FW_MAC_SIZE, interface->nx_interface_physical_address_msw,
        interface->nx_interface_physical_address_lsw);
    frame[12] = (uint8_t)(type >> 8);
    frame[13] = (uint8_t)type;
    if (length <= MTU && nx_packet_data_extract_offset(packet, 0, frame + HEADER, MTU, &length) == NX_SUCCESS
        && controller->send(frame, HEADER + length) == 0) {
        status = NX_SUCCESS;
    }
    (void)nx_packet_transmit_release(packet);
    return status;
}

/* One frame into one packet, which the IP thread looks into. */
static void hand_on(size_t length) {
    NX_PACKET *packet;
    unsigned type;
    if (nx_packet_allocate(ip->nx_ip_default_packet_pool, &packet, NX_RECEIVE_PACKET, NX_NO_WAIT)
        != NX_SUCCESS) {
        controller->take(NULL);
        return;
    }
    if ((size_t)(packet->nx_packet_data_end - packet->nx_packet_prepend_ptr) < FW_FRAME_ROOM(length)) {
        controller->take(NULL);
        (void)nx_packet_release(packet);
        return;
    }
    controller->take(packet->nx_packet_prepend_ptr);
    packet->nx_packet_prepend_ptr += FW_FRAME_PAD;
    type = (unsigned)packet->nx_packet_prepend_ptr[12] << 8 | packet->nx_packet_prepend_ptr[13];
    packet->nx_packet_prepend_ptr += HEADER;
    packet->nx_packet_length = length - HEADER;
    packet->nx_packet_append_ptr = packet->nx_packet_prepend_ptr + packet->nx_packet_length;
    packet->nx_packet_address.nx_packet_interface_ptr = interface;
    if (type == TYPE_IP) {
        _nx_ip_packet_receive(ip, packet);
    } else if (type == TYPE_ARP) {
        _nx_arp_packet_receive(ip, packet);
    } else {
        (void)nx_packet_release(packet);
    }
}

static void initialize(void) {
    uint8_t mac[FW_MAC_SIZE];
    ULONG low = 0;
    controller->mac(mac);
    for (unsigned i = 2; i < FW_MAC_SIZE; i++) {
        low = low << 8 | mac[i];
    }
    interface->nx_interface_physical_address_msw = (ULONG)mac[0] << 8 | mac[1];
    interface->nx_interface_physical_address_lsw = low;
    interface->nx_interface_ip_mtu_size = MTU;
    interface->nx_interface_address_mapping_needed = NX_TRUE;
}

VOID fw_netx_driver(NX_IP_DRIVER *request) {
    size_t length;
    request->nx_ip_driver_status = NX_SUCCESS;
    switch (request->nx_ip_driver_command) {
    case NX_LINK_INTERFACE_ATTACH: interface = request->nx_ip_driver_interface; break;
    case NX_LINK_INITIALIZE: initialize(); break;
    case NX_LINK_ENABLE:
        ip = request->nx_ip_driver_ptr;
        interface->nx_interface_link_up = NX_TRUE;
        break;
    case NX_LINK_DISABLE: interface->nx_interface_link_up = NX_FALSE; break;
    case NX_LINK_PACKET_SEND: request->nx_ip_driver_status = send(request, TYPE_IP, 0); break;
    case NX_LINK_PACKET_BROADCAST: request->nx_ip_driver_status = send(request, TYPE_IP, 1); break;
    case NX_LINK_ARP_SEND: request->nx_ip_driver_status = send(request, TYPE_ARP, 1); break;
    case NX_LINK_ARP_RESPONSE_SEND: request->nx_ip_driver_status = send(request, TYPE_ARP, 0); break;
    case NX_LINK_MULTICAST_JOIN:
    case NX_LINK_MULTICAST_LEAVE: break; /* all of it comes */
    case NX_LINK_GET_STATUS:
        *request->nx_ip_driver_return_ptr = controller->link() ? NX_TRUE : NX_FALSE;
        break;
    case NX_LINK_DEFERRED_PROCESSING:
        while ((length = controller->waiting()) != 0) {
            hand_on(length);
        }
        break;
    default: request->nx_ip_driver_status = NX_UNHANDLED_COMMAND; break;
    }
}
