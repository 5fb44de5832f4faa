/* TLS below a tw_posix, between tw_posix.c and tw_posix_tls.c. */
#ifndef TW_POSIX_TLS_H
#define TW_POSIX_TLS_H

#include <sys/types.h>

#include "tw_posix.h"

/* As recv() and send() have them: -1 with EAGAIN in errno is not now, with EPROTO that TLS has failed. */
ssize_t tw_posix_tls_read(tw_posix *link, void *data, size_t size);
ssize_t tw_posix_tls_write(tw_posix *link, const void *data, size_t length);

/* Encrypted bytes wait for the socket. */
int tw_posix_tls_unsent(const tw_posix *link);

/* Says that the stream ends here, as far as the socket takes it at once, and frees everything. */
void tw_posix_tls_end(tw_posix *link);

#endif
