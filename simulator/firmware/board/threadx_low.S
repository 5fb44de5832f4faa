/* ThreadX on this board: its interrupt, and the stacks that it does not make itself. The rest is its own cortex_a9/gnu
 * port, without that port's tx_initialize_low_level.S. */
    .syntax unified
    .cpu cortex-a9
    .arm

    .set MODE_IRQ, 0x12
    .set MODE_SVC, 0x13
    .set STACK, 4096

    .text
    .global fw_irq
    .type fw_irq, %function
fw_irq:
    push    {r0, r1}
    ldr     r0, =interrupted
    sub     r1, lr, #4
    str     r1, [r0]
    pop     {r0, r1}
    b       _tx_thread_context_save

    .global __tx_irq_processing_return
    .type __tx_irq_processing_return, %function
__tx_irq_processing_return:
    push    {r4, lr}
    ldr     r0, =interrupted
    ldr     r0, [r0]
    bl      fw_gic_dispatch
    pop     {r4, lr}
    b       _tx_thread_context_restore

/* The board is ready before the kernel begins, so that all is left are two stacks: interrupts have one of their own, and
 * the scheduler gets main's, to which nothing returns. */
    .global _tx_initialize_low_level
    .type _tx_initialize_low_level, %function
_tx_initialize_low_level:
    ldr     r0, =irq_stack_top
    cpsid   if, #MODE_IRQ
    mov     sp, r0
    cpsid   if, #MODE_SVC
    ldr     r0, =_tx_thread_system_stack_ptr
    ldr     r1, =fw_stack_top
    str     r1, [r0]
    ldr     r0, =_tx_initialize_unused_memory
    ldr     r1, =fw_free_begin
    str     r1, [r0]
    bx      lr

    .ltorg
    .bss
    .balign 8
interrupted:
    .space  8
irq_stack:
    .space  STACK
irq_stack_top:

    .section .note.GNU-stack, "", %progbits
