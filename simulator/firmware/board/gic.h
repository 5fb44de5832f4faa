/* The interrupt controller: who is called for which interrupt. */
#ifndef FW_GIC_H
#define FW_GIC_H

#include <stdint.h>

typedef void (*fw_handler)(void *user);

void fw_gic_start(void);

/* From here on `handler` is called for this interrupt, with interrupts masked. */
void fw_gic_attach(unsigned irq, fw_handler handler, void *user);

/* From the vector: heeds what is pending. `pc`: where whom it interrupted goes on. */
void fw_gic_dispatch(uint32_t pc);

/* Interrupts heeded so far; wraps. */
uint32_t fw_gic_heeded(void);

/* Where whom the running interrupt hit goes on. */
uint32_t fw_gic_interrupted(void);

#endif
