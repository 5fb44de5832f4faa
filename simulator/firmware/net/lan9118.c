/* SMSC LAN9118: two FIFOs behind one address. */
#include <stddef.h>

#include "../board/gic.h"
#include "../board/map.h"
#include "ethernet.h"

#define LAN(offset) FW_REGISTER(FW_LAN9118 + (offset))

enum {
    RECEIVE_DATA = 0x00,
    TRANSMIT_DATA = 0x20,
    RECEIVE_STATUS = 0x40,
    INTERRUPT_CONFIG = 0x54,
    INTERRUPT_STATUS = 0x58,
    INTERRUPT_ENABLE = 0x5C,
    BYTE_TEST = 0x64,
    FIFO_LEVELS = 0x68,
    RECEIVE_CONFIG = 0x6C,
    TRANSMIT_CONFIG = 0x70,
    HARDWARE_CONFIG = 0x74,
    RECEIVE_WAITING = 0x7C,
    TRANSMIT_WAITING = 0x80,
    DROPPED = 0xA0,
    MAC_COMMAND = 0xA4,
    MAC_DATA = 0xA8,

    MAC_CONTROL = 1,
    MAC_ADDRESS_HIGH = 2,
    MAC_ADDRESS_LOW = 3,
    MAC_PHY_ACCESS = 6,
    MAC_PHY_DATA = 7,
    PHY_STATUS = 1,
    PHY_STATUS_LINK = 4,
    COMMAND_WRITE = 0,
    RECEIVE_STATUS_INTERRUPT = 8,
    STATUS_ERROR = 1 << 15,
    CHECK_SUM = 4,
    FIRST_AND_LAST = 0x3000,
};
#define THE_BYTES 0x87654321U
#define BUSY 0x80000000U
#define COMMAND_READ 0x40000000U
#define CONTROL_RECEIVE_AND_TRANSMIT 0x0018000CU

static void (*on_wake)(void);
static size_t pending; /* length of the frame at the head of the FIFO */
static fw_ethernet_counts count;

static uint32_t mac_read(uint32_t number) {
    LAN(MAC_COMMAND) = BUSY | COMMAND_READ | number;
    while ((LAN(MAC_COMMAND) & BUSY) != 0) {
    }
    return LAN(MAC_DATA);
}

static void mac_write(uint32_t number, uint32_t value) {
    LAN(MAC_DATA) = value;
    LAN(MAC_COMMAND) = BUSY | COMMAND_WRITE | number;
    while ((LAN(MAC_COMMAND) & BUSY) != 0) {
    }
}

static void handle(void *user) {
    (void)user;
    LAN(INTERRUPT_STATUS) = RECEIVE_STATUS_INTERRUPT;
    if (on_wake != NULL) {
        on_wake();
    }
}

static int start(void (*wake)(void)) {
    if (LAN(BYTE_TEST) != THE_BYTES) {
        return -1;
    }
    on_wake = wake;
    LAN(HARDWARE_CONFIG) = 1; /* reset: takes some microseconds */
    while ((LAN(HARDWARE_CONFIG) & 1) != 0) {
    }
    LAN(HARDWARE_CONFIG) = 0x00150000;
    LAN(RECEIVE_CONFIG) = FW_FRAME_PAD << 8;
    LAN(TRANSMIT_CONFIG) = 2;
    mac_write(MAC_CONTROL, CONTROL_RECEIVE_AND_TRANSMIT);
    LAN(FIFO_LEVELS) = 0x48000000;
    LAN(INTERRUPT_CONFIG) = 0x111;
    LAN(INTERRUPT_STATUS) = 0xFFFFFFFF;
    fw_gic_attach(FW_IRQ_LAN9118, handle, NULL);
    LAN(INTERRUPT_ENABLE) = RECEIVE_STATUS_INTERRUPT;
    return 0;
}

static void mac(uint8_t to[FW_MAC_SIZE]) {
    const uint32_t low = mac_read(MAC_ADDRESS_LOW), high = mac_read(MAC_ADDRESS_HIGH);
    for (unsigned i = 0; i < 4; i++) {
        to[i] = (uint8_t)(low >> 8 * i);
    }
    to[4] = (uint8_t)high;
    to[5] = (uint8_t)(high >> 8);
}

static uint32_t phy_read(uint32_t number) {
    mac_write(MAC_PHY_ACCESS, 1 << 11 | number << 6 | 1);
    while ((mac_read(MAC_PHY_ACCESS) & 1) != 0) {
    }
    return mac_read(MAC_PHY_DATA);
}

static int link(void) {
    return (phy_read(PHY_STATUS) & PHY_STATUS_LINK) != 0;
}

static int send(const void *frame, size_t length) {
    const uint32_t *words = frame;
    const uint32_t room = LAN(TRANSMIT_WAITING) & 0xFFFF;
    const uint32_t offset = (uint32_t)((uintptr_t)frame & 3);
    const size_t count_words = (length + offset + 3) / 4;
    if (room < count_words * 4 + 16) {
        count.refused++;
        return -1;
    }
    words = (const uint32_t *)((uintptr_t)frame & ~(uintptr_t)3);
    LAN(TRANSMIT_DATA) = offset << 16 | FIRST_AND_LAST | (uint32_t)length;
    LAN(TRANSMIT_DATA) = (uint32_t)length << 16 | (uint32_t)length;
    for (size_t i = 0; i < count_words; i++) {
        LAN(TRANSMIT_DATA) = words[i];
    }
    count.sent++;
    return 0;
}

static void drain(uint32_t *to, size_t words) {
    for (size_t i = 0; i < words; i++) {
        const uint32_t word = LAN(RECEIVE_DATA);
        if (to != NULL) {
            to[i] = word;
        }
    }
}

static size_t fifo_words(size_t length) {
    return (length + CHECK_SUM + FW_FRAME_PAD + 3) / 4;
}

static size_t waiting(void) {
    while (pending == 0 && (LAN(RECEIVE_WAITING) >> 16 & 0xFF) != 0) {
        const uint32_t status = LAN(RECEIVE_STATUS);
        const size_t length = status >> 16 & 0x3FFF;
        if ((status & STATUS_ERROR) != 0 || length < CHECK_SUM + 14 || length > FW_FRAME_SIZE + CHECK_SUM) {
            drain(NULL, (length + FW_FRAME_PAD + 3) / 4);
            count.lost++;
        } else {
            pending = length - CHECK_SUM;
        }
    }
    return pending;
}

static void take(void *memory) {
    drain(memory, fifo_words(pending));
    count.received += memory != NULL;
    count.lost += memory == NULL;
    pending = 0;
}

static void counts(fw_ethernet_counts *to) {
    count.lost += LAN(DROPPED); /* reading clears it */
    *to = count;
}

const fw_ethernet fw_lan9118 = {"lan9118", start, mac, link, send, waiting, take, counts};
