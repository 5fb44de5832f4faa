/* What a firmware gives the client, besides what is counted apart: one block, and JPEG's. */
#include "memory.h"

unsigned char memory[MEMORY_SIZE];
#if TW_WITH_JPEG
unsigned char jpeg_memory[TW_JPEG_MEMORY_SIZE];
#endif
