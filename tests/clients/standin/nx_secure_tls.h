/* What NetX Secure declares for the protocols of NetX Duo: see nx_secure_tls_api.h. */
#ifndef NX_SECURE_TLS_H
#define NX_SECURE_TLS_H

#include "nx_secure_tls_api.h"

UINT _nx_secure_tls_handshake_process(NX_SECURE_TLS_SESSION *session, UINT wait_option);

#endif
