/* lwIP's view of the compiler and the board. */
#ifndef FW_ARCH_CC_H
#define FW_ARCH_CC_H

#include <stdint.h>

#define LWIP_NO_INTTYPES_H 1
#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "u"

#define LWIP_NO_STDDEF_H 0
#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_CTYPE_H 1

extern uint32_t fw_lwip_window; /* bytes; see lwipopts.h */
uint32_t fw_lwip_random(void);
void fw_lwip_assert(const char *message, const char *file, int line) __attribute__((noreturn));

#define LWIP_RAND() fw_lwip_random()
#define LWIP_PLATFORM_ASSERT(message) fw_lwip_assert(message, __FILE__, __LINE__)
#define LWIP_PLATFORM_DIAG(message)

#endif
