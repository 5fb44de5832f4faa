#!/bin/bash
# Write requirements.lock anew from pyproject.toml: every version with its hashes, no address of any index.
# Versions that still fit are kept; `tools/lock.sh --upgrade` takes the newest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/say.sh
uv=build/lock/bin/uv
[ -x $uv ] || step lock "fetching uv" bash -c 'python3 -m venv build/lock && build/lock/bin/python -m pip install uv'
step lock "resolving" $uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --all-extras --custom-compile-command 'make lock' "$@" pyproject.toml -o requirements.lock
say lock "$(grep -c '^[a-z]' requirements.lock) packages in requirements.lock"
