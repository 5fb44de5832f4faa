/* TLS below a session, by NetX Secure. Who is trusted is the business of the caller's `tls_setup`. */
#include "tw_threadx.h"

#include "tw_threadx_internal.h"

#if TW_THREADX_WITH_TLS

/* Declared where NetX Secure does not look for callers outside; the other protocols of NetX Duo drive a handshake that
 * must not block with it too. */
#    include "nx_secure_tls.h"

UINT tw_threadx_tls_open(TW_THREADX *session) {
    const ULONG since_ms = tw_threadx_now_ms(session);
    UINT status = session->config.tls_setup(session->config.client.user, &session->tls);
    if (status != NX_SUCCESS) {
        return status;
    }
    session->has_tls = 1;
    status = nx_secure_tls_session_start(&session->tls, &session->socket, NX_NO_WAIT);
    while (status == NX_CONTINUE) {
        if (!tw_threadx_is_wanted(session)) {
            return NX_WAIT_ABORTED;
        }
        if (tw_threadx_now_ms(session) - since_ms >= TW_THREADX_CONNECT_MS) {
            return NX_IN_PROGRESS;
        }
        tw_threadx_wait(session, tw_threadx_ticks(TW_THREADX_RETRY_MS));
        status = _nx_secure_tls_handshake_process(&session->tls, NX_NO_WAIT);
    }
    return status;
}

VOID tw_threadx_tls_close(TW_THREADX *session, ULONG ticks) {
    if (session->has_tls) {
        (void)nx_secure_tls_session_end(&session->tls, ticks);
        (void)nx_secure_tls_session_delete(&session->tls);
        session->has_tls = 0;
    }
}

#else

/* ISO C wants something here. */
typedef int tw_threadx_has_no_tls;

#endif
