#!/bin/bash
# A capture of 12 s is replayed at recorded pace against its own stubs, 20 times; how many runs
# span what was recorded within 50 ms? Then a pause of 300 ms in mid-run, which must make the
# latency claim INVALID. Works below target/bench only; about five minutes.
#
#   RUNS=20 SECONDS_LONG=12 MEGABYTES=10 MESHPROOF=target/release/meshproof bench/pace.sh
set -eu
cd "$(dirname "$0")/.."
runs=${RUNS:-20}
long=${SECONDS_LONG:-12}
megabytes=${MEGABYTES:-10}
bin=${MESHPROOF:-target/release/meshproof}
wanted=$((runs * 3 / 4))
[ -x "$bin" ] || { echo "$bin is not there: make build" >&2; exit 2; }

dir=target/bench/pace
rm -rf "$dir"
mkdir -p "$dir"
"$bin" fixture capture --out "$dir/paced.pcap" --megabytes "$megabytes" --seconds "$long" \
    --reorder 0 --retransmit 0 >/dev/null
replaying=""
trap '[ -z "$replaying" ] || { kill -CONT "$replaying"; kill -KILL "$replaying"; } 2>/dev/null' EXIT

# Prints `span_ns intended_ns` of a record.
span() { sed -n 's/.*sends spanned \([0-9]*\) ns of \([0-9]*\) ns.*/\1 \2/p' "$1/events.jsonl"; }
# Prints a claim's verdict and reason.
claim() { sed -n "s/.*\"claim\":{\"name\":\"$2\",\"verdict\":\"\([A-Z]*\)\",\"why\":\"\([^\"]*\)\".*/\1: \2/p" "$1/events.jsonl"; }

echo "pace: $runs replays of $long s at recorded pace, load $(cut -d' ' -f1 /proc/loadavg)"
within=0
held=0
for n in $(seq "$runs"); do
    record=$dir/run-$n
    "$bin" replay "$dir/paced.pcap" --stub --pace recorded --record "$record" >/dev/null || true
    read -r spanned intended < <(span "$record")
    off=$(((spanned - intended) / 1000))
    [ "${off#-}" -le 50000 ] && within=$((within + 1))
    case $(claim "$record" latency) in PASS*) held=$((held + 1)) ;; esac
    case $(claim "$record" functional) in
        PASS*) ;;
        *) echo "  run $n: functional $(claim "$record" functional)" ;;
    esac
    echo "  run $n: $off us off, latency $(claim "$record" latency)"
done
echo "pace: $within of $runs runs within 50 ms of the recorded span ($wanted wanted); pace held in $held"

# In mid-run: half of what was recorded lies before the pause.
record=$dir/paused
"$bin" replay "$dir/paced.pcap" --stub --pace recorded --record "$record" >/dev/null &
replaying=$!
sleep "$((long / 2))"
kill -STOP "$replaying"
sleep 0.3
kill -CONT "$replaying"
status=0
wait "$replaying" || status=$?
replaying=""
verdict=$(claim "$record" latency)
echo "pace: after a pause of 300 ms: exit $status, latency $verdict"

fail=0
[ "$within" -ge "$wanted" ] || { echo "pace: FAIL, too few runs kept the span" >&2; fail=1; }
case $verdict in INVALID*) ;; *) echo "pace: FAIL, a pause went unseen" >&2; fail=1 ;; esac
exit "$fail"
