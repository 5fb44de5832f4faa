/* What a firmware's C library has to have; not counted. */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
int memcmp(const void *one, const void *other, size_t length);

void *memcpy(void *to, const void *from, size_t length) {
    unsigned char *out = to;
    const unsigned char *in = from;
    while (length-- != 0) {
        *out++ = *in++;
    }
    return to;
}

void *memset(void *to, int value, size_t length) {
    unsigned char *out = to;
    while (length-- != 0) {
        *out++ = (unsigned char)value;
    }
    return to;
}

int memcmp(const void *one, const void *other, size_t length) {
    const unsigned char *a = one, *b = other;
    for (; length-- != 0; a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}
