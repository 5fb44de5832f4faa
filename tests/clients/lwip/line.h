/* The device's line, in the same process: a netif that delays and loses packets, behind it a bridge from lwIP to a
 * socket of the host for each connection, and a name server. lwIP carries TCP on both sides of it. */
#ifndef LINE_H
#define LINE_H

#include <stdint.h>

/* Of the netif, and so of whom a device connects to. */
#define LINE_ADDRESS "10.0.0.1"

/* Sets it up. The name server knows "server.test", says no to all others, and nothing to those that begin with "mute". */
void line_start(void);
/* Connections to this port go to 127.0.0.1:port. */
void line_bridge(unsigned port);
/* From here on: each packet comes so late, and so many in a thousand never. */
void line_set(unsigned delay_ms, unsigned loss_permille);
/* 0: the cable is out, as the netif knows. */
void line_plug(unsigned is_in);
/* 1: the bridge takes nothing more, from neither side. */
void line_stall(unsigned stalls);
/* Every bridged connection is reset. */
void line_cut(void);
/* Packets of the IP layer that nobody took yet. */
unsigned line_packets(void);
/* TCP connections, in whatever state: a bridged one has two ends. */
unsigned line_pcbs(void);
/* Bytes of lwIP's heap without what those take who listen. */
unsigned line_memory(void);
/* Carries what can be carried. */
void line_poll(void);
/* Waits for a socket of the host, or the standard input, which is ready then: 1. */
int line_wait(int timeout_ms);

/* lwIP's clock, and how to set it forward. */
void line_skip(uint32_t milliseconds);

#endif
