/* Takes the client through recorded sessions, in pieces of all sizes and at all addresses: `replay WAYS FILE...`.
 *
 * However a session is cut, the same picture, reports, answers and statistics have to come of it, and at each mark the
 * picture that the recording device had. What came of it is printed. */
#include "player.h"

enum { WHOLE, BYTES }; /* and any other: random pieces, drawn with this seed */

/* Added up over the connections of a session. */
typedef struct counts {
    uint64_t bytes;
    uint32_t updates, messages[256];
    uint64_t bytes_of[256];
} counts;

static uint32_t random_state;

static uint32_t drawn(uint32_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % below;
}

/* In memory of its own, of exactly its size. */
static void feed_piece(player *seen, const uint8_t *data, size_t length) {
    uint8_t *piece = memory_of(length + seen->odd);
    size_t consumed;
    tw_status status;
    memcpy(piece + seen->odd, data, length);
    status = tw_client_feed(seen->client, piece + seen->odd, length, &consumed);
    CHECK(status == TW_OK || (status == TW_CODE_CLOSED && tw_client_reason(seen->client) == TW_CODE_NORMAL)
          || (status == TW_CODE_CLOSED && tw_client_error(seen->client) == TW_OK));
    CHECK(consumed == length);
    free(piece);
    flush(seen);
}

static void feed(player *seen, const record *what, int way) {
    uint32_t length;
    for (uint32_t at = 0; at < what->length; at += length) {
        length = way == WHOLE ? what->length : way == BYTES ? 1 : 1 + drawn(1U << drawn(12));
        length = length < what->length - at ? length : what->length - at;
        feed_piece(seen, what->data + at, length);
    }
}

static void count(const player *seen, counts *sum) {
#if TW_WITH_STATISTICS
    tw_statistics statistics;
    tw_client_statistics(seen->client, &statistics);
    sum->bytes += statistics.bytes;
    sum->updates += statistics.updates;
    CHECK(statistics.decode_us == 0); /* there is no clock */
    for (unsigned type = 0; type < 256; type++) {
        uint32_t messages;
        uint64_t bytes;
        tw_client_count(seen->client, type, &messages, &bytes);
        sum->messages[type] += messages;
        sum->bytes_of[type] += bytes;
    }
#else
    (void)seen;
    (void)sum;
#endif
}

/* CRC-32 (IEEE 802.3) of the panel's memory as it is without the cursor: no machine stores pixels another way. */
static uint32_t picture_crc(const player *seen) {
    const uint8_t *from = seen->picture != NULL ? seen->picture : seen->pixels, *under = NULL;
    unsigned at_x = 0, at_y = 0, width = 0, height = 0;
    uint32_t table[256], crc = 0xFFFFFFFFU;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (unsigned bit = 0; bit < 8; bit++) {
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320U : 0);
        }
    }
#if TW_WITH_CURSOR
    under = (const uint8_t *)tw_client_under(seen->client, &at_x, &at_y, &width, &height);
#endif
    for (unsigned y = 0; y < seen->height; y++) {
        for (unsigned x = 0; x < seen->width; x++, from += seen->stored) {
            const uint8_t *pixel = from;
            if (under != NULL && x - at_x < width && y - at_y < height) {
                pixel = under + ((size_t)(y - at_y) * width + x - at_x) * seen->stored;
            }
            for (unsigned i = 0; i < seen->stored; i++) {
                crc = table[(crc ^ pixel[i]) & 0xFF] ^ crc >> 8;
            }
        }
    }
    return ~crc;
}

/* HELLO has to be the recorded one to the byte: the proof of a device with a key rests on it. A later one holds the
 * token, which makes it as long as a first one and a bit more. */
static void check_hello(player *seen, const record *hello) {
    size_t length;
    const uint8_t *data = tw_client_output(seen->client, &length);
    CHECK(length == hello->length && memcmp(data, hello->data, length) == 0);
    flush(seen);
}

static void check_mark(const player *seen, const record *mark) {
    CHECK(seen->width == (mark->data[4] | (unsigned)mark->data[5] << 8));
    CHECK(seen->height == (mark->data[6] | (unsigned)mark->data[7] << 8));
    if (picture_crc(seen) != read_u32(mark->data)) {
        fprintf(stderr, "the picture is wrong at \"%.*s\"\n", (int)(mark->length - 8),
            (const char *)mark->data + 8);
        abort();
    }
}

/* A session to its end. `whole`: bytes of the server. */
static void play(player *seen, const session *from, int way, counts *sum, uint64_t *whole) {
    const uint8_t *at = from->records;
    record now;
    set_up(seen, from, way == WHOLE ? 0 : (unsigned)way);
    random_state = 1 + (uint32_t)way;
    memset(sum, 0, sizeof *sum);
    *whole = 0;
    CHECK(greet(seen, from->nonce) == TW_OK);
    while (next_record(from, &at, &now)) {
        switch (now.kind) {
        case 'h': check_hello(seen, &now); break;
        case 'b':
            *whole += now.length;
            feed(seen, &now, way);
            break;
        case 'm': check_mark(seen, &now); break;
        case 'X':
            count(seen, sum);
            CHECK(come_back(seen, now.data) == TW_OK);
            break;
        default:
            CHECK(act(seen->client, &now) == TW_OK);
            flush(seen);
            break;
        }
    }
    count(seen, sum);
    CHECK(tw_client_end(seen->client) == TW_OK);
    CHECK(tw_client_phase(seen->client) == TW_CLOSED);
    tw_client_resume(seen->client, &seen->resume);
}

static void print_counts(const counts *sum) {
    printf("bytes %lu\nupdates %lu\n", (unsigned long)sum->bytes, (unsigned long)sum->updates);
    for (unsigned type = 0; type < 256; type++) {
        if (sum->messages[type] != 0) {
            printf("type %02x: %lu messages, %lu bytes\n", type, (unsigned long)sum->messages[type],
                (unsigned long)sum->bytes_of[type]);
        }
    }
}

static void replay(const char *name, int ways) {
    static counts first, sum;
    session from;
    uint32_t crc = 0, events = 0, sent = 0;
    uint64_t sent_bytes = 0;
    load(&from, name);
    for (int way = 0; way < ways; way++) {
        player seen;
        uint64_t whole;
        play(&seen, &from, way, &sum, &whole);
        CHECK(!TW_WITH_STATISTICS || sum.bytes == whole);
        if (way == 0) {
            first = sum;
            crc = picture_crc(&seen);
            events = seen.events;
            sent = seen.sent;
            sent_bytes = seen.sent_bytes;
        }
        CHECK(memcmp(&first, &sum, sizeof sum) == 0);
        CHECK(crc == picture_crc(&seen) && events == seen.events);
        CHECK(sent == seen.sent && sent_bytes == seen.sent_bytes);
        tear_down(&seen);
    }
    printf("picture %08lx\nreports %08lx\n", (unsigned long)crc, (unsigned long)events);
    printf("sent %lu bytes, %08lx\n", (unsigned long)sent_bytes, (unsigned long)sent);
    if (TW_WITH_STATISTICS) {
        print_counts(&first);
    }
    free(from.file);
}

int main(int argc, char **argv) {
    CHECK(argc > 2);
    for (int i = 2; i < argc; i++) {
        replay(argv[i], (int)strtol(argv[1], NULL, 10));
    }
    return 0;
}
