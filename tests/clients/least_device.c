/* The least device: no codec, no JPEG, no key, no cursor, nothing that tw_config.h can leave out but RGB565 and copies.
 * Arguments: host and port. Driven by lines on standard input:
 *
 *   p X Y BUTTONS  moves the pointer     t X Y   a finger is there     l   it is lifted
 *   s              writes the framebuffer to standard output           q   ends the session, and the program
 *
 * Returns 0 if the connection ended as it was asked to. */
#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tw_posix.h"

#define WIDTH 200
#define HEIGHT 120

static uint16_t framebuffer[WIDTH * HEIGHT];
static uint8_t receive[4096], memory[TW_CLIENT_SIZE(0, 0)];
static tw_posix connection;

static tw_status begin(tw_client **client) {
    tw_client_config config;
    memset(&config, 0, sizeof config);
    config.device_id = "least";
    config.width = WIDTH;
    config.height = HEIGHT;
    config.pixel_format = TW_PIXEL_RGB565;
    config.framebuffer = framebuffer;
    config.framebuffer_size = sizeof framebuffer;
    config.receive = receive;
    config.receive_size = sizeof receive;
    config.capabilities = TW_CAPABILITY_TOUCH;
    if (tw_posix_random(config.nonce, sizeof config.nonce) != 0) {
        return TW_CODE_INTERNAL;
    }
    return tw_client_init(client, &config, memory, sizeof memory);
}

static int obey(tw_client *client, const char *line) {
    tw_finger finger = {7, 0, 0};
    unsigned x, y, buttons;
    if (sscanf(line, "p %u %u %u", &x, &y, &buttons) == 3) {
        return tw_client_pointer(client, x, y, buttons, NULL) == TW_OK;
    }
    if (sscanf(line, "t %u %u", &finger.x, &finger.y) == 2) {
        return tw_client_touch(client, &finger, 1, NULL) == TW_OK;
    }
    switch (line[0]) {
    case 'l': return tw_client_touch(client, NULL, 0, NULL) == TW_OK;
    case 's': return fwrite(framebuffer, sizeof framebuffer, 1, stdout) == 1 && fflush(stdout) == 0;
    case 'q': tw_client_close(client, TW_CODE_NORMAL); return 1;
    default: return 0;
    }
}

/* One line, where one has begun; a reader's buffer would hide the next from poll(). */
static int read_line(char *line, size_t size) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    size_t at = 0;
    if (poll(&input, 1, 0) <= 0) {
        return 0;
    }
    while (at < size - 1 && read(STDIN_FILENO, line + at, 1) == 1 && line[at] != '\n') {
        at++;
    }
    line[at] = 0;
    return 1;
}

int main(int argc, char **argv) {
    const char *problem;
    tw_client *client;
    char line[64];
    if (argc != 3 || begin(&client) != TW_OK) {
        return 2;
    }
    if (tw_posix_connect(&connection, argv[1], argv[2], &problem) != 0) {
        fprintf(stderr, "%s\n", problem);
        return 3;
    }
    while (tw_posix_step(&connection, client, 10) == 0) {
        /* Input before the session stands would be refused. */
        if (tw_client_phase(client) == TW_OPEN && read_line(line, sizeof line) && !obey(client, line)) {
            fprintf(stderr, "%s: refused\n", line);
            return 4;
        }
    }
    tw_posix_disconnect(&connection);
    return tw_client_error(client) == TW_OK ? 0 : 5;
}
