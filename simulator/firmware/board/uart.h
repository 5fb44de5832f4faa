/* The serial lines: UART0 is the log for people, UART1 the control channel. */
#ifndef FW_UART_H
#define FW_UART_H

#include <stddef.h>
#include <stdint.h>

enum { FW_UART_LOG = 0, FW_UART_CONTROL = 1, FW_UARTS = 2 };

/* Output alone, from the first instruction on. */
void fw_uart_start(unsigned uart);
void fw_uart_write(unsigned uart, const char *text, size_t length);

/* Input too, by interrupt, into a ring. What does not fit is lost and counted. */
void fw_uart_listen(unsigned uart);
/* The next byte, or -1. */
int fw_uart_read(unsigned uart);
uint32_t fw_uart_lost(unsigned uart);

#endif
