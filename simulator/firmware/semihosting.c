#include "semihosting.h"

enum {
    SYS_WRITE0 = 0x04,
    SYS_GET_CMDLINE = 0x15,
    SYS_EXIT_EXTENDED = 0x20,
    APPLICATION_EXIT = 0x20026,
};

static uintptr_t call(uintptr_t operation, const void *block) {
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
#ifdef __thumb__
    __asm__ volatile("svc 0xAB" : "+r"(r0) : "r"(r1) : "memory", "lr");
#else
    __asm__ volatile("svc 0x123456" : "+r"(r0) : "r"(r1) : "memory", "lr");
#endif
    return r0;
}

void fw_print(const char *text) {
    (void)call(SYS_WRITE0, text);
}

void fw_print_number(uint64_t value) {
    char text[21];
    size_t at = sizeof text - 1;
    text[at] = '\0';
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    fw_print(text + at);
}

void fw_print_hex(uint32_t value) {
    char text[9];
    for (unsigned i = 0; i < 8; i++) {
        text[i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15];
    }
    text[8] = '\0';
    fw_print(text);
}

void fw_arguments(char *text, size_t size) {
    uintptr_t block[2];
    block[0] = (uintptr_t)text;
    block[1] = size;
    if (call(SYS_GET_CMDLINE, block) != 0) {
        text[0] = '\0';
    }
}

void fw_exit(int status) {
    uintptr_t block[2] = {APPLICATION_EXIT, (uintptr_t)(status & 255)};
    for (;;) {
        (void)call(SYS_EXIT_EXTENDED, block);
    }
}
