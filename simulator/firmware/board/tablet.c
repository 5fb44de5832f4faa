#include "tablet.h"

#include "gic.h"
#include "virtio.h"

enum {
    EVENTS = 64,
    SELECT = 0,
    SUBSELECT = 1,
    SIZE = 2,
    SELECT_EVENT_BITS = 0x11,
    TYPE_SYNC = 0,
    TYPE_KEY = 1,
    TYPE_RELATIVE = 2,
    TYPE_ABSOLUTE = 3,
    ABSOLUTE_X = 0,
    ABSOLUTE_Y = 1,
    RELATIVE_WHEEL = 8, /* positive: up */
    KEY_LEFT = 0x110,
    KEY_RIGHT = 0x111,
    KEY_MIDDLE = 0x112,
};

struct event {
    uint16_t type, code;
    uint32_t value;
};

static fw_virtio device;
static fw_virtio_queue queue;
static fw_virtio_memory memory;
static volatile struct event events[EVENTS];
static fw_tablet_state now;
static int is_there;

static void handle(void *user) {
    (void)user;
    fw_virtio_acknowledge(&device);
}

static int is_tablet(const fw_virtio *found) {
    fw_virtio_configure(found, SELECT, SELECT_EVENT_BITS);
    fw_virtio_configure(found, SUBSELECT, TYPE_ABSOLUTE);
    return fw_virtio_config(found, SIZE) != 0;
}

int fw_tablet_start(void) {
    unsigned slot = 0;
    while (fw_virtio_find(&device, FW_VIRTIO_INPUT, &slot) == 0) {
        if (!is_tablet(&device)) {
            continue;
        }
        fw_virtio_agree(&device, 0);
        if (fw_virtio_queue_start(&queue, &device, 0, &memory) != 0) {
            return -1;
        }
        for (unsigned i = 0; i < queue.size && i < EVENTS; i++) {
            fw_virtio_offer(&queue, i, (void *)(uintptr_t)&events[i], sizeof events[i], 1);
        }
        fw_gic_attach(device.irq, handle, (void *)0);
        fw_virtio_ready(&device);
        fw_virtio_notify(&queue);
        is_there = 1;
        return 0;
    }
    return -1;
}

static void press(unsigned button, uint32_t value) {
    now.buttons = value != 0 ? now.buttons | button : now.buttons & ~button;
}

/* 1: a report is whole. */
static int take(const volatile struct event *event) {
    switch (event->type) {
    case TYPE_SYNC: return 1;
    case TYPE_ABSOLUTE:
        if (event->code == ABSOLUTE_X) {
            now.x = event->value;
        } else if (event->code == ABSOLUTE_Y) {
            now.y = event->value;
        }
        return 0;
    case TYPE_RELATIVE:
        if (event->code == RELATIVE_WHEEL) {
            now.wheel -= (int)event->value;
        }
        return 0;
    case TYPE_KEY:
        if (event->code == KEY_LEFT) {
            press(FW_TABLET_LEFT, event->value);
        } else if (event->code == KEY_RIGHT) {
            press(FW_TABLET_RIGHT, event->value);
        } else if (event->code == KEY_MIDDLE) {
            press(FW_TABLET_MIDDLE, event->value);
        }
        return 0;
    default: return 0;
    }
}

int fw_tablet_read(fw_tablet_state *state) {
    size_t written;
    int index;
    while (is_there && (index = fw_virtio_used(&queue, &written)) >= 0) {
        const int whole = written == sizeof(struct event) && take(&events[index]);
        fw_virtio_offer(&queue, (unsigned)index, (void *)(uintptr_t)&events[index], sizeof events[index], 1);
        fw_virtio_notify(&queue);
        if (whole) {
            *state = now;
            now.wheel = 0;
            return 1;
        }
    }
    return 0;
}
