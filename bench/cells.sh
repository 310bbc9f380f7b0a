#!/usr/bin/env bash
# Cells of a matrix a second, with programs and in process; a pair of pods beside ip(8); what is
# left behind.
#
#   PROGRAMS=200 IN_PROCESS=10000 MESHPROOF=target/release/meshproof bench/cells.sh
#
# The part with ip(8) needs root, since it makes namespaces by name; it is left out without.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MESHPROOF:-target/release/meshproof}
[ -x "$bin" ] || { echo "$bin is not there: make build" >&2; exit 2; }

echo "== cells"
# What it says of leftovers is the outcome, but no reason to leave the other half out.
outcome=0
"$bin" bench cells --programs "${PROGRAMS:-200}" --in-process "${IN_PROCESS:-10000}" --pairs "${PAIRS:-100}" || outcome=$?

echo "== the same pair by ip(8)"
if [ "$(id -u)" != 0 ] || ! command -v ip >/dev/null 2>&1; then
    echo "SKIPPED: needs root and ip (Debian package iproute2)"
    exit "$outcome"
fi
# Names of our own, so that nobody else's are touched, also when this is cut off.
a="mp-$$-a" b="mp-$$-b" bridge="mp-$$-br"
clean() { for one in "$a" "$b" "$bridge"; do ip netns del "$one" 2>/dev/null || true; done; }
trap clean EXIT
rounds=${IP_ROUNDS:-10}
up=0 down=0
for _ in $(seq "$rounds"); do
    begun=$(date +%s%N)
    for one in "$a" "$b" "$bridge"; do ip netns add "$one"; done
    ip -n "$bridge" link add br0 type bridge
    ip -n "$bridge" link set br0 up
    n=1
    for one in "$a" "$b"; do
        n=$((n + 1))
        ip -n "$bridge" link add "pod$n" master br0 type veth peer name eth0 netns "$one"
        ip -n "$bridge" link set "pod$n" up
        ip -n "$one" addr add "10.97.0.$n/24" dev eth0
        ip -n "$one" link set lo up
        ip -n "$one" link set eth0 up
    done
    made=$(date +%s%N)
    clean
    ended=$(date +%s%N)
    up=$((up + made - begun)) down=$((down + ended - made))
done
echo "ip(8): up in $((up / rounds / 1000)) us, down in $((down / rounds / 1000)) us, mean of $rounds"
exit "$outcome"
