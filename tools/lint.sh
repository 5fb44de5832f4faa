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
    "$bin/clang-tidy" --quiet -p build/lint "$file" 2>&1 || return 1
    touch "$stamp"
}

tidy() {
    local sources
    mkdir -p build/lint/tidy
    mapfile -t sources < <("$bin/python" -c '
import json, os
for entry in json.load(open("build/lint/compile_commands.json")):
    print(os.path.relpath(entry["file"]))' | sort -u)
    [ ${#sources[@]} -ne 0 ] || return 0
    headers=$({ find "${folders[@]}" -name '*.h' -type f -print0 | LC_ALL=C sort -z | xargs -0r cat
        cat .clang-tidy build/lint/compile_commands.json; } | sha256sum)
    export headers bin
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
[ ! -e build/lint/compile_commands.json ] || step clang-tidy "analysis" tidy || failed=1
if [ $failed -eq 0 ]; then say lint "clean"; else fail lint "not clean, see above"; fi
exit $failed
