/* The session: its memory, its thread, and what the thread does from one connection to the next. */
#include "tw_threadx.h"

#include <string.h>

#include "tw_threadx_internal.h"

#define MS_PER_S ((ULONG)1000)
#define TICKS_PER_S ((ULONG)TX_TIMER_TICKS_PER_SECOND)
/* The client wants to know the time about so often. */
#define TICK_MS 1000

/* TW_THREADX.parts */
#define EVENTS 1U
#define QUEUE 2U
#define SOCKET 4U

#define LEAST_MESSAGES 4UL

/* ---- Time and waiting ------------------------------------------------------------------------------------- */

ULONG tw_threadx_now_ms(TW_THREADX *session) {
    const ULONG now = tx_time_get(), passed = now - session->ticks;
    const ULONG rest = passed % TICKS_PER_S * MS_PER_S + session->ticks_left;
    session->ticks = now;
    session->ticks_left = rest % TICKS_PER_S;
    session->now_ms += passed / TICKS_PER_S * MS_PER_S + rest / TICKS_PER_S;
    return session->now_ms;
}

ULONG tw_threadx_ticks(ULONG milliseconds) {
    const ULONG part = (milliseconds % MS_PER_S * TICKS_PER_S + MS_PER_S - 1) / MS_PER_S;
    const ULONG ticks = milliseconds / MS_PER_S * TICKS_PER_S + part;
    return ticks != 0 ? ticks : 1;
}

VOID tw_threadx_wait(TW_THREADX *session, ULONG ticks) {
    ULONG flags = 0;
    const UINT status =
        tx_event_flags_get(&session->events, TW_THREADX_WAKE | TW_THREADX_DRAWN, TX_OR_CLEAR, &flags, ticks);
    if (status == TX_SUCCESS && (flags & TW_THREADX_DRAWN) != 0 && session->client != NULL) {
        tw_client_draw_done(session->client);
    }
}

VOID tw_threadx_wake(TW_THREADX *session) {
    (void)tx_event_flags_set(&session->events, TW_THREADX_WAKE, TX_OR);
}

static UINT wanted(TW_THREADX *session) {
    TX_INTERRUPT_SAVE_AREA
    UINT found;
    TX_DISABLE
    found = session->wanted;
    TX_RESTORE
    return found;
}

UINT tw_threadx_is_wanted(TW_THREADX *session) {
    return wanted(session) == TW_THREADX_RUN;
}

/* ---- What others see -------------------------------------------------------------------------------------- */

static VOID publish(TW_THREADX *session) {
    TX_INTERRUPT_SAVE_AREA
#if TW_WITH_STATISTICS
    if (session->client != NULL) {
        tw_client_statistics(session->client, &session->own.client);
    }
#endif
    TX_DISABLE
    session->published = session->own;
    TX_RESTORE
}

static VOID tell(TW_THREADX *session, UINT state, UINT code, ULONG wait_ms) {
    session->own.state = state;
    session->own.code = code;
    publish(session);
    if (session->config.state != NULL) {
        session->config.state(session->config.client.user, state, code, wait_ms);
    }
}

/* ---- One connection --------------------------------------------------------------------------------------- */

/* Input is taken from WELCOME on. */
static VOID look_whether_open(TW_THREADX *session) {
    if (!session->was_open && tw_client_phase(session->client) == TW_OPEN) {
        session->was_open = 1;
        session->opened_ms = tw_threadx_now_ms(session);
        session->own.connections++;
        tw_threadx_input_open(session, 1);
        tell(session, TW_THREADX_OPEN, TW_CODE_NORMAL, 0);
    }
}

/* 1: the connection is over. *is_busy: more may have come already. */
static UINT decode(TW_THREADX *session, UINT *is_busy) {
    size_t consumed;
    *is_busy = 0;
    /* Rows of a rectangle and acknowledgements that waited for the DMA. */
    if (tw_client_feed(session->client, NULL, 0, &consumed) != TW_OK) {
        return 1;
    }
    if (tw_client_pending(session->client)) {
        return 0;
    }
    if (session->packet == NULL) {
        const UINT status = tw_threadx_link_receive(session, &session->packet);
        if (status == NX_NO_PACKET) {
            return 0;
        }
        if (status != NX_SUCCESS) {
            session->own.status = status;
            (void)(tw_client_end(session->client) == TW_OK); /* tw_client_reason() tells */
            return 1;
        }
        session->piece = session->packet;
        session->at = 0;
    }
    while (session->piece != NULL) {
        const UCHAR *data = session->piece->nx_packet_prepend_ptr + session->at;
        const size_t length = (size_t)(session->piece->nx_packet_append_ptr - data);
        if (length != 0) {
            /* The handshake byte by byte: whom the first picture wakes shall find that input is taken. */
            const size_t part = session->was_open ? length : 1;
            const tw_status status = tw_client_feed(session->client, data, part, &consumed);
            session->own.bytes_received += consumed;
            session->at += (ULONG)consumed;
            look_whether_open(session);
            if (status != TW_OK) {
                break;
            }
            if (consumed < part) {
                return 0;
            }
            if (part < length) {
                continue;
            }
        }
#ifndef NX_DISABLE_PACKET_CHAIN
        session->piece = session->piece->nx_packet_next;
#else
        session->piece = NULL;
#endif
        session->at = 0;
    }
    tw_threadx_link_release(session, session->packet);
    session->packet = NULL;
    *is_busy = 1;
    return tw_client_phase(session->client) == TW_CLOSED;
}

