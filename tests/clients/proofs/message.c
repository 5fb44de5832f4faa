/* Every message: any body of any type in any state of the client is read inside itself, and what a callback or another
 * part of the client is handed lies inside it too, and within the limits that the table of messages has.
 *
 * What belongs to other parts stands in here: it may answer anything, and proves what it is called with.
 *
 * bound: bodies of up to 26 bytes, as long as the longest one without text or pixels; PROOF 34, those with text 12
 * sources: tw_message.c tw_reader.c
 * unwind: 9
 * unwindset: tw_is_utf8.1:14
 * long: GOODBYE -DTYPE=TW_MSG_GOODBYE -DSIZE=12
 * long: PROOF -DTYPE=TW_MSG_PROOF -DSIZE=34
 * case: PING -DTYPE=TW_MSG_PING -DSIZE=26
 * long: PONG -DTYPE=TW_MSG_PONG -DSIZE=26
 * long: NOTICE -DTYPE=TW_MSG_NOTICE -DSIZE=12
 * case: CLIPBOARD -DTYPE=TW_MSG_CLIPBOARD -DSIZE=26
 * long: SETTING -DTYPE=TW_MSG_SETTING -DSIZE=26
 * long: RESIZE -DTYPE=TW_MSG_RESIZE -DSIZE=26
 * long: WELCOME -DTYPE=TW_MSG_WELCOME -DSIZE=26
 * case: VIEW_STATE -DTYPE=TW_MSG_VIEW_STATE -DSIZE=26
 * long: CONTROL_STATE -DTYPE=TW_MSG_CONTROL_STATE -DSIZE=26
 * case: CURSOR_SHAPE -DTYPE=TW_MSG_CURSOR_SHAPE -DSIZE=26
 * long: CURSOR_POSITION -DTYPE=TW_MSG_CURSOR_POSITION -DSIZE=26
 * long: BELL -DTYPE=TW_MSG_BELL -DSIZE=26
 * long: INPUT_ECHO -DTYPE=TW_MSG_INPUT_ECHO -DSIZE=26
 * case: EXPLANATION -DTYPE=TW_MSG_EXPLANATION -DSIZE=26
 * long: BEGIN -DTYPE=TW_MSG_BEGIN -DSIZE=26
 * long: END -DTYPE=TW_MSG_END -DSIZE=26
 * case: FILL -DTYPE=TW_MSG_FILL -DSIZE=26
 * long: COPY -DTYPE=TW_MSG_COPY -DSIZE=26
 * long: CACHE_STORE -DTYPE=TW_MSG_CACHE_STORE -DSIZE=26
 * long: CACHE_DRAW -DTYPE=TW_MSG_CACHE_DRAW -DSIZE=26
 * long: RAW -DTYPE=TW_MSG_RAW -DSIZE=26
 * long: PALETTE -DTYPE=TW_MSG_PALETTE -DSIZE=26
 * case: CODEC -DTYPE=TW_MSG_CODEC -DSIZE=26
 * long: DEFLATE -DTYPE=TW_MSG_DEFLATE -DSIZE=26
 * case: JPEG -DTYPE=TW_MSG_JPEG -DSIZE=26 */
#include <string.h>

#include "proof.h"
#include "tw_internal.h"

static tw_client client;
static const uint8_t *body;
static size_t length;

static void prove_inside(const void *at, size_t size) {
    PROVE((const uint8_t *)at >= body && size <= length);
    PROVE((size_t)((const uint8_t *)at - body) <= length - size);
}

/* Other parts. */

void tw_end_by(tw_client *of, uint8_t by) {
    of->ended_by = by;
}

void tw_settle(tw_client *of) {
    of->pong_owed = nondet_u8();
}

tw_status tw_follow_clipboard(uint32_t *under_way, uint32_t total, uint32_t offset, size_t size) {
    PROVE(total <= TW_MAX_CLIPBOARD && offset <= TW_MAX_CLIPBOARD && size <= length);
    under_way[0] = total;
    under_way[1] = offset;
    return (tw_status)nondet_u16();
}

tw_status tw_check_surface(const tw_client *of) {
    PROVE(of->width >= 1 && of->width <= TW_MAX_SIDE && of->height >= 1 && of->height <= TW_MAX_SIDE);
    PROVE(of->width * of->height <= TW_MAX_PIXELS);
    return (tw_status)nondet_u16();
}

void tw_cursor_forget(tw_client *of) {
    (void)of;
}

tw_status tw_cursor_take_shape(
    tw_client *of, const tw_shape *given, uint32_t row, const uint8_t *pixels, size_t size) {
    (void)of;
    prove_inside(pixels, size);
    PROVE(given->width <= TW_MAX_CURSOR_SIDE && given->height <= TW_MAX_CURSOR_SIDE);
    PROVE((given->width == 0) == (given->height == 0));
    if (given->width == 0) {
        PROVE(size == 0 && row == 0);
    } else {
        PROVE(given->hot_x < given->width && given->hot_y < given->height);
        PROVE(size % (4U * given->width) == 0 && row + size / (4U * given->width) <= given->height);
    }
    return (tw_status)nondet_u16();
}

void tw_cursor_place(tw_client *of, uint32_t x, uint32_t y) {
    PROVE(x < of->width && y < of->height);
}

