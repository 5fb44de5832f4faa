/* Text without newlib's printf, which needs a heap. */
#ifndef FW_FORMAT_H
#define FW_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* %u unsigned, %d int, %x 8 hex digits, %U uint64_t, %s text, %j text as a JSON string, %% itself; %.*s and %.*j take a
 * size_t and a text that no zero has to end. Bytes that are not UTF-8 become '?' in %j. Returns the length; what does not
 * fit is left out, and a zero ends it always. */
size_t fw_format(char *text, size_t size, const char *format, ...);
size_t fw_format_list(char *text, size_t size, const char *format, va_list list);

/* A line for people, on UART0: "device: ..." */
void fw_log(const char *format, ...);

#endif
