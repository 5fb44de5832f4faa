/* The handshake: HELLO, the server's reply, the mutual proof, WELCOME. */
#include "tw_internal.h"

#define SEEN(tag) ((uint32_t)1 << ((tag) & 0x7F))

static const uint8_t magic[] = TW_MAGIC;

/* Fields are written into the send buffer, which is empty then and has room for the longest there are. */
static void put(tw_client *client, uint32_t value, unsigned size) {
    client->send_end = (size_t)(tw_put_number(client->send + client->send_end, value, size) - client->send);
}

static void put_bytes(tw_client *client, unsigned tag, const void *bytes, size_t length) {
    uint8_t *out = client->send + client->send_end;
    *out++ = (uint8_t)tag;
    out = tw_put_varint(out, (uint32_t)length);
    memcpy(out, bytes, length);
    client->send_end = (size_t)(out - client->send) + length;
}

static void put_number(tw_client *client, unsigned tag, uint32_t value, unsigned size) {
    put(client, tag | size << 8, 2);
    put(client, value, size);
}

/* Two numbers, the second of four bytes. */
static void put_pair(tw_client *client, unsigned tag, uint32_t one, unsigned size, uint32_t other) {
    put_number(client, tag, one, size);
    put(client, other, 4);
    client->send[client->send_end - 4 - size - 1] = (uint8_t)(size + 4);
}

static tw_status put_text(tw_client *client, unsigned tag, const char *text, size_t longest) {
    size_t length = 0;
    if (text == NULL) {
        return TW_OK;
    }
    while (length <= longest && text[length] != 0) {
        length++;
    }
    if (length == 0 || length > longest || !tw_is_utf8((const uint8_t *)text, length)) {
        return TW_CODE_ARGUMENT;
    }
    put_bytes(client, tag, text, length);
    return TW_OK;
}

tw_status tw_greet(tw_client *client, const tw_client_config *config) {
    memcpy(client->send, magic, sizeof magic);
    client->send[4] = client->send[5] = TW_VERSION;
    client->send_end = TW_PREFIX_SIZE;
    /* A device with a key offers nothing else, so that nobody can talk it out of the proof. */
    client->method = config->key != NULL      ? TW_AUTH_HMAC
                     : config->ticket != NULL ? TW_AUTH_TICKET
                                              : TW_AUTH_NONE;
    put_bytes(client, TW_HELLO_NONCE, config->nonce, TW_NONCE_SIZE);
    TW_TRY(put_text(client, TW_HELLO_DEVICE_ID, config->device_id, 64));
    put_pair(client, TW_HELLO_BOOT_ID, (uint32_t)config->boot_id, 4, (uint32_t)(config->boot_id >> 32));
    put_number(client, TW_HELLO_AUTH_METHODS, client->method, 1);
    if (config->ticket != NULL) {
        put_bytes(client, TW_HELLO_TICKET, config->ticket, config->ticket_size);
    }
    TW_TRY(put_text(client, TW_HELLO_PROFILE, config->profile, 64));
    TW_TRY(put_text(client, TW_HELLO_SESSION, config->session, 64));
    TW_TRY(put_text(client, TW_HELLO_URL, config->url, 700));
    put_number(client, TW_HELLO_PANEL, client->width | client->height << 16, 4);
    if (config->density != 0) {
        put_number(client, TW_HELLO_DENSITY, config->density, 2);
    }
    put_number(client, TW_HELLO_PIXEL_FORMAT, client->format, 1);
    put_number(client, TW_HELLO_MAX_MESSAGE, client->max_message, 4);
    put_pair(client, TW_HELLO_MAX_RECT, client->max_rect_width, 2, client->max_rect_area);
#if TW_WITH_CODEC
    put_number(client, TW_HELLO_MODEL_KIB, client->model_kib, 1);
#else
    put_number(client, TW_HELLO_MODEL_KIB, 0, 1);
#endif
#if TW_WITH_CACHE
    if (client->cache != NULL) {
        put_pair(client, TW_HELLO_CACHE, client->cache_slots, 2, client->cache_slot_bytes);
    }
#endif
#if TW_WITH_JPEG || TW_WITH_JPEG_HOOK
    if (client->jpeg_subsamplings != 0) { /* doubling is done here, whatever decoder there is */
        put_number(client, TW_HELLO_JPEG, client->jpeg_subsamplings | (TW_SCALE_ONE | TW_SCALE_TWO) << 8, 2);
    }
#endif
    put_number(client, TW_HELLO_DEFLATE_BITS, 0, 1);
    if (config->cursor != TW_CURSOR_NONE) {
        /* Only a local one has a shape here. */
        const unsigned side = config->cursor == TW_CURSOR_LOCAL ? config->cursor_max_side : 0;
        put_number(client, TW_HELLO_CURSOR, config->cursor | side << 8, 2);
    }
    put_pair(client, TW_HELLO_CAPABILITIES, client->offered, 4, 0);
#if TW_WITH_RESUME
    if (config->resume != NULL && config->resume->valid) {
        client->resume = *config->resume;
        put_bytes(client, TW_HELLO_RESUME, client->resume.token, TW_TOKEN_SIZE);
        put(client, client->resume.update, 4);
        client->send[client->send_end - TW_TOKEN_SIZE - 4 - 1] = TW_TOKEN_SIZE + 4;
    }
#endif
    if (client->send_end > TW_PREFIX_SIZE + TW_MAX_HELLO) {
        return TW_CODE_ARGUMENT;
    }
    tw_put_number(client->send + 6, (uint32_t)(client->send_end - TW_PREFIX_SIZE), 2);
#if TW_WITH_HMAC
    if (config->key != NULL) {
        memcpy(client->key, config->key, TW_KEY_SIZE);
    }
    tw_sha256_start(&client->transcript);
    tw_sha256_add(&client->transcript, client->send, client->send_end);
#endif
    client->state = TW_IN_GREETED;
    return TW_OK;
}

