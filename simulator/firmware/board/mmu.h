/* The memory map's protection: sections of 1 MB. Everything that is not named is not mapped, page 0 first of all, so that
 * a NULL access is a data abort. Code and constants are read-only, everything else is never executed. */
#ifndef FW_MMU_H
#define FW_MMU_H

/* From start.S, before main(). */
void fw_mmu_start(void);

#endif
