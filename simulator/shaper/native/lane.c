#include "lane.h"

#include <stdlib.h>
#include <string.h>

static void tally(struct lane_tally *what, uint32_t size) {
    what->frames++;
    what->bytes += size;
}

static void untally(struct lane_tally *what, uint32_t size) {
    what->frames--;
    what->bytes -= size;
}

static void list_init(struct lane_list *list) {
    list->first = NULL;
    list->end = &list->first;
}

static void list_append(struct lane_list *list, struct lane_frame *frame) {
    frame->next = NULL;
    *list->end = frame;
    list->end = &frame->next;
}

static struct lane_frame *list_take(struct lane_list *list) {
    struct lane_frame *frame = list->first;
    list->first = frame->next;
    if (list->first == NULL) {
        list->end = &list->first;
    }
    return frame;
}

static void list_free(struct lane_list *list) {
    while (list->first != NULL) {
        free(list_take(list));
    }
}

/* 32 bits of splitmix64. */
static uint32_t draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static int64_t later(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t transmission_ns(const struct lane *lane, uint32_t size) {
    uint64_t rate = lane->setting.bits_per_s;
    return rate == 0 ? 0 : (int64_t)((uint64_t)size * 8 * UINT64_C(1000000000) / rate);
}

/* Begin to transmit what has had its turn by now. */
static void transmit(struct lane *lane, int64_t now_ns) {
    struct lane_counters *counters = &lane->counters;
    while (lane->queue.first != NULL) {
        int64_t start_ns = later(lane->queue.first->at_ns, lane->free_ns);
        if (start_ns > now_ns) {
            return;
        }
        struct lane_frame *frame = list_take(&lane->queue);
        untally(&counters->queued, frame->size);
        lane->free_ns = start_ns + transmission_ns(lane, frame->size);
        /* Drawn for every frame, so that which ones a seed loses does not depend on when the share was changed. */
        if (draw(&lane->random) < lane->setting.loss) {
            tally(&counters->lost, frame->size);
            free(frame);
            continue;
        }
        frame->at_ns = lane->last_ns = later(lane->free_ns + lane->setting.delay_ns, lane->last_ns);
        tally(&counters->air, frame->size);
        list_append(&lane->air, frame);
    }
}

void lane_init(struct lane *lane, uint64_t seed) {
    memset(lane, 0, sizeof *lane);
    list_init(&lane->queue);
    list_init(&lane->air);
    lane->setting.queue_bytes = LANE_HELD_BYTES;
    lane->random = seed;
}

void lane_free(struct lane *lane) {
    list_free(&lane->queue);
    list_free(&lane->air);
}

void lane_set(struct lane *lane, int64_t now_ns, const struct lane_setting *setting) {
    transmit(lane, now_ns);
    lane->setting = *setting;
}

void lane_offer(struct lane *lane, int64_t now_ns, const uint8_t *data, uint32_t size) {
    struct lane_counters *counters = &lane->counters;
    transmit(lane, now_ns);
    tally(&counters->offered, size);
    if (counters->queued.bytes + size > lane->setting.queue_bytes) {
        tally(&counters->queue_full, size);
        return;
    }
    struct lane_frame *frame = NULL;
    if (counters->queued.bytes + counters->air.bytes + size <= LANE_HELD_BYTES) {
        frame = malloc(sizeof *frame + size);
    }
    if (frame == NULL) {
        tally(&counters->overrun, size);
        return;
    }
    frame->at_ns = now_ns;
    frame->size = size;
    memcpy(frame->data, data, size);
    tally(&counters->queued, size);
    list_append(&lane->queue, frame);
    /* On an idle link it does not wait. */
    transmit(lane, now_ns);
    if (counters->queue_high_bytes < counters->queued.bytes) {
        counters->queue_high_bytes = counters->queued.bytes;
    }
}

struct lane_frame *lane_arrived(struct lane *lane, int64_t now_ns) {
    transmit(lane, now_ns);
    if (lane->air.first == NULL || lane->air.first->at_ns > now_ns) {
        return NULL;
    }
    struct lane_frame *frame = list_take(&lane->air);
    untally(&lane->counters.air, frame->size);
    return frame;
}

void lane_done(struct lane *lane, int64_t now_ns, struct lane_frame *frame, bool taken) {
    struct lane_counters *counters = &lane->counters;
    uint64_t late_ns = (uint64_t)later(now_ns - frame->at_ns, 0);
    tally(taken ? &counters->delivered : &counters->refused, frame->size);
    counters->late_total_ns += late_ns;
    if (late_ns > (uint64_t)LANE_LATE_NS) {
        counters->late_frames++;
    }
    if (counters->late_most_ns < late_ns) {
        counters->late_most_ns = late_ns;
    }
    free(frame);
}

int64_t lane_wake_ns(const struct lane *lane) {
    int64_t wake_ns = lane->air.first != NULL ? lane->air.first->at_ns : LANE_NEVER;
    if (lane->queue.first != NULL) {
        int64_t start_ns = later(lane->queue.first->at_ns, lane->free_ns);
        wake_ns = start_ns < wake_ns ? start_ns : wake_ns;
    }
    return wake_ns;
}
