/* The control channel's other direction: one JSON object a line on UART1. */
#ifndef FW_EVENTS_H
#define FW_EVENTS_H

#include <stddef.h>

/* A whole object, as fw_format() has it: fw_event("link", ",\"up\":%s", "true") sends {"event":"link","ms":...,"up":true}.
 * `ms` is the device's clock since it began. */
void fw_event(const char *name, const char *format, ...);

/* Where threads tell events, a mutex that one of them may hold more than once. Nothing where there are none. */
void fw_events_lock(void);
void fw_events_unlock(void);

/* One in parts. */
void fw_event_begin(const char *name);
void fw_event_add(const char *format, ...);
void fw_event_end(void);

#endif
