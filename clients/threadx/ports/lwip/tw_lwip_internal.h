/* Between the files of the port. */
#ifndef TW_LWIP_INTERNAL_H
#define TW_LWIP_INTERNAL_H

#include "tw_lwip.h"

#if !LWIP_TCP || !LWIP_CALLBACK_API
#    error "tw_lwip: lwipopts.h needs LWIP_TCP and LWIP_CALLBACK_API"
#endif
#if TW_LWIP_TOUCHES < 2 || TW_LWIP_TOUCHES > 128
#    error "tw_lwip: TW_LWIP_TOUCHES is from 2 to 128"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Input is taken from WELCOME on, wherever it was decoded. */
void tw_lwip_look_whether_open(tw_lwip *session);

/* The TCP connection. */
err_t tw_lwip_tcp_connect(tw_lwip *session, const ip_addr_t *address);
/* Decodes what came, as far as the client takes it, and opens the window as far. TW_OK, or the connection is over. */
tw_status tw_lwip_tcp_decode(tw_lwip *session);
/* Sends what the client has to say, as far as lwIP takes it. 1: all of it. */
unsigned tw_lwip_tcp_write(tw_lwip *session);
/* What came is thrown away. */
void tw_lwip_tcp_discard(tw_lwip *session);
/* Ends it: the peer gets what was written, and our end. */
void tw_lwip_tcp_close(tw_lwip *session);
/* Ends our direction alone. */
void tw_lwip_tcp_shut(tw_lwip *session);
/* Ends it at once. */
void tw_lwip_tcp_abort(tw_lwip *session);

/* Input: hands what waits to the client. 1: its send buffer is full. */
unsigned tw_lwip_input_send(tw_lwip *session);
/* From here on input is taken, or no more; what waits is thrown away. */
void tw_lwip_input_open(tw_lwip *session, unsigned is_open);

#ifdef __cplusplus
}
#endif

#endif
