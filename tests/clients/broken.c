/* Breaks recorded sessions:
 *
 *   broken cut FILE EVERY FROM SHOWN           the line breaks after every EVERY-th byte, from FROM on
 *   broken damage FILE EVERY FROM TRIES SEED   such a byte comes wrong, TRIES times (0: each of its bits once)
 *
 * After a cut the client has to say whether it was inside something, as framing of its own in here knows it; it is then
 * made again in the same memory, with what can be resumed, and every SHOWN-th time shown the beginning of the session
 * anew, which has to look as it does on a new device. After damage it has to end with an error that stays, and that it
 * has told the server, or go on; and it can be made again.
 *
 * The client's memory is the caller's, so what was before a cut is put back by copying it. */
#include "player.h"

enum { GOES_ON = 4096 }; /* bytes that follow a damaged one */

/* Where the stream stands, by its framing alone. */
typedef struct place {
    uint32_t head, left, shift; /* bytes of the head so far; bytes left of the body */
    uint32_t type;
    int greeted, updating, welcomed;
} place;

typedef struct snapshot {
    uint8_t *block, *pixels, *picture, *receive, *cache, *cursor, *jpeg;
    player seen;
} snapshot;

static uint32_t random_state;

static uint32_t drawn(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* ---- Framing ----------------------------------------------------------------------------------------------- */

static void whole_message(place *at) {
    if (at->greeted) {
        at->updating = at->type == TW_MSG_BEGIN || (at->updating && at->type != TW_MSG_END);
        at->welcomed |= at->type == TW_MSG_WELCOME;
    }
    at->greeted = 1;
    at->head = 0;
    at->left = 0;
}

static void follow_head(place *at, uint8_t byte) {
    if (!at->greeted) { /* magic, two versions, length of the fields in two bytes */
        at->left |= at->head == 7 ? (uint32_t)byte : at->head == 8 ? (uint32_t)byte << 8 : 0;
        if (at->head == 8 && at->left == 0) {
            whole_message(at);
        }
    } else if (at->head == 1) {
        at->type = byte;
        at->shift = 0;
        at->left = 0;
    } else {
        at->left |= (uint32_t)(byte & 0x7F) << at->shift;
        at->shift = byte < 0x80 ? 100 : at->shift + 7;
        if (at->shift == 100 && at->left == 0) {
            whole_message(at);
        }
    }
}

static void follow(place *at, uint8_t byte) {
    const int in_body = at->head != 0 && (at->greeted ? at->shift == 100 : at->head == 8);
    if (!in_body) {
        at->head++;
        follow_head(at, byte);
    } else if (--at->left == 0) {
        whole_message(at);
    }
}

static int is_inside(const place *at) {
    return at->head != 0 || at->updating;
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

/* What a device does not have is NULL. */
static void put_back(uint8_t *memory, const uint8_t *kept, size_t size) {
    if (memory != NULL && kept != NULL) {
        memcpy(memory, kept, size);
    }
}

static void copy_out(uint8_t **kept, const uint8_t *memory, size_t size) {
    if (*kept == NULL) {
        *kept = memory_of(size);
    }
    put_back(*kept, memory, size);
}

static void save(snapshot *kept, const player *seen) {
    const unsigned odd = seen->odd;
    kept->seen = *seen;
    copy_out(&kept->block, seen->block, seen->block_size + odd);
    copy_out(&kept->pixels, seen->pixels, seen->pixels_size);
    copy_out(&kept->picture, seen->picture, seen->picture_size);
    copy_out(&kept->receive, seen->receive, seen->config.receive_size + odd);
    copy_out(&kept->cache, seen->cache, seen->cache_size + odd);
    copy_out(&kept->cursor, seen->cursor, seen->cursor_size + odd);
    copy_out(&kept->jpeg, seen->jpeg, seen->jpeg_size + odd);
}

static void restore(const snapshot *kept, player *seen) {
    const unsigned odd = seen->odd;
    *seen = kept->seen;
    memcpy(seen->block, kept->block, seen->block_size + odd);
    memcpy(seen->pixels, kept->pixels, seen->pixels_size);
    put_back(seen->picture, kept->picture, seen->picture_size);
    memcpy(seen->receive, kept->receive, seen->config.receive_size + odd);
    put_back(seen->cache, kept->cache, seen->cache_size + odd);
    put_back(seen->cursor, kept->cursor, seen->cursor_size + odd);
    put_back(seen->jpeg, kept->jpeg, seen->jpeg_size + odd);
}

static void drop(snapshot *kept) {
    free(kept->block);
    free(kept->pixels);
    free(kept->picture);
    free(kept->receive);
    free(kept->cache);
    free(kept->cursor);
    free(kept->jpeg);
}

/* ---- Playing ----------------------------------------------------------------------------------------------- */

static tw_status feed(player *seen, const uint8_t *data, size_t length) {
    uint8_t *piece = memory_of(length);
    size_t consumed;
    tw_status status;
    memcpy(piece, data, length);
    status = tw_client_feed(seen->client, piece, length, &consumed);
    CHECK(consumed == length || (consumed < length && status != TW_OK));
    free(piece);
    return status;
}

/* A record that is no bytes of the server. `strict`: nothing is broken. */
static void do_other(player *seen, const record *what, int strict) {
    tw_status status;
    if (what->kind == 'h' || what->kind == 'm') {
        flush(seen);
        return;
    }
    status = what->kind == 'X' ? come_back(seen, what->data) : act(seen->client, what);
    CHECK(status == TW_OK || (!strict && status != TW_CODE_ARGUMENT));
    flush(seen);
}

/* The session up to its first mark: what a new device shows then is left in `pixels`, without a cursor. */
static void show_beginning(player *seen) {
    const uint8_t *at = seen->from->records;
    record now;
    while (next_record(seen->from, &at, &now) && now.kind != 'm') {
        if (now.kind == 'b') {
            CHECK(feed(seen, now.data, now.length) == TW_OK);
        } else {
            do_other(seen, &now, 1);
        }
    }
    CHECK(tw_client_end(seen->client) == TW_OK);
    tw_client_resume(seen->client, &seen->resume);
}

static int looks_alike(const player *one, const player *other) {
    return one->picture != NULL ? memcmp(one->picture, other->picture, one->picture_size) == 0
                                : memcmp(one->pixels, other->pixels, one->pixels_size) == 0;
}

/* In the same memory, with what can be resumed; but with a key the recorded proof is good for one HELLO only. */
static void make_again(player *seen) {
    tw_client_resume(seen->client, &seen->resume);
    seen->config.resume = seen->from->key ? NULL : &seen->resume;
    seen->width = seen->config.width = seen->from->width;
    seen->height = seen->config.height = seen->from->height;
    CHECK(greet(seen, seen->from->nonce) == TW_OK);
    CHECK(tw_client_phase(seen->client) == TW_CONNECTING && tw_client_error(seen->client) == TW_OK);
}

/* ---- Cuts -------------------------------------------------------------------------------------------------- */

static void cut(player *seen, const place *at) {
    const tw_status expected = is_inside(at) ? TW_CODE_TRUNCATED : TW_OK;
    const tw_status after = expected == TW_OK ? TW_CODE_CLOSED : expected;
    const uint8_t more[] = {TW_MSG_END, 0};
    const int said = tw_client_phase(seen->client) == TW_CLOSED;
    CHECK(tw_client_end(seen->client) == expected);
    CHECK(tw_client_phase(seen->client) == TW_CLOSED && tw_client_error(seen->client) == expected);
    CHECK(!tw_client_pending(seen->client));
    if (!said) { /* by a GOODBYE, after which more is an error */
        CHECK(feed(seen, more, sizeof more) == after);
    }
    CHECK(tw_client_end(seen->client) == expected);
    CHECK(tw_client_pointer(seen->client, 0, 0, 0, NULL) == TW_CODE_CLOSED);
    flush(seen);
    tw_client_resume(seen->client, &seen->resume);
    CHECK(seen->resume.valid == (unsigned)(at->welcomed || seen->config.resume != NULL));
}

static void cut_all(const session *from, unsigned long every, unsigned long first, unsigned long shown) {
    const uint8_t *at = from->records;
    static snapshot kept;
    player seen, fresh;
    place where;
    record now;
    unsigned long position = 0, cuts = 0, inside = 0, pictures = 0;
    set_up(&fresh, from, 0);
    CHECK(greet(&fresh, from->nonce) == TW_OK);
    show_beginning(&fresh);
    set_up(&seen, from, 1);
    CHECK(greet(&seen, from->nonce) == TW_OK);
    memset(&where, 0, sizeof where);
    while (next_record(from, &at, &now)) {
        if (now.kind != 'b') {
            do_other(&seen, &now, 1);
            if (now.kind == 'X') {
                memset(&where, 0, sizeof where);
            }
            continue;
        }
        for (uint32_t i = 0; i < now.length; i++, position++) {
            const tw_status status = feed(&seen, now.data + i, 1);
            CHECK(status == TW_OK || (status == TW_CODE_CLOSED && tw_client_reason(seen.client) != 0));
            flush(&seen);
            follow(&where, now.data[i]);
            if (position < first || (position - first) % every != 0) {
                continue;
            }
            save(&kept, &seen);
            cut(&seen, &where);
            make_again(&seen);
            if (cuts % shown == 0) {
                show_beginning(&seen);
                CHECK(looks_alike(&seen, &fresh));
                pictures++;
            }
            restore(&kept, &seen);
            cuts++;
            inside += (unsigned long)is_inside(&where);
        }
    }
    CHECK(tw_client_end(seen.client) == TW_OK);
    printf("%lu bytes, %lu cuts, %lu of them inside something, %lu pictures after\n", position, cuts, inside,
        pictures);
    drop(&kept);
    tear_down(&seen);
    tear_down(&fresh);
}

/* ---- Damage ------------------------------------------------------------------------------------------------ */

/* What the client says last has to be GOODBYE with the code of its error. */
static void check_last_words(player *seen, tw_status status) {
    size_t length;
    const uint8_t *data = tw_client_output(seen->client, &length);
    unsigned type = 0, code = 0;
    for (size_t at = 0; at < length;) {
        uint32_t body = 0;
        unsigned shift = 0;
        type = data[at++];
        do {
            CHECK(at < length);
            body |= (uint32_t)(data[at] & 0x7F) << shift;
            shift += 7;
        } while (data[at++] >= 0x80);
        CHECK(body <= length - at);
        code = body >= 2 ? data[at] | (unsigned)data[at + 1] << 8 : 0;
        at += body;
    }
    CHECK(type == TW_MSG_GOODBYE && code == (status < TW_CODE_CLOSED ? (unsigned)status : TW_CODE_INTERNAL));
}

/* The stream from a wrong byte on. Returns the client's error. */
static tw_status go_on(player *seen, const record *in, uint32_t offset, uint8_t byte, const uint8_t *at) {
    tw_status status = feed(seen, &byte, 1);
    uint32_t fed = 0;
    record now = *in;
    now.data += offset + 1;
    now.length -= offset + 1;
    for (int more = 1; more && status == TW_OK && fed < GOES_ON && now.kind != 'X';
        more = next_record(seen->from, &at, &now)) {
        if (now.kind != 'b') {
            do_other(seen, &now, 0);
        } else if (now.length != 0) {
            const uint32_t length = now.length < GOES_ON - fed ? now.length : GOES_ON - fed;
            flush(seen);
            status = feed(seen, now.data, length);
            fed += length;
        }
    }
    if (status != TW_OK && tw_client_error(seen->client) != TW_OK) {
        size_t consumed;
        const tw_status error = tw_client_error(seen->client);
        CHECK(status == error);
        check_last_words(seen, error);
        CHECK(tw_client_feed(seen->client, &byte, 1, &consumed) == error && consumed == 0);
        CHECK(tw_client_end(seen->client) == error && tw_client_error(seen->client) == error);
        CHECK(tw_client_phase(seen->client) == TW_CLOSED);
    } else {
        CHECK(status == TW_OK || status == TW_CODE_CLOSED); /* what became a GOODBYE */
        status = tw_client_end(seen->client);
        CHECK(status == TW_OK || status == TW_CODE_TRUNCATED);
    }
    CHECK(!tw_client_pending(seen->client));
    status = tw_client_error(seen->client);
    make_again(seen);
    return status;
}

static void damage_all(
    const session *from, unsigned long every, unsigned long first, unsigned long tries, uint32_t seed) {
    const uint8_t *at = from->records;
    static snapshot kept;
    player seen;
    record now;
    unsigned long position = 0, damages = 0, refused = 0;
    random_state = seed;
    set_up(&seen, from, 3);
    CHECK(greet(&seen, from->nonce) == TW_OK);
    while (next_record(from, &at, &now)) {
        if (now.kind != 'b') {
            do_other(&seen, &now, 1);
            continue;
        }
        for (uint32_t i = 0; i < now.length; i++, position++) {
            if (position >= first && (position - first) % every == 0) {
                save(&kept, &seen);
                for (unsigned long n = 0; n < (tries != 0 ? tries : 8); n++) {
                    const uint8_t wrong = (uint8_t)(tries != 0 ? 1 + drawn() % 255 : 1U << n);
                    const tw_status error = go_on(&seen, &now, i, now.data[i] ^ wrong, at);
                    refused += error != TW_OK && error != TW_CODE_TRUNCATED;
                    restore(&kept, &seen);
                    damages++;
                }
            }
            CHECK(feed(&seen, now.data + i, 1) == TW_OK || tw_client_error(seen.client) == TW_OK);
            flush(&seen);
        }
    }
    CHECK(tw_client_end(seen.client) == TW_OK);
    printf("%lu bytes, %lu damages, %lu of them refused\n", position, damages, refused);
    drop(&kept);
    tear_down(&seen);
}

int main(int argc, char **argv) {
    session from;
    unsigned long numbers[4] = {1, 0, 1, 1};
    CHECK(argc >= 4);
    load(&from, argv[2]);
    for (int i = 3; i < argc && i < 7; i++) {
        numbers[i - 3] = strtoul(argv[i], NULL, 10);
    }
    if (strcmp(argv[1], "cut") == 0) {
        cut_all(&from, numbers[0], numbers[1], numbers[2]);
    } else {
        damage_all(&from, numbers[0], numbers[1], numbers[2], (uint32_t)numbers[3]);
    }
    free(from.file);
    return 0;
}
