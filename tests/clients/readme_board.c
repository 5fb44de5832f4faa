/* The board of README.md's first program, on the stand-in: what it calls, and a thread that the test talks to. */
#define _POSIX_C_SOURCE 200809L

#include <stdlib.h>
#include <string.h>

#include "tw_threadx.h"

#include "host.h"

#define WIDTH 480
#define HEIGHT 272

UINT panel_start(NX_IP *ip, NX_PACKET_POOL *packets, ULONG address, UINT port);
void panel_touched(const tw_finger *fingers, UINT count);
void panel_network_is_up(void);
void board_clean_cache(const void *first, size_t stride, size_t width, size_t rows);
UINT board_random(VOID *user, VOID *bytes, ULONG length);
void board_print(const char *text);

uint16_t lcd_memory[WIDTH * HEIGHT];
static uint16_t seen[WIDTH * HEIGHT]; /* what was cleaned out of the cache */
static CHAR board_name[] = "board";
static TX_THREAD commander;
static NX_IP ip;
static NX_PACKET_POOL packets;
static UCHAR packet_memory[(256 + 128) * 256];
static _Alignas(4096) UCHAR stack[1 << 20];

void board_clean_cache(const void *first, size_t stride, size_t width, size_t rows) {
    const size_t at = (size_t)((const UCHAR *)first - (const UCHAR *)lcd_memory);
    TX_INTERRUPT_SAVE_AREA
    TX_DISABLE
    for (size_t row = 0; row < rows; row++) {
        memcpy((UCHAR *)seen + at + row * stride, (const UCHAR *)first + row * stride, width);
    }
    TX_RESTORE
}

UINT board_random(VOID *user, VOID *bytes, ULONG length) {
    (void)user;
    return host_random(bytes, length) ? TX_SUCCESS : TX_NOT_DONE;
}

void board_print(const char *text) {
    host_say("0 %s\n", text);
}

static void touch(void *line) {
    char *at = line;
    tw_finger finger = {1, 0, 0};
    if (strcmp(line, "lift") == 0) {
        panel_touched(NULL, 0);
        return;
    }
    finger.x = (unsigned)strtoul(at + strlen("touch"), &at, 10);
    finger.y = (unsigned)strtoul(at, NULL, 10);
    panel_touched(&finger, 1);
}

static UINT save(const char *path) {
    static uint16_t copy[WIDTH * HEIGHT];
    TX_INTERRUPT_SAVE_AREA
    TX_DISABLE
    memcpy(copy, seen, sizeof copy);
    TX_RESTORE
    return host_save(path, copy, sizeof copy) ? TX_SUCCESS : TX_NOT_DONE;
}

static VOID obey(ULONG unused) {
    char line[1024];
    (void)unused;
    while (host_read_line(line, sizeof line)) {
        UINT status = TX_SUCCESS;
        if (strncmp(line, "start ", 6) == 0) {
            status = panel_start(&ip, &packets, host_server(NX_IP_VERSION_V4).nxd_ip_address.v4,
                (UINT)strtoul(line + 6, NULL, 10));
        } else if (strncmp(line, "dump ", 5) == 0) {
            status = save(line + 5);
        } else if (strcmp(line, "up") == 0) {
            panel_network_is_up();
        } else {
            host_interrupt(touch, line, 1);
        }
        host_say("= %u\n", status);
    }
    exit(0);
}

VOID tx_application_define(VOID *first_unused_memory) {
    (void)first_unused_memory;
    nx_system_initialize();
    if (nx_packet_pool_create(&packets, board_name, 256, packet_memory, sizeof packet_memory) != NX_SUCCESS
        || tx_thread_create(
               &commander, board_name, obey, 0, stack, sizeof stack, 20, 20, TX_NO_TIME_SLICE, TX_AUTO_START)
               != TX_SUCCESS) {
        abort();
    }
    host_ip_create(&ip, &packets);
}

int main(void) {
    tx_kernel_enter();
    return 0;
}
