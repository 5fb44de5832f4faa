/* The kernel's own variables. */
#ifndef TX_THREAD_H
#define TX_THREAD_H

#include "tx_api.h"

extern TX_THREAD *_tx_thread_created_ptr;
extern ULONG _tx_thread_created_count;
extern volatile ULONG _tx_thread_system_state;

#endif
