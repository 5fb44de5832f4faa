/* The control channel: commands on UART1, one a line.
 *
 *   stats                       answered by the event of that name
 *   stop                        a GOODBYE to the server, then exit status 0
 *   drop                        the TCP connection is aborted, as if the line had broken
 *   text UTF-8                  typed
 *   key KEYSYM down|up          decimal, or 0x and hexadecimal
 *   pointer X Y BUTTONS         on the panel
 *   touch ID X Y down|move|up
 *   under                       answered by what is under the local cursor: x, y, width, height, pixels as hexadecimal;
 *                               0 by 0 where there is none, and on ThreadX, where another thread has the client
 *   freeze                      the main loop stands still, for the watchdog
 *   crash null|undef            for the vectors */
#ifndef FW_CONTROL_H
#define FW_CONTROL_H

#include "device.h"

typedef struct fw_control {
    fw_device *device;
    void (*stop)(void);
    void (*drop)(void);
    /* Adds what the stack below has to say to the event `stats`. */
    void (*add_stats)(void);
} fw_control;

/* Reads and does what came. Bytes of it. */
unsigned fw_control_poll(const fw_control *control);

#endif
