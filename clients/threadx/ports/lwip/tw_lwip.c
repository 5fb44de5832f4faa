/* The session: what the main loop does from one connection to the next. */
#include "tw_lwip.h"

#include <string.h>

#include "lwip/dns.h"

#include "tw_lwip_internal.h"

/* The client wants to know the time about so often. */
#define TICK_MS 1000U

/* tw_lwip.step */
enum {
    RESTING = 0,
    STARTING,   /* waits until a DMA of the last connection is done, then begins one */
    RESOLVING,  /* DNS is asked */
    CONNECTING, /* TCP is */
    TALKING,
    PARTING,  /* last words are on their way */
    SETTLING, /* a DMA still reads pixels */
    LIFTING,  /* and what takes the cursor off */
    DOZING
};

/* ---- What others see -------------------------------------------------------------------------------------- */

static void go_to(tw_lwip *session, unsigned step) {
    session->step = (uint8_t)step;
    session->since_ms = session->now_ms;
}

static uint32_t passed_ms(const tw_lwip *session) {
    return session->now_ms - session->since_ms;
}

static void tell(tw_lwip *session, tw_lwip_state state, unsigned code, uint32_t wait_ms) {
    session->own.state = state;
    session->own.code = code;
    if (session->config.state != NULL) {
        session->config.state(session->config.client.user, state, code, wait_ms);
    }
}

static void rest(tw_lwip *session, tw_lwip_state state, unsigned code) {
    session->is_wanted = 0;
    go_to(session, RESTING);
    tell(session, state, code, 0);
}

/* ---- The beginning of a connection ------------------------------------------------------------------------ */

static void part(tw_lwip *session);

static void connect_to(tw_lwip *session, const ip_addr_t *address) {
    session->fault = tw_lwip_tcp_connect(session, address);
    if (session->fault != ERR_OK) {
        part(session);
        return;
    }
    go_to(session, CONNECTING);
}

#if LWIP_DNS
static void on_found(const char *name, const ip_addr_t *address, void *given) {
    tw_lwip *session = (tw_lwip *)given;
    (void)name;
    if (address != NULL) {
        session->config.address = *address;
        session->fault = ERR_OK;
    }
    session->is_found = 1;
}
#endif

static void resolve(tw_lwip *session) {
    tw_lwip_config *config = &session->config;
    session->is_found = 1;
    session->fault = ERR_OK;
#if LWIP_DNS
    if (config->host != NULL && !ipaddr_aton(config->host, &config->address)) {
        err_t error;
        session->is_found = 0;
        session->fault = ERR_VAL; /* until there is an answer */
        error = dns_gethostbyname(config->host, &config->address, on_found, session);
        if (error != ERR_INPROGRESS) {
            session->is_found = 1;
            session->fault = error;
        }
    }
#else
    if (config->host != NULL) {
        (void)ipaddr_aton(config->host, &config->address); /* tw_lwip_init() has tried it */
    }
#endif
    go_to(session, RESOLVING);
}

/* A client for the next connection, in the same memory: no DMA reads the last one's pixels any more. */
static void begin(tw_lwip *session) {
    tw_client_config *config = &session->config.client;
    tw_status status;
    session->own.attempts++;
    session->stood_ms = 0;
    tell(session, TW_LWIP_CONNECTING, session->own.code, 0);
    status = session->config.random(config->user, config->nonce, sizeof config->nonce);
    if (status == TW_OK) {
        config->resume = session->resume.valid ? &session->resume : NULL;
        status =
            tw_client_init(&session->client, config, session->config.memory, session->config.memory_size);
        config->resume = NULL;
    }
    if (status != TW_OK) {
        session->client = NULL;
        session->failure = status;
        part(session);
        return;
    }
    resolve(session);
}

/* ---- Talking ---------------------------------------------------------------------------------------------- */

void tw_lwip_look_whether_open(tw_lwip *session) {
    if (!session->is_open && tw_client_phase(session->client) == TW_OPEN) {
        session->opened_ms = session->now_ms;
        session->own.connections++;
        tw_lwip_input_open(session, 1);
        tell(session, TW_LWIP_OPEN, TW_CODE_NORMAL, 0);
    }
}

/* 1: the connection is over. */
static unsigned talk(tw_lwip *session) {
    unsigned is_over = tw_lwip_tcp_decode(session) != TW_OK;
    if (!is_over && session->chain == NULL && (session->stream_ended || session->pcb == NULL)
        && !tw_client_pending(session->client)) {
        (void)(tw_client_end(session->client) == TW_OK); /* tw_client_reason() tells */
        is_over = 1;
    }
    session->is_full = session->is_open ? (uint8_t)tw_lwip_input_send(session) : 0;
    if (!session->is_wanted) {
        tw_client_close(session->client, TW_CODE_NORMAL);
    }
    is_over |= tw_client_tick(session->client, session->now_ms) != TW_OK;
    (void)tw_lwip_tcp_write(session);
    return is_over;
}

