/* Carries frames between the ends of a link until the caller's end of the control socket closes. */
#ifndef TILEWIRE_SHAPER_RELAY_H
#define TILEWIRE_SHAPER_RELAY_H

#include "lane.h"
#include "places.h"

#define RELAY_LANES 2 /* up: near to far; down: far to near */

enum relay_order { RELAY_SET = 1, RELAY_COUNT = 2, RELAY_SOCKET = 3 };

/* What comes on the control socket, a SOCK_SEQPACKET: one order, and one answer to each.
   SET: the lane, its setting; answered with one byte.
   COUNT: answered with the counters of both lanes.
   SOCKET: 0 for the near place, 1 for the far one; answered with one byte and the socket, or with the byte alone. */
struct relay_request {
    uint32_t order;
    uint32_t which;
    struct lane_setting setting;
};

/* Returns when the other end of `control` is closed. `near_fd`: the near TAP, or a device's socket of datagrams. */
void relay_run(struct places *places, int near_fd, int control, uint64_t seed);

/* One message of `size` bytes with descriptors; those that are -1 are left out. */
bool relay_say(int control, const void *message, size_t size, const int *fds, size_t count);

#endif
