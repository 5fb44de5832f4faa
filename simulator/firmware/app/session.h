/* The connection to the server, by whichever stack is below: session_lwip.c, or the ThreadX build's. */
#ifndef FW_SESSION_H
#define FW_SESSION_H

#include "tilewire/tilewire.h"

#include "input.h"

/* Hands it to the client. `*number`: what the client named it, 0: not known. TW_CODE_FULL: later. */
tw_status fw_session_input(const fw_input *input, uint32_t *number);

#endif