static tw_status take_any(const tw_body *got) {
    PROVE(got->type == TYPE);
    return (tw_status)nondet_u16();
}

tw_status tw_take_proof(tw_client *of, const tw_body *got) {
    PROVE(of == &client && got->length == TW_PROOF_SIZE);
    prove_inside(got->rest, got->length);
    return take_any(got);
}

tw_status tw_take_welcome(tw_client *of, const tw_body *got) {
    PROVE(of == &client && got->rest == body && got->length == length);
    return take_any(got);
}

tw_status tw_take_begin(tw_client *of, const tw_body *got) {
    PROVE(of->state == TW_IN_OPEN && got->number[0] >= 1);
    return take_any(got);
}

tw_status tw_take_end(tw_client *of, const tw_body *got) {
    PROVE(of->state == TW_IN_UPDATING);
    return take_any(got);
}

static tw_status take_drawing(const tw_client *of, const tw_body *got) {
    PROVE(of->state == TW_IN_UPDATING);
    return take_any(got);
}

static void prove_rect(const tw_rect *rect) {
    PROVE(rect->width >= 1 && rect->width <= TW_MAX_SIDE && rect->x <= TW_MAX_SIDE - rect->width);
    PROVE(rect->height >= 1 && rect->height <= TW_MAX_SIDE && rect->y <= TW_MAX_SIDE - rect->height);
}

tw_status tw_take_tile(tw_client *of, const tw_body *got) {
    prove_rect(&got->rect);
    prove_inside(got->rest, got->length);
    PROVE(TYPE != TW_MSG_FILL || (got->length >= 1 && got->length <= 3));
    PROVE(TYPE != TW_MSG_CODEC || got->number[0] <= 0xFF);
    if (TYPE == TW_MSG_JPEG) {
        PROVE(got->number[0] >= 1 && got->number[0] <= 100);
        PROVE((got->number[1] & 15) <= 3 && got->number[1] >> 4 <= 1);
    }
    return take_drawing(of, got);
}

tw_status tw_take_copy(tw_client *of, const tw_body *got) {
    prove_rect(&got->rect);
    PROVE(got->point.x < TW_MAX_SIDE && got->point.y < TW_MAX_SIDE);
    return take_drawing(of, got);
}

tw_status tw_take_cache_store(tw_client *of, const tw_body *got) {
    prove_rect(&got->rect);
    PROVE(got->number[0] < TW_MAX_CACHE_SLOTS);
    return take_drawing(of, got);
}

tw_status tw_take_cache_draw(tw_client *of, const tw_body *got) {
    PROVE(got->point.x < TW_MAX_SIDE && got->point.y < TW_MAX_SIDE);
    PROVE(got->number[0] < TW_MAX_CACHE_SLOTS);
    return take_drawing(of, got);
}

/* The caller's. */

static void on_words(void *user, unsigned code, const char *text, size_t size) {
    (void)user;
    (void)code;
    prove_inside(text, size);
}

static void on_setting(void *user, const tw_setting *setting) {
    (void)user;
    PROVE(setting->fps >= 1 && setting->fps <= 60 && setting->quality >= 10 && setting->quality <= 90);
}

static void on_view_state(void *user, const tw_view_state *view) {
    (void)user;
    PROVE(view->mode <= TW_VIEW_FIT && view->rotation <= TW_ROTATION_R270 && view->follow <= 1);
    PROVE(view->x + view->width <= TW_MAX_SIDE && view->y + view->height <= TW_MAX_SIDE);
}

static void on_clipboard(void *user, uint32_t total, uint32_t offset, const uint8_t *data, size_t size) {
    (void)user;
    (void)total;
    (void)offset;
    prove_inside(data, size);
}

static void on_explanation(void *user, const tw_explanation *explanation) {
    (void)user;
    prove_inside(explanation->operations, 2 * explanation->count);
}

int main(void) {
    static const tw_callbacks all = {NULL, NULL, NULL, on_words, on_words, on_setting, on_view_state, NULL,
        NULL, NULL, NULL, on_clipboard, NULL, on_explanation, NULL, NULL};
    static const tw_callbacks none = {0};
    uint8_t memory[SIZE], coming, other = nondet_u8();
    const tw_kind *kind;
    __CPROVER_havoc_object(&client);
    client.callbacks = nondet_bool() ? &all : &none;
    client.cursor.coming = nondet_bool() ? &coming : NULL;
    ASSUME(client.state != 0 && client.state <= TW_IN_UPDATING && (client.state & (client.state - 1)) == 0);
    ASSUME(client.width >= 1 && client.width <= TW_MAX_SIDE);
    ASSUME(client.height >= 1 && client.height <= TW_MAX_SIDE);
    PROVE(tw_slot_of(other) < 64);
    kind = tw_kind_of(other);
    PROVE(kind == NULL || (kind->type == other && kind->take != NULL));
    length = nondet_size();
    body = last_bytes(memory, SIZE, length);
    kind = tw_kind_of(TYPE);
    PROVE(kind != NULL && kind->type == TYPE);
    (void)tw_take_message(&client, kind, body, length);
    PROVE(client.width >= 1 && client.width <= TW_MAX_SIDE && client.height >= 1);
    reached();
    return 0;
}
