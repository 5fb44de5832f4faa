/* Hardware that is not there: a DMA whose interrupts are signals, and at its end either a panel that takes areas or the
 * chip of an SPI panel. What a board could not do ends the program with a sentence. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "tilewire/tilewire.h"

#define GLASS_LONG 320U
#define GLASS_SHORT 240U

typedef struct board_counts {
    unsigned transfers, most_bytes; /* of the DMA, and its largest */
    unsigned windows;               /* set by commands */
} board_counts;

/* The DMA carries so many bytes at each of its ticks, and there are so many nanoseconds between two. */
void board_start(unsigned bytes, long tick_ns);
/* Whose pixels are drawn; NULL: nobody's. */
void board_serve(tw_client *client);
board_counts board_count(void);

/* Pixels of the panel that takes areas, FLUSH_WIDTH x FLUSH_HEIGHT. */
const uint16_t *board_panel(void);
/* What is seen of the SPI panel that stands upright, GLASS_SHORT x GLASS_LONG. */
const uint16_t *board_glass(void);

#endif
