#!/usr/bin/env bash
# A bad link: how exact its delay is, and how many bytes a second pass the wire, beside a direct
# link and beside Toxiproxy, through the same two pods in one run.
#
#   ROUNDS=5 SECONDS_EACH=2 TIMES=200 MESHPROOF=target/release/meshproof bench/link.sh
#
# Toxiproxy is made from the Go module proxy where `go` is there, or taken from TOXIPROXY.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MESHPROOF:-target/release/meshproof}
[ -x "$bin" ] || { echo "$bin is not there: make build" >&2; exit 2; }
[ -e /dev/net/tun ] || { echo "SKIPPED: needs /dev/net/tun"; exit 0; }
version=v2.12.0
toxiproxy=${TOXIPROXY:-target/bench/toxiproxy/server}
if [ ! -x "$toxiproxy" ] && command -v go >/dev/null 2>&1; then
    mkdir -p target/bench/toxiproxy
    GOBIN=$PWD/target/bench/toxiproxy go install \
        "github.com/Shopify/toxiproxy/v2/cmd/server@$version" 2>target/bench/toxiproxy/log ||
        echo "toxiproxy could not be made: $(tail -n 1 target/bench/toxiproxy/log)"
fi
python3 bench/link.py --bin "$bin" --toxiproxy "$toxiproxy" --rounds "${ROUNDS:-5}" \
    --seconds "${SECONDS_EACH:-2}" --times "${TIMES:-200}"
