/* The send buffer, and what goes into it unasked: answers to pings, acknowledgements, goodbyes. */
#include "tw_internal.h"

#define HEADER_MAX 4U

uint8_t *tw_put_number(uint8_t *out, uint32_t value, unsigned size) {
    for (; size != 0; size--) {
        *out++ = (uint8_t)value;
        value >>= 8;
    }
    return out;
}

uint8_t *tw_put_varint(uint8_t *out, uint32_t value) {
    for (; value > 0x7F; value >>= 7) {
        *out++ = (uint8_t)(value | 0x80);
    }
    *out++ = (uint8_t)value;
    return out;
}

static uint8_t *put_bytes(uint8_t *out, const void *bytes, size_t length) {
    if (length != 0) { /* else `bytes` may be NULL */
        memcpy(out, bytes, length);
    }
    return out + length;
}

static tw_status queue(tw_client *client, unsigned type, const uint8_t *head, size_t head_length,
    const void *tail, size_t tail_length, size_t reserve) {
    uint8_t header[HEADER_MAX];
    const uint8_t *header_end;
    size_t header_length;
    uint8_t *out = client->send + client->send_end;
    header[0] = (uint8_t)type;
    header_end = tw_put_varint(header + 1, (uint32_t)(head_length + tail_length));
    header_length = (size_t)(header_end - header);
    if (client->send_end + header_length + head_length + tail_length + reserve > TW_SEND_SIZE) {
        return TW_CODE_FULL;
    }
    out = put_bytes(out, header, header_length);
    out = put_bytes(out, head, head_length);
    out = put_bytes(out, tail, tail_length);
    client->send_end = (size_t)(out - client->send);
    return TW_OK;
}

tw_status tw_queue(tw_client *client, unsigned type, const uint8_t *body, size_t length) {
    return queue(client, type, body, length, NULL, 0, 0);
}

tw_status tw_send(tw_client *client, unsigned type, const uint8_t *head, size_t head_length, const void *tail,
    size_t tail_length) {
    if (client->ended_by != TW_ALIVE) {
        return TW_CODE_CLOSED;
    }
    if (!(client->state & TW_IN_SESSION)) {
        return TW_CODE_BAD_STATE;
    }
    return queue(client, type, head, head_length, tail, tail_length, TW_SEND_RESERVE);
}

void tw_queue_goodbye(tw_client *client, unsigned code) {
    uint8_t number[2];
    const char *text = tw_status_text(code);
    size_t length = 0;
    while (text[length] != 0) {
        length++;
    }
    tw_put_number(number, code, 2);
    /* Without room (the server does not read) there is nobody to tell. */
    (void)(queue(client, TW_MSG_GOODBYE, number, sizeof number, text, length, 0) == TW_OK);
}

void tw_settle(tw_client *client) {
    uint8_t body[10];
    if (client->ended_by != TW_ALIVE) {
        return;
    }
    if (client->ack_owed) {
        const uint8_t *end = tw_put_varint(tw_put_varint(body, client->ended), client->decode_us);
        if (tw_queue(client, TW_MSG_ACK, body, (size_t)(end - body)) == TW_OK) {
            client->ack_owed = 0;
            client->decode_us = 0;
        }
    }
    if (client->pong_owed
        && queue(client, TW_MSG_PONG, client->pong, sizeof client->pong, NULL, 0, TW_SEND_RESERVE) == TW_OK) {
        client->pong_owed = 0;
    }
}

const uint8_t *tw_client_output(tw_client *client, size_t *length) {
    tw_settle(client);
    *length = client->send_end;
    return client->send;
}

void tw_client_sent(tw_client *client, size_t length) {
    const size_t gap = length < client->send_end ? length : client->send_end;
    size_t part;
    client->send_end -= gap;
    /* The rest moves to the front, in pieces as long as the gap, which do not overlap where they go. */
    for (size_t at = 0; gap != 0 && at != client->send_end; at += part) {
        part = client->send_end - at < gap ? client->send_end - at : gap;
        memcpy(client->send + at, client->send + gap + at, part);
    }
}
