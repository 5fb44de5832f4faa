/* Between the files of the port. */
#ifndef TW_THREADX_INTERNAL_H
#define TW_THREADX_INTERNAL_H

#include <stddef.h>

#include "tw_threadx.h"

#if TW_THREADX_MOTIONS < 4 /* one more than there are kinds: something can always give way */
#    error "tw_threadx: TW_THREADX_MOTIONS is at least 4"
#endif

#define TW_THREADX_ID 0x54574C58UL

/* Event flags: look around; a DMA is done. */
#define TW_THREADX_WAKE 1UL
#define TW_THREADX_DRAWN 2UL

/* TW_THREADX.wanted */
#define TW_THREADX_REST 0U
#define TW_THREADX_RUN 1U
#define TW_THREADX_QUIT 2U

#ifndef TX_DISABLE_ERROR_CHECKING
#    define TW_THREADX_CHECK(session) \
        do { \
            if ((session) == NULL || (session)->id != TW_THREADX_ID) { \
                return TX_PTR_ERROR; \
            } \
        } while (0)
#    define TW_THREADX_REQUIRE(condition, status) \
        do { \
            if (!(condition)) { \
                return (status); \
            } \
        } while (0)
#else
#    define TW_THREADX_CHECK(session) ((void)(session))
#    define TW_THREADX_REQUIRE(condition, status) ((void)0)
#endif

/* The milliseconds since the session's thread began; wraps. */
ULONG tw_threadx_now_ms(TW_THREADX *session);
ULONG tw_threadx_ticks(ULONG milliseconds); /* at least 1 */

/* Waits for an event, so many ticks at most, and heeds it. */
VOID tw_threadx_wait(TW_THREADX *session, ULONG ticks);
/* Something is to be looked at. */
VOID tw_threadx_wake(TW_THREADX *session);
/* 1: nobody has stopped it. */
UINT tw_threadx_is_wanted(TW_THREADX *session);

/* The link: one TCP connection, with TLS or without. */
UINT tw_threadx_link_create(TW_THREADX *session, CHAR *name, NX_IP *ip);
/* Waits until it stands, or returns why it does not. */
UINT tw_threadx_link_open(TW_THREADX *session);
/* NX_SUCCESS and a packet to release, NX_NO_PACKET: not now; anything else: the stream is over. */
UINT tw_threadx_link_receive(TW_THREADX *session, NX_PACKET **packet);
VOID tw_threadx_link_release(TW_THREADX *session, NX_PACKET *packet);
/* Sends what the client has to say: NX_SUCCESS: all of it. Where tw_threadx_is_later(): the rest must wait. */
UINT tw_threadx_link_write(TW_THREADX *session);
UINT tw_threadx_is_later(UINT status);
VOID tw_threadx_link_close(TW_THREADX *session);

/* Input: hands what waits to the client. 1: its send buffer is full. */
UINT tw_threadx_input_send(TW_THREADX *session);
/* From here on input is taken, or no more; what waits is thrown away. */
VOID tw_threadx_input_open(TW_THREADX *session, UINT is_open);

#if TW_THREADX_WITH_TLS
UINT tw_threadx_tls_open(TW_THREADX *session);
VOID tw_threadx_tls_close(TW_THREADX *session, ULONG ticks);
#endif

#endif
