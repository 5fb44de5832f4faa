/* What a driver calls when a packet has come. */
#ifndef NX_IP_H
#define NX_IP_H

#include "nx_api.h"

VOID _nx_ip_packet_receive(NX_IP *ip, NX_PACKET *packet);
VOID _nx_ip_driver_deferred_processing(NX_IP *ip);

#endif
