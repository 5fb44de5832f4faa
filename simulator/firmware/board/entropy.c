#include "entropy.h"

#include <string.h>

#include "clock.h"
#include "cpu.h"
#include "gic.h"
#include "virtio.h"

enum { WITHIN_US = 1000000 };

static fw_virtio device;
static fw_virtio_queue queue;
static fw_virtio_memory memory;

static void handle(void *user) {
    (void)user;
    fw_virtio_acknowledge(&device);
}

int fw_entropy_read(void *bytes, size_t length) {
    static uint8_t drawn[64];
    static int is_started;
    unsigned slot = 0;
    const uint64_t began_us = fw_clock_us();
    size_t have = 0;
    if (!is_started) {
        if (fw_virtio_find(&device, FW_VIRTIO_RANDOM, &slot) != 0) {
            return -1;
        }
        fw_virtio_agree(&device, 0);
        if (fw_virtio_queue_start(&queue, &device, 0, &memory) != 0) {
            return -1;
        }
        fw_gic_attach(device.irq, handle, NULL);
        fw_virtio_ready(&device);
        is_started = 1;
    }
    while (have < length) {
        size_t written;
        fw_virtio_offer(&queue, 0, drawn, length - have < sizeof drawn ? length - have : sizeof drawn, 1);
        fw_virtio_notify(&queue);
        while (fw_virtio_used(&queue, &written) < 0) {
            if (fw_clock_us() - began_us > WITHIN_US) {
                return -1;
            }
            fw_cpu_sleep(); /* the tick wakes it where the device does not */
        }
        written = written < sizeof drawn ? written : sizeof drawn;
        written = written < length - have ? written : length - have;
        memcpy((uint8_t *)bytes + have, drawn, written);
        have += written;
    }
    memset(drawn, 0, sizeof drawn);
    return 0;
}
