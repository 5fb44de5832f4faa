/* A device with one of the examples' displays, in a session of the POSIX port: displays_device flush|spi PORT MOUNT
 * CURSOR BYTES NANOSECONDS, and commands line by line on standard input as the other test programs have them. */
#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "board.h"
#include "flush_display.h"
#include "spi_panel.h"
#include "tw_posix.h"

#define WORDS 8
#define STEP_MS 2 /* an interrupt may come between the last look and the sleep */

static uint8_t receive[16384], memory[TW_CLIENT_SIZE(48, GLASS_LONG)], jpeg[TW_JPEG_MEMORY_SIZE];
static tw_posix connection;
static tw_client *client;
static int is_flush;

static void on_view_state(void *user, const tw_view_state *view) {
    (void)user;
    (void)printf("0 view %u %u %u %u %u %u %u\n", view->mode, view->rotation, view->follow,
        view->session_width, view->session_height, view->x, view->y);
    (void)fflush(stdout);
}

static const tw_callbacks flush_callbacks = {
    .draw = flush_display_draw,
    .present = flush_display_present,
    .view_state = on_view_state,
};

static const tw_callbacks spi_callbacks = {
    .draw = spi_panel_draw,
    .view_state = on_view_state,
};

static int dump(const char *path) {
    const uint16_t *pixels = is_flush ? board_panel() : board_glass();
    FILE *file = fopen(path, "wb");
    size_t done = 0;
    if (file != NULL) {
        done = fwrite(pixels, 2, (size_t)GLASS_SHORT * GLASS_LONG, file);
        (void)fclose(file);
    }
    return done != (size_t)GLASS_SHORT * GLASS_LONG;
}

static int run(char **words, int count) {
    unsigned long numbers[WORDS] = {0};
    board_counts seen;
    for (int i = 2; i < count; i++) {
        numbers[i] = strtoul(words[i], NULL, 0);
    }
    if (strcmp(words[0], "dump") == 0) {
        return dump(words[2]);
    }
    if (strcmp(words[0], "pointer") == 0) {
        return (int)tw_client_pointer(
            client, (unsigned)numbers[2], (unsigned)numbers[3], (unsigned)numbers[4], NULL);
    }
    if (strcmp(words[0], "view") == 0) {
        return (int)tw_client_view(
            client, (unsigned)numbers[2], (unsigned)numbers[3], (unsigned)numbers[4], 0, 0);
    }
    if (strcmp(words[0], "statistics") == 0) {
        tw_statistics found;
        tw_client_statistics(client, &found);
        seen = board_count();
        (void)printf("0 statistics updates=%u transfers=%u most_bytes=%u windows=%u\n",
            (unsigned)found.updates, seen.transfers, seen.most_bytes, seen.windows);
        return 0;
    }
    abort();
}

static void obey(char *line) {
    static char none[] = "0"; /* a word that is not given */
    char *words[WORDS], *rest = NULL;
    int count = 0;
    for (int i = 0; i < WORDS; i++) {
        words[i] = none;
    }
    for (char *word = strtok_r(line, " \n", &rest); word != NULL && count < WORDS;
        word = strtok_r(NULL, " \n", &rest)) {
        words[count++] = word;
    }
    if (count < 2) {
        abort();
    }
    (void)printf("= %d\n", run(words, count));
    (void)fflush(stdout);
}

/* 0: the standard input has ended. One line at a time: the other side waits for its answer. */
static int listen_to_commands(void) {
    struct pollfd door = {STDIN_FILENO, POLLIN, 0};
    char line[4096];
    if (poll(&door, 1, 0) <= 0) {
        return 1;
    }
    if (fgets(line, sizeof line, stdin) == NULL) {
        return 0;
    }
    obey(line);
    return 1;
}

static int make_client(unsigned cursor) {
    tw_client_config config;
    memset(&config, 0, sizeof config);
    config.device_id = "display";
    config.boot_id = 1;
    config.receive = receive;
    config.receive_size = sizeof receive;
    config.model_kib = 48;
    config.jpeg_memory = jpeg;
    config.jpeg_memory_size = sizeof jpeg;
    config.callbacks = is_flush ? &flush_callbacks : &spi_callbacks;
    if (is_flush) {
        flush_display_configure(&config);
    } else {
        spi_panel_configure(&config);
    }
    if (cursor != 0) {
        config.cursor = cursor;
    }
    return tw_posix_random(config.nonce, sizeof config.nonce) != 0
           || tw_client_init(&client, &config, memory, sizeof memory) != TW_OK;
}

int main(int count, char **words) {
    const char *problem = NULL;
    int over = 0;
    if (count != 7) {
        return 2;
    }
    is_flush = strcmp(words[1], "flush") == 0;
    board_start((unsigned)strtoul(words[5], NULL, 0), strtol(words[6], NULL, 0));
    if (!is_flush) {
        spi_panel_start((spi_panel_mount)strtoul(words[3], NULL, 0));
    }
    if (make_client((unsigned)strtoul(words[4], NULL, 0)) != 0
        || tw_posix_connect(&connection, "127.0.0.1", words[2], &problem) != 0) {
        return 1;
    }
    board_serve(client);
    while (over == 0 && listen_to_commands()) {
        over = tw_posix_step(&connection, client, STEP_MS);
        if (is_flush) {
            flush_display_poll();
        }
    }
    tw_client_close(client, TW_CODE_NORMAL);
    while (over == 0) {
        over = tw_posix_step(&connection, client, STEP_MS);
    }
    tw_posix_disconnect(&connection);
    return over < 0 || tw_client_error(client) != TW_OK;
}
