#include "control.h"

#include <string.h>

#include "../board/clock.h"
#include "../board/cpu.h"
#include "../board/format.h"
#include "../board/keyboard.h"
#include "../board/uart.h"
#include "events.h"
#include "input.h"
#include "memory.h"
#include "report.h"

enum { LINE = 1280 };

/* The next word, and the rest behind it. */
static char *word(char **rest) {
    char *begin = *rest;
    while (*begin == ' ') {
        begin++;
    }
    *rest = begin;
    while (**rest != ' ' && **rest != '\0') {
        (*rest)++;
    }
    if (**rest == ' ') {
        **rest = '\0';
        (*rest)++;
    }
    return begin;
}

/* 0, or -1: it is none. */
static int number(const char *text, uint32_t *to) {
    const uint32_t base = text[0] == '0' && text[1] == 'x' ? 16 : 10;
    uint32_t sum = 0;
    text += base == 16 ? 2 : 0;
    if (*text == '\0' || strlen(text) > 8) {
        return -1;
    }
    for (; *text != '\0'; text++) {
        const char *digits = "0123456789abcdef";
        const char *found = memchr(digits, *text, base);
        if (found == NULL) {
            return -1;
        }
        sum = sum * base + (uint32_t)(found - digits);
    }
    *to = sum;
    return 0;
}

static int text(const char *rest) {
    static fw_input input;
    const size_t length = strlen(rest);
    if (length == 0 || length > sizeof input.text) {
        return -1;
    }
    input.kind = FW_INPUT_TEXT;
    input.count = length;
    memcpy(input.text, rest, length);
    fw_input_put(&input);
    return 0;
}

static int key(char *rest) {
    uint32_t keysym;
    const char *name = word(&rest), *way = word(&rest);
    if (number(name, &keysym) != 0 || (strcmp(way, "down") != 0 && strcmp(way, "up") != 0)) {
        return -1;
    }
    fw_input_key(keysym, strcmp(way, "down") == 0);
    return 0;
}

static int pointer(char *rest, const fw_device *device) {
    uint32_t x, y, buttons;
    if (number(word(&rest), &x) != 0 || number(word(&rest), &y) != 0 || number(word(&rest), &buttons) != 0
        || x >= device->config.width || y >= device->config.height || buttons > 31) {
        return -1;
    }
    fw_input_pointer(x, y, buttons);
    return 0;
}

static int touch(char *rest, const fw_device *device) {
    uint32_t id, x, y;
    const char *way;
    if (number(word(&rest), &id) != 0 || number(word(&rest), &x) != 0 || number(word(&rest), &y) != 0
        || id > 255 || x >= device->config.width || y >= device->config.height) {
        return -1;
    }
    way = word(&rest);
    if (strcmp(way, "down") != 0 && strcmp(way, "move") != 0 && strcmp(way, "up") != 0) {
        return -1;
    }
    fw_input_finger(id, x, y, strcmp(way, "up") != 0);
    return 0;
}

static void under(const fw_device *device) {
    unsigned x = 0, y = 0, width = 0, height = 0;
    const tw_client *client = device->of();
    const uint8_t *pixels = client != NULL ? tw_client_under(client, &x, &y, &width, &height) : NULL;
    const size_t size = pixels != NULL ? (size_t)width * height * device->panel.pixel_bytes : 0;
    fw_event_begin("under");
    fw_event_add(",\"x\":%u,\"y\":%u,\"width\":%u,\"height\":%u,\"pixels\":\"", x, y, size != 0 ? width : 0,
        size != 0 ? height : 0);
    for (size_t i = 0; i < size; i++) {
        const char digits[2] = {"0123456789abcdef"[pixels[i] >> 4], "0123456789abcdef"[pixels[i] & 15]};
        fw_event_add("%.*s", sizeof digits, digits);
    }
    fw_event_add("\"");
    fw_event_end();
}

static void stats(const fw_control *control) {
    const fw_device *device = control->device;
    fw_event_begin("stats");
    fw_event_add(",\"uptime_us\":%U", fw_clock_us());
    fw_report_add(device->config.mips);
    control->add_stats();
    fw_event_add(",\"stacks\":[");
    for (size_t i = 0; i < fw_stack_count; i++) {
        const fw_stack *stack = &fw_stacks[i];
        fw_event_add("%s{\"name\":%j,\"size\":%u,\"used\":%u}", i == 0 ? "" : ",", stack->name,
            (unsigned)((uintptr_t)stack->top - (uintptr_t)stack->limit), (unsigned)fw_stack_used(stack));
    }
    fw_event_add(
        "],\"memory\":{\"heap\":0,\"client\":%u,\"receive\":%u,\"cache\":%u,\"cursor\":%u,\"strip\":%u"
        ",\"framebuffer\":%u,\"free\":%u}",
        (unsigned)device->memory_size, (unsigned)device->client.receive_size,
        (unsigned)device->client.cache_size, (unsigned)device->client.cursor_memory_size,
        (unsigned)device->client.strip_size, (unsigned)device->panel.size, (unsigned)fw_memory_free());
    fw_event_add(",\"lost\":{\"inputs\":%u,\"keyboard\":%u,\"control\":%u}", fw_input_lost(),
        fw_keyboard_lost(), fw_uart_lost(FW_UART_CONTROL));
    fw_event_end();
}

static void freeze(void) {
    for (;;) {
        fw_cpu_sleep();
    }
}

static int crash(const char *how) {
    if (strcmp(how, "null") == 0) {
        volatile uint32_t *nothing = NULL;
        __asm__("" : "+r"(nothing)); /* so that the compiler does not know */
        *nothing = 1;
    } else if (strcmp(how, "undef") == 0) {
        __asm__ volatile("udf #0");
    }
    return -1;
}

/* 0, or -1: it means nothing. */
static int obey(const fw_control *control, char *line) {
    char *rest = line;
    const char *name = word(&rest);
    if (strcmp(name, "stats") == 0) {
        stats(control);
    } else if (strcmp(name, "stop") == 0) {
        control->stop();
    } else if (strcmp(name, "drop") == 0) {
        control->drop();
    } else if (strcmp(name, "text") == 0) {
        return text(rest);
    } else if (strcmp(name, "key") == 0) {
        return key(rest);
    } else if (strcmp(name, "pointer") == 0) {
        return pointer(rest, control->device);
    } else if (strcmp(name, "touch") == 0) {
        return touch(rest, control->device);
    } else if (strcmp(name, "under") == 0) {
        under(control->device);
    } else if (strcmp(name, "freeze") == 0) {
        freeze();
    } else if (strcmp(name, "crash") == 0) {
        return crash(word(&rest));
    } else {
        return -1;
    }
    return 0;
}

unsigned fw_control_poll(const fw_control *control) {
    static char line[LINE];
    static size_t length;
    static int too_long;
    int byte;
    unsigned came = 0;
    /* What waits for room stays in the UART's ring. */
    while (fw_input_has_room() && (byte = fw_uart_read(FW_UART_CONTROL)) >= 0) {
        came++;
        if (byte != '\n') {
            too_long |= length == sizeof line - 1;
            if (!too_long) {
                line[length++] = (char)byte;
            }
            continue;
        }
        line[length] = '\0';
        if (too_long || (length != 0 && obey(control, line) != 0)) {
            fw_event("error", ",\"code\":0,\"text\":\"a command that means nothing\"");
        }
        length = 0;
        too_long = 0;
    }
    return came;
}
