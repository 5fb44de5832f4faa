#include "format.h"

#include <stdint.h>
#include <string.h>

#include "uart.h"

typedef struct output {
    char *at;
    size_t size, length;
} output;

static void put(output *out, char byte) {
    if (out->length + 1 < out->size) {
        out->at[out->length++] = byte;
    }
}

static void put_all(output *out, const char *from, size_t length) {
    for (size_t i = 0; i < length; i++) {
        put(out, from[i]);
    }
}

static void put_number(output *out, uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    put_all(out, digits + at, sizeof digits - at);
}

static void put_hex(output *out, uint32_t value, unsigned digits) {
    for (unsigned i = digits; i-- > 0;) {
        put(out, "0123456789abcdef"[value >> 4 * i & 15]);
    }
}

/* Bytes of the UTF-8 character that begins here, or 0: none does. Overlong forms and surrogates are none. */
static size_t character(const unsigned char *at, size_t left) {
    const size_t length = at[0] < 0x80   ? 1
                          : at[0] < 0xC2 ? 0
                          : at[0] < 0xE0 ? 2
                          : at[0] < 0xF0 ? 3
                          : at[0] < 0xF5 ? 4
                                         : 0;
    if (length == 0 || length > left) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F) || (at[0] == 0xF0 && at[1] < 0x90)
        || (at[0] == 0xF4 && at[1] > 0x8F)) {
        return 0;
    }
    return length;
}

static void put_json(output *out, const char *from, size_t length) {
    const unsigned char *bytes = (const unsigned char *)from;
    put(out, '"');
    for (size_t i = 0; i < length;) {
        const size_t size = character(bytes + i, length - i);
        if (bytes[i] == '"' || bytes[i] == '\\') {
            put(out, '\\');
            put(out, from[i]);
        } else if (bytes[i] < 0x20 || bytes[i] == 0x7F) {
            put_all(out, "\\u", 2);
            put_hex(out, bytes[i], 4);
        } else if (size == 0) {
            put(out, '?');
        } else {
            put_all(out, from + i, size);
        }
        i += size != 0 ? size : 1;
    }
    put(out, '"');
}

static void put_signed(output *out, int value) {
    if (value < 0) {
        put(out, '-');
    }
    put_number(out, value < 0 ? 0U - (unsigned)value : (unsigned)value);
}

size_t fw_format_list(char *text, size_t size, const char *format, va_list list) {
    output out = {text, size, 0};
    for (; *format != '\0'; format++) {
        const char *words;
        size_t length = 0;
        int measured = 0;
        if (*format != '%') {
            put(&out, *format);
            continue;
        }
        format++;
        if (format[0] == '.' && format[1] == '*') {
            length = va_arg(list, size_t);
            measured = 1;
            format += 2;
        }
        switch (*format) {
        case 'u': put_number(&out, va_arg(list, unsigned)); break;
        case 'U': put_number(&out, va_arg(list, uint64_t)); break;
        case 'd': put_signed(&out, va_arg(list, int)); break;
        case 'x': put_hex(&out, va_arg(list, unsigned), 8); break;
        case 's':
        case 'j':
            words = va_arg(list, const char *);
            length = measured ? length : strlen(words);
            if (*format == 's') {
                put_all(&out, words, length);
            } else {
                put_json(&out, words, length);
            }
            break;
        default: put(&out, *format); break;
        }
    }
    if (size != 0) {
        text[out.length] = '\0';
    }
    return out.length;
}

size_t fw_format(char *text, size_t size, const char *format, ...) {
    va_list list;
    size_t length;
    va_start(list, format);
    length = fw_format_list(text, size, format, list);
    va_end(list);
    return length;
}

void fw_log(const char *format, ...) {
    char line[512];
    size_t length = fw_format(line, sizeof line, "device: ");
    va_list list;
    va_start(list, format);
    length += fw_format_list(line + length, sizeof line - length - 1, format, list);
    va_end(list);
    /* The server's texts too: they begin no line of their own, and tell a terminal nothing. */
    for (size_t i = 0; i < length; i++) {
        line[i] = (unsigned char)line[i] < 0x20 || line[i] == 0x7F ? '?' : line[i];
    }
    line[length++] = '\n';
    fw_uart_write(FW_UART_LOG, line, length);
}