/* From the first byte to the last. Returns for how long the server had let us in. */
static ULONG exchange(TW_THREADX *session) {
    ULONG closing_ms = 0;
    UINT is_closing = 0;
    session->was_open = 0;
    for (;;) {
        UINT is_busy, is_full = 0, status;
        UINT is_over = decode(session, &is_busy);
        const ULONG now_ms = tw_threadx_now_ms(session);
        if (session->was_open) {
            is_full = tw_threadx_input_send(session);
        }
        if (!is_closing && !tw_threadx_is_wanted(session)) {
            tw_client_close(session->client, TW_CODE_NORMAL);
        }
        is_over |= tw_client_tick(session->client, (uint32_t)now_ms) != TW_OK;
        status = tw_threadx_link_write(session);
        publish(session);
        if (is_over && !is_closing) {
            is_closing = 1;
            closing_ms = now_ms;
            tw_threadx_input_open(session, 0);
        }
        if (status != NX_SUCCESS && !tw_threadx_is_later(status)) {
            session->own.status = status;
            if (is_busy) { /* the server's last words may have come before */
                continue;
            }
            break;
        }
        if (is_closing && (status == NX_SUCCESS || now_ms - closing_ms >= TW_THREADX_FAREWELL_MS)) {
            break;
        }
        if (status != NX_SUCCESS) {
            tw_threadx_wait(session, is_busy ? TX_NO_WAIT : tw_threadx_ticks(TW_THREADX_RETRY_MS));
        } else {
            session->own.draw_waits += tw_client_pending(session->client);
            tw_threadx_wait(session, is_busy || is_full ? TX_NO_WAIT : tw_threadx_ticks(TICK_MS));
        }
    }
    tw_threadx_input_open(session, 0);
    return session->was_open ? session->now_ms - session->opened_ms + 1 : 0;
}

/* Until nobody reads the pixels any more. 0: stopped meanwhile, and the DMA takes its time. */
static UINT await_drawn(TW_THREADX *session) {
    const ULONG since_ms = tw_threadx_now_ms(session);
    while (session->client != NULL && tw_client_pending(session->client)) {
        size_t consumed;
        if (!tw_threadx_is_wanted(session)
            && tw_threadx_now_ms(session) - since_ms >= TW_THREADX_FAREWELL_MS) {
            return 0;
        }
        tw_threadx_wait(session, tw_threadx_ticks(TW_THREADX_FAREWELL_MS));
        /* The pointer may still have to be taken off the framebuffer. */
        (void)(tw_client_feed(session->client, NULL, 0, &consumed) == TW_OK);
    }
    return 1;
}

/* The next connection goes on where this one ended. */
static VOID keep(TW_THREADX *session) {
    session->resume.valid = 0;
    (void)(tw_client_end(session->client) == TW_OK);
    if (await_drawn(session)) {
        tw_client_resume(session->client, &session->resume);
        if (!await_drawn(session)) {
            session->resume.valid = 0;
        }
    }
}

/* 1: tw_threadx_retry() since the last time. */
static UINT take_hurry(TW_THREADX *session) {
    TX_INTERRUPT_SAVE_AREA
    UINT found;
    TX_DISABLE
    found = session->hurry;
    session->hurry = 0;
    TX_RESTORE
    return found;
}

