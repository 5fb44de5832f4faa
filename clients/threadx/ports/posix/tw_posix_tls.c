#define _POSIX_C_SOURCE 200809L

#include "tw_posix_tls.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#if TW_POSIX_WITH_TLS

#    include <openssl/err.h>
#    include <openssl/ssl.h>
#    include <openssl/x509v3.h>

#    ifndef MSG_NOSIGNAL
#        define MSG_NOSIGNAL 0
#    endif

/* The longest record's text. */
#    define RECORD_BYTES 16384
/* Read from the socket at once, and thrown away at once. */
#    define PIECE_BYTES 4096
/* How often a read goes to the socket for records that hold nothing for the client, before others have their turn. */
#    define TURNS 64

/* OpenSSL never sees the socket: it reads and writes memory, and the bytes are carried here. So no write of its own
 * raises SIGPIPE, what it has to say by itself (a new key, an alert) waits in line with the rest, and a write is never
 * left half done, to be repeated with the same bytes. */

static int would_block(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* 0: nothing waits any more. -1: see errno. */
static int flush(tw_posix *link) {
    BIO *out = SSL_get_wbio(link->tls);
    for (;;) {
        char *data = NULL, dropped[PIECE_BYTES];
        const long waiting = BIO_get_mem_data(out, &data);
        ssize_t sent;
        if (waiting <= 0) {
            return 0;
        }
        sent = send(link->socket, data, (size_t)waiting, MSG_NOSIGNAL);
        if (sent < 0) {
            return -1;
        }
        while (sent > 0) {
            const int count = sent < PIECE_BYTES ? (int)sent : PIECE_BYTES;
            (void)BIO_read(out, dropped, count);
            sent -= count;
        }
    }
}

/* 1: something came. 0: the stream has ended. -1: see errno. */
static int fill(tw_posix *link) {
    char bytes[PIECE_BYTES];
    const ssize_t got = recv(link->socket, bytes, sizeof bytes, 0);
    if (got <= 0) {
        return got == 0 ? 0 : -1;
    }
    if (BIO_write(SSL_get_rbio(link->tls), bytes, (int)got) != (int)got) {
        errno = ENOMEM;
        return -1;
    }
    return 1;
}

static int failed(tw_posix *link) {
    link->tls_failed = 1;
    errno = EPROTO;
    return -1;
}

ssize_t tw_posix_tls_read(tw_posix *link, void *data, size_t size) {
    for (int turn = 0; turn < TURNS; turn++) {
        int got, why, some;
        ERR_clear_error();
        got = SSL_read(link->tls, data, size < RECORD_BYTES ? (int)size : RECORD_BYTES);
        why = SSL_get_error(link->tls, got);
        if (flush(link) != 0 && !would_block()) {
            return -1;
        }
        link->tls_more = got > 0;
        if (got > 0) {
            return got;
        }
        if (why == SSL_ERROR_ZERO_RETURN) {
            return 0;
        }
        if (why != SSL_ERROR_WANT_READ) {
            return failed(link);
        }
        some = fill(link);
        if (some <= 0) {
            /* An end without close_notify too: tilewire's own GOODBYE tells an end from a cut. */
            return some;
        }
    }
    link->tls_more = 1;
    errno = EAGAIN;
    return -1;
}

ssize_t tw_posix_tls_write(tw_posix *link, const void *data, size_t length) {
    int written;
    /* One record at a time waits here, so that the client's own buffer is the one that fills up. */
    if (flush(link) != 0) {
        return -1;
    }
    ERR_clear_error();
    written = SSL_write(link->tls, data, length < RECORD_BYTES ? (int)length : RECORD_BYTES);
    if (written <= 0) {
        if (SSL_get_error(link->tls, written) == SSL_ERROR_WANT_READ) {
            errno = EAGAIN;
            return -1;
        }
        return failed(link);
    }
    if (flush(link) != 0 && !would_block()) {
        return -1;
    }
    return written;
}

int tw_posix_tls_unsent(const tw_posix *link) {
    return BIO_pending(SSL_get_wbio(link->tls)) > 0;
}

void tw_posix_tls_end(tw_posix *link) {
    if (!link->tls_failed) {
        (void)SSL_shutdown(link->tls);
        (void)flush(link);
    }
    ERR_clear_error();
    SSL_free(link->tls);
    link->tls = NULL;
}

/* For *problem: what, and OpenSSL's reason. */
static int say(tw_posix *link, const char **problem, const char *what, const char *why) {
    (void)snprintf(
        link->problem, sizeof link->problem, "%s%s%s", what, why != NULL ? ": " : "", why != NULL ? why : "");
    *problem = link->problem;
    ERR_clear_error();
    return -1;
}

/* 0, or -1 with the sentence. */
static int set_trust(SSL_CTX *context, tw_posix *link, const tw_posix_trust *trust, const char **problem) {
    SSL_CTX_set_verify(context, trust->unchecked ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (trust->ca_file == NULL) {
        return SSL_CTX_set_default_verify_paths(context) == 1
                   ? 0
                   : say(link, problem, "no trusted certificates", NULL);
    }
    /* So that a server's own certificate may be named, whoever issued it. */
    (void)X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN);
    if (SSL_CTX_load_verify_locations(context, trust->ca_file, NULL) != 1) {
        return say(link, problem, "no certificates (PEM) can be read in the file to trust", trust->ca_file);
    }
    return 0;
}

/* The name that the certificate must have, and that the server is told to have been called by. */
static int set_name(SSL *tls, const char *host) {
    /* For OpenSSL an empty name is any name. */
    if (*host == 0) {
        return 0;
    }
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host) == 1) {
        return 1;
    }
    ERR_clear_error();
    return SSL_set1_host(tls, host) == 1 && SSL_set_tlsext_host_name(tls, host) == 1;
}

