/* An Ethernet controller, for whichever stack runs above: nothing here knows of one. */
#ifndef FW_ETHERNET_H
#define FW_ETHERNET_H

#include <stddef.h>
#include <stdint.h>

/* A frame is at most 1514 bytes, without its check sum. Received ones lie two bytes into memory that is aligned to 4, so
 * that what follows the Ethernet header is aligned too. */
enum { FW_FRAME_SIZE = 1514, FW_FRAME_PAD = 2, FW_MAC_SIZE = 6 };
#define FW_FRAME_ROOM(length) (((length) + FW_FRAME_PAD + 4 + 3) / 4 * 4)

typedef struct fw_ethernet_counts {
    uint32_t received, sent;
    uint32_t lost;    /* received by nobody: no room, or damaged */
    uint32_t refused; /* not sent: no room */
} fw_ethernet_counts;

typedef struct fw_ethernet {
    const char *name;
    /* Looks for it and sets it going. `wake`, if not NULL, is called in its interrupt. 0, or -1: it is not there. */
    int (*start)(void (*wake)(void));
    void (*mac)(uint8_t mac[FW_MAC_SIZE]);
    /* 1: there is a line. */
    int (*link)(void);
    /* Copies the frame. 0, or -1: there is no room now. */
    int (*send)(const void *frame, size_t length);
    /* The length of the next received frame, 0: none. It stays until it is taken. */
    size_t (*waiting)(void);
    /* Copies it to FW_FRAME_PAD bytes into `memory` (NULL: drops it), which has FW_FRAME_ROOM(length) bytes. */
    void (*take)(void *memory);
    void (*counts)(fw_ethernet_counts *counts);
} fw_ethernet;

extern const fw_ethernet fw_lan9118, fw_virtio_net;

#endif
