/* lwIP as a small device has it, for the tests of the port. TEST_SANITIZED: its memory comes from malloc(), where the
 * sanitizers see each piece of it. */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0

#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 0
#define LWIP_ETHERNET 0
#define LWIP_HAVE_LOOPIF 0
#define LWIP_NETIF_LOOPBACK 0 /* the test's wire carries everything */
#define LWIP_DNS 1
#define LWIP_UDP 1
#define LWIP_TCP 1
#define TCP_MSL 100UL /* what rests in TIME-WAIT is gone soon */
#define TCP_MSS 1460
#define TCP_WND (4 * TCP_MSS)
#define TCP_SND_BUF (4 * TCP_MSS)
#define TCP_SND_QUEUELEN 16
#define MEMP_NUM_TCP_SEG 64
#define MEMP_NUM_TCP_PCB 16
#define MEMP_NUM_TCP_PCB_LISTEN 2
#define MEMP_NUM_PBUF 64
#define PBUF_POOL_SIZE 64
#define PBUF_POOL_BUFSIZE 1536
#define MEM_ALIGNMENT 8

#ifdef TEST_SANITIZED
#    define MEM_LIBC_MALLOC 1
#    define MEMP_MEM_MALLOC 1
#endif
#define MEM_SIZE 65536

#define LWIP_STATS 1
#define LWIP_STATS_LARGE 1
#define MEM_STATS 1
#define MEMP_STATS 1
#define TCP_STATS 1

#endif