static int prepare(tw_posix *link, const char *host, const tw_posix_trust *trust, const char **problem) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    BIO *in, *out;
    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
        SSL_CTX_free(context);
        return say(link, problem, "TLS cannot be set up", ERR_reason_error_string(ERR_peek_error()));
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    if (set_trust(context, link, trust, problem) != 0) {
        SSL_CTX_free(context);
        return -1;
    }
    link->tls = SSL_new(context);
    SSL_CTX_free(context); /* the connection holds it */
    in = BIO_new(BIO_s_mem());
    out = BIO_new(BIO_s_mem());
    if (link->tls == NULL || in == NULL || out == NULL) {
        BIO_free(in);
        BIO_free(out);
        SSL_free(link->tls);
        link->tls = NULL;
        return say(link, problem, "TLS cannot be set up", "out of memory");
    }
    SSL_set_bio(link->tls, in, out);
    SSL_set_connect_state(link->tls);
    if (!set_name(link->tls, host)) {
        return say(link, problem, "no certificate can be for this name", NULL);
    }
    return 0;
}

/* Why the handshake failed. */
static int explain(tw_posix *link, const char **problem) {
    const long verdict = SSL_get_verify_result(link->tls);
    link->tls_failed = 1;
    if (verdict != X509_V_OK && SSL_get_verify_mode(link->tls) != SSL_VERIFY_NONE) {
        return say(link, problem, "the server's certificate is not accepted",
            X509_verify_cert_error_string(verdict));
    }
    return say(link, problem, "the TLS handshake failed", ERR_reason_error_string(ERR_peek_error()));
}

static int handshake(tw_posix *link, const char **problem) {
    const uint32_t started_ms = tw_posix_now_ms();
    for (;;) {
        const int done = SSL_do_handshake(link->tls);
        const int why = SSL_get_error(link->tls, done);
        const uint32_t passed_ms = tw_posix_now_ms() - started_ms;
        struct pollfd door;
        int some;
        if (flush(link) != 0 && !would_block()) {
            link->tls_failed = 1;
            return say(link, problem, "the connection broke in the TLS handshake", strerror(errno));
        }
        if (done == 1) {
            return 0;
        }
        if (why != SSL_ERROR_WANT_READ) {
            return explain(link, problem);
        }
        door.fd = link->socket;
        door.events = (short)(POLLIN | (tw_posix_tls_unsent(link) ? POLLOUT : 0));
        door.revents = 0;
        if (passed_ms >= TW_POSIX_HANDSHAKE_MS
            || poll(&door, 1, (int)(TW_POSIX_HANDSHAKE_MS - passed_ms)) == 0) {
            return say(link, problem, "no answer in the TLS handshake", NULL);
        }
        if ((door.revents & (POLLIN | POLLHUP | POLLERR)) == 0) {
            continue;
        }
        some = fill(link);
        if (some == 0) {
            link->tls_failed = 1;
            return say(link, problem, "the server closed the connection in the TLS handshake", NULL);
        }
        if (some < 0 && !would_block()) {
            link->tls_failed = 1;
            return say(link, problem, "the connection broke in the TLS handshake", strerror(errno));
        }
    }
}

int tw_posix_secure(tw_posix *link, const char *host, const tw_posix_trust *trust, const char **problem) {
    ERR_clear_error();
    if (prepare(link, host, trust, problem) != 0) {
        return -1;
    }
    return handshake(link, problem);
}

#else

int tw_posix_secure(tw_posix *link, const char *host, const tw_posix_trust *trust, const char **problem) {
    (void)link;
    (void)host;
    (void)trust;
    *problem = "this build has no TLS: OpenSSL's headers were not there";
    return -1;
}

/* Without tw_posix_secure() no link is in TLS, so nobody calls these. */

ssize_t tw_posix_tls_read(tw_posix *link, void *data, size_t size) {
    (void)link;
    (void)data;
    (void)size;
    errno = EPROTO;
    return -1;
}

ssize_t tw_posix_tls_write(tw_posix *link, const void *data, size_t length) {
    (void)link;
    (void)data;
    (void)length;
    errno = EPROTO;
    return -1;
}

int tw_posix_tls_unsent(const tw_posix *link) {
    (void)link;
    return 0;
}

void tw_posix_tls_end(tw_posix *link) {
    link->tls = NULL;
}

#endif
