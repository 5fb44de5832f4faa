/* The end of a machine that met an exception which nobody has taken over. */
#include "fault.h"

#include "semihosting.h"

void fw_fault(uint32_t number, uint32_t address) {
    static const char *const names[8] = {
        "reset", "undefined instruction", "svc", "prefetch abort", "data abort", "?", "irq", "fiq"};
    fw_print("firmware: ");
    fw_print(names[number & 7]);
    fw_print(" at 0x");
    fw_print_hex(address);
    fw_print("\n");
    fw_exit(70);
}
