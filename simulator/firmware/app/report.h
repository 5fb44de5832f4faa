/* What the device measured, by its own clock. */
#ifndef FW_REPORT_H
#define FW_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "tilewire/tilewire.h"

void fw_report_drawn(uint32_t pixels);
uint64_t fw_report_pixels(void);
/* An update is whole. */
void fw_report_update(const tw_client *client);
/* A connection begins: numbers start again. */
void fw_report_connection(void);

/* Adds to the event that is being sent. `mips` 0: not known. */
void fw_report_add(unsigned mips);

#endif
