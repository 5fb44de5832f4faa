#!/bin/bash
# Build the QEMU device's firmware into build/firmware: device.elf. `make setup` calls it; it does nothing when nothing
# changed. Words go to CMake: tools/firmware.sh -DTILEWIRE_ARM_STATE=-mthumb
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. tools/say.sh

source=$PWD/simulator/firmware
build=build/firmware

# Everything that it is made of, the compiler too.
key() {
    {
        printf '%s\n' "$PWD" "$@"
        arm-none-eabi-gcc --version
        cat build/lwip/version.txt
        find simulator/firmware clients/threadx tools/firmware.sh -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    } 2>/dev/null | sha256sum | cut -d' ' -f1
}

compile() {
    # A toolchain that changed is not noticed by a folder that was configured with the old one.
    rm -f "$build/CMakeCache.txt"
    cmake -S "$source" -B "$build" -G Ninja --toolchain "$source/arm.cmake" -DLWIP_DIR="$PWD/build/lwip" "$@" &&
        cmake --build "$build" && arm-none-eabi-size "$build/device.elf"
}

command -v arm-none-eabi-gcc >/dev/null || {
    fail firmware "arm-none-eabi-gcc is missing: make setup installs it (gcc-arm-none-eabi, libnewlib-arm-none-eabi)"
    exit 1
}
if [ ! -e build/lwip/version.txt ]; then
    step lwip "fetching lwIP's source from Debian" .venv/bin/python -m tools.lwip || exit 1
fi
wanted=$(key "$@")
[ "$wanted" != "$(cat "$build/key" 2>/dev/null)" ] || exit 0
rm -f "$build/key"
step firmware "compiling the QEMU device's firmware" compile "$@" || {
    rm -f "$build/device.elf" # an old one would be taken for the new one
    exit 1
}
echo "$wanted" >"$build/key"
