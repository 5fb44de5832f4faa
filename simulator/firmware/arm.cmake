# The toolchain of the device's firmware. Soft-float: nothing here computes with floats, and interrupts need not save
# VFP registers.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_ASM_COMPILER arm-none-eabi-gcc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
# Thumb-2: the same count of instructions as ARM (a recorded page of Chromium, scrolled, replayed: 0.2% more) in three
# quarters of the code, and what Cortex-M boards run.
set(TILEWIRE_ARM_STATE -mthumb CACHE STRING "-marm or -mthumb")
set(CMAKE_C_FLAGS_INIT "-mcpu=cortex-a9 ${TILEWIRE_ARM_STATE} -mfloat-abi=soft -ffunction-sections -fdata-sections")
set(CMAKE_ASM_FLAGS_INIT "-mcpu=cortex-a9 -mfloat-abi=soft")
