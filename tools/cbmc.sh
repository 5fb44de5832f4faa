#!/bin/bash
# Brings cbmc, which Debian 12 lacks, from Debian 13 into build/cbmc and prints the folder of its commands. Nothing is
# installed: the packages are unpacked into that folder, libc and all, and cbmc runs through the loader that came with
# it. Done once; a cbmc on the PATH is taken as it is.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. tools/say.sh
folder=$PWD/build/cbmc
suite=trixie
# minisat holds the library of that name.
commands=(cbmc goto-cc goto-instrument)
packages=(cbmc minisat libc6 libgcc-s1 libstdc++6 zlib1g)

if on_path=$(command -v cbmc); then
    dirname "$on_path"
    exit 0
fi
if [ -d "$folder/bin" ]; then
    echo "$folder/bin"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    fail cbmc "cbmc is missing, and this is not Debian: supply it on the PATH"
    exit 1
fi

# The mirror that this machine uses for Debian itself.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk -v release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" '$2 == release { print $1; exit }')
keys=/usr/share/keyrings/debian-archive-keyring.gpg
if [ -z "$mirror" ]; then
    fail cbmc "cbmc is missing, and apt names no mirror of this Debian: supply it on the PATH"
    exit 1
fi

fetch() {
    local apt=$folder/apt architecture option options=()
    architecture=$(dpkg --print-architecture) || return
    rm -rf "$folder" && mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$folder/root" || return
    echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/sources"
    for option in Dir::Etc::sourcelist="$apt/sources" Dir::Etc::sourceparts=- Dir::State::lists="$apt/lists" \
        Dir::State::status=/dev/null Dir::Cache="$apt/cache" APT::Architecture="$architecture" \
        APT::Architectures::="$architecture" APT::Sandbox::User="$(id -un)" Acquire::Languages=none; do
        options+=(-o "$option")
    done
    apt-get -q "${options[@]}" update || return
    (cd "$folder/root" && apt-get -q "${options[@]}" download "${packages[@]}") || return
    for package in "$folder"/root/*.deb; do dpkg-deb -x "$package" "$folder/root" && rm "$package" || return; done
    rm -rf "$apt"
    loader=$(echo "$folder"/root/usr/lib*/ld-linux-*)
    libraries=$(echo "$folder"/root/usr/lib/*-linux-gnu)
    [ -e "$loader" ] && [ -d "$libraries" ] || return
    mkdir "$folder/bin.new" || return
    for name in "${commands[@]}"; do
        printf '#!/bin/sh\nexec %q --library-path %q:%q %q "$@"\n' "$loader" "$libraries" "$folder/root/usr/lib" \
            "$folder/root/usr/bin/$name" >"$folder/bin.new/$name"
        chmod +x "$folder/bin.new/$name"
        "$folder/bin.new/$name" --version || return
    done
    mv "$folder/bin.new" "$folder/bin"
}

step cbmc "fetching cbmc from Debian's $suite" fetch >&2 || exit 1
echo "$folder/bin"
