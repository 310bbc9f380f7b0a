#!/bin/bash
# kill-soak.sh [RUNS [PROGRAM]]: kills runs with SIGKILL at random moments, the command line and the
# supervisor in turn, and compares the state of the machine after each with that before: processes,
# links, rules, mounts, namespaces, files outside the run folder.
#
# It all happens in a glass box: process ids, mounts and a network of its own, so that nothing else
# on the machine is counted. In the box everything but /tmp, /run, /var/tmp and /dev/shm is
# read-only. As root, half of the runs are an ordinary user's; in that half so few namespaces are
# allowed that a hundred runs could not be made if one kept its own.
set -u
runs=${1:-200}
program=$(realpath "${2:-target/release/meshproof}")
[ -x "$program" ] || { echo "kill-soak: no program $program: run \`make build\` first" >&2; exit 2; }

if [ "${3:-}" != inside ]; then
    box="unshare --pid --fork --mount --net --ipc --mount-proc --kill-child"
    try() { "$@" true 2>/dev/null; }
    nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
    if [ "$(id -u)" = 0 ] && try $box && try $nobody $box --user --map-root-user; then
        half=$(((runs + 1) / 2))
        $box "$0" "$half" "$program" inside root || exit 1
        [ "$runs" = "$half" ] ||
            $nobody $box --user --map-root-user "$0" $((runs - half)) "$program" inside user || exit 1
    elif [ "$(id -u)" = 0 ] && try $box; then
        $box "$0" "$runs" "$program" inside root || exit 1
    elif try $box --user --map-root-user; then
        $box --user --map-root-user "$0" "$runs" "$program" inside user || exit 1
    else
        echo "SKIPPED: needs namespaces for the box in which runs are killed"
    fi
    exit 0
fi

# ---- in the box; this is its process 1, which also reaps what loses its parent
as=$4
exec 9<"$program"
for place in /tmp /run /var/tmp /dev/shm; do
    mount -t tmpfs none "$place" || { echo "kill-soak: no tmpfs on $place" >&2; exit 2; }
done
cat <&9 >/tmp/meshproof && chmod 755 /tmp/meshproof && exec 9<&-
mount -o remount,bind,ro / 2>/dev/null
mkdir /tmp/home /tmp/runs
export HOME=/tmp/home TMPDIR=/tmp
cd /tmp || exit 2
ip link set lo up 2>/dev/null
if [ "$as" = user ]; then
    # A run has at most 3 environments at a time, of 10 networks at most.
    echo 40 >/proc/sys/user/max_net_namespaces
    echo 16 >/proc/sys/user/max_pid_namespaces
fi
mkfifo /tmp/never && exec 8<>/tmp/never
pause() { read -r -t "$1" -u 8 _; }

others() { # processes that are not this one, nor threads of it: into $left
    left=""
    local entry
    for entry in /proc/[0-9]*; do
        [ "$entry" = /proc/1 ] || left="$left ${entry#/proc/}"
    done
}
state() {
    cat /proc/net/dev | cut -d: -f1 | sort
    cat /proc/self/mountinfo
    ip rule 2>/dev/null
    ip route show table all 2>/dev/null
    nft list ruleset 2>/dev/null
    cat /proc/net/ip_tables_names /proc/net/unix 2>/dev/null | grep -v 00000000
    readlink /proc/[0-9]*/task/[0-9]*/ns/* 2>/dev/null | sort -u
    find /tmp /run /var/tmp /dev/shm -path /tmp/runs -prune -o -print 2>/dev/null | sort
}
supervisors() { # into $found
    found=()
    local entry words
    for entry in /proc/[0-9]*; do
        words=""
        { mapfile -d '' -t words <"$entry/cmdline"; } 2>/dev/null || continue
        [ "${words[1]:-}" = __environment ] && [ "${words[2]:-}" = supervisor ] &&
            found+=("${entry#/proc/}")
    done
}
stubborn="trap '' TERM INT HUP; (setsid sh -c \"trap '' TERM INT HUP; mount -t tmpfs none /mnt; \
    nft add table inet kept 2>/dev/null; while :; do sleep 1000; done\" &); while :; do sleep 1000; done"
begin() { # the run of this number, in the background
    case $(($1 % 4)) in
    0) /tmp/meshproof env up --pods a,b,c --backend netns --name "n$1" --runs /tmp/runs &
        cli=$!
        {
            for _ in 1 2 3 4 5 6 7 8 9 10; do
                /tmp/meshproof env exec --env "n$1" --runs /tmp/runs b -- sh -c "$stubborn" && break
                sleep 0.05
            done
        } & ;;
    1) /tmp/meshproof env up pair --backend netns --runs /tmp/runs & cli=$! ;;
    2)
        verb="run heartbeat-lost"
        (($1 % 8 == 6)) && verb="matrix mixed-mesh --jobs 2"
        (cd /tmp/runs && exec /tmp/meshproof $verb --backend netns) &
        cli=$!
        ;;
    3) /tmp/meshproof env up --pods a,b --backend netns --detach --for 2s --runs /tmp/runs & cli=$! ;;
    esac
    disown -a
}

before=$(state)
killed_cli=0 killed_supervisor=0 slowest=0 bad=0 stood=0
now() { printf -v at '%(%s)T' -1; at=${EPOCHREALTIME/./}; }
for ((run = 0; run < runs; run++)); do
    begin "$run" >/tmp/runs/out 2>/tmp/runs/err
    pause "0.$(printf %03d $((RANDOM % 700)))"
    supervisors
    if ((run / 4 % 2)) && [ ${#found[@]} -gt 0 ]; then
        kill -KILL "${found[RANDOM % ${#found[@]}]}" 2>/dev/null
        killed_supervisor=$((killed_supervisor + 1))
        # A matrix that loses a cell goes on with the others.
        ((run % 8 == 6)) && { pause 0.3; kill -KILL "$cli" 2>/dev/null; }
    else
        kill -KILL "$cli" 2>/dev/null
        killed_cli=$((killed_cli + 1))
    fi
    grep -q stands /tmp/runs/out 2>/dev/null && stood=$((stood + 1))
    now; from=$at
    # One that was detached has its two seconds; a story that lost its mesh says so first.
    for ((look = 0; look < 6000; look++)); do
        others
        [ -z "$left" ] && break
        pause 0.005
    done
    now; took=$(((at - from) / 1000))
    ((took > slowest && run % 4 == 0)) && slowest=$took
    if [ -n "$left" ]; then
        bad=$((bad + 1))
        echo "run $run left processes behind:"
        for pid in $left; do echo "  $pid $(tr '\0' ' ' <"/proc/$pid/cmdline")"; done
        kill -KILL $left 2>/dev/null
    fi
    after=$(state)
    if [ "$after" != "$before" ]; then
        bad=$((bad + 1))
        echo "run $run changed the state:"
        diff <(echo "$before") <(echo "$after")
        before=$after
    fi
    rm -rf /tmp/runs/*
done
# If namespaces were kept, there would be none left for this one.
if ! /tmp/meshproof env up --pods a,b,c --backend netns --for 1ms --runs /tmp/runs >/dev/null; then
    bad=$((bad + 1))
    echo "after $runs runs no environment comes up"
fi
echo "$as: $runs runs killed ($killed_cli command lines, $killed_supervisor supervisors; $stood stood" \
    "already): $bad left something behind; the slowest end took $slowest ms"
[ "$bad" = 0 ]
