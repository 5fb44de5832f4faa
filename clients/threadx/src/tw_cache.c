/* The tile cache: rectangles of stored pixels that the server wants back later. The server decides, we obey. */
#include "tw_internal.h"

#if TW_WITH_CACHE

/* Width and height of a slot, two bytes each, all of them before the pixels of the first; 0: empty. */
#    define SLOT_HEAD 4U

tw_status tw_cache_start(tw_client *client, const tw_client_config *config) {
    if (!(client->offered & TW_CAPABILITY_COPY) || config->cache_slots < 1
        || config->cache_slots > TW_MAX_CACHE_SLOTS) {
        return TW_CODE_ARGUMENT;
    }
    /* By division, since slots of any size must not overflow. */
    if (config->cache_size / config->cache_slots < SLOT_HEAD
        || config->cache_size / config->cache_slots - SLOT_HEAD < config->cache_slot_bytes) {
        return TW_CODE_MEMORY;
    }
    client->cache = (uint8_t *)config->cache;
    client->cache_slots = config->cache_slots;
    client->cache_slot_bytes = config->cache_slot_bytes;
    return TW_OK;
}

void tw_cache_forget(tw_client *client) {
    if (client->cache != NULL) {
        memset(client->cache, 0, (size_t)client->cache_slots * SLOT_HEAD);
    }
}

static tw_status check_slot(const tw_client *client, uint32_t slot) {
    return slot < client->cache_slots ? TW_OK : TW_CODE_NOT_OFFERED; /* without a cache there are none */
}

static uint8_t *head_of(const tw_client *client, uint32_t slot) {
    return client->cache + (size_t)slot * SLOT_HEAD;
}

static uint8_t *pixels_of(const tw_client *client, uint32_t slot) {
    return head_of(client, client->cache_slots) + (size_t)slot * client->cache_slot_bytes;
}

/* Bytes of a row in a slot. */
static ptrdiff_t row_of(const tw_client *client, const tw_rect *rect) {
    return (ptrdiff_t)((size_t)rect->width * tw_stored(client));
}

/* No product overflows: sides have at most 4096 pixels of at most 4 bytes. */
static bool fits(const tw_client *client, const tw_rect *rect) {
    return rect->width * rect->height * tw_stored(client) <= client->cache_slot_bytes;
}

tw_status tw_take_cache_store(tw_client *client, const tw_body *body) {
    const uint32_t slot = body->number[0];
    const tw_rect *rect = &body->rect;
    TW_TRY(check_slot(client, slot));
    TW_TRY(tw_check_inside(client, rect));
    if (!fits(client, rect)) {
        return TW_CODE_NOT_OFFERED;
    }
#    if TW_WITH_CURSOR
    tw_uncover(client, rect);
#    endif
    tw_put_number(tw_put_number(head_of(client, slot), rect->width, 2), rect->height, 2);
    tw_copy_rows(client, pixels_of(client, slot), row_of(client, rect), tw_pixel_at(client, rect->x, rect->y),
        (ptrdiff_t)client->stride, rect);
    return TW_OK;
}

tw_status tw_take_cache_draw(tw_client *client, const tw_body *body) {
    const uint32_t slot = body->number[0];
    const uint8_t *head;
    tw_rect rect;
    TW_TRY(check_slot(client, slot));
    head = head_of(client, slot);
    rect.x = body->point.x;
    rect.y = body->point.y;
    rect.width = head[0] | (uint32_t)head[1] << 8;
    rect.height = head[2] | (uint32_t)head[3] << 8;
    /* After a resume the memory is what the caller kept, or did not keep: it is not trusted. */
    if (rect.width < 1 || rect.width > TW_MAX_SIDE || rect.height < 1 || rect.height > TW_MAX_SIDE
        || !fits(client, &rect)) {
        return TW_CODE_BAD_VALUE;
    }
    TW_TRY(tw_check_inside(client, &rect));
#    if TW_WITH_CURSOR
    tw_uncover(client, &rect);
#    endif
    tw_copy_rows(client, tw_pixel_at(client, rect.x, rect.y), (ptrdiff_t)client->stride,
        pixels_of(client, slot), row_of(client, &rect), &rect);
    tw_show_rect(client, &rect);
    return TW_OK;
}

#endif