/* One connection, TW_CODE_...; *stood_ms: for how long. */
static UINT visit(TW_THREADX *session, ULONG *stood_ms) {
    tw_client_config *config = &session->config.client;
    tw_status status;
    UINT code;
    *stood_ms = 0;
    if (!await_drawn(session)) { /* of the time before tw_threadx_stop() */
        return TW_CODE_CLOSED;
    }
    session->client = NULL;
    (void)take_hurry(session);
    session->own.attempts++;
    tell(session, TW_THREADX_CONNECTING, session->own.code, 0);
    if (session->config.random(config->user, config->nonce, sizeof config->nonce) != TX_SUCCESS) {
        return TW_CODE_INTERNAL;
    }
    config->resume = session->resume.valid ? &session->resume : NULL;
    status = tw_client_init(&session->client, config, session->config.memory, session->config.memory_size);
    if (status != TW_OK) {
        return (UINT)status;
    }
    session->own.status = tw_threadx_link_open(session);
    if (session->own.status == NX_SUCCESS) {
        *stood_ms = exchange(session);
        if (*stood_ms != 0) {
            (void)take_hurry(session); /* of the time before it broke */
        }
    }
    tw_threadx_link_close(session);
    keep(session);
    code = tw_client_reason(session->client);
    publish(session);
    return code;
}

static VOID doze(TW_THREADX *session, ULONG wait_ms) {
    const ULONG since_ms = tw_threadx_now_ms(session);
    ULONG passed_ms = 0;
    while (passed_ms < wait_ms && tw_threadx_is_wanted(session) && !take_hurry(session)) {
        tw_threadx_wait(session, tw_threadx_ticks(wait_ms - passed_ms));
        passed_ms = tw_threadx_now_ms(session) - since_ms;
    }
}

/* From start to stop, or to an end that waiting does not mend. */
static VOID live(TW_THREADX *session) {
    UINT state = TW_THREADX_STOPPED, code = TW_CODE_NORMAL;
    ULONG wait_ms = 0;
    session->resume.valid = 0;
    tw_backoff_reset(&session->backoff);
    while (tw_threadx_is_wanted(session)) {
        ULONG stood_ms;
        uint32_t random = 0;
        code = visit(session, &stood_ms);
        if (!tw_threadx_is_wanted(session)) {
            break;
        }
        if (tw_should_reconnect(code) != TW_RETRY_LATER) {
            state = TW_THREADX_ENDED;
            break;
        }
        if (stood_ms > wait_ms) {
            tw_backoff_reset(&session->backoff);
        }
        /* Without it all is well but that others come back at the same time. */
        (void)session->config.random(session->config.client.user, &random, sizeof random);
        wait_ms = tw_backoff_next(&session->backoff, random);
        tell(session, TW_THREADX_WAITING, code, wait_ms);
        doze(session, wait_ms);
    }
    tell(session, state, code, 0);
}

static TW_THREADX *myself(void) {
    UCHAR *thread = (UCHAR *)tx_thread_identify();
    return (TW_THREADX *)(VOID *)(thread - offsetof(TW_THREADX, thread));
}

static VOID run(ULONG unused) {
    TX_INTERRUPT_SAVE_AREA
    TW_THREADX *session = myself(); /* a pointer does not fit into every ULONG */
    (void)unused;
    session->ticks = tx_time_get();
    for (;;) {
        UINT wish = wanted(session);
        if (wish == TW_THREADX_QUIT) {
            tw_threadx_input_open(session, 0); /* what came in at the last moment */
            return;
        }
        if (wish == TW_THREADX_REST) {
            TX_DISABLE
            session->is_resting |= session->wanted == TW_THREADX_REST; /* or it was stopped before it began */
            TX_RESTORE
            tw_threadx_wait(session, TX_WAIT_FOREVER);
            continue;
        }
        live(session);
        TX_DISABLE
        if (session->wanted == TW_THREADX_RUN) {
            session->wanted = TW_THREADX_REST;
        }
        session->is_resting = 1;
        TX_RESTORE
    }
}

/* ---- Making and taking apart ------------------------------------------------------------------------------ */

/* Memory that was not given, out of the byte pool. Does nothing after a failure. */
static VOID take(TW_THREADX *session, UINT *status, VOID **memory, size_t size) {
    UINT place = 0;
    if (*status != TX_SUCCESS || *memory != NULL || size == 0) {
        return;
    }
    if (session->config.byte_pool == NULL) {
        *status = TX_PTR_ERROR;
        return;
    }
    while (session->taken[place] != NULL) {
        place++;
    }
    *status = tx_byte_allocate(session->config.byte_pool, &session->taken[place], (ULONG)size, TX_NO_WAIT);
    *memory = session->taken[place];
}

