/* One direction of a link: a drop-tail queue, a transmitter, and the way through the air.

   No I/O and no clock of its own: the caller says what time it is, in nanoseconds, never less than before. What a
   frame meets is computed in that time, so a caller that comes late delivers late but never changes the rate. */
#ifndef TILEWIRE_SHAPER_LANE_H
#define TILEWIRE_SHAPER_LANE_H

#include <stdbool.h>
#include <stdint.h>

/* 1500 bytes of IP, the Ethernet header, a VLAN tag. */
#define LANE_FRAME_BYTES 1518
/* All that a lane holds, queue and air together: 0.5 s of 1 Gbit/s. */
#define LANE_HELD_BYTES (64U << 20)
#define LANE_LOSS_ALL (UINT64_C(1) << 32)
/* A delivery that comes so much after its time is counted. */
#define LANE_LATE_NS INT64_C(1000000)
#define LANE_NEVER INT64_MAX

/* Eight bytes each, in this order: Python reads and writes these structures. */
struct lane_setting {
    uint64_t bits_per_s; /* of whole frames, header and all; 0: no bound */
    int64_t delay_ns;    /* one way */
    uint64_t loss;       /* the share of frames that is lost, of 2^32 */
    uint64_t queue_bytes;
};

struct lane_tally {
    uint64_t frames;
    uint64_t bytes;
};

/* offered = delivered + queue_full + lost + refused + overrun + queued + in the air, in frames and in bytes. */
struct lane_counters {
    struct lane_tally offered;    /* read from the sending end */
    struct lane_tally delivered;  /* written to the receiving end */
    struct lane_tally queue_full; /* dropped: the queue had no room */
    struct lane_tally lost;       /* dropped by chance, after they were transmitted */
    struct lane_tally refused;    /* the receiving end did not take them */
    struct lane_tally overrun;    /* dropped: LANE_HELD_BYTES */
    struct lane_tally queued;     /* now; what is being transmitted is in the air */
    struct lane_tally air;        /* now */
    uint64_t queue_high_bytes;
    uint64_t late_frames;   /* delivered or refused more than LANE_LATE_NS after their time */
    uint64_t late_total_ns; /* of all that were delivered or refused */
    uint64_t late_most_ns;
};

struct lane_frame {
    struct lane_frame *next;
    int64_t at_ns; /* in the queue: when it came; in the air: when it arrives */
    uint32_t size;
    uint8_t data[];
};

struct lane_list {
    struct lane_frame *first;
    struct lane_frame **end;
};

struct lane {
    struct lane_setting setting;
    struct lane_counters counters;
    struct lane_list queue;
    struct lane_list air;
    int64_t free_ns; /* when the transmitter is done with what it has begun */
    int64_t last_ns; /* when the last frame in the air arrives: a shorter delay overtakes nobody */
    uint64_t random;
};

/* The same seed loses the same frames, counted from the first. Nothing is bounded, late or lost until lane_set. */
void lane_init(struct lane *lane, uint64_t seed);
void lane_free(struct lane *lane);

/* From now on. What has been transmitted, or is being, keeps what it met; what waits stays even in a shorter queue. */
void lane_set(struct lane *lane, int64_t now_ns, const struct lane_setting *setting);

/* A frame comes, of at most LANE_FRAME_BYTES. */
void lane_offer(struct lane *lane, int64_t now_ns, const uint8_t *data, uint32_t size);

/* The next frame that has arrived, or NULL; to be given back with lane_done. */
struct lane_frame *lane_arrived(struct lane *lane, int64_t now_ns);
void lane_done(struct lane *lane, int64_t now_ns, struct lane_frame *frame, bool taken);

/* When lane_arrived has something to do next; LANE_NEVER: nothing is under way. */
int64_t lane_wake_ns(const struct lane *lane);

#endif
