/* PL011. */
#include "uart.h"

#include "gic.h"
#include "map.h"

enum {
    DATA = 0x00,
    FLAGS = 0x18,
    LINE = 0x2C,
    CONTROL = 0x30,
    MASK = 0x38,
    CLEAR = 0x44,
    RECEIVE_EMPTY = 1U << 4,
    TRANSMIT_FULL = 1U << 5,
    EIGHT_BITS_WITH_FIFO = 0x70,
    ENABLED = 0x301, /* the UART, its transmitter, its receiver */
    RECEIVE = 1U << 4,
    RECEIVE_TIMEOUT = 1U << 6,
    RING = 8192, /* a power of two; the longest command is about 1,100 bytes */
};

static struct {
    volatile uint32_t head, tail, lost;
    uint8_t bytes[RING];
} rings[FW_UARTS];

static void handle(void *user) {
    const unsigned uart = (unsigned)(uintptr_t)user;
    FW_REGISTER(FW_UART(uart) + CLEAR) = RECEIVE | RECEIVE_TIMEOUT;
    while ((FW_REGISTER(FW_UART(uart) + FLAGS) & RECEIVE_EMPTY) == 0) {
        const uint8_t byte = (uint8_t)FW_REGISTER(FW_UART(uart) + DATA);
        if (rings[uart].head - rings[uart].tail < RING) {
            rings[uart].bytes[rings[uart].head % RING] = byte;
            rings[uart].head++;
        } else {
            rings[uart].lost++;
        }
    }
}

void fw_uart_start(unsigned uart) {
    FW_REGISTER(FW_UART(uart) + LINE) = EIGHT_BITS_WITH_FIFO;
    FW_REGISTER(FW_UART(uart) + CONTROL) = ENABLED;
}

void fw_uart_write(unsigned uart, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        /* QEMU takes a byte at once and never says that it is full. */
        while ((FW_REGISTER(FW_UART(uart) + FLAGS) & TRANSMIT_FULL) != 0) {
        }
        FW_REGISTER(FW_UART(uart) + DATA) = (uint8_t)text[i];
    }
}

void fw_uart_listen(unsigned uart) {
    fw_gic_attach(FW_IRQ_UART0 + uart, handle, (void *)(uintptr_t)uart);
    FW_REGISTER(FW_UART(uart) + MASK) = RECEIVE | RECEIVE_TIMEOUT;
}

int fw_uart_read(unsigned uart) {
    int byte = -1;
    if (rings[uart].tail != rings[uart].head) {
        byte = rings[uart].bytes[rings[uart].tail % RING];
        rings[uart].tail++;
    }
    return byte;
}

uint32_t fw_uart_lost(unsigned uart) {
    return rings[uart].lost;
}
