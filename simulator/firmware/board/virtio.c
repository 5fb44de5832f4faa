#include "virtio.h"

#include <string.h>

#include "cpu.h"
#include "map.h"

enum {
    MAGIC = 0x00,
    VERSION = 0x04,
    DEVICE = 0x08,
    HOST_FEATURES = 0x10,
    HOST_FEATURES_SELECT = 0x14,
    GUEST_FEATURES = 0x20,
    GUEST_FEATURES_SELECT = 0x24,
    GUEST_PAGE_SIZE = 0x28,
    QUEUE_SELECT = 0x30,
    QUEUE_MOST = 0x34,
    QUEUE_SIZE = 0x38,
    QUEUE_ALIGN = 0x3C,
    QUEUE_PAGE = 0x40,
    NOTIFY = 0x50,
    INTERRUPT_STATUS = 0x60,
    INTERRUPT_ACKNOWLEDGE = 0x64,
    STATUS = 0x70,
    CONFIG = 0x100,
    THE_MAGIC = 0x74726976,
    LEGACY = 1,
    ACKNOWLEDGED = 1,
    DRIVER = 2,
    DRIVER_OK = 4,
    PAGE = 4096,
    DEVICE_WRITES = 2,
};

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct available {
    uint16_t flags, index, ring[];
};

struct used {
    uint16_t flags, index;
    struct {
        uint32_t id, length;
    } ring[];
};

static struct descriptor *descriptors(const fw_virtio_queue *queue) {
    return (struct descriptor *)(void *)queue->memory->bytes;
}

static volatile struct available *available(const fw_virtio_queue *queue) {
    return (
        volatile struct available *)(void *)(queue->memory->bytes + queue->size * sizeof(struct descriptor));
}

static volatile struct used *used(const fw_virtio_queue *queue) {
    return (volatile struct used *)(void *)(queue->memory->bytes + PAGE);
}

int fw_virtio_find(fw_virtio *device, unsigned kind, unsigned *slot) {
    while (*slot < FW_VIRTIO_SLOTS) {
        const unsigned here = (*slot)++;
        const uintptr_t base = FW_VIRTIO(here);
        if (FW_REGISTER(base + MAGIC) == THE_MAGIC && FW_REGISTER(base + VERSION) == LEGACY
            && FW_REGISTER(base + DEVICE) == kind) {
            device->base = base;
            device->irq = FW_IRQ_VIRTIO0 + here;
            FW_REGISTER(base + STATUS) = 0;
            FW_REGISTER(base + STATUS) = ACKNOWLEDGED | DRIVER;
            FW_REGISTER(base + GUEST_PAGE_SIZE) = PAGE;
            return 0;
        }
    }
    return -1;
}

uint32_t fw_virtio_features(const fw_virtio *device) {
    FW_REGISTER(device->base + HOST_FEATURES_SELECT) = 0;
    return FW_REGISTER(device->base + HOST_FEATURES);
}

void fw_virtio_agree(const fw_virtio *device, uint32_t features) {
    FW_REGISTER(device->base + GUEST_FEATURES_SELECT) = 0;
    FW_REGISTER(device->base + GUEST_FEATURES) = features;
}

int fw_virtio_queue_start(
    fw_virtio_queue *queue, const fw_virtio *device, unsigned number, fw_virtio_memory *memory) {
    unsigned most;
    FW_REGISTER(device->base + QUEUE_SELECT) = number;
    most = FW_REGISTER(device->base + QUEUE_MOST);
    if (most == 0) {
        return -1;
    }
    memset(memory, 0, sizeof *memory);
    queue->device = device;
    queue->memory = memory;
    queue->number = number;
    queue->size = most < FW_VIRTIO_QUEUE_SIZE ? most : FW_VIRTIO_QUEUE_SIZE;
    queue->seen = 0;
    FW_REGISTER(device->base + QUEUE_SIZE) = queue->size;
    FW_REGISTER(device->base + QUEUE_ALIGN) = PAGE;
    FW_REGISTER(device->base + QUEUE_PAGE) = (uint32_t)(uintptr_t)memory / PAGE;
    return 0;
}

void fw_virtio_ready(const fw_virtio *device) {
    FW_REGISTER(device->base + STATUS) = ACKNOWLEDGED | DRIVER | DRIVER_OK;
}

uint8_t fw_virtio_config(const fw_virtio *device, unsigned offset) {
    return *(volatile uint8_t *)(device->base + CONFIG + offset);
}

void fw_virtio_configure(const fw_virtio *device, unsigned offset, uint8_t value) {
    *(volatile uint8_t *)(device->base + CONFIG + offset) = value;
}

void fw_virtio_offer(fw_virtio_queue *queue, unsigned index, void *memory, size_t size, int device_writes) {
    volatile struct available *offered = available(queue);
    struct descriptor *buffer = descriptors(queue) + index;
    buffer->address = (uintptr_t)memory;
    buffer->length = (uint32_t)size;
    buffer->flags = device_writes ? DEVICE_WRITES : 0;
    buffer->next = 0;
    offered->ring[offered->index % queue->size] = (uint16_t)index;
    fw_cpu_barrier();
    offered->index = (uint16_t)(offered->index + 1);
}

void fw_virtio_notify(const fw_virtio_queue *queue) {
    fw_cpu_barrier();
    FW_REGISTER(queue->device->base + NOTIFY) = queue->number;
}

int fw_virtio_used(fw_virtio_queue *queue, size_t *written) {
    const volatile struct used *done = used(queue);
    unsigned at;
    if (queue->seen == done->index) {
        return -1;
    }
    fw_cpu_barrier();
    at = queue->seen % queue->size;
    queue->seen++;
    *written = done->ring[at].length;
    return (int)(done->ring[at].id % queue->size);
}

void fw_virtio_acknowledge(const fw_virtio *device) {
    FW_REGISTER(device->base + INTERRUPT_ACKNOWLEDGE) = FW_REGISTER(device->base + INTERRUPT_STATUS);
}
