/* The framing of messages: from any place inside a header or a body, the bytes that come next are kept inside the receive
 * buffer, and a message is handed on with all of its bytes. tw_client_feed() repeats this step as long as there is
 * anything to do; each step takes bytes, or does one of the four things that are due, so it comes to an end.
 *
 * What a message says is left to others here; they may answer anything.
 *
 * bound: a piece of up to 3 bytes from any state, so any number of them; the smallest receive buffer, of 1 KiB
 * sources: tw_hello.c
 * replace: tw_take_message:any_message tw_take_reply:any_reply memcpy:any_copy
 * unwind: 9 */
#include <string.h>

#include "proof.h"
#include "tw_client.c"

enum { PIECE = 3 };

static tw_client client;
static uint8_t room[TW_MIN_MESSAGE];

static bool is_sound(void) {
    const unsigned state = client.state;
    if (state == 0 || (state & (state - 1U)) != 0 || state > TW_IN_UPDATING) {
        return false;
    }
    if (client.in_body) {
        return client.length <= sizeof room && client.header_length <= TW_PREFIX_SIZE
               && client.received < client.length;
    }
    if (state == TW_IN_GREETED) {
        return client.header_length < TW_PREFIX_SIZE && client.received == 0 && client.length == 0;
    }
    return client.header_length < 4 && client.received == 0
           && client.length < 1U << (client.header_length < 2 ? 0 : 7 * (client.header_length - 1));
}

/* Other parts of the client, and the library. */

void *any_copy(void *to, const void *from, size_t length) {
    PROVE(length == 0 || (__CPROVER_w_ok(to, length) && __CPROVER_r_ok(from, length)));
    return to;
}

static tw_status take_any(const uint8_t *body, size_t length) {
    PROVE(length == client.length && length <= sizeof room && __CPROVER_r_ok(body, length));
    if (nondet_bool()) {
        client.ended_by = TW_ENDED_BY_PEER;
    }
    client.present_due = client.ack_due = nondet_bool();
    return nondet_bool() ? TW_OK : TW_CODE_PROTOCOL;
}

static const tw_kind some_kind = {NULL, TW_MSG_PING, 0, 0, {0}};

unsigned tw_slot_of(unsigned type) {
    (void)type;
    return nondet_u8() & 63U;
}

const tw_kind *tw_kind_of(unsigned type) {
    (void)type;
    return nondet_bool() ? &some_kind : NULL;
}

tw_status any_message(tw_client *of, const tw_kind *kind, const uint8_t *body, size_t length) {
    PROVE(of->state != TW_IN_GREETED && kind == &some_kind);
    return take_any(body, length);
}

tw_status any_reply(tw_client *of, const uint8_t *body, size_t length) {
    of->state = TW_IN_ACCEPTED;
    return take_any(body, length);
}

tw_status tw_draw_tile(tw_client *of) {
    of->tile.row = of->tile.rect.height;
    return TW_OK;
}

void tw_present(tw_client *of) {
    of->present_due = 0;
    of->pending = nondet_bool();
}

void tw_settle(tw_client *of) {
    of->ack_owed = 0;
}

void tw_queue_goodbye(tw_client *of, unsigned code) {
    PROVE(of == &client && code <= TW_CODE_CLOSED);
}

uint32_t tw_now_us(const tw_client *of) {
    (void)of;
    return nondet_u32();
}

void tw_wipe(void *memory, size_t size) {
    memset(memory, 0, size);
}

void tw_cursor_leave(tw_client *of) {
    (void)of;
}

void tw_cursor_run(tw_client *of) {
    of->cursor.due = 0;
}

void tw_cursor_step(tw_client *of) {
    of->cursor.due = 0;
}

int main(void) {
    uint8_t memory[PIECE];
    const size_t length = nondet_size();
    const uint8_t *const piece = last_bytes(memory, PIECE, length), *at = piece;
    tw_status status;
    bool due;
    for (unsigned i = 0; i < TW_PREFIX_SIZE; i++) {
        client.header[i] = nondet_u8();
    }
    client.state = nondet_u8();
    client.header_length = nondet_u8();
    client.in_body = nondet_bool();
    client.kind = nondet_bool() ? &some_kind : NULL;
    client.length = nondet_u32();
    client.received = nondet_u32();
    client.tile.row = client.tile.rect.height = 1;
    client.tile.row -= nondet_bool();
    client.present_due = nondet_bool();
    client.ack_due = nondet_bool();
    client.cursor.due = nondet_bool();
    client.ended_by = nondet_u8() & 3U;
    client.max_message = sizeof room;
    client.receive = room;
    ASSUME(is_sound());
    /* As tw_client_feed() calls it. */
    due = client.tile.row == 0 || client.present_due || client.ack_due || client.cursor.due;
    ASSUME(length != 0 || due);
    status = step(&client, &at, piece + length);
    PROVE(at >= piece && at <= piece + length);
    PROVE(status != TW_OK || (due ? at == piece : at > piece));
    PROVE(status != TW_OK || is_sound());
    reached();
    return 0;
}
