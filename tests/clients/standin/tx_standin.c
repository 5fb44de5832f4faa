#define _POSIX_C_SOURCE 200809L

#include "tx_api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ALIVE 0x54582121U
#define NS_PER_TICK (1000000000L / (long)TX_TIMER_TICKS_PER_SECOND)
#define FILL 0xEF

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int is_started; /* no thread runs before tx_application_define() has returned */
static ULONG ahead;    /* of tx_time_get() */
static _Thread_local TX_THREAD *current;
static _Thread_local int in_interrupt, in_define;
static TX_THREAD *latest; /* whom an interrupt interrupts, as far as it can tell */
/* Who holds the lock may not ask for it again: no service is called with interrupts off. */
static _Thread_local int is_disabled;

void tx_standin_fail(const char *what) {
    fprintf(stderr, "stand-in: %s\n", what);
    abort();
}

static void begin(void) {
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

unsigned tx_standin_disable(void) {
    if (is_disabled) {
        tx_standin_fail("a service, or TX_DISABLE, with interrupts off");
    }
    (void)pthread_once(&once, begin);
    (void)pthread_mutex_lock(&lock);
    is_disabled = 1;
    latest = current != NULL && !in_interrupt ? current : latest;
    return 1;
}

void tx_standin_restore(unsigned saved) {
    (void)saved;
    is_disabled = 0;
    (void)pthread_mutex_unlock(&lock);
}

static void enter(void) {
    (void)tx_standin_disable();
}

static UINT leave(UINT status) {
    tx_standin_restore(1);
    return status;
}

void tx_standin_changed(void) {
    (void)pthread_cond_broadcast(&changed);
}

ULONG tx_standin_ticks(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (ULONG)((unsigned long)now.tv_sec * TX_TIMER_TICKS_PER_SECOND
                   + (unsigned long)now.tv_nsec / (unsigned long)NS_PER_TICK);
}

int tx_standin_wait(ULONG wait_option, ULONG since) {
    struct timespec until;
    ULONG passed;
    if (wait_option == TX_WAIT_FOREVER) {
        (void)pthread_cond_wait(&changed, &lock);
        return 0;
    }
    passed = tx_standin_ticks() - since;
    if (passed >= wait_option) {
        return -1;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)((wait_option - passed) / TX_TIMER_TICKS_PER_SECOND);
    until.tv_nsec += (long)((wait_option - passed) % TX_TIMER_TICKS_PER_SECOND) * NS_PER_TICK;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&changed, &lock, &until);
    return 0;
}

/* Whether the caller may wait so long. */
static int may_wait(ULONG wait_option) {
    return wait_option == TX_NO_WAIT || (current != NULL && !in_interrupt);
}

void tx_standin_interrupt(int is_interrupt) {
    in_interrupt = is_interrupt;
}

tx_standin_caller tx_standin_who(void) {
    if (in_interrupt) {
        return TX_STANDIN_ISR;
    }
    if (current != NULL) {
        return TX_STANDIN_THREAD;
    }
    return in_define ? TX_STANDIN_INIT : TX_STANDIN_OTHER;
}

/* ---- Threads and time ------------------------------------------------------------------------------------- */

static void *run(void *given) {
    TX_THREAD *thread = given;
    enter();
    while (!is_started) {
        (void)tx_standin_wait(TX_WAIT_FOREVER, 0);
    }
    current = latest = thread;
    (void)leave(TX_SUCCESS);
    thread->first = __builtin_frame_address(0);
    thread->entry(thread->input);
    enter();
    thread->state = TX_COMPLETED;
    tx_standin_changed();
    (void)leave(TX_SUCCESS);
    return NULL;
}

ULONG tx_standin_stack_used(const TX_THREAD *thread) {
    const UCHAR *at = thread->stack;
    while (at != thread->first && *at == FILL) {
        at++;
    }
    return (ULONG)(thread->first - at);
}