/* ---- The end of a connection ------------------------------------------------------------------------------ */

static void part(tw_lwip *session) {
    if (session->fault != ERR_OK) {
        session->own.error = session->fault;
    }
    if (session->is_open) {
        session->stood_ms = session->now_ms - session->opened_ms + 1;
    }
    tw_lwip_input_open(session, 0);
    go_to(session, PARTING);
}

/* 1: it has ended. The server closes when it has read our goodbye, or after its own, and keeps TIME-WAIT for itself. Who
 * does not may wait for us to close. */
static unsigned say_farewell(tw_lwip *session) {
    const unsigned is_said = tw_lwip_tcp_write(session);
    tw_lwip_tcp_discard(session);
    if (session->pcb == NULL) {
        return 1;
    }
    if (session->stream_ended && is_said) {
        tw_lwip_tcp_close(session);
    } else if (!session->is_connected || passed_ms(session) >= TW_LWIP_FAREWELL_MS) {
        tw_lwip_tcp_abort(session);
    } else if (is_said && passed_ms(session) >= TW_LWIP_FAREWELL_MS / 4) {
        tw_lwip_tcp_shut(session);
    }
    return session->pcb == NULL;
}

/* 1: nobody reads the pixels any more, or it is stopped and the DMA takes its time. */
static unsigned is_settled(tw_lwip *session, unsigned *has_pending) {
    size_t consumed;
    *has_pending = 0;
    if (session->client == NULL) {
        return 1;
    }
    /* The pointer may still have to be taken off the framebuffer. */
    (void)(tw_client_feed(session->client, NULL, 0, &consumed) == TW_OK);
    *has_pending = tw_client_pending(session->client);
    return !*has_pending || (!session->is_wanted && passed_ms(session) >= TW_LWIP_FAREWELL_MS);
}

static void decide(tw_lwip *session) {
    const unsigned code =
        session->client != NULL ? tw_client_reason(session->client) : (unsigned)session->failure;
    uint32_t random = 0;
    if (!session->is_wanted) {
        rest(session, TW_LWIP_STOPPED, code);
        return;
    }
    if (tw_should_reconnect(code) != TW_RETRY_LATER) {
        rest(session, TW_LWIP_ENDED, code);
        return;
    }
    if (session->stood_ms > session->wait_ms) {
        tw_backoff_reset(&session->backoff);
    }
    /* Without it all is well but that others come back at the same time. */
    (void)(session->config.random(session->config.client.user, &random, sizeof random) == TW_OK);
    session->wait_ms = tw_backoff_next(&session->backoff, random);
    go_to(session, DOZING);
    tell(session, TW_LWIP_WAITING, code, session->wait_ms);
}

/* The next connection goes on where this one ended. */
static void settle(tw_lwip *session) {
    unsigned has_pending;
    if (session->step == SETTLING && is_settled(session, &has_pending)) {
        if (has_pending) {
            session->resume.valid = 0;
        } else if (session->client != NULL) { /* or it stays as it was */
            tw_client_resume(session->client, &session->resume);
        }
        go_to(session, LIFTING);
    }
    if (session->step == LIFTING && is_settled(session, &has_pending)) {
        if (has_pending) {
            session->resume.valid = 0;
        }
        decide(session);
    }
}

/* ---- The main loop ---------------------------------------------------------------------------------------- */

static uint32_t left_of(const tw_lwip *session, uint32_t limit_ms) {
    const uint32_t passed = passed_ms(session);
    return passed < limit_ms ? limit_ms - passed : 0;
}

static void step_resolving(tw_lwip *session) {
    if (!session->is_found) {
        return; /* DNS cannot be told to forget us, so even a stop waits for its answer */
    }
    if (session->is_wanted && session->fault == ERR_OK) {
        connect_to(session, &session->config.address);
    } else {
        part(session);
    }
}

static void step_connecting(tw_lwip *session) {
    if (session->pcb == NULL) { /* refused */
        part(session);
    } else if (session->is_connected) {
        go_to(session, TALKING);
    } else if (!session->is_wanted || passed_ms(session) >= TW_LWIP_CONNECT_MS) {
        session->fault = session->is_wanted ? ERR_TIMEOUT : ERR_OK;
        part(session);
    }
}