/* The server's prefix, byte by byte: a peer that is not ours is noticed at its first wrong one. */
tw_status tw_take_prefix_byte(tw_client *client) {
    const uint8_t *header = client->header;
    const unsigned at = client->header_length - 1U;
    if (at < sizeof magic && header[at] != magic[at]) {
        return TW_CODE_NOT_TILEWIRE;
    }
    if (client->header_length == TW_PREFIX_SIZE) {
        client->length = header[6] | (uint32_t)header[7] << 8;
        client->in_body = 1;
        if (header[4] == 0 || header[4] > header[5]) {
            return TW_CODE_PROTOCOL;
        }
        if (client->length > TW_MAX_HELLO) {
            return TW_CODE_TOO_LONG;
        }
    }
    return TW_OK;
}

/* What the proofs are made over. */
static void note(tw_client *client, const uint8_t *body, size_t length) {
#if TW_WITH_HMAC
    tw_sha256_add(&client->transcript, client->header, client->header_length);
    tw_sha256_add(&client->transcript, body, length);
#else
    (void)client;
    (void)body;
    (void)length;
#endif
}

tw_status tw_take_reply(tw_client *client, const uint8_t *body, size_t length) {
    const uint32_t needed = SEEN(TW_REPLY_VERSION) | SEEN(TW_REPLY_METHOD) | SEEN(TW_REPLY_NONCE);
    uint32_t version = 0, method = 0;
    tw_fields fields;
    if (length == 0) {
        client->state = TW_IN_REFUSED;
        return TW_OK;
    }
    tw_fields_of(&fields, body, length);
    while (tw_next_field(&fields)) {
        switch (fields.head & 0x7F) {
        case TW_REPLY_VERSION & 0x7F: version = tw_read_number(&fields.value, 1, 1, 0xFF); break;
        case TW_REPLY_METHOD & 0x7F: method = tw_read_number(&fields.value, 1, 1, 4); break;
        case TW_REPLY_NONCE & 0x7F: tw_read_bytes(&fields.value, TW_NONCE_SIZE); break;
        default: tw_skip_field(&fields); break;
        }
        tw_read_end(&fields.value);
    }
    TW_TRY(tw_fields_end(&fields, needed));
    if (method == 3) { /* two methods at once */
        return TW_CODE_BAD_VALUE;
    }
    if (version != TW_VERSION || client->header[4] > version || client->header[5] < version) {
        return TW_CODE_VERSION;
    }
    if (method != client->method) {
        return TW_CODE_AUTH_REQUIRED;
    }
    note(client, body, length);
    client->state = method == TW_AUTH_HMAC ? TW_IN_CHALLENGED : TW_IN_ACCEPTED;
    return TW_OK;
}

#if TW_WITH_HMAC
tw_status tw_take_proof(tw_client *client, const tw_body *body) {
    uint8_t digest[TW_SHA256_SIZE], mac[TW_SHA256_SIZE];
    tw_sha256 hash = client->transcript;
    tw_sha256_finish(&hash, digest);
    tw_hmac_sha256(client->key, TW_LABEL_SERVER, sizeof TW_LABEL_SERVER - 1, digest, mac);
    if (!tw_same_bytes(body->rest, mac, TW_PROOF_SIZE)) {
        return TW_CODE_AUTH_FAILED;
    }
    note(client, body->rest, client->length);
    tw_sha256_finish(&client->transcript, digest);
    tw_hmac_sha256(client->key, TW_LABEL_CLIENT, sizeof TW_LABEL_CLIENT - 1, digest, mac);
    tw_wipe(client->key, sizeof client->key);
    client->state = TW_IN_ACCEPTED;
    return tw_queue(client, TW_MSG_PROOF, mac, sizeof mac);
}
#endif

