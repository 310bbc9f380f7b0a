#!/usr/bin/env bash
# What it takes to put rules in force and to take them away: by netlink, by nft, by iptables.
#
#   ROUNDS=200 MESHPROOF=target/release/meshproof bench/faults.sh
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MESHPROOF:-target/release/meshproof}
[ -x "$bin" ] || { echo "$bin is not there: make build" >&2; exit 2; }
echo "== rules"
"$bin" bench faults --rounds "${ROUNDS:-200}"
