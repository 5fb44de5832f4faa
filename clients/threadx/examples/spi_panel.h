/* Example: a panel behind SPI whose memory nobody can read, with an ILI9341 (240x320) or one like it.
 *
 * There is no framebuffer: the client decodes into a strip of some rows, and a DMA carries it to the window of the panel
 * that was set before. Meanwhile nothing is decoded. The server draws the pointer into the picture.
 */
#ifndef SPI_PANEL_H
#define SPI_PANEL_H

#include "tilewire/tilewire.h"

/* How the panel is mounted: the picture is turned clockwise by so much against the panel's own upright. */
typedef enum spi_panel_mount { SPI_PANEL_0, SPI_PANEL_90, SPI_PANEL_180, SPI_PANEL_270 } spi_panel_mount;

/* Pixels of the strip: 16 rows of the longer side. */
#define SPI_PANEL_STRIP (320U * 16U)

/* Wakes the panel up: once, before the session. */
void spi_panel_start(spi_panel_mount mount);

/* Sets what concerns the display; callbacks are the caller's: `.draw = spi_panel_draw`. */
void spi_panel_configure(tw_client_config *config);

tw_drawn spi_panel_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels);

/* ---- What the board provides ------------------------------------------------------------------------------ */

/* Waits until all is sent: the command with D/C low, its parameters with D/C high. */
void spi_board_command(uint8_t command, const uint8_t *parameters, size_t count);
/* Begins to send with D/C high, and returns. The interrupt at the end calls tw_threadx_draw_done(), tw_lwip_draw_done() or
 * tw_client_draw_done(). At most SPI_PANEL_STRIP * 2 bytes: DMA controllers often count to 65,535. */
void spi_board_send(const void *bytes, size_t count);
void spi_board_delay_ms(unsigned milliseconds);

#endif
