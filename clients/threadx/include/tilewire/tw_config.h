/* What is compiled into the client. Change it here, or define a switch on the compiler's command line. */
#ifndef TW_CONFIG_H
#define TW_CONFIG_H

/* ---- Switches: 1 compiled in, 0 left out ------------------------------------------------------------------ */

/* Pixel formats; at least one. */
#ifndef TW_WITH_RGB565
#    define TW_WITH_RGB565 1
#endif
#ifndef TW_WITH_XRGB8888
#    define TW_WITH_XRGB8888 1
#endif
#ifndef TW_WITH_8BIT /* RGB332 and GREY8 */
#    define TW_WITH_8BIT 1
#endif

/* Copies inside the framebuffer: what makes scrolling cheap. Without it none is ever offered. */
#ifndef TW_WITH_COPY
#    define TW_WITH_COPY 1
#endif

/* Keys: the mutual proof and the SHA-256 that it needs. */
#ifndef TW_WITH_HMAC
#    define TW_WITH_HMAC 1
#endif

/* Clipboard both ways. */
#ifndef TW_WITH_CLIPBOARD
#    define TW_WITH_CLIPBOARD 1
#endif

/* Sentences for tw_status_text() and GOODBYE: 1.2 KiB of constants. */
#ifndef TW_WITH_TEXTS
#    define TW_WITH_TEXTS 1
#endif

/* Messages and bytes counted by type: 0.8 KiB of each client's memory. */
#ifndef TW_WITH_STATISTICS
#    define TW_WITH_STATISTICS 1
#endif

/* The lossless tile codec: 7 KiB of constants, and the model where a configuration asks for one. */
#ifndef TW_WITH_CODEC
#    define TW_WITH_CODEC 1
#endif

/* The tile cache, in memory that the configuration gives. It needs copies. */
#ifndef TW_WITH_CACHE
#    define TW_WITH_CACHE TW_WITH_COPY
#endif

/* JPEG: 4.2 KiB of constants. */
#ifndef TW_WITH_JPEG
#    define TW_WITH_JPEG 1
#endif

/* JPEG, decoded by a function of yours: a hardware decoder, for example. */
#ifndef TW_WITH_JPEG_HOOK
#    define TW_WITH_JPEG_HOOK 1
#endif

/* The local cursor: drawn here, into a framebuffer that can be read or by an overlay of yours. */
#ifndef TW_WITH_CURSOR
#    define TW_WITH_CURSOR 1
#endif

/* What the server tells beside the picture: the callbacks welcome, notice, setting, view_state, control_state, bell,
 * input_echo, pong and explanation. Without it such messages are passed over, and tw_client_phase() says when a session
 * has begun. */
#ifndef TW_WITH_EVENTS
#    define TW_WITH_EVENTS 1
#endif

/* A panel whose size may change while a session runs. */
#ifndef TW_WITH_RESIZE
#    define TW_WITH_RESIZE 1
#endif

/* Going on where an earlier connection ended. Without it the picture comes anew. */
#ifndef TW_WITH_RESUME
#    define TW_WITH_RESUME 1
#endif

/* A strip of some rows instead of a framebuffer. */
#ifndef TW_WITH_STRIPS
#    define TW_WITH_STRIPS 1
#endif

/* ---- Sizes ------------------------------------------------------------------------------------------------ */

/* Bytes that may wait to be sent. The longest HELLO and the longest text fit in 1152. */
#ifndef TW_SEND_SIZE
#    define TW_SEND_SIZE 1536
#endif

/* ---- The compiler ----------------------------------------------------------------------------------------- */

/* Marks results that the caller has to look at. */
#ifndef TW_MUST_USE
#    if defined(__cplusplus) && __cplusplus >= 201703L
#        define TW_MUST_USE [[nodiscard]]
#    elif defined(__GNUC__)
#        define TW_MUST_USE __attribute__((warn_unused_result))
#    else
#        define TW_MUST_USE
#    endif
#endif

/* ---- Nothing to change below ------------------------------------------------------------------------------ */

#if TW_WITH_RGB565 + TW_WITH_XRGB8888 + TW_WITH_8BIT == 0
#    error "tw_config.h: no pixel format is left"
#endif
#if (TW_WITH_RGB565 | TW_WITH_XRGB8888 | TW_WITH_8BIT | TW_WITH_COPY | TW_WITH_HMAC | TW_WITH_CLIPBOARD \
     | TW_WITH_TEXTS | TW_WITH_STATISTICS | TW_WITH_CODEC | TW_WITH_CACHE | TW_WITH_JPEG | TW_WITH_JPEG_HOOK \
     | TW_WITH_CURSOR | TW_WITH_EVENTS | TW_WITH_RESIZE | TW_WITH_RESUME | TW_WITH_STRIPS) \
    & ~1
#    error "tw_config.h: a switch is 0 or 1"
#endif
#if TW_WITH_CACHE && !TW_WITH_COPY
#    error "tw_config.h: TW_WITH_CACHE needs TW_WITH_COPY"
#endif
#if TW_SEND_SIZE < 1152 || TW_SEND_SIZE > 32768
#    error "tw_config.h: TW_SEND_SIZE is from 1152 to 32768"
#endif

#endif
