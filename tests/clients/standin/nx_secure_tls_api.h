/* A stand-in for NetX Secure over OpenSSL, for tests: the client's side of a TLS session as the port of tilewire uses it,
 * without its certificates and tables of ciphers (nx_standin_tls_create() is in place of those). */
#ifndef NX_SECURE_TLS_API_H
#define NX_SECURE_TLS_API_H

#include "nx_api.h"

#define NX_SECURE_TLS_ALERT_RECEIVED 0x114U
#define NX_SECURE_TLS_HANDSHAKE_FAILURE 0x107U
#define NX_SECURE_TLS_SESSION_UNINITIALIZED 0x101U
#define NX_SECURE_TLS_CLOSE_NOTIFY_RECEIVED 0x127U

struct ssl_st;
struct ssl_ctx_st;

typedef struct NX_SECURE_TLS_SESSION_STRUCT {
    ULONG id;
    struct ssl_ctx_st *context;
    struct ssl_st *tls;
    NX_TCP_SOCKET *socket;
} NX_SECURE_TLS_SESSION;

UINT nx_secure_tls_session_start(NX_SECURE_TLS_SESSION *session, NX_TCP_SOCKET *socket, UINT wait_option);
UINT nx_secure_tls_session_receive(NX_SECURE_TLS_SESSION *session, NX_PACKET **packet, ULONG wait_option);
UINT nx_secure_tls_session_send(NX_SECURE_TLS_SESSION *session, NX_PACKET *packet, ULONG wait_option);
UINT nx_secure_tls_session_end(NX_SECURE_TLS_SESSION *session, UINT wait_option);
UINT nx_secure_tls_session_delete(NX_SECURE_TLS_SESSION *session);
UINT nx_secure_tls_packet_allocate(
    NX_SECURE_TLS_SESSION *session, NX_PACKET_POOL *pool, NX_PACKET **packet, ULONG wait_option);
UINT nx_secure_tls_packet_release(NX_PACKET *packet);

/* Trusts the certificate (DER) in that file, and a server that is called `name`. NX_PTR_ERROR: there is a session. */
UINT nx_standin_tls_create(NX_SECURE_TLS_SESSION *session, const char *trusted, const char *name);

#endif