UINT tx_thread_create(TX_THREAD *thread, CHAR *name, VOID (*entry)(ULONG input), ULONG input, VOID *stack,
    ULONG stack_size, UINT priority, UINT threshold, ULONG time_slice, UINT auto_start) {
    pthread_attr_t attributes;
    if (thread == NULL || entry == NULL || stack == NULL) {
        return thread == NULL || thread->id == ALIVE ? TX_THREAD_ERROR : TX_PTR_ERROR;
    }
    if (stack_size < TX_MINIMUM_STACK) {
        return TX_SIZE_ERROR;
    }
    if (priority >= TX_MAX_PRIORITIES || threshold > priority) {
        return TX_PRIORITY_ERROR;
    }
    if (auto_start != TX_AUTO_START) {
        return TX_START_ERROR; /* the stand-in knows no other way */
    }
    if (in_interrupt) {
        return TX_CALLER_ERROR;
    }
    memset(thread, 0, sizeof *thread);
    thread->id = ALIVE;
    thread->name = name;
    thread->priority = priority;
    thread->threshold = threshold;
    thread->time_slice = time_slice;
    thread->entry = entry;
    thread->input = input;
    thread->state = TX_READY;
    thread->stack = stack;
    thread->stack_size = stack_size;
    memset(stack, FILL, stack_size);
    (void)pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, stack, stack_size) != 0
        || pthread_create(&thread->host, &attributes, run, thread) != 0) {
        tx_standin_fail("no thread; is its stack aligned?");
    }
    (void)pthread_attr_destroy(&attributes);
    return TX_SUCCESS;
}

UINT tx_thread_delete(TX_THREAD *thread) {
    UINT state;
    if (thread == NULL || thread->id != ALIVE) {
        return TX_THREAD_ERROR;
    }
    if (current == NULL || in_interrupt) {
        return TX_CALLER_ERROR;
    }
    enter();
    state = thread->state;
    (void)leave(TX_SUCCESS);
    if (state != TX_COMPLETED) {
        return TX_DELETE_ERROR;
    }
    (void)pthread_join(thread->host, NULL);
    enter();
    thread->id = 0;
    latest = latest == thread ? current : latest;
    return leave(TX_SUCCESS);
}

UINT tx_thread_info_get(TX_THREAD *thread, CHAR **name, UINT *state, ULONG *run_count, UINT *priority,
    UINT *threshold, ULONG *time_slice, TX_THREAD **next, TX_THREAD **next_suspended) {
    ULONG ignored;
    CHAR *no_name;
    TX_THREAD *nobody;
    if (thread == NULL || thread->id != ALIVE) {
        return TX_THREAD_ERROR;
    }
    enter();
    *(state != NULL ? state : &ignored) = thread->state;
    *(name != NULL ? name : &no_name) = thread->name;
    *(run_count != NULL ? run_count : &ignored) = 0; /* not counted here */
    *(priority != NULL ? priority : &ignored) = thread->priority;
    *(threshold != NULL ? threshold : &ignored) = thread->threshold;
    *(time_slice != NULL ? time_slice : &ignored) = thread->time_slice;
    *(next != NULL ? next : &nobody) = NULL;
    *(next_suspended != NULL ? next_suspended : &nobody) = NULL;
    return leave(TX_SUCCESS);
}

TX_THREAD *tx_thread_identify(VOID) {
    TX_THREAD *found;
    enter();
    found = in_interrupt ? latest : current;
    (void)leave(TX_SUCCESS);
    return found;
}

UINT tx_thread_sleep(ULONG ticks) {
    const struct timespec time = {
        (time_t)(ticks / TX_TIMER_TICKS_PER_SECOND), (long)(ticks % TX_TIMER_TICKS_PER_SECOND) * NS_PER_TICK};
    if (current == NULL || in_interrupt) {
        return TX_CALLER_ERROR;
    }
    if (is_disabled) {
        tx_standin_fail("sleeps with interrupts off");
    }
    (void)nanosleep(&time, NULL);
    return TX_SUCCESS;
}

ULONG tx_time_get(VOID) {
    ULONG found;
    enter();
    found = tx_standin_ticks() + ahead;
    (void)leave(TX_SUCCESS);
    return found;
}

VOID tx_time_set(ULONG ticks) {
    enter();
    ahead = ticks - tx_standin_ticks();
    (void)leave(TX_SUCCESS);
}

