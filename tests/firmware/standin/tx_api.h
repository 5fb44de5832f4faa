/* ThreadX's names and types as far as the device's ThreadX build has to do with them, for a compiler alone: nothing here
 * can be linked. Those of the cortex_a9 port, so ULONG is a long. tests/clients/standin has a ThreadX that runs, for a
 * host and without the kernel's inside, which main_threadx.c looks into. */
#ifndef TX_API_H
#define TX_API_H

typedef void VOID;
typedef char CHAR;
typedef unsigned char UCHAR;
typedef int INT;
typedef long LONG;
typedef unsigned short USHORT;
typedef unsigned int UINT;
typedef unsigned long ULONG;

#define TX_NULL ((void *)0)
#define TX_NO_WAIT 0UL
#define TX_WAIT_FOREVER 0xFFFFFFFFUL
#define TX_TIMER_TICKS_PER_SECOND 100UL
#define TX_NO_TIME_SLICE 0UL
#define TX_AUTO_START 1U
#define TX_INHERIT 1U
#define TX_STACK_FILL 0xEFEFEFEFUL
#define TX_SUCCESS 0x00U
#define TX_QUEUE_FULL 0x0BU

typedef struct TX_THREAD_STRUCT {
    ULONG tx_thread_id;
    VOID *tx_thread_stack_start, *tx_thread_stack_end;
    ULONG tx_thread_stack_size;
    CHAR *tx_thread_name;
    struct TX_THREAD_STRUCT *tx_thread_created_next;
} TX_THREAD;

typedef struct TX_QUEUE_STRUCT {
    ULONG tx_queue_id;
} TX_QUEUE;

typedef struct TX_MUTEX_STRUCT {
    ULONG tx_mutex_id;
} TX_MUTEX;

typedef struct TX_EVENT_FLAGS_GROUP_STRUCT {
    ULONG tx_event_flags_group_id;
} TX_EVENT_FLAGS_GROUP;

typedef struct TX_BYTE_POOL_STRUCT {
    ULONG tx_byte_pool_id;
} TX_BYTE_POOL;

UINT tx_thread_create(TX_THREAD *thread, CHAR *name, VOID (*entry)(ULONG input), ULONG input, VOID *stack,
    ULONG stack_size, UINT priority, UINT threshold, ULONG time_slice, UINT auto_start);
TX_THREAD *tx_thread_identify(VOID);
UINT tx_queue_create(TX_QUEUE *queue, CHAR *name, UINT words, VOID *memory, ULONG size);
UINT tx_queue_send(TX_QUEUE *queue, VOID *message, ULONG wait_option);
UINT tx_queue_receive(TX_QUEUE *queue, VOID *message, ULONG wait_option);
UINT tx_mutex_create(TX_MUTEX *mutex, CHAR *name, UINT inherit);
UINT tx_mutex_get(TX_MUTEX *mutex, ULONG wait_option);
UINT tx_mutex_put(TX_MUTEX *mutex);
VOID tx_kernel_enter(VOID);
VOID tx_application_define(VOID *first_unused_memory);

#endif