static void step_once(tw_lwip *session) {
    switch (session->step) {
    case STARTING: {
        unsigned has_pending;
        if (!session->is_wanted) {
            rest(session, TW_LWIP_STOPPED, session->own.code);
        } else if (is_settled(session, &has_pending)) {
            begin(session);
        }
        break;
    }
    case RESOLVING: step_resolving(session); break;
    case CONNECTING: step_connecting(session); break;
    case TALKING:
        if (talk(session)) {
            part(session);
        }
        break;
    case PARTING:
        if (say_farewell(session)) {
            if (session->client != NULL) {
                (void)(tw_client_end(session->client) == TW_OK);
            }
            go_to(session, SETTLING);
        }
        break;
    case SETTLING:
    case LIFTING: settle(session); break;
    case DOZING:
        if (!session->is_wanted) {
            rest(session, TW_LWIP_STOPPED, session->own.code);
        } else if (passed_ms(session) >= session->wait_ms) {
            go_to(session, STARTING);
        }
        break;
    default: break;
    }
}

static uint32_t until_next(const tw_lwip *session) {
    switch (session->step) {
    case RESTING: return TW_LWIP_NEVER;
    case STARTING: return session->client != NULL && tw_client_pending(session->client) ? TICK_MS : 0;
    case CONNECTING:
        return session->pcb == NULL || session->is_connected ? 0 : left_of(session, TW_LWIP_CONNECT_MS);
    case TALKING: {
        size_t waiting;
        (void)tw_client_output(session->client, &waiting);
        return session->is_full || waiting != 0 ? TW_LWIP_RETRY_MS : TICK_MS;
    }
    case PARTING:
        if (!session->is_shut && passed_ms(session) >= TW_LWIP_FAREWELL_MS / 4) {
            return TW_LWIP_RETRY_MS; /* not said yet */
        }
        return left_of(session, session->is_shut ? TW_LWIP_FAREWELL_MS : TW_LWIP_FAREWELL_MS / 4);
    case DOZING: return left_of(session, session->wait_ms);
    default: return TICK_MS;
    }
}

uint32_t tw_lwip_poll(tw_lwip *session, uint32_t now_ms) {
    unsigned before;
    session->now_ms = now_ms;
    do { /* what has to wait stays where it is; a new connection begins with the next call */
        before = session->step;
        step_once(session);
    } while (session->step != before && session->step != STARTING);
#if TW_WITH_STATISTICS
    if (session->client != NULL) {
        tw_client_statistics(session->client, &session->own.client);
    }
#endif
    return until_next(session);
}

/* ---- Life ------------------------------------------------------------------------------------------------- */

static tw_status check_host(const tw_lwip_config *config) {
    ip_addr_t address;
    if (config->host == NULL || LWIP_DNS || ipaddr_aton(config->host, &address)) {
        return TW_OK;
    }
    return TW_CODE_UNSUPPORTED;
}

tw_status tw_lwip_init(tw_lwip *session, const tw_lwip_config *config) {
    tw_client_config *client = &session->config.client;
    tw_client *made;
    tw_status status;
    memset((void *)session, 0, sizeof *session); /* C++ minds its volatile members */
    if (config->random == NULL) {
        return TW_CODE_ARGUMENT;
    }
    session->config = *config;
    client->resume = NULL;
    if (session->config.port == 0) {
        session->config.port = TW_PORT;
    }
    status = check_host(config);
    if (status == TW_OK && client->boot_id == 0) {
        status = config->random(client->user, &client->boot_id, sizeof client->boot_id);
    }
    if (status == TW_OK) { /* every connection makes it anew */
        status = tw_client_init(&made, client, session->config.memory, session->config.memory_size);
    }
    return status;
}

tw_status tw_lwip_start(tw_lwip *session) {
    if (session->step != RESTING) {
        return TW_CODE_BAD_STATE;
    }
    session->is_wanted = 1;
    session->resume.valid = 0;
    session->wait_ms = 0;
    tw_backoff_reset(&session->backoff);
    go_to(session, STARTING);
    return TW_OK;
}

void tw_lwip_stop(tw_lwip *session) {
    session->is_wanted = 0;
}

unsigned tw_lwip_is_resting(const tw_lwip *session) {
    return session->step == RESTING;
}

void tw_lwip_draw_done(tw_lwip *session) {
    if (session->client != NULL) {
        tw_client_draw_done(session->client);
    }
}

tw_client *tw_lwip_client(tw_lwip *session) {
    return session->client;
}

void tw_lwip_get_statistics(const tw_lwip *session, tw_lwip_statistics *statistics) {
    *statistics = session->own;
    statistics->inputs_lost = session->touches_lost;
}
