#!/usr/bin/env bash
# The sidecar beside HAProxy in TCP mode, which moves bytes and knows no frames: CPU per request,
# added latency, memory, start-up, in one run. Every answer is checked in the same run.
#
#   ROUNDS=5 P50_ROUNDS=20 CPU_SECONDS=1 MESHPROOF=target/release/meshproof bench/mesh.sh
#
# ONLY=cpu, p50 or start measures that alone. On a machine that others use, latency says little:
# PATIENCE=600 lets its rounds wait for a quiet moment, so many seconds in all; FIFO=10 runs load,
# server and proxies under SCHED_FIFO (needs the privilege), and PIN=1 on one CPU, where no wake-up
# crosses CPUs and what is left is the work that each does between a request and its answer.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MESHPROOF:-target/release/meshproof}
[ -x "$bin" ] || { echo "$bin is not there: make build" >&2; exit 2; }
command -v haproxy >/dev/null 2>&1 || { echo "SKIPPED: needs haproxy (Debian package haproxy)"; exit 0; }
python3 bench/mesh.py --bin "$bin" --rounds "${ROUNDS:-5}" --p50-rounds "${P50_ROUNDS:-20}" \
    --cpu-seconds "${CPU_SECONDS:-1}" ${ONLY:+--only "$ONLY"} ${FIFO:+--fifo "$FIFO"} \
    ${PIN:+--pin "$PIN"} ${PATIENCE:+--patience "$PATIENCE"}
