#!/bin/bash
# Install and build what is missing, and say so: tools/setup.sh [SECTION...], all sections of tools/setup-packages.txt
# but [bench] when none is named. Runs again in well under two seconds when nothing changed.
#
#   PYTHON=/path/to/python   the Python (3.11 or newer) to make .venv from; Debian's own by default
#   TILEWIRE_NO_INSTALL=1    install no Debian package, only say which are missing

set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. tools/say.sh

# The page of the demo. Slim images leave all documentation out when they install a package.
page=/usr/share/doc/python3-doc/html/index.html

mkdir -p build/log
# Two set-ups in one tree would build over each other.
if command -v flock >/dev/null; then
    exec 9>build/setup.lock
    flock -n 9 || { say setup "waiting for another set-up of this tree"; flock 9; }
fi

# --- Debian packages

# listed: "name|probe" of every package of the wanted sections
listed() {
    awk -F'|' -v wanted=" $* " '
        /^[[:space:]]*(#|$)/ { next }
        /^\[/ { gsub(/[][]/, ""); section = $0; next }
        wanted == "  " || index(wanted, " " section " ") { gsub(/[[:space:]]/, "", $1); gsub(/[[:space:]]/, "", $2); print $1 "|" $2 }
    ' tools/setup-packages.txt
}

is_debian() { command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; }

missing_packages() {
    local installed name
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
    while IFS='|' read -r name _; do
        grep -qxF -- "$name" <<<"$installed" || echo "$name"
    done < <(listed "$@")
}

missing_elsewhere() {
    local name probe
    shopt -s globstar nullglob
    while IFS='|' read -r name probe; do
        case $probe in
        -) ;;
        /*)
            # shellcheck disable=SC2206
            local found=($probe)
            if [ ${#found[@]} -eq 0 ] || [ ! -e "${found[0]}" ]; then echo "$name ($probe)"; fi
            ;;
        *) command -v "$probe" >/dev/null || echo "$name (command $probe)" ;;
        esac
    done < <(listed "$@")
}

# may_install: sets `as_root` to the words that go before a command
may_install() {
    as_root=()
    [ -z "${TILEWIRE_NO_INSTALL:-}" ] || return 1
    [ "$(id -u)" -ne 0 ] || return 0
    command -v sudo >/dev/null || return 1
    if sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    elif [ -t 0 ] && [ -t 1 ]; then
        say packages "sudo may ask for your password"
        sudo -v || return 1
        as_root=(sudo)
    else
        return 1
    fi
}

apt_get() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qy -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

refresh_and_install() { apt_get update && apt_get install --no-install-recommends "$@"; }

packages() {
    local missing
    if ! is_debian; then
        mapfile -t missing < <(missing_elsewhere "$@")
        [ ${#missing[@]} -ne 0 ] || return 0
        fail packages "this is not Debian; supply these (named as Debian's packages) and run it again:" "${missing[@]}"
        return 1
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -ne 0 ] || return 0
    if ! may_install; then
        fail packages "may not install Debian packages here; ${#missing[@]} missing: ${missing[*]}" "supply them with:" \
            "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
        return 1
    fi
    say packages "missing: ${missing[*]}"
    step packages "installing ${#missing[@]} Debian packages" refresh_and_install "${missing[@]}"
}

# The page can be missing although its package is installed: dpkg's path-exclude in slim images.
demo_page() {
    if [ $# -ne 0 ] && [[ " $* " != *" demo "* ]]; then return 0; fi
    [ ! -e "$page" ] || return 0
    if ! is_debian; then return 0; fi # named by missing_elsewhere already
    local holders path='/usr/share/doc/python3*'
    # python3-doc is a link to the documentation of one version, which a package of its own holds.
    mapfile -t holders < <(dpkg-query -W -f '${Depends}\n' python3-doc | grep -o 'python3\.[0-9]*-doc' | sort -u)
    local again=(install --reinstall --no-install-recommends -o "Dpkg::Options::=--path-include=$path"
        python3-doc "${holders[@]}")
    if ! may_install; then
        fail "demo page" "$page was left out when python3-doc was installed; supply it with:" \
            "  sudo apt-get ${again[*]@Q}"
        return 1
    fi
    say "demo page" "$page was left out by this system's dpkg settings (path-exclude)"
    step "demo page" "installing ${holders[*]} again with $path included" apt_get "${again[@]}" || return
    [ -e "$page" ] || { fail "demo page" "$page is still missing"; return 1; }
}

# --- Python

# usable PYTHON: new enough, with venv and pip and the headers for extension modules
usable() {
    "$1" - 2>/dev/null <<'PY'
import ensurepip, os, sys, sysconfig, venv
sys.exit(sys.version_info < (3, 11) or not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
PY
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" && { echo "$PYTHON"; return; }
        fail python "PYTHON=$PYTHON will not do: Python 3.11 or newer with venv, ensurepip and Python.h is needed"
        return 1
    fi
    for candidate in /usr/bin/python3 python3 python3.{11..16}; do
        command -v "$candidate" >/dev/null && usable "$candidate" && { command -v "$candidate"; return; }
    done
    fail python "no Python 3.11 or newer with venv, ensurepip and Python.h found; name one with PYTHON=/path/to/python"
    return 1
}

hash_of() { sha256sum | cut -d' ' -f1; }

# Moving the tree or exchanging the Python behind .venv breaks both the environment and the editable install.
venv_key() {
    pwd
    [ -z "${PYTHON:-}" ] || echo "$PYTHON"
    .venv/bin/python -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null || echo broken
}

venv() {
    local python
    if [ -e .venv/tilewire-venv ] && [ "$(venv_key)" = "$(cat .venv/tilewire-venv)" ]; then return 0; fi
    python=$(find_python) || return
    rm -rf .venv
    step python "making .venv from $python ($("$python" -c 'import platform; print(platform.python_version())'))" \
        "$python" -m venv .venv || return
    venv_key >.venv/tilewire-venv
}

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }

python_packages() {
    local key
    key=$(hash_of <requirements.lock)
    if [ "$key" = "$(cat .venv/tilewire-lock 2>/dev/null)" ]; then return 0; fi
    step python "installing $(grep -c '^[a-z]' requirements.lock) Python packages from requirements.lock" \
        pip install --require-hashes -r requirements.lock || return
    echo "$key" >.venv/tilewire-lock
}

# Everything the compiled part is made of. Python files are read where they are and need no installation; firmware is
# built apart.
build_key() {
    {
        cat .venv/tilewire-venv .venv/tilewire-lock
        find pyproject.toml CMakeLists.txt tools/emit_cffi.py clients/threadx server simulator \
            -path simulator/firmware -prune -o -type f \
            \( -name '*.[ch]' -o -name '*.cdef' -o -name CMakeLists.txt -o -name pyproject.toml -o -name '*.cmake' \
            -o -name emit_cffi.py \) -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    } | hash_of
}

build() {
    local key
    key=$(build_key)
    if [ "$key" = "$(cat .venv/tilewire-build 2>/dev/null)" ]; then return 0; fi
    step build "compiling the C code, installing tilewire into .venv (editable)" \
        pip install --no-deps --no-build-isolation --editable . || return
    echo "$key" >.venv/tilewire-build
}

# The device in QEMU, which the demo and the tests boot, and lwIP, of which it is made and which tests use without it.
device() {
    if [[ " $* " != *" test "* ]] && [[ " $* " != *" demo "* ]]; then return 0; fi
    if [ ! -e build/lwip/version.txt ] &&
        ! LOG_LINES=1 step lwip "fetching lwIP's source" .venv/bin/python -m tools.lwip; then
        say lwip "there is no firmware without it: the demo and the tests of both will fail; the rest goes on"
        return 0
    fi
    tools/firmware.sh || say firmware "what boots it will fail; the rest goes on"
}

[ $# -ne 0 ] || set -- build run demo test
# Whatever fails has said its sentence.
packages "$@" && demo_page "$@" && venv && python_packages && build && device "$@" || exit 1
say setup "up to date"
