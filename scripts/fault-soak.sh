#!/bin/bash
# fault-soak.sh [RUNS [PROGRAM]]: kills `meshproof fault inject` with SIGKILL at random moments, also
# while it makes its rules: the run alone, or run and keeper together; iptables of both kinds in turn.
# Of the run alone nothing may be left. Of both together whatever is left must be listed by
# `residue`, and `heal --all` must take all of it away.
#
# It all happens in a glass box: process ids, mounts and a network of its own.
set -u
runs=${1:-200}
program=$(realpath "${2:-target/release/meshproof}")
[ -x "$program" ] || { echo "fault-soak: no program $program: run \`make build\` first" >&2; exit 2; }
PATH=$PATH:/usr/sbin:/sbin

if [ "${3:-}" != inside ]; then
    for tool in iptables-nft-restore iptables-legacy-restore nft; do
        command -v "$tool" >/dev/null || { echo "SKIPPED: needs $tool"; exit 0; }
    done
    box="unshare --pid --fork --mount --net --ipc --mount-proc --kill-child"
    if ! $box true 2>/dev/null; then
        box="$box --user --map-root-user"
        $box true 2>/dev/null || { echo "SKIPPED: needs namespaces for the box in which runs are killed"; exit 0; }
    fi
    exec $box "$0" "$runs" "$program" inside
fi

# ---- in the box; this is its process 1, which also reaps what loses its parent
mount -t tmpfs none /run || exit 2
ip link set lo up 2>/dev/null
mkfifo /run/never && exec 8<>/run/never
pause() { read -r -t "$1" -u 8 _; }
others() {
    left=""
    local entry
    for entry in /proc/[0-9]*; do
        [ "$entry" = /proc/1 ] || left="$left ${entry#/proc/}"
    done
}
keepers() {
    found=()
    local entry words
    for entry in /proc/[0-9]*; do
        words=""
        { mapfile -d '' -t words <"$entry/cmdline"; } 2>/dev/null || continue
        [ "${words[1]:-}" = __fault ] && found+=("${entry#/proc/}")
    done
}
state() {
    nft list ruleset 2>/dev/null
    iptables-legacy-save 2>/dev/null | grep -v -e '^#' -e '^:' -e '^\*' -e COMMIT
    ip6tables-legacy-save 2>/dev/null | grep -v -e '^#' -e '^:' -e '^\*' -e COMMIT
    ls /run/meshproof/faults 2>/dev/null | grep -v -e '^lock$'
}
# What a tool that was killed had made before: the journal tells of it.
kinds=(iptables-nft iptables-legacy)
bad=0 in_force=0 both=0 listed=0 slowest=0
for ((run = 0; run < runs; run++)); do
    way=${kinds[run % 2]}
    "$program" fault inject "{id: soak, kind: drop, port: 9, way: $way}" --for 10m --host --yes \
        >/run/out 2>/run/err &
    cli=$!
    disown "$cli"
    pause "0.$(printf %03d $((RANDOM % ${SPREAD_MS:-400})))"
    grep -q 'is in force' /run/out && in_force=$((in_force + 1))
    if ((run / 2 % 2)); then
        both=$((both + 1))
        keepers
        kill -KILL ${found[@]+"${found[@]}"} "$cli" 2>/dev/null
        keepers # one that was started in this very moment
        kill -KILL ${found[@]+"${found[@]}"} 2>/dev/null
    else
        kill -KILL "$cli" 2>/dev/null
    fi
    from=${EPOCHREALTIME/./}
    for ((look = 0; look < 6000; look++)); do
        others
        [ -z "$left" ] && break
        pause 0.005
    done
    took=$(((${EPOCHREALTIME/./} - from) / 1000))
    ((took > slowest)) && slowest=$took
    [ -z "$left" ] || { bad=$((bad + 1)); echo "run $run left processes:$left"; kill -KILL $left; }
    after=$(state)
    if ((run / 2 % 2)) && [ -n "$after" ]; then
        # The rules stand: they must be told, and go when told to.
        if "$program" fault residue >/run/residue; then
            bad=$((bad + 1))
            echo "run $run: residue tells of nothing, but there is:"
            echo "$after"
        else
            listed=$((listed + 1))
        fi
        "$program" fault heal --all >/run/heal 2>&1 || { bad=$((bad + 1)); cat /run/heal; }
        after=$(state)
    fi
    if [ -n "$after" ]; then
        bad=$((bad + 1))
        echo "run $run ($way) left:"
        echo "$after"
        nft flush ruleset
        rm -rf /run/meshproof
    fi
done
echo "$runs runs killed ($both with their keepers; $in_force were in force already), $listed listed" \
    "and healed: $bad left something behind; the slowest end took $slowest ms"
[ "$bad" = 0 ]
