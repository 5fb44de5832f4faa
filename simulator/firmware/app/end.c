#include <stdarg.h>

#include "../board/cpu.h"
#include "../board/exits.h"
#include "../board/format.h"
#include "../semihosting.h"
#include "events.h"

void fw_end(int status, const char *format, ...) {
    static char text[256];
    va_list list;
    (void)fw_cpu_mask();
    va_start(list, format);
    (void)fw_format_list(text, sizeof text, format, list);
    va_end(list);
    fw_log("%s", text);
    /* A line that was being sent ends here, so that this one can be read. */
    fw_event_add("\n");
    fw_event("stopped", ",\"code\":%d,\"text\":%j", status, text);
    fw_exit(status);
    for (;;) {
        fw_cpu_sleep();
    }
}
