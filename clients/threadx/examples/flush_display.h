/* Example: a display driver with a flush callback as LVGL has them, which works on while it has returned.
 *
 * The client decodes into a framebuffer in RAM. What changed goes to the driver in parts: while a DMA sends one part, the
 * next is put together, and the client may draw over what was copied. For a board whose driver was written for LVGL:
 *
 *     void flush_board_start(const flush_area *area, uint16_t *pixels) {
 *         lv_area_t part = {area->x1, area->y1, area->x2, area->y2};
 *         my_flush_cb(NULL, &part, (uint8_t *)pixels);
 *     }
 *
 * and flush_display_ready() is called where it calls lv_display_flush_ready().
 */
#ifndef FLUSH_DISPLAY_H
#define FLUSH_DISPLAY_H

#include "tilewire/tilewire.h"

#define FLUSH_WIDTH 320U
#define FLUSH_HEIGHT 240U
/* Pixels of each of the two parts: a tenth of the screen, and at least one row. */
#define FLUSH_PART (FLUSH_WIDTH * FLUSH_HEIGHT / 10U)

/* Both ends belong to it. */
typedef struct flush_area {
    int32_t x1, y1, x2, y2;
} flush_area;

/* Sets what concerns the display; callbacks are the caller's: `.draw = flush_display_draw`, `.present =
 * flush_display_present`. */
void flush_display_configure(tw_client_config *config);

tw_drawn flush_display_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels);
tw_drawn flush_display_present(void *user, uint32_t update, uint32_t input);

/* From the main loop or the client's thread, after flush_display_ready(): goes on with what did not fit. */
void flush_display_poll(void);

/* From the interrupt at the end of a DMA: the driver is done with the pixels of flush_board_start(). */
void flush_display_ready(void);

/* ---- What the board provides ------------------------------------------------------------------------------ */

/* Begins to send pixels to an area of the panel and returns, also out of flush_display_ready(). */
void flush_board_start(const flush_area *area, uint16_t *pixels);
/* Keep the interrupt of the DMA off, and let it come again: __disable_irq(), __enable_irq(). */
void flush_board_lock(void);
void flush_board_unlock(void);
/* tw_threadx_draw_done(), tw_lwip_draw_done() or tw_client_draw_done(), of the session; also from the interrupt. */
void flush_board_draw_done(void);

#endif
