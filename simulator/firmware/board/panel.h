/* The panel: a PL111 that shows memory. */
#ifndef FW_PANEL_H
#define FW_PANEL_H

#include <stddef.h>
#include <stdint.h>

typedef struct fw_panel {
    unsigned width, height;
    unsigned pixel_bytes; /* 2: RGB565, 4: XRGB8888 */
    void *memory;
    size_t size, stride; /* bytes */
} fw_panel;

/* Why a panel cannot be shown, as a sentence, or NULL: it can. */
const char *fw_panel_problem(unsigned width, unsigned height);

/* Black, and shown from here on. The size is one without a problem. */
void fw_panel_start(fw_panel *panel, unsigned width, unsigned height, unsigned pixel_bytes);

#endif