static UINT take_all(TW_THREADX *session, VOID **stack, ULONG stack_size) {
    TW_THREADX_CONFIG *config = &session->config;
    tw_client_config *client = &config->client;
    VOID *queue = config->queue;
    UINT status = TX_SUCCESS;
    if (client->cache == NULL && client->cache_slots != 0) {
        client->cache_size = TW_CACHE_SIZE(client->cache_slots, client->cache_slot_bytes);
    }
    if (config->memory == NULL) {
        config->memory_size = (ULONG)tw_client_size(client);
    }
    if (queue == NULL) {
        config->queue_size = (ULONG)TW_THREADX_QUEUE_SIZE(TW_THREADX_QUEUE_MESSAGES);
    }
    take(session, &status, stack, stack_size);
    take(session, &status, &config->memory, config->memory_size);
    take(session, &status, &queue, config->queue_size);
    take(session, &status, &client->receive, client->receive_size);
    take(session, &status, &client->cache, client->cache_size);
    take(session, &status, &client->cursor_memory, client->cursor_memory_size);
    take(session, &status, &client->jpeg_memory, client->jpeg_memory_size);
    take(session, &status, &client->jpeg_stream, client->jpeg_stream_size);
    config->queue = queue;
    return status;
}

/* The thread is gone, or was never made. */
static VOID dismantle(TW_THREADX *session) {
    session->id = 0;
    if (session->parts & QUEUE) {
        (void)tx_queue_delete(&session->queue);
    }
    if (session->parts & EVENTS) {
        (void)tx_event_flags_delete(&session->events);
    }
    if (session->parts & SOCKET) {
        (void)nx_tcp_socket_delete(&session->socket);
    }
    for (UINT i = 0; i < TW_THREADX_TAKEN; i++) {
        if (session->taken[i] != NULL) {
            (void)tx_byte_release(session->taken[i]);
        }
    }
    session->parts = 0;
    memset(session->taken, 0, sizeof session->taken);
}

/* Whether the client takes this configuration; every connection makes it anew. */
static UINT try_client(TW_THREADX *session) {
    tw_client *client;
    switch (tw_client_init(
        &client, &session->config.client, session->config.memory, session->config.memory_size)) {
    case TW_OK: return TX_SUCCESS;
    case TW_CODE_MEMORY: return TX_SIZE_ERROR;
    case TW_CODE_UNSUPPORTED: return TX_FEATURE_NOT_ENABLED;
    default: return NX_INVALID_PARAMETERS;
    }
}

static UINT assemble(
    TW_THREADX *session, CHAR *name, NX_IP *ip, VOID *stack, ULONG stack_size, UINT priority) {
    TW_THREADX_CONFIG *config = &session->config;
    UINT status = take_all(session, &stack, stack_size);
    if (status != TX_SUCCESS) {
        return status;
    }
    if (config->client.boot_id == 0) {
        status = config->random(config->client.user, &config->client.boot_id, sizeof config->client.boot_id);
        if (status != TX_SUCCESS) {
            return status;
        }
    }
    status = try_client(session);
    if (status != TX_SUCCESS) {
        return status;
    }
    /* First, since it may fail: tx_application_define() may make things, but not delete them. */
    status = tw_threadx_link_create(session, name, ip);
    if (status != NX_SUCCESS) {
        return status;
    }
    session->parts |= SOCKET;
    status = tx_event_flags_create(&session->events, name);
    if (status != TX_SUCCESS) {
        return status;
    }
    session->parts |= EVENTS;
    status =
        tx_queue_create(&session->queue, name, TW_THREADX_MESSAGE_WORDS, config->queue, config->queue_size);
    if (status != TX_SUCCESS) {
        return status;
    }
    session->parts |= QUEUE;
    session->id = TW_THREADX_ID;
    return tx_thread_create(&session->thread, name, run, 0, stack, stack_size, priority, priority,
        TX_NO_TIME_SLICE, TX_AUTO_START);
}

UINT tw_threadx_create(TW_THREADX *session, CHAR *name, const TW_THREADX_CONFIG *config, NX_IP *ip,
    NX_PACKET_POOL *pool, VOID *stack, ULONG stack_size, UINT priority) {
    UINT status;
    TW_THREADX_REQUIRE(session != NULL && config != NULL && ip != NULL && pool != NULL, TX_PTR_ERROR);
    TW_THREADX_REQUIRE(session->id != TW_THREADX_ID, TX_PTR_ERROR);
    TW_THREADX_REQUIRE(config->random != NULL && config->client.callbacks != NULL, TX_PTR_ERROR);
    TW_THREADX_REQUIRE(stack_size >= TX_MINIMUM_STACK, TX_SIZE_ERROR);
    TW_THREADX_REQUIRE(priority < TX_MAX_PRIORITIES, TX_PRIORITY_ERROR);
    TW_THREADX_REQUIRE(
        config->queue == NULL || config->queue_size >= TW_THREADX_QUEUE_SIZE(LEAST_MESSAGES), TX_SIZE_ERROR);
    memset(session, 0, sizeof *session);
    session->config = *config;
    session->pool = pool;
    session->is_resting = 1;
    if (session->config.port == 0) {
        session->config.port = TW_PORT;
    }
    status = assemble(session, name, ip, stack, stack_size, priority);
    if (status != TX_SUCCESS) {
        dismantle(session);
    }
    return status;
}

