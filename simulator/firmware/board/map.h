/* Where things are: QEMU's vexpress-a9 with 512 MB. */
#ifndef FW_MAP_H
#define FW_MAP_H

#include <stdint.h>

#define FW_REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define FW_MEGABYTE 0x100000U

/* Registers. */
#define FW_KEYBOARD 0x10006000U
#define FW_UART(n) (0x10009000U + (n) * 0x1000U)
#define FW_SP804 0x10011000U
#define FW_VIRTIO(n) (0x10013000U + (n) * 0x200U)
#define FW_PL111 0x10020000U
#define FW_GIC_CPU 0x1E000100U
#define FW_GIC_DISTRIBUTOR 0x1E001000U
#define FW_LAN9118 0x4E000000U

/* The GIC's interrupts. */
enum {
    FW_IRQ_SP804 = 34,
    FW_IRQ_UART0 = 37,
    FW_IRQ_KEYBOARD = 44,
    FW_IRQ_LAN9118 = 47,
    FW_IRQ_VIRTIO0 = 72,
    FW_IRQS = 96
};
enum { FW_VIRTIO_SLOTS = 4 };

/* RAM; see device.ld. */
#define FW_CONFIG 0x60000000U
#define FW_CONFIG_SIZE 0x10000U
#define FW_DATA 0x60100000U
#define FW_STACK_GUARD 0x6F400000U
#define FW_STACKS 0x6F500000U
#define FW_STACK_CEILING 0x6F600000U
#define FW_PANEL_MEMORY 0x6F800000U
#define FW_PANEL_MEMORY_SIZE 0x800000U
#define FW_RECORDING 0x70000000U
#define FW_RECORDING_SIZE 0x10000000U

#endif
