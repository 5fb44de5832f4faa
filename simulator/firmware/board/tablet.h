/* The touch screen: a virtio tablet, absolute positions and three buttons. */
#ifndef FW_TABLET_H
#define FW_TABLET_H

#include <stdint.h>

enum { FW_TABLET_LEFT = 1, FW_TABLET_MIDDLE = 2, FW_TABLET_RIGHT = 4, FW_TABLET_MOST = 32767 };

typedef struct fw_tablet_state {
    unsigned x, y;    /* 0 to FW_TABLET_MOST */
    unsigned buttons; /* FW_TABLET_... */
    int wheel;        /* notches down since the last report */
} fw_tablet_state;

/* 0, or -1: there is none. */
int fw_tablet_start(void);
/* 1: `state` is the next report; 0: nothing is new. */
int fw_tablet_read(fw_tablet_state *state);

#endif
