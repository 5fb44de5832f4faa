/* Where the device begins, and its vectors.
 *
 * QEMU starts an ELF in secure SVC mode, in ARM state, interrupts masked, MMU and caches off. Everything runs in SVC mode
 * on one stack, interrupts too; what goes wrong is reported on a stack of its own. */
    .syntax unified
    .cpu cortex-a9
    .arm

    .set MODE_IRQ, 0x12
    .set MODE_SVC, 0x13
    .set MODE_ABT, 0x17
    .set MODE_UND, 0x1B
    .set PSR_THUMB, 0x20
    .set PAINT, 0x5AA55AA5

    .section .start, "ax"
    .global _start
    .type _start, %function
_start:
    /* All exceptions report on the same stack: only one of them ever does. */
    ldr     r0, =fw_trap_stack_top
    cpsid   if, #MODE_ABT
    mov     sp, r0
    cpsid   if, #MODE_UND
    mov     sp, r0
    cpsid   if, #MODE_IRQ
    mov     sp, r0
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
    ldr     r0, =fw_stack_limit
    ldr     r1, =fw_trap_stack_top
    ldr     r2, =PAINT
2:  cmp     r0, r1
    strlo   r2, [r0], #4
    blo     2b
    bl      fw_mmu_start
    bl      main
    bl      fw_exit
3:  b       3b

    .balign 32
    .global fw_vectors
fw_vectors:
    b       _start
    b       undefined
    b       supervisor
    b       prefetch_abort
    b       data_abort
    b       3b
    b       fw_irq
    b       fiq

/* fw_trap(registers): r0 to r12, sp, lr, pc, psr of whom it hit; the vector's number. `back`: from lr to the instruction
 * in ARM and in Thumb state. */
    .macro trap name, number, back, thumb_back
\name:
    sub     sp, sp, #72
    stmia   sp, {r0-r12}
    mrs     r2, spsr
    tst     r2, #PSR_THUMB
    subeq   r3, lr, #\back
    subne   r3, lr, #\thumb_back
    str     r3, [sp, #60]
    str     r2, [sp, #64]
    mov     r1, #\number
    str     r1, [sp, #68]
    b       trapped
    .endm

    trap    undefined, 1, 4, 2
    trap    supervisor, 2, 4, 2
    trap    prefetch_abort, 3, 4, 4
    trap    data_abort, 4, 8, 8
    trap    fiq, 7, 4, 4

trapped:
    /* sp and lr of the mode that it hit; user and system mode are not used. */
    mov     r0, sp
    mrs     r1, cpsr
    and     r2, r2, #0x1F
    bic     r3, r1, #0x1F
    orr     r3, r3, r2
    orr     r3, r3, #0xC0
    msr     cpsr_c, r3
    mov     r4, sp
    mov     r5, lr
    msr     cpsr_c, r1
    str     r4, [r0, #52]
    str     r5, [r0, #56]
    bl      fw_trap
4:  b       4b

/* The plain interrupt: on the stack of whom it interrupts. fw_gic_dispatch(pc of whom). ThreadX brings its own. */
    .weak fw_irq
    .type fw_irq, %function
fw_irq:
    sub     lr, lr, #4
    srsdb   sp!, #MODE_SVC
    cps     #MODE_SVC
    push    {r0-r3, r12, lr}
    ldr     r0, [sp, #24]
    and     r1, sp, #4
    sub     sp, sp, r1
    push    {r1, r2}
    bl      fw_gic_dispatch
    pop     {r1, r2}
    add     sp, sp, r1
    pop     {r0-r3, r12, lr}
    rfeia   sp!

    .ltorg
    .section .note.GNU-stack, "", %progbits
