/* Where the machine begins: QEMU's vexpress-a9, loaded as an ELF.
 *
 * It starts in secure SVC mode, in ARM state, interrupts masked, MMU and caches off. An exception that nobody has taken
 * over ends the machine with a line that says which one it was and where. */
    .syntax unified
    .cpu cortex-a9
    .arm

    .set MODE_SVC, 0x13
    .set PSR_THUMB, 0x20

    .section .start, "ax"
    .global _start
    .type _start, %function
_start:
    cpsid   if, #MODE_SVC
    ldr     sp, =fw_stack_top
    ldr     r0, =fw_vectors
    mcr     p15, 0, r0, c12, c0, 0 /* VBAR */
    ldr     r0, =fw_bss_begin
    ldr     r1, =fw_bss_end
    mov     r2, #0
1:  cmp     r0, r1
    strlo   r2, [r0], #4
    blo     1b
    bl      main
    bl      fw_exit
2:  b       2b

    .balign 32
    .global fw_vectors
fw_vectors:
    b       _start
    b       fw_undefined
    b       fw_svc
    b       fw_prefetch_abort
    b       fw_data_abort
    b       2b
    b       fw_irq
    b       fw_fiq

/* fw_fault(number, address): the number of the vector, the address of the instruction. Aborts and interrupts return to a
 * fixed distance behind it, the other two to the next instruction, which in Thumb state is 2 bytes on. */
    .macro fault name, number, back, thumb_back
    .weak \name
    .type \name, %function
\name:
    mrs     r2, spsr
    tst     r2, #PSR_THUMB
    subeq   r1, lr, #\back
    subne   r1, lr, #\thumb_back
    mov     r0, #\number
    b       faulted
    .endm

    fault   fw_undefined, 1, 4, 2
    fault   fw_svc, 2, 4, 2
    fault   fw_prefetch_abort, 3, 4, 4
    fault   fw_data_abort, 4, 8, 8
    fault   fw_irq, 6, 4, 4
    fault   fw_fiq, 7, 4, 4

faulted:
    cpsid   if, #MODE_SVC
    ldr     sp, =fw_stack_top
    bl      fw_fault
    b       2b

    .ltorg
    .section .note.GNU-stack, "", %progbits
