/* The five standard panels, as protocol/panels.py has them; a test compares the two. */
#ifndef FW_PANELS_H
#define FW_PANELS_H

/* X(name, width, height, format, big_endian, readable, largest message, widest rectangle, its area, model KiB, cache
 *   slots, bytes of a slot, cursor side, dots per inch) */
#define FW_PANELS(X) \
    X("threadx-512", 1024, 600, RGB565, 0, 1, 65536, 1024, 614400, 48, 1024, 8192, 32, 170) \
    X("iot-256", 800, 480, RGB565, 0, 1, 16384, 800, 51200, 32, 256, 8192, 32, 133) \
    X("thin-1g", 1280, 720, XRGB8888, 0, 1, 65536, 1280, 921600, 48, 4096, 16384, 64, 96) \
    X("legacy-2g", 1366, 768, XRGB8888, 0, 1, 65536, 1366, 1049088, 48, 8192, 16384, 64, 96) \
    X("mcu", 320, 240, RGB565, 1, 0, 1024, 320, 5120, 0, 0, 0, 0, 167)

#endif
