/* virtio-net, legacy: frames behind a header of 10 zeros. */
#include <string.h>

#include "../board/gic.h"
#include "../board/virtio.h"
#include "ethernet.h"

enum {
    RECEIVE = 0,
    TRANSMIT = 1,
    HEADER = 10,
    FEATURE_MAC = 1 << 5,
    FEATURE_STATUS = 1 << 16,
    CONFIG_STATUS = 6,
    LINK_UP = 1,
    BUFFERS = FW_VIRTIO_QUEUE_SIZE,
};

typedef struct buffer {
    uint8_t bytes[HEADER + FW_FRAME_SIZE + 4];
} buffer;

static fw_virtio device;
static fw_virtio_queue received, sent;
static fw_virtio_memory receive_memory, transmit_memory;
static buffer receive_buffers[BUFFERS], transmit_buffers[BUFFERS];
static uint8_t free_to_send[BUFFERS];
static unsigned free_count;
static int head = -1; /* the received buffer that waits to be taken */
static size_t head_length;
static void (*on_wake)(void);
static fw_ethernet_counts count;

static void handle(void *user) {
    (void)user;
    fw_virtio_acknowledge(&device);
    if (on_wake != NULL) {
        on_wake();
    }
}

static int start(void (*wake)(void)) {
    unsigned slot = 0;
    if (fw_virtio_find(&device, FW_VIRTIO_NET, &slot) != 0) {
        return -1;
    }
    on_wake = wake;
    fw_virtio_agree(&device, fw_virtio_features(&device) & (FEATURE_MAC | FEATURE_STATUS));
    if (fw_virtio_queue_start(&received, &device, RECEIVE, &receive_memory) != 0
        || fw_virtio_queue_start(&sent, &device, TRANSMIT, &transmit_memory) != 0) {
        return -1;
    }
    for (unsigned i = 0; i < received.size; i++) {
        fw_virtio_offer(&received, i, receive_buffers[i].bytes, sizeof receive_buffers[i].bytes, 1);
    }
    for (unsigned i = 0; i < sent.size; i++) {
        free_to_send[free_count++] = (uint8_t)i;
    }
    fw_gic_attach(device.irq, handle, NULL);
    fw_virtio_ready(&device);
    fw_virtio_notify(&received);
    return 0;
}

static void mac(uint8_t to[FW_MAC_SIZE]) {
    for (unsigned i = 0; i < FW_MAC_SIZE; i++) {
        to[i] = fw_virtio_config(&device, i);
    }
}

static int link(void) {
    return (fw_virtio_features(&device) & FEATURE_STATUS) == 0
           || (fw_virtio_config(&device, CONFIG_STATUS) & LINK_UP) != 0;
}

static int send(const void *frame, size_t length) {
    size_t written;
    int done;
    buffer *out;
    while ((done = fw_virtio_used(&sent, &written)) >= 0) {
        free_to_send[free_count++] = (uint8_t)done;
    }
    if (free_count == 0 || length > FW_FRAME_SIZE) {
        count.refused++;
        return -1;
    }
    free_count--;
    out = &transmit_buffers[free_to_send[free_count]];
    memset(out->bytes, 0, HEADER);
    memcpy(out->bytes + HEADER, frame, length);
    fw_virtio_offer(&sent, free_to_send[free_count], out->bytes, HEADER + length, 0);
    fw_virtio_notify(&sent);
    count.sent++;
    return 0;
}

static void give_back(int index) {
    fw_virtio_offer(
        &received, (unsigned)index, receive_buffers[index].bytes, sizeof receive_buffers[index].bytes, 1);
    fw_virtio_notify(&received);
}

static size_t waiting(void) {
    while (head < 0) {
        size_t written;
        head = fw_virtio_used(&received, &written);
        if (head < 0) {
            return 0;
        }
        if (written <= HEADER + 14 || written > HEADER + FW_FRAME_SIZE) {
            count.lost++;
            give_back(head);
            head = -1;
        } else {
            head_length = written - HEADER;
        }
    }
    return head_length;
}

static void take(void *memory) {
    if (memory != NULL) {
        memcpy((uint8_t *)memory + FW_FRAME_PAD, receive_buffers[head].bytes + HEADER, head_length);
        count.received++;
    } else {
        count.lost++;
    }
    give_back(head);
    head = -1;
}

static void counts(fw_ethernet_counts *to) {
    *to = count;
}

const fw_ethernet fw_virtio_net = {"virtio", start, mac, link, send, waiting, take, counts};
