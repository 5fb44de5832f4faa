# Sourced by the other scripts: one short line per step, long output in build/log, shown when a step fails.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m' live=1
else
    bold='' dim='' red='' green='' plain='' live=''
fi

# say STEP TEXT
say() { printf '%s%-12s%s %s\n' "$bold" "$1" "$plain" "$2"; }

# fail STEP TEXT...: the sentence goes to stderr; further arguments are lines of their own
fail() {
    printf '%s%-12s %s%s\n' "$red" "$1" "$2" "$plain" >&2
    shift 2
    for line in "$@"; do printf '%-12s %s\n' '' "$line" >&2; done
}

# step NAME TEXT COMMAND...: run it with its output in build/log/NAME.log; on a terminal, count the seconds
step() {
    local name=$1 text=$2 log="build/log/$1.log" start=$SECONDS code=0 ticker=
    shift 2
    mkdir -p build/log
    if [ -n "$live" ]; then
        while :; do
            printf '\r%s%-12s%s %s %s%d s%s\e[K' "$bold" "$name" "$plain" "$text" "$dim" $((SECONDS - start)) "$plain"
            sleep 1
        done &
        ticker=$!
    fi
    "$@" >"$log" 2>&1 || code=$?
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null
        wait "$ticker" 2>/dev/null
        printf '\r\e[K'
    fi
    if [ $code -eq 0 ]; then
        printf '%s%-12s%s %s %s(%d s)%s\n' "$bold" "$name" "$plain" "$text" "$dim" $((SECONDS - start)) "$plain"
    else
        fail "$name" "$text: failed (exit code $code); from $log:" ""
        tail -n "${LOG_LINES:-60}" "$log" >&2
    fi
    return $code
}
