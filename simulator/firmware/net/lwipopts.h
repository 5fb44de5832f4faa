/* lwIP as the device uses it: one TCP connection, DHCP and DNS, no threads, no heap but lwIP's own pools. */
#ifndef FW_LWIPOPTS_H
#define FW_LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0 /* interrupts only wake the main loop */
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_NETIF_API 0

#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define LWIP_ICMP 1
#define LWIP_UDP 1
#define LWIP_TCP 1
#define LWIP_RAW 0
#define LWIP_IGMP 0
#define LWIP_DNS 1
#define LWIP_DHCP 1
/* QEMU's user network answers within 2 ms; probing for the address's other owners takes seconds. */
#define DHCP_DOES_ARP_CHECK 0
#define LWIP_DHCP_DOES_ACD_CHECK 0
#define LWIP_ACD 0
#define LWIP_NETIF_HOSTNAME 1
#define LWIP_NETIF_STATUS_CALLBACK 1
#define LWIP_NETIF_LINK_CALLBACK 1
#define LWIP_CHKSUM_ALGORITHM 3

#define MEM_ALIGNMENT 4
#define ETH_PAD_SIZE 2 /* FW_FRAME_PAD */

/* The LAN9118's receive FIFO has 10,560 bytes and overflows without a word: six segments fit. virtio-net has 64 buffers.
 * So the window is the controller's, a variable; init.c alone compares it while it is compiled, and takes the largest. */
#define TCP_MSS 1460
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 2
#define FW_WINDOW_LAN9118 (6 * TCP_MSS)
#define FW_WINDOW_VIRTIO (56 * TCP_MSS)
#ifdef FW_LWIP_INIT
#    define TCP_WND FW_WINDOW_VIRTIO
#else
#    define TCP_WND fw_lwip_window
#endif
#define TCP_SND_BUF (4 * TCP_MSS)
#define TCP_SND_QUEUELEN 16
#define TCP_QUEUE_OOSEQ 1
#define TCP_LISTEN_BACKLOG 0
#define LWIP_TCP_KEEPALIVE 0
#define TCP_TMR_INTERVAL 50 /* ms; delayed acknowledgements wait for one of these */

#define MEM_SIZE (64 * 1024)
#define MEMP_NUM_PBUF 32
#define MEMP_NUM_TCP_PCB 8
#define MEMP_NUM_TCP_PCB_LISTEN 1
#define MEMP_NUM_TCP_SEG 128
#define MEMP_NUM_UDP_PCB 4
#define MEMP_NUM_REASSDATA 4
#define PBUF_POOL_SIZE 160
#define PBUF_POOL_BUFSIZE 1536 /* a frame in one piece */

#define LWIP_STATS 1
#define LWIP_STATS_LARGE 1
#define MEMP_STATS 1
#define MEM_STATS 1
#define LWIP_STATS_DISPLAY 1 /* the pools' names */

#endif