static void read_welcome_field(tw_fields *fields, tw_welcome *welcome) {
    tw_reader *value = &fields->value;
    switch (fields->head & 0x7F) {
#if TW_WITH_EVENTS
    case TW_WELCOME_SESSION: welcome->session = tw_read_text(value, 1, 64, &welcome->session_length); break;
    case TW_WELCOME_SIZE:
        welcome->width = tw_read_number(value, 2, 1, TW_MAX_SIDE);
        welcome->height = tw_read_number(value, 2, 1, TW_MAX_SIDE);
        value->at = value->end; /* values of several fields may grow */
        break;
    case TW_WELCOME_ROLE: welcome->role = tw_read_number(value, 1, 0, TW_ROLE_CONTROL); break;
    case TW_WELCOME_VIEWER: welcome->viewer = tw_read_number(value, 4, 1, 0xFFFFFFFF); break;
    case TW_WELCOME_SETTINGS:
        welcome->setting.fps = tw_read_number(value, 1, 1, 60);
        welcome->setting.quality = tw_read_number(value, 1, 10, 90);
        welcome->setting.adaptive = tw_read_number(value, 1, 0, 1);
        value->at = value->end;
        break;
#endif
    case TW_WELCOME_CAPABILITIES: welcome->capabilities = tw_read_long(value); break;
#if TW_WITH_RESUME
    case TW_WELCOME_RESUME:
        welcome->token = tw_read_bytes(value, TW_TOKEN_SIZE);
        welcome->token_lifetime_s = tw_read_number(value, 2, 0, 0xFFFF);
        value->at = value->end;
        break;
    case TW_WELCOME_RESUMED: welcome->resumed = tw_read_number(value, 1, 0, TW_RESUMED_CHANGED); break;
#endif
    default: tw_skip_field(fields); break;
    }
    tw_read_end(value);
}

#if TW_WITH_RESUME
static tw_status follow_resume(tw_client *client, const tw_welcome *welcome) {
    const bool resumed = welcome->resumed == TW_RESUMED_RESUMED;
    if (welcome->resumed != TW_RESUMED_NOT_ASKED && !client->resume.valid) {
        return TW_CODE_BAD_VALUE;
    }
#    if TW_WITH_CACHE
    /* Slots of another number or size are other slots. */
    if (!resumed || client->resume.cache_slots != client->cache_slots
        || client->resume.cache_slot_bytes != client->cache_slot_bytes) {
        tw_cache_forget(client);
    }
#    endif
#    if TW_WITH_CURSOR
    tw_cursor_resume(client, resumed);
#    endif
    (void)resumed;
    client->resume.valid = welcome->token != NULL;
    if (welcome->token != NULL) {
        memcpy(client->resume.token, welcome->token, TW_TOKEN_SIZE);
    }
    return TW_OK;
}
#endif

tw_status tw_take_welcome(tw_client *client, const tw_body *body) {
    const uint32_t needed = SEEN(TW_WELCOME_SESSION) | SEEN(TW_WELCOME_SIZE) | SEEN(TW_WELCOME_ROLE)
                            | SEEN(TW_WELCOME_VIEWER) | SEEN(TW_WELCOME_SETTINGS)
                            | SEEN(TW_WELCOME_CAPABILITIES);
    tw_fields fields;
    tw_welcome welcome;
    tw_fields_of(&fields, body->rest, body->length);
    memset(&welcome, 0, sizeof welcome);
    while (tw_next_field(&fields)) {
        read_welcome_field(&fields, &welcome);
    }
    TW_TRY(tw_fields_end(&fields, needed));
    if (client->state != TW_IN_ACCEPTED) {
        return TW_CODE_BAD_STATE;
    }
    if ((welcome.capabilities & ~(uint64_t)client->offered) != 0) {
        return TW_CODE_BAD_VALUE;
    }
#if TW_WITH_RESUME
    TW_TRY(follow_resume(client, &welcome));
#elif TW_WITH_CACHE
    tw_cache_forget(client);
#endif
    client->capabilities = (uint32_t)welcome.capabilities;
    client->state = TW_IN_OPEN;
    client->timing = 0; /* the handshake's clock stops */
#if TW_WITH_EVENTS
    if (client->callbacks->welcome != NULL) {
        client->callbacks->welcome(client->user, &welcome);
    }
#endif
    return TW_OK;
}