VOID tx_kernel_enter(VOID) {
    pthread_mutex_t forever = PTHREAD_MUTEX_INITIALIZER;
    in_define = 1;
    tx_application_define(NULL);
    enter();
    is_started = 1;
    tx_standin_changed();
    (void)leave(TX_SUCCESS);
    (void)pthread_mutex_lock(&forever);
    for (;;) {
        (void)pthread_cond_wait(&changed, &forever);
    }
}

/* ---- Event flags ------------------------------------------------------------------------------------------ */

UINT tx_event_flags_create(TX_EVENT_FLAGS_GROUP *group, CHAR *name) {
    if (group == NULL || group->id == ALIVE) {
        return TX_GROUP_ERROR;
    }
    if (in_interrupt) {
        return TX_CALLER_ERROR;
    }
    enter();
    group->name = name;
    group->flags = 0;
    group->id = ALIVE;
    return leave(TX_SUCCESS);
}

UINT tx_event_flags_delete(TX_EVENT_FLAGS_GROUP *group) {
    UINT status;
    if (current == NULL || in_interrupt) {
        return TX_CALLER_ERROR;
    }
    enter();
    status = group != NULL && group->id == ALIVE ? TX_SUCCESS : TX_GROUP_ERROR;
    if (status == TX_SUCCESS) {
        group->id = 0;
        tx_standin_changed();
    }
    return leave(status);
}

UINT tx_event_flags_set(TX_EVENT_FLAGS_GROUP *group, ULONG flags, UINT option) {
    if (group == NULL) {
        return TX_GROUP_ERROR;
    }
    if (option != TX_OR && option != TX_AND) {
        return TX_OPTION_ERROR;
    }
    enter();
    if (group->id != ALIVE) {
        return leave(TX_GROUP_ERROR);
    }
    group->flags = option == TX_OR ? group->flags | flags : group->flags & flags;
    tx_standin_changed();
    return leave(TX_SUCCESS);
}

UINT tx_event_flags_get(
    TX_EVENT_FLAGS_GROUP *group, ULONG requested, UINT option, ULONG *actual, ULONG wait_option) {
    const ULONG since = tx_standin_ticks();
    if (group == NULL) {
        return TX_GROUP_ERROR;
    }
    if (actual == NULL) {
        return TX_PTR_ERROR;
    }
    if (!may_wait(wait_option)) {
        return TX_WAIT_ERROR;
    }
    if (option > TX_AND_CLEAR) {
        return TX_OPTION_ERROR;
    }
    enter();
    for (;;) {
        const ULONG found = group->flags & requested;
        if (group->id != ALIVE) {
            return leave(TX_DELETED);
        }
        if (option == TX_OR || option == TX_OR_CLEAR ? found != 0 : found == requested) {
            *actual = group->flags;
            if (option == TX_OR_CLEAR || option == TX_AND_CLEAR) {
                group->flags &= ~requested;
            }
            return leave(TX_SUCCESS);
        }
        if (wait_option == TX_NO_WAIT || tx_standin_wait(wait_option, since) != 0) {
            return leave(TX_NO_EVENTS);
        }
    }
}

/* ---- Queues ----------------------------------------------------------------------------------------------- */

UINT tx_queue_create(TX_QUEUE *queue, CHAR *name, UINT words, VOID *memory, ULONG size) {
    if (queue == NULL || queue->id == ALIVE) {
        return TX_QUEUE_ERROR;
    }
    if (memory == NULL) {
        return TX_PTR_ERROR;
    }
    if (words < 1 || words > 16 || size < words * sizeof(ULONG)) {
        return TX_SIZE_ERROR;
    }
    if (in_interrupt) {
        return TX_CALLER_ERROR;
    }
    enter();
    memset(queue, 0, sizeof *queue);
    queue->name = name;
    queue->memory = memory;
    queue->words = words;
    queue->capacity = (ULONG)(size / (words * sizeof(ULONG)));
    queue->id = ALIVE;
    return leave(TX_SUCCESS);
}

UINT tx_queue_delete(TX_QUEUE *queue) {
    UINT status;
    if (current == NULL || in_interrupt) {
        return TX_CALLER_ERROR;
    }
    enter();
    status = queue != NULL && queue->id == ALIVE ? TX_SUCCESS : TX_QUEUE_ERROR;
    if (status == TX_SUCCESS) {
        queue->id = 0;
        tx_standin_changed();
    }
    return leave(status);
}

