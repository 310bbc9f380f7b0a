#!/bin/bash
# Upgrades a sidecar under load, again and again, and closes the ledger: every call is answered
# exactly once at the client, and was seen exactly once at the server. Works below target/soak
# only, on free ports of 127.0.0.1.
#
#   UPGRADES=20 RATE=2000 CONNECTIONS=50 MESHPROOF=target/release/meshproof scripts/upgrade-soak.sh
#
# More of the sidecar's options, such as a seeded bug: scripts/upgrade-soak.sh --bug upgrade-drops
set -eu
cd "$(dirname "$0")/.."
upgrades=${UPGRADES:-20}
rate=${RATE:-2000}
connections=${CONNECTIONS:-50}
gap=${GAP:-1}
delay=${DELAY:-5}
bin=${MESHPROOF:-target/release/meshproof}
[ -x "$bin" ] || { echo "$bin is not there: make build" >&2; exit 2; }

dir=target/soak
rm -rf "$dir"
mkdir -p "$dir/run"
started=()
finish() {
    for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
}
trap finish EXIT

# Waits until FILE has a line that begins with READY, or until its process has ended.
ready() { # FILE PID
    until grep -q '^READY' "$1"; do
        kill -0 "$2" 2>/dev/null || { echo "it ended before it was ready:" >&2; cat "$1" "$1".err >&2; exit 1; }
        sleep 0.02
    done
}

"$bin" fixture echo --ledger --delay "$delay" > "$dir/echo" 2> "$dir/echo.err" &
echo_pid=$!
started+=("$echo_pid")
ready "$dir/echo" "$echo_pid"
app=$(sed -n 's/^READY \([0-9]*\).*/\1/p' "$dir/echo")

cat > "$dir/sidecar.yaml" <<YAML
name: soak
address: 127.0.0.1
run: $PWD/$dir/run
inbound: {listen: "127.0.0.1:0", app: "127.0.0.1:$app"}
outbound: {listen: "127.0.0.1:0"}
api: "127.0.0.1:0"
admin: "127.0.0.1:0"
YAML

sidecar() { # NUMBER ARGUMENT...
    local number=$1
    shift
    "$bin" proxy --config "$dir/sidecar.yaml" "$@" > "$dir/sidecar-$number" 2> "$dir/sidecar-$number.err" &
    serving=$!
    started+=("$serving")
    ready "$dir/sidecar-$number" "$serving"
}

sidecar 0 "$@"
to=$(sed -n 's/^READY .*inbound=\([^ ]*\).*/\1/p' "$dir/sidecar-0")
seconds=$(awk "BEGIN {print ($upgrades + 1) * $gap + 2}")
echo "soak: $upgrades upgrades under $rate calls/s on $connections connections, answers after $delay ms, $seconds s; load $(cut -d' ' -f1 /proc/loadavg)"
"$bin" fixture load --to "$to" --rate "$rate" --connections "$connections" --seconds "$seconds" > "$dir/load" 2> "$dir/load.err" &
load_pid=$!
started+=("$load_pid")

for n in $(seq "$upgrades"); do
    sleep "$gap"
    old=$serving
    sidecar "$n" --upgrade "$@"
    status=0
    wait "$old" || status=$?
    [ "$status" = 0 ] || { echo "soak: FAIL, sidecar $((n - 1)) ended with $status" >&2; cat "$dir/sidecar-$((n - 1)).err" >&2; exit 1; }
done

status=0
wait "$load_pid" || status=$?
kill -TERM "$echo_pid"
wait "$echo_pid" || true
kill -TERM "$serving"
wait "$serving" || true
client=$(cat "$dir/load")
server=$(tail -n 1 "$dir/echo")
echo "soak: client $client"
echo "soak: server $server"
number() { sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p" <<< "$1"; }
sent=$(number "$client" sent)
if [ "$status" = 0 ] && [ "$(number "$server" requests)" = "$sent" ] && [ "$(number "$server" distinct)" = "$sent" ]; then
    echo "soak: PASS, $sent calls over $upgrades upgrades, each answered once and seen once"
else
    echo "soak: FAIL, the ledger does not close" >&2
    exit 1
fi
