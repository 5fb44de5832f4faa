/* virtio over MMIO, the legacy interface (version 1) that QEMU gives its vexpress-a9 by default. One device, some queues. */
#ifndef FW_VIRTIO_H
#define FW_VIRTIO_H

#include <stddef.h>
#include <stdint.h>

enum { FW_VIRTIO_NET = 1, FW_VIRTIO_RANDOM = 4, FW_VIRTIO_INPUT = 18, FW_VIRTIO_QUEUE_SIZE = 64 };

/* Memory of a queue of up to 64 buffers: descriptors and the ring of what is offered in the first page, the ring of
 * what was used in the second. */
typedef struct fw_virtio_memory {
    uint8_t bytes[8192];
} __attribute__((aligned(4096))) fw_virtio_memory;

typedef struct fw_virtio {
    uintptr_t base;
    unsigned irq;
} fw_virtio;

typedef struct fw_virtio_queue {
    const fw_virtio *device;
    fw_virtio_memory *memory;
    unsigned number, size;
    uint16_t seen; /* of what was used */
} fw_virtio_queue;

/* The first device of a kind at or behind `*slot`, reset and told that there is a driver; `*slot` is then the next one.
 * 0, or -1: there is none. */
int fw_virtio_find(fw_virtio *device, unsigned kind, unsigned *slot);
uint32_t fw_virtio_features(const fw_virtio *device);
/* What of it is used; then the queues, then ready. */
void fw_virtio_agree(const fw_virtio *device, uint32_t features);
/* 0, or -1: the device has no such queue. */
int fw_virtio_queue_start(
    fw_virtio_queue *queue, const fw_virtio *device, unsigned number, fw_virtio_memory *memory);
void fw_virtio_ready(const fw_virtio *device);
uint8_t fw_virtio_config(const fw_virtio *device, unsigned offset);
void fw_virtio_configure(const fw_virtio *device, unsigned offset, uint8_t value);

/* Buffer `index` (below the queue's size) is memory for the device to write (or to read), and the device's now. */
void fw_virtio_offer(fw_virtio_queue *queue, unsigned index, void *memory, size_t size, int device_writes);
void fw_virtio_notify(const fw_virtio_queue *queue);
/* The index of a buffer that the device has done with, and the bytes it wrote; -1: none. */
int fw_virtio_used(fw_virtio_queue *queue, size_t *written);

/* In the interrupt: the line goes down. */
void fw_virtio_acknowledge(const fw_virtio *device);

#endif
