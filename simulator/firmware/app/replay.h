/* A recorded stream, server to device, decoded without a network: what the client costs. */
#ifndef FW_REPLAY_H
#define FW_REPLAY_H

#include "device.h"

/* Plays it, tells an event for each update and one at the end, and ends the machine. */
void fw_replay(fw_device *device) __attribute__((noreturn));

#endif
