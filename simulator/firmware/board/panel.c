#include "panel.h"

#include <string.h>

#include "map.h"

enum {
    HORIZONTAL = 0x00,
    VERTICAL = 0x04,
    BASE = 0x10,
    CONTROL = 0x18,
    CONTROL_RGB565 = 0x92D,
    CONTROL_XRGB8888 = 0x92B,
    MOST = 1024, /* each way */
    GRAIN = 16,  /* of the width */
};

const char *fw_panel_problem(unsigned width, unsigned height) {
    if (width > MOST || height > MOST) {
        return "this LCD controller shows at most 1024x1024 pixels";
    }
    if (width == 0 || width % GRAIN != 0 || height == 0) {
        return "this LCD controller shows widths that are a multiple of 16";
    }
    return NULL;
}

void fw_panel_start(fw_panel *panel, unsigned width, unsigned height, unsigned pixel_bytes) {
    panel->width = width;
    panel->height = height;
    panel->pixel_bytes = pixel_bytes;
    panel->memory = (void *)(uintptr_t)FW_PANEL_MEMORY;
    panel->stride = (size_t)width * pixel_bytes;
    panel->size = panel->stride * height;
    memset(panel->memory, 0, panel->size);
    FW_REGISTER(FW_PL111 + HORIZONTAL) = (width / GRAIN - 1) << 2;
    FW_REGISTER(FW_PL111 + VERTICAL) = height - 1;
    FW_REGISTER(FW_PL111 + BASE) = FW_PANEL_MEMORY;
    FW_REGISTER(FW_PL111 + CONTROL) = pixel_bytes == 2 ? CONTROL_RGB565 : CONTROL_XRGB8888;
}