UINT tw_threadx_start(TW_THREADX *session) {
    TX_INTERRUPT_SAVE_AREA
    UINT status = TX_START_ERROR;
    TW_THREADX_CHECK(session);
    TX_DISABLE
    if (session->is_resting && session->wanted == TW_THREADX_REST) {
        session->wanted = TW_THREADX_RUN;
        session->is_resting = 0;
        status = TX_SUCCESS;
    }
    TX_RESTORE
    if (status == TX_SUCCESS) {
        tw_threadx_wake(session);
    }
    return status;
}

static VOID wish(TW_THREADX *session, UINT wanted_now) {
    TX_INTERRUPT_SAVE_AREA
    TX_DISABLE
    if (session->wanted != TW_THREADX_QUIT) {
        session->wanted = wanted_now;
    }
    TX_RESTORE
    tw_threadx_wake(session);
}

UINT tw_threadx_retry(TW_THREADX *session) {
    TX_INTERRUPT_SAVE_AREA
    TW_THREADX_CHECK(session);
    TX_DISABLE
    session->hurry = 1;
    TX_RESTORE
    tw_threadx_wake(session);
    return TX_SUCCESS;
}

static UINT is_resting(TW_THREADX *session) {
    TX_INTERRUPT_SAVE_AREA
    UINT found;
    TX_DISABLE
    found = session->is_resting;
    TX_RESTORE
    return found;
}

static UINT is_completed(TW_THREADX *session) {
    UINT state = TX_READY;
    (void)tx_thread_info_get(
        &session->thread, TX_NULL, &state, TX_NULL, TX_NULL, TX_NULL, TX_NULL, TX_NULL, TX_NULL);
    return state == TX_COMPLETED;
}

/* Looks every tick whether it is so: ends are rare, and nothing is left behind by who gives up. */
static UINT await(TW_THREADX *session, UINT (*is_so)(TW_THREADX *session), ULONG wait_option) {
    ULONG waited = 0;
    while (!is_so(session)) {
        UINT status;
        if (waited == wait_option) {
            return TX_NOT_DONE;
        }
        status = tx_thread_sleep(1);
        if (status != TX_SUCCESS) {
            return status;
        }
        waited += wait_option != TX_WAIT_FOREVER;
    }
    return TX_SUCCESS;
}

#ifndef TX_DISABLE_ERROR_CHECKING
/* A thread that is not the session's: to sleep for no time is refused where nobody may sleep. In an interrupt
 * tx_thread_identify() tells whom it interrupts. */
static UINT may_wait(TW_THREADX *session) {
    return tx_thread_sleep(0) == TX_SUCCESS && tx_thread_identify() != &session->thread;
}
#endif

UINT tw_threadx_stop(TW_THREADX *session, ULONG wait_option) {
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(wait_option == TX_NO_WAIT || may_wait(session), TX_CALLER_ERROR);
    wish(session, TW_THREADX_REST);
    return await(session, is_resting, wait_option);
}

UINT tw_threadx_delete(TW_THREADX *session, ULONG wait_option) {
    UINT status;
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(may_wait(session), TX_CALLER_ERROR);
    wish(session, TW_THREADX_QUIT);
    status = await(session, is_completed, wait_option);
    if (status == TX_SUCCESS) {
        status = tx_thread_delete(&session->thread);
    }
    if (status == TX_SUCCESS) {
        dismantle(session);
    }
    return status;
}

UINT tw_threadx_draw_done(TW_THREADX *session) {
    TW_THREADX_CHECK(session);
    return tx_event_flags_set(&session->events, TW_THREADX_DRAWN, TX_OR);
}

UINT tw_threadx_statistics(TW_THREADX *session, TW_THREADX_STATISTICS *statistics) {
    TX_INTERRUPT_SAVE_AREA
    TW_THREADX_CHECK(session);
    TW_THREADX_REQUIRE(statistics != NULL, TX_PTR_ERROR);
    TX_DISABLE
    *statistics = session->published;
    statistics->inputs_joined = session->joined;
    statistics->inputs_lost = session->lost;
    statistics->inputs_refused += session->refused;
    TX_RESTORE
    return TX_SUCCESS;
}

tw_client *tw_threadx_client(TW_THREADX *session) {
    return session->client;
}
