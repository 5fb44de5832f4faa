/* How the device ends: QEMU's exit status. simulator/exits.py is the same table for Python; a test compares them. */
#ifndef FW_EXITS_H
#define FW_EXITS_H

/* X(name, status, what it means). QEMU itself uses 1. */
#define FW_EXITS(X) \
    X(STOPPED, 0, "stopped as it was told") \
    X(NO_CONFIG, 64, "no configuration was loaded") \
    X(BAD_CONFIG, 65, "the configuration is wrong") \
    X(BAD_PANEL, 66, "the panel cannot be shown") \
    X(NO_ETHERNET, 67, "the Ethernet controller is not there") \
    X(NO_MEMORY, 68, "the configuration asks for more memory than there is") \
    X(NO_RANDOM, 69, "a key without random numbers proves nothing") \
    X(TRAP, 70, "an instruction or an access that is not allowed") \
    X(STUCK, 71, "the main loop stood still") \
    X(INTERNAL, 72, "an error in the firmware") \
    X(ENDED, 73, "the server ended the connection for good") \
    X(REFUSED, 74, "the server refused the device, or the device the server") \
    X(LOST, 75, "the connection was lost, and the device was told not to come back") \
    X(BAD_RECORDING, 76, "the recording could not be played to its end") \
    X(GARBAGE, 77, "what the server sent is not tilewire")

#define FW_EXIT_ENTRY(name, status, meaning) FW_EXIT_##name = status,
enum fw_exit_status { FW_EXITS(FW_EXIT_ENTRY) };
#undef FW_EXIT_ENTRY

/* Says the sentence on UART0, tells {"event":"stopped",...} on UART1 and ends the machine. */
void fw_end(int status, const char *format, ...) __attribute__((noreturn));

#endif
