/* A stand-in for ThreadX on POSIX threads, for tests: the services that the port of tilewire calls, with the names, the
 * arguments and the status codes of ThreadX's documentation, and nothing of its scheduling. Priorities mean nothing,
 * time is the host's, "interrupts off" is one lock for everything, and an interrupt is a host's thread that says so.
 *
 * ULONG has 32 bits and a pointer 64, which catches who keeps one in the other. */
#ifndef TX_API_H
#define TX_API_H

#include <pthread.h>
#include <stdint.h>

typedef void VOID;
typedef char CHAR;
typedef unsigned char UCHAR;
typedef int INT;
typedef unsigned int UINT;
typedef int LONG;
typedef unsigned int ULONG;
typedef unsigned short USHORT;

#define TX_NULL ((void *)0)
#define TX_NO_WAIT 0U
#define TX_WAIT_FOREVER 0xFFFFFFFFU
#ifndef TX_TIMER_TICKS_PER_SECOND
#    define TX_TIMER_TICKS_PER_SECOND 100U
#endif
#define TX_MINIMUM_STACK 16384U
#define TX_MAX_PRIORITIES 32U
#define TX_NO_TIME_SLICE 0U
#define TX_AUTO_START 1U

#define TX_OR 0U
#define TX_OR_CLEAR 1U
#define TX_AND 2U
#define TX_AND_CLEAR 3U

/* States of a thread. */
#define TX_READY 0U
#define TX_COMPLETED 1U

#define TX_SUCCESS 0x00U
#define TX_DELETED 0x01U
#define TX_POOL_ERROR 0x02U
#define TX_PTR_ERROR 0x03U
#define TX_WAIT_ERROR 0x04U
#define TX_SIZE_ERROR 0x05U
#define TX_GROUP_ERROR 0x06U
#define TX_NO_EVENTS 0x07U
#define TX_OPTION_ERROR 0x08U
#define TX_QUEUE_ERROR 0x09U
#define TX_QUEUE_EMPTY 0x0AU
#define TX_QUEUE_FULL 0x0BU
#define TX_THREAD_ERROR 0x0EU
#define TX_PRIORITY_ERROR 0x0FU
#define TX_NO_MEMORY 0x10U
#define TX_START_ERROR 0x10U
#define TX_DELETE_ERROR 0x11U
#define TX_CALLER_ERROR 0x13U
#define TX_NOT_DONE 0x20U
#define TX_FEATURE_NOT_ENABLED 0xFFU

typedef struct TX_THREAD_STRUCT {
    ULONG id;
    CHAR *name;
    UINT priority, threshold;
    ULONG time_slice;
    pthread_t host;
    VOID (*entry)(ULONG input);
    ULONG input;
    UINT state;
    UCHAR *stack, *first; /* what the entry found of its stack */
    ULONG stack_size;
} TX_THREAD;

typedef struct TX_EVENT_FLAGS_GROUP_STRUCT {
    ULONG id, flags;
    CHAR *name;
} TX_EVENT_FLAGS_GROUP;

typedef struct TX_QUEUE_STRUCT {
    CHAR *name;
    ULONG id, *memory, words, capacity, count, first;
} TX_QUEUE;

typedef struct TX_BYTE_POOL_STRUCT {
    CHAR *name;
    ULONG id, size, used;
    UCHAR *memory;
    UINT allocated;
} TX_BYTE_POOL;

/* "Interrupts off": nothing else of the program runs a service or another such section. */
#define TX_INTERRUPT_SAVE_AREA unsigned tx_saved;
#define TX_DISABLE tx_saved = tx_standin_disable();
#define TX_RESTORE tx_standin_restore(tx_saved);
unsigned tx_standin_disable(void);
void tx_standin_restore(unsigned saved);

UINT tx_thread_create(TX_THREAD *thread, CHAR *name, VOID (*entry)(ULONG input), ULONG input, VOID *stack,
    ULONG stack_size, UINT priority, UINT threshold, ULONG time_slice, UINT auto_start);
UINT tx_thread_delete(TX_THREAD *thread);
UINT tx_thread_info_get(TX_THREAD *thread, CHAR **name, UINT *state, ULONG *run_count, UINT *priority,
    UINT *threshold, ULONG *time_slice, TX_THREAD **next, TX_THREAD **next_suspended);
TX_THREAD *tx_thread_identify(VOID);
UINT tx_thread_sleep(ULONG ticks);
ULONG tx_time_get(VOID);
VOID tx_time_set(ULONG ticks); /* waits go on as they were */

UINT tx_event_flags_create(TX_EVENT_FLAGS_GROUP *group, CHAR *name);
UINT tx_event_flags_delete(TX_EVENT_FLAGS_GROUP *group);
UINT tx_event_flags_set(TX_EVENT_FLAGS_GROUP *group, ULONG flags, UINT option);
UINT tx_event_flags_get(
    TX_EVENT_FLAGS_GROUP *group, ULONG requested, UINT option, ULONG *actual, ULONG wait_option);

UINT tx_queue_create(TX_QUEUE *queue, CHAR *name, UINT words, VOID *memory, ULONG size);
UINT tx_queue_delete(TX_QUEUE *queue);
UINT tx_queue_send(TX_QUEUE *queue, VOID *message, ULONG wait_option);
UINT tx_queue_receive(TX_QUEUE *queue, VOID *message, ULONG wait_option);

UINT tx_byte_pool_create(TX_BYTE_POOL *pool, CHAR *name, VOID *memory, ULONG size);
UINT tx_byte_allocate(TX_BYTE_POOL *pool, VOID **memory, ULONG size, ULONG wait_option);
UINT tx_byte_release(VOID *memory);

/* Calls tx_application_define(), of the program, and never returns. */
VOID tx_kernel_enter(VOID);
VOID tx_application_define(VOID *first_unused_memory);

/* ---- Not of ThreadX: for the tests ------------------------------------------------------------------------ */

/* From here on this host's thread is an interrupt, or no longer. */
void tx_standin_interrupt(int is_interrupt);
/* Who calls: a thread; tx_application_define(); an interrupt; what is no thread of ThreadX here, but is of NetX Duo. */
typedef enum tx_standin_caller {
    TX_STANDIN_THREAD,
    TX_STANDIN_INIT,
    TX_STANDIN_ISR,
    TX_STANDIN_OTHER
} tx_standin_caller;
tx_standin_caller tx_standin_who(void);
/* Bytes of its stack that a thread has used since it began. */
ULONG tx_standin_stack_used(const TX_THREAD *thread);
/* What is wrong in the stand-in itself, or in how it is used. */
void tx_standin_fail(const char *what);
/* Ticks of the clock by which everything waits. */
ULONG tx_standin_ticks(void);
/* Waits on the one lock, which is held, until something changed: 0, or the deadline (in ticks) is over. */
int tx_standin_wait(ULONG wait_option, ULONG since);
void tx_standin_changed(void);

#endif
