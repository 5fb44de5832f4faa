#define _GNU_SOURCE

#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Frames read from one end before the others are looked at. */
#define READ_FRAMES 64
#define MOST_FDS 4
#define ETHERNET_HEADER 14
#define TYPE_ARP 0x0806

enum { NEAR, FAR, CONTROL, WATCHED };

struct relay {
    struct places *places;
    int ends[RELAY_LANES]; /* NEAR and FAR: lane i takes from ends[i] and gives to ends[1 - i] */
    int control;
    struct lane lanes[RELAY_LANES];
};

static int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool relay_say(int control, const void *message, size_t size, const int *fds, size_t count) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(MOST_FDS * sizeof(int))];
    } aside = {0};
    int sent[MOST_FDS];
    size_t fd_count = 0;
    for (size_t i = 0; i < count && fd_count < MOST_FDS; i++) {
        if (fds[i] >= 0) {
            sent[fd_count++] = fds[i];
        }
    }
    char copy[sizeof(struct lane_counters) * RELAY_LANES];
    size = size < sizeof copy ? size : sizeof copy;
    memcpy(copy, message, size);
    struct iovec body = {.iov_base = copy, .iov_len = size};
    struct msghdr whole = {.msg_iov = &body, .msg_iovlen = 1};
    if (fd_count > 0) {
        whole.msg_control = aside.room;
        whole.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        aside.header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(fd_count * sizeof(int))};
        memcpy(CMSG_DATA(&aside.header), sent, fd_count * sizeof(int));
    }
    return sendmsg(control, &whole, MSG_NOSIGNAL) == (ssize_t)size;
}

/* Frames. */

/* False: somebody has deleted the interface. */
static bool take(struct relay *relay, int end) {
    uint8_t frame[LANE_FRAME_BYTES + 1];
    for (int i = 0; i < READ_FRAMES; i++) {
        /* A longer one fills the buffer and is told by that. */
        ssize_t size = read(relay->ends[end], frame, sizeof frame);
        if (size < 0) {
            return errno != EBADFD;
        }
        if (size < ETHERNET_HEADER || size > LANE_FRAME_BYTES) {
            continue;
        }
        if ((frame[12] << 8 | frame[13]) == TYPE_ARP) {
            /* In the world, each end asks a router beside it. So it is at once and never lost; a round trip of
               seconds would leave every address unknown. Whoever is not answered asks again. */
            (void)!write(relay->ends[1 - end], frame, (size_t)size);
        } else {
            lane_offer(&relay->lanes[end], clock_ns(), frame, (uint32_t)size);
        }
    }
    return true;
}

static void give(struct relay *relay, int lane) {
    int64_t now_ns = clock_ns();
    struct lane_frame *frame;
    while ((frame = lane_arrived(&relay->lanes[lane], now_ns)) != NULL) {
        bool taken = write(relay->ends[1 - lane], frame->data, frame->size) == (ssize_t)frame->size;
        lane_done(&relay->lanes[lane], now_ns, frame, taken);
        now_ns = clock_ns();
    }
}

/* Orders. */

/* False: the other end is closed. */
static bool obey(struct relay *relay) {
    struct relay_request request;
    ssize_t size = recv(relay->control, &request, sizeof request, 0);
    if (size <= 0) {
        return size < 0 && errno == EINTR;
    }
    if (size != (ssize_t)sizeof request || request.which >= RELAY_LANES) {
        return false;
    }
    const char done = 1;
    if (request.order == RELAY_SET) {
        lane_set(&relay->lanes[request.which], clock_ns(), &request.setting);
        return relay_say(relay->control, &done, 1, NULL, 0);
    }
    if (request.order == RELAY_COUNT) {
        struct lane_counters counters[RELAY_LANES];
        for (int i = 0; i < RELAY_LANES; i++) {
            counters[i] = relay->lanes[i].counters;
        }
        return relay_say(relay->control, counters, sizeof counters, NULL, 0);
    }
    int made =
        place_socket(relay->places, request.which == NEAR ? &relay->places->near : &relay->places->far);
    bool said = relay_say(relay->control, &done, 1, &made, 1);
    if (made >= 0) {
        close(made);
    }
    return said;
}

static int wait_for(struct relay *relay, struct pollfd *watched) {
    int64_t wake_ns = LANE_NEVER;
    for (int i = 0; i < RELAY_LANES; i++) {
        int64_t lane_ns = lane_wake_ns(&relay->lanes[i]);
        wake_ns = lane_ns < wake_ns ? lane_ns : wake_ns;
    }
    if (wake_ns == LANE_NEVER) {
        return ppoll(watched, WATCHED, NULL, NULL);
    }
    int64_t left_ns = wake_ns - clock_ns();
    left_ns = left_ns > 0 ? left_ns : 0;
    struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    return ppoll(watched, WATCHED, &left, NULL);
}

void relay_run(struct places *places, int near_fd, int control, uint64_t seed) {
    struct relay relay = {
        .places = places,
        .ends = {near_fd, places->far.tap_fd},
        .control = control,
    };
    /* The lanes' chances are independent of each other. */
    lane_init(&relay.lanes[NEAR], seed * 2);
    lane_init(&relay.lanes[FAR], seed * 2 + 1);
    struct pollfd watched[WATCHED] = {
        [NEAR] = {.fd = near_fd, .events = POLLIN},
        [FAR] = {.fd = places->far.tap_fd, .events = POLLIN},
        [CONTROL] = {.fd = control, .events = POLLIN},
    };
    for (;;) {
        int ready = wait_for(&relay, watched);
        if (ready < 0 && errno != EINTR) {
            break;
        }
        give(&relay, NEAR);
        give(&relay, FAR);
        if (ready > 0) {
            if ((watched[NEAR].revents && !take(&relay, NEAR)) || (watched[FAR].revents && !take(&relay, FAR))
                || (watched[CONTROL].revents && !obey(&relay))) {
                break;
            }
        }
    }
    lane_free(&relay.lanes[NEAR]);
    lane_free(&relay.lanes[FAR]);
}
