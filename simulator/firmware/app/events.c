#include "events.h"

#include <stdarg.h>

#include "tilewire/tilewire.h"

#include "../board/clock.h"
#include "../board/format.h"
#include "../board/uart.h"

/* A text of the server's, each byte of which may become \u00XX, and some names and numbers around it: what is cut would
 * be no JSON. */
enum { LONGEST = 6 * TW_MAX_TEXT + 256 };

static void send(const char *format, va_list list) {
    static char text[LONGEST];
    fw_uart_write(FW_UART_CONTROL, text, fw_format_list(text, sizeof text, format, list));
}

void fw_event_add(const char *format, ...) {
    va_list list;
    va_start(list, format);
    send(format, list);
    va_end(list);
}

__attribute__((weak)) void fw_events_lock(void) {}

__attribute__((weak)) void fw_events_unlock(void) {}

void fw_event_begin(const char *name) {
    fw_events_lock();
    fw_event_add("{\"event\":\"%s\",\"ms\":%U", name, fw_clock_us() / 1000);
}

void fw_event_end(void) {
    fw_event_add("}\n");
    fw_events_unlock();
}

void fw_event(const char *name, const char *format, ...) {
    va_list list;
    fw_event_begin(name);
    va_start(list, format);
    send(format, list);
    va_end(list);
    fw_event_end();
}
