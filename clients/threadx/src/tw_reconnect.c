/* What comes after the end: whether to connect again, when, and with what. */
#include "tw_internal.h"

/* SPEC.md 11.2: one second, then twice as long each time. */
#define FIRST_MS 1000U
#define LONGEST_MS 60000U

void tw_backoff_reset(tw_backoff *backoff) {
    backoff->delay_ms = 0;
}

uint32_t tw_backoff_next(tw_backoff *backoff, uint32_t random) {
    const uint32_t twice = backoff->delay_ms != 0 ? 2 * backoff->delay_ms : FIRST_MS;
    backoff->delay_ms = twice < LONGEST_MS ? twice : LONGEST_MS;
    /* Devices that lost the same server must not all come back at once. */
    return backoff->delay_ms / 2 + random % (backoff->delay_ms / 2 + 1);
}

tw_retry tw_should_reconnect(unsigned code) {
    switch (code) {
    case TW_CODE_NORMAL:
    case TW_CODE_SESSION_ENDED:
    case TW_CODE_REPLACED: return TW_RETRY_NEVER;
    case TW_CODE_VERSION:
    case TW_CODE_UNSUPPORTED:
    case TW_CODE_AUTH_FAILED:
    case TW_CODE_AUTH_REQUIRED:
    case TW_CODE_NO_SESSION:
    case TW_CODE_ARGUMENT:
    case TW_CODE_MEMORY: return TW_RETRY_CHANGED;
    default: return TW_RETRY_LATER;
    }
}

unsigned tw_client_reason(const tw_client *client) {
    if (client->said_goodbye) {
        return client->goodbye; /* what is wrong after it ends nothing any more */
    }
    return client->error != TW_OK ? client->error : TW_CODE_CLOSED;
}

void tw_client_resume(tw_client *client, tw_resume *resume) {
    (void)(tw_client_end(client) == TW_OK); /* tw_client_error() keeps it */
#if TW_WITH_CURSOR
    tw_cursor_lift(client);
#endif
#if TW_WITH_RESUME
    *resume = client->resume;
#    if TW_WITH_CURSOR
    tw_cursor_keep(client, resume);
#    endif
    if (client->state & TW_IN_SESSION) {
        resume->update = tw_client_shown(client);
        resume->width = client->width;
        resume->height = client->height;
#    if TW_WITH_CACHE
        resume->cache_slots = client->cache_slots;
        resume->cache_slot_bytes = client->cache_slot_bytes;
#    endif
    }
#else
    memset(resume, 0, sizeof *resume);
#endif
}
