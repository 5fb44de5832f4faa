#define _POSIX_C_SOURCE 200809L

#include "nx_api.h"

#ifdef NX_SECURE_ENABLE

#    include <openssl/err.h>
#    include <openssl/ssl.h>
#    include <stdio.h>
#    include <string.h>

#    include "nx_secure_tls.h"

#    define ALIVE 0x544C5321U
/* Room in front of a record's data. */
#    define RECORD_HEADER 29U
/* Bytes that one packet of received data may hold, in a chain. */
#    define MOST 2048

UINT nx_standin_tls_create(NX_SECURE_TLS_SESSION *session, const char *trusted, const char *name) {
    FILE *file;
    X509 *certificate;
    if (session == NULL || session->id == ALIVE) {
        return NX_PTR_ERROR;
    }
    memset(session, 0, sizeof *session);
    file = fopen(trusted, "rb");
    if (file == NULL) {
        tx_standin_fail("no certificate to trust");
        return NX_PTR_ERROR;
    }
    certificate = d2i_X509_fp(file, NULL);
    session->context = SSL_CTX_new(TLS_client_method());
    if (certificate == NULL || session->context == NULL
        || X509_STORE_add_cert(SSL_CTX_get_cert_store(session->context), certificate) != 1) {
        tx_standin_fail("a certificate that cannot be trusted");
    }
    (void)fclose(file);
    X509_free(certificate);
    /* As NetX Secure is built where nothing else is said. */
    (void)SSL_CTX_set_max_proto_version(session->context, TLS1_2_VERSION);
    SSL_CTX_set_verify(session->context, SSL_VERIFY_PEER, NULL);
    session->tls = SSL_new(session->context);
    if (session->tls == NULL || SSL_set1_host(session->tls, name) != 1) {
        tx_standin_fail("no TLS session");
    }
    SSL_set_bio(session->tls, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    session->id = ALIVE;
    return NX_SUCCESS;
}

/* What came, into TLS: NX_NO_PACKET: all of it. */
static UINT take(NX_SECURE_TLS_SESSION *session) {
    NX_PACKET *packet;
    UINT status;
    while ((status = nx_tcp_socket_receive(session->socket, &packet, NX_NO_WAIT)) == NX_SUCCESS) {
        for (NX_PACKET *part = packet; part != NULL; part = part->nx_packet_next) {
            const int length = (int)(part->nx_packet_append_ptr - part->nx_packet_prepend_ptr);
            if (length != 0
                && BIO_write(SSL_get_rbio(session->tls), part->nx_packet_prepend_ptr, length) != length) {
                tx_standin_fail("the host has no memory");
            }
        }
        (void)nx_packet_release(packet);
    }
    return status;
}

/* What TLS has to say, out: a record that is not taken whole ends it. */
static UINT give(NX_SECURE_TLS_SESSION *session, ULONG wait_option) {
    const ULONG since = tx_standin_ticks();
    UCHAR bytes[512];
    int length;
    while ((length = BIO_read(SSL_get_wbio(session->tls), bytes, sizeof bytes)) > 0) {
        NX_PACKET *packet = NULL;
        UINT status = nx_packet_allocate(session->socket->ip->pool, &packet, NX_TCP_PACKET, NX_NO_WAIT);
        if (status == NX_SUCCESS) {
            status =
                nx_packet_data_append(packet, bytes, (ULONG)length, session->socket->ip->pool, NX_NO_WAIT);
        }
        while (status == NX_SUCCESS) {
            status = nx_tcp_socket_send(session->socket, packet, NX_NO_WAIT);
            if (status == NX_SUCCESS) {
                break;
            }
            if (status != NX_WINDOW_OVERFLOW || tx_standin_ticks() - since >= wait_option) {
                break;
            }
            status = tx_thread_sleep(1);
        }
        if (status != NX_SUCCESS) {
            if (packet != NULL) {
                (void)nx_packet_release(packet);
            }
            return status;
        }
    }
    return NX_SUCCESS;
}

UINT _nx_secure_tls_handshake_process(NX_SECURE_TLS_SESSION *session, UINT wait_option) {
    const UINT came = take(session);
    const int done = SSL_do_handshake(session->tls);
    const int why = SSL_get_error(session->tls, done);
    const UINT gone = give(session, TX_TIMER_TICKS_PER_SECOND);
    if (wait_option != NX_NO_WAIT) {
        tx_standin_fail("nobody waits for a handshake");
    }
    if (gone != NX_SUCCESS) {
        return gone;
    }
    if (done == 1) {
        return NX_SUCCESS;
    }
    if (why != SSL_ERROR_WANT_READ) {
        ERR_clear_error();
        return NX_SECURE_TLS_HANDSHAKE_FAILURE;
    }
    return came == NX_NO_PACKET ? NX_CONTINUE : came;
}

UINT nx_secure_tls_session_start(NX_SECURE_TLS_SESSION *session, NX_TCP_SOCKET *socket, UINT wait_option) {
    if (session == NULL || session->id != ALIVE || socket == NULL) {
        return NX_PTR_ERROR;
    }
    session->socket = socket;
    SSL_set_connect_state(session->tls);
    return _nx_secure_tls_handshake_process(session, wait_option);
}

UINT nx_secure_tls_session_receive(NX_SECURE_TLS_SESSION *session, NX_PACKET **packet, ULONG wait_option) {
    UCHAR bytes[MOST];
    UINT came, status;
    int length, why;
    if (session == NULL || session->id != ALIVE || packet == NULL) {
        return NX_PTR_ERROR;
    }
    if (wait_option != NX_NO_WAIT) {
        tx_standin_fail("nobody waits for what may come");
    }
    *packet = NULL;
    came = take(session);
    length = SSL_read(session->tls, bytes, sizeof bytes);
    why = SSL_get_error(session->tls, length);
    if (length <= 0) {
        ERR_clear_error();
        if (why == SSL_ERROR_WANT_READ) {
            return came;
        }
        return why == SSL_ERROR_ZERO_RETURN ? NX_SECURE_TLS_CLOSE_NOTIFY_RECEIVED
                                            : NX_SECURE_TLS_ALERT_RECEIVED;
    }
    do { /* what is decrypted has nowhere else to go */
        status = nx_packet_allocate(session->socket->ip->pool, packet, 0, NX_NO_WAIT);
    } while (status == NX_NO_PACKET && tx_thread_sleep(1) == TX_SUCCESS);
    if (status == NX_SUCCESS) {
        status = nx_packet_data_append(*packet, bytes, (ULONG)length, session->socket->ip->pool, NX_NO_WAIT);
    }
    return status;
}

UINT nx_secure_tls_session_send(NX_SECURE_TLS_SESSION *session, NX_PACKET *packet, ULONG wait_option) {
    UINT status;
    if (session == NULL || session->id != ALIVE || packet == NULL) {
        return NX_PTR_ERROR;
    }
    if (wait_option == NX_NO_WAIT) {
        tx_standin_fail("a record without a wait may be cut");
    }
    for (NX_PACKET *part = packet; part != NULL; part = part->nx_packet_next) {
        const int length = (int)(part->nx_packet_append_ptr - part->nx_packet_prepend_ptr);
        if (length != 0 && SSL_write(session->tls, part->nx_packet_prepend_ptr, length) != length) {
            ERR_clear_error();
            return NX_SECURE_TLS_SESSION_UNINITIALIZED;
        }
    }
    status = give(session, wait_option);
    if (status == NX_SUCCESS) {
        (void)nx_packet_release(packet);
    }
    return status;
}

UINT nx_secure_tls_session_end(NX_SECURE_TLS_SESSION *session, UINT wait_option) {
    if (session == NULL || session->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    (void)SSL_shutdown(session->tls);
    ERR_clear_error();
    return session->socket != NULL ? give(session, wait_option) : NX_SUCCESS;
}

UINT nx_secure_tls_session_delete(NX_SECURE_TLS_SESSION *session) {
    if (session == NULL || session->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    SSL_free(session->tls);
    SSL_CTX_free(session->context);
    session->id = 0;
    return NX_SUCCESS;
}

UINT nx_secure_tls_packet_allocate(
    NX_SECURE_TLS_SESSION *session, NX_PACKET_POOL *pool, NX_PACKET **packet, ULONG wait_option) {
    if (session == NULL || session->id != ALIVE) {
        return NX_PTR_ERROR;
    }
    return nx_packet_allocate(pool, packet, NX_TCP_PACKET + RECORD_HEADER, wait_option);
}

UINT nx_secure_tls_packet_release(NX_PACKET *packet) {
    return nx_packet_release(packet);
}

#else

/* ISO C wants something here. */
typedef int nx_standin_has_no_tls;

#endif
