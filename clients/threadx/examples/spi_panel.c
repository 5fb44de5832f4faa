#include "spi_panel.h"

#define SHORT_SIDE 240U
#define LONG_SIDE 320U

/* Commands of the controller. */
#define SWRESET 0x01U
#define SLPOUT 0x11U
#define DISPON 0x29U
#define CASET 0x2AU
#define RASET 0x2BU
#define RAMWR 0x2CU
#define MADCTL 0x36U
#define COLMOD 0x3AU

/* MADCTL: order of rows, of columns, both exchanged, blue first. */
#define MY 0x80U
#define MX 0x40U
#define MV 0x20U
#define BGR 0x08U

#define RGB565 0x55U

static uint16_t strip[SPI_PANEL_STRIP];
static spi_panel_mount mounted;

static void command(uint8_t code, uint8_t parameter) {
    spi_board_command(code, &parameter, 1);
}

void spi_panel_start(spi_panel_mount mount) {
    /* Of modules whose picture is upright with MX; some are mirrored and want MX the other way round. */
    static const uint8_t orders[] = {MX | BGR, MV | BGR, MY | BGR, MX | MY | MV | BGR};
    mounted = mount;
    spi_board_command(SWRESET, NULL, 0);
    spi_board_delay_ms(120);
    spi_board_command(SLPOUT, NULL, 0);
    spi_board_delay_ms(120);
    command(COLMOD, RGB565);
    command(MADCTL, orders[mount]);
    spi_board_command(DISPON, NULL, 0);
}

void spi_panel_configure(tw_client_config *config) {
    const int lies = mounted == SPI_PANEL_90 || mounted == SPI_PANEL_270;
    config->width = lies ? LONG_SIDE : SHORT_SIDE;
    config->height = lies ? SHORT_SIDE : LONG_SIDE;
    config->pixel_format = TW_PIXEL_RGB565;
    config->big_endian = 1; /* the panel takes the high byte first, and the DMA does not swap */
    config->strip = strip;
    config->strip_size = sizeof strip;
    config->cursor = TW_CURSOR_IN_PICTURE;
}

/* First and last of a range. */
static void set_range(uint8_t code, unsigned first, unsigned count) {
    const unsigned last = first + count - 1;
    const uint8_t range[] = {(uint8_t)(first >> 8), (uint8_t)first, (uint8_t)(last >> 8), (uint8_t)last};
    spi_board_command(code, range, sizeof range);
}

tw_drawn spi_panel_draw(
    void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    (void)user;
    set_range(CASET, x, width);
    set_range(RASET, y, height);
    spi_board_command(RAMWR, NULL, 0);
    spi_board_send(pixels, (size_t)width * height * sizeof(uint16_t));
    return TW_DRAW_PENDING; /* the strip is the DMA's until its interrupt */
}
