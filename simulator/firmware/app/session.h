/* The connection to the server, by whichever stack is below: main_lwip.c or main_threadx.c. */
#ifndef FW_SESSION_H
#define FW_SESSION_H

#include "tilewire/tilewire.h"

#include "input.h"

/* Hands it to the client. TW_CODE_FULL: later, what is left of it. */
tw_status fw_session_input(fw_input *input);

#endif
