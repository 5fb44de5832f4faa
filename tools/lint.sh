#!/bin/bash
# Formatters, linters, type checker, C warnings and clang-tidy: all of them, then one verdict. --fix formats first.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. tools/say.sh
bin=$PWD/.venv/bin
failed=0

folders=()
for folder in bench clients server simulator tests tools; do [ ! -d $folder ] || folders+=("$folder"); done
mapfile -t c_files < <(find "${folders[@]}" -name '*.[ch]' -type f | LC_ALL=C sort)

c_format() { [ ${#c_files[@]} -eq 0 ] || "$bin/clang-format" "$@" "${c_files[@]}"; }

# All C that CMake knows, as gcc sees it, warnings being errors.
c_build() {
    cmake -S . -B build/lint -G Ninja -DCMAKE_BUILD_TYPE=Release -DTILEWIRE_WERROR=ON && cmake --build build/lint
}

types() {
    local targets=(typing/tilewire) folder
    for folder in bench tests tools; do
        if [ -n "$(find $folder -name '*.py' -print -quit 2>/dev/null)" ]; then targets+=("$folder"); fi
    done
    "$bin/mypy" "${targets[@]}"
}

# One file; a file that passed is not looked at again until it, any header or the rules change.
tidy_one() {
    local file=$1 key stamp
    key=$({ echo "$headers"; sha256sum "$file"; } | sha256sum | cut -d' ' -f1)
    stamp=build/lint/tidy/$key
    [ ! -e "$stamp" ] || return 0
    echo "$file"
    # shellcheck disable=SC2086
    "$bin/clang-tidy" --quiet -p "$database" $words "$file" 2>&1 || return 1
    touch "$stamp"
}

# tidy DATABASE FOLDER WORD...: the files in FOLDER that a build's DATABASE knows, with further words for clang-tidy
tidy() {
    local sources
    database=$1 words=${*:3}
    mkdir -p build/lint/tidy
    mapfile -t sources < <("$bin/python" -c '
import json, os, sys
for entry in json.load(open(sys.argv[1] + "/compile_commands.json")):
    name = os.path.relpath(entry["file"])
    if name.startswith(sys.argv[2]) and name.endswith(".c"):
        print(name)' "$1" "$2" | sort -u)
    [ ${#sources[@]} -ne 0 ] || return 0
    headers=$({ find "${folders[@]}" -name '*.h' -type f -print0 | LC_ALL=C sort -z | xargs -0r cat
        cat .clang-tidy simulator/firmware/.clang-tidy "$database/compile_commands.json"; } | sha256sum)
    export headers bin database words
    export -f tidy_one
    printf '%s\0' "${sources[@]}" | xargs -0 -P "$(nproc)" -I{} bash -c 'tidy_one {}'
}

if [ "${1:-}" = --fix ]; then
    "$bin/ruff" check --fix --quiet . || true # what it cannot mend is reported below
    "$bin/ruff" format --quiet .
    c_format -i
fi

step ruff "check" "$bin/ruff" check --output-format concise . || failed=1
step ruff-format "format" "$bin/ruff" format --check . || failed=1
step mypy "strict types" types || failed=1
step clang-format "${#c_files[@]} files" c_format --dry-run -Werror || failed=1
step c-warnings "gcc, warnings are errors" c_build || failed=1
[ ! -e build/lint/compile_commands.json ] || step clang-tidy "analysis" tidy build/lint "" || failed=1
# tools/firmware.sh compiles it with warnings as errors; clang has to be told for which processor, and where newlib is.
[ ! -e build/firmware/compile_commands.json ] || step clang-tidy-firmware "analysis of the QEMU device's firmware" tidy \
    build/firmware simulator/firmware --extra-arg=--target=armv7a-none-eabi --extra-arg=-isystem/usr/include/newlib || failed=1
if [ $failed -eq 0 ]; then say lint "clean"; else fail lint "not clean, see above"; fi
exit $failed
