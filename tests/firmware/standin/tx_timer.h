/* Declares nothing of what the port's interrupt calls, as the real one. */
#ifndef TX_TIMER_H
#define TX_TIMER_H

#include "tx_api.h"

#endif
