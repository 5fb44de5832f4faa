/* What lwIP wants to know of the compiler and the machine; also for a Cortex-M without a C library's output. */
#ifndef ARCH_CC_H
#define ARCH_CC_H

#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

unsigned lwip_test_random(void);

#ifdef __cplusplus
}
#endif

#define LWIP_RAND() ((uint32_t)lwip_test_random())
#define LWIP_PLATFORM_DIAG(message) ((void)0)
#define LWIP_PLATFORM_ASSERT(message) abort()

#endif
