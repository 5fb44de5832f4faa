/* What a driver calls when a packet of ARP has come. */
#ifndef NX_ARP_H
#define NX_ARP_H

#include "nx_api.h"

VOID _nx_arp_packet_receive(NX_IP *ip, NX_PACKET *packet);

#endif
