/* MODEL_KIB and COLUMNS come from the command line. */
#ifndef MEMORY_H
#define MEMORY_H

#include "tilewire/tilewire.h"

#define MEMORY_SIZE TW_CLIENT_SIZE(MODEL_KIB, COLUMNS)

extern unsigned char memory[MEMORY_SIZE];
#if TW_WITH_JPEG
extern unsigned char jpeg_memory[TW_JPEG_MEMORY_SIZE];
#endif

#endif