UINT tx_queue_send(TX_QUEUE *queue, VOID *message, ULONG wait_option) {
    const ULONG since = tx_standin_ticks();
    if (queue == NULL) {
        return TX_QUEUE_ERROR;
    }
    if (message == NULL) {
        return TX_PTR_ERROR;
    }
    if (!may_wait(wait_option)) {
        return TX_WAIT_ERROR;
    }
    enter();
    for (;;) {
        if (queue->id != ALIVE) {
            return leave(TX_QUEUE_ERROR);
        }
        if (queue->count < queue->capacity) {
            const ULONG place = (queue->first + queue->count) % queue->capacity;
            memcpy(queue->memory + place * queue->words, message, queue->words * sizeof(ULONG));
            queue->count++;
            tx_standin_changed();
            return leave(TX_SUCCESS);
        }
        if (wait_option == TX_NO_WAIT || tx_standin_wait(wait_option, since) != 0) {
            return leave(TX_QUEUE_FULL);
        }
    }
}

UINT tx_queue_receive(TX_QUEUE *queue, VOID *message, ULONG wait_option) {
    const ULONG since = tx_standin_ticks();
    if (queue == NULL) {
        return TX_QUEUE_ERROR;
    }
    if (message == NULL) {
        return TX_PTR_ERROR;
    }
    if (!may_wait(wait_option)) {
        return TX_WAIT_ERROR;
    }
    enter();
    for (;;) {
        if (queue->id != ALIVE) {
            return leave(TX_QUEUE_ERROR);
        }
        if (queue->count != 0) {
            memcpy(message, queue->memory + queue->first * queue->words, queue->words * sizeof(ULONG));
            queue->first = (queue->first + 1) % queue->capacity;
            queue->count--;
            tx_standin_changed();
            return leave(TX_SUCCESS);
        }
        if (wait_option == TX_NO_WAIT || tx_standin_wait(wait_option, since) != 0) {
            return leave(TX_QUEUE_EMPTY);
        }
    }
}

/* ---- Byte pools: each piece is the host's, so that its sanitizers watch its bounds; the pool counts ----------- */

typedef struct header {
    TX_BYTE_POOL *pool;
    ULONG size, id;
} header;

UINT tx_byte_pool_create(TX_BYTE_POOL *pool, CHAR *name, VOID *memory, ULONG size) {
    if (pool == NULL || pool->id == ALIVE) {
        return TX_POOL_ERROR;
    }
    if (memory == NULL) {
        return TX_PTR_ERROR;
    }
    enter();
    memset(pool, 0, sizeof *pool);
    pool->name = name;
    pool->memory = memory;
    pool->size = size;
    pool->id = ALIVE;
    return leave(TX_SUCCESS);
}

UINT tx_byte_allocate(TX_BYTE_POOL *pool, VOID **memory, ULONG size, ULONG wait_option) {
    header *made;
    if (pool == NULL || pool->id != ALIVE) {
        return TX_POOL_ERROR;
    }
    if (memory == NULL) {
        return TX_PTR_ERROR;
    }
    if (size == 0) {
        return TX_SIZE_ERROR;
    }
    if (!may_wait(wait_option)) {
        return TX_WAIT_ERROR;
    }
    if (in_interrupt) {
        return TX_CALLER_ERROR;
    }
    if (size > pool->size) {
        return TX_SIZE_ERROR;
    }
    enter();
    if (size > pool->size - pool->used) {
        *memory = NULL;
        return leave(TX_NO_MEMORY);
    }
    made = malloc(sizeof *made + size);
    if (made == NULL) {
        tx_standin_fail("the host has no memory");
    }
    made->pool = pool;
    made->size = size;
    made->id = ALIVE;
    pool->used += size;
    pool->allocated++;
    *memory = made + 1;
    return leave(TX_SUCCESS);
}

UINT tx_byte_release(VOID *memory) {
    header *made = (header *)memory - 1;
    if (memory == NULL || made->id != ALIVE) {
        return TX_PTR_ERROR;
    }
    if (in_interrupt) {
        return TX_CALLER_ERROR;
    }
    enter();
    made->id = 0;
    made->pool->used -= made->size;
    made->pool->allocated--;
    free(made);
    return leave(TX_SUCCESS);
}
