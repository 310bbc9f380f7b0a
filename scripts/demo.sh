#!/bin/bash
# From a real capture to a verdict over a mixed fleet: a replay through an offline mesh, a story,
# the compatibility matrix, one page for each. Leaves nothing running; writes only below
# target/demo/.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() {
    # Beside the output, which may go to a file.
    printf '\033[36m$ meshproof %s\033[0m\n' "$*" >&2
    target/release/meshproof "$@"
}
# Runs what must end with this exit code; the first lines of what it says.
expect() {
    local wanted=$1 lines=$2 status=0
    shift 2
    run "$@" >target/demo/said 2>target/demo/said.err || status=$?
    head -n "$lines" target/demo/said
    if [ "$status" != "$wanted" ]; then
        cat target/demo/said.err >&2
        if [ "$status" = 4 ]; then
            echo "this machine cannot run it: meshproof doctor says what is missing and what to type" >&2
        fi
        echo "expected exit $wanted, got exit $status" >&2
        exit 1
    fi
}

if ! command -v cargo >/dev/null 2>&1; then
    echo "make demo needs Rust: https://rustup.rs" >&2
    exit 2
fi
scripts/need.sh "make demo" cc=gcc
echo "make demo builds the release binary (a few minutes the first time), then works below target/demo/."
echo "Its meshes stand in namespaces of their own; nothing is sent out of them."
cargo build --release --locked --quiet -p meshproof
begun=$(date +%s)

rm -rf target/demo
mkdir -p target/demo
capture=fixtures/captures/sofarpc_bolt_hessian2.pcap

say "1. A real SOFARPC 5.13 capture: what does it hold?"
run ls "$capture"

say "2. Its addresses belong to production. Replace them, and make an offline mesh of the capture:"
echo "   config center, VIP names, stubs that answer what was recorded. The audit finds nothing left."
run rewrite "$capture" --propose >target/demo/map.yaml
run env from-capture "$capture" --map target/demo/map.yaml -o target/demo/offline

say "3. Replay it through a sidecar in that mesh: what differs is the sidecar's doing, and nothing may."
expect 0 12 replay --through target/demo/offline --record target/demo/replay

say "4. The app behind a sidecar falls silent: the service must leave the config center, 12200 must close."
expect 0 12 run scenarios/heartbeat-lost.yaml --record target/demo/story

say "5. The mixed fleet: clients and servers with and without a sidecar, TR and BOLT, in every order."
expect 0 14 matrix mixed-mesh --record target/demo/matrix

say "6. The same with a historic bug in the sidecar: which combination is to blame?"
expect 1 8 matrix mixed-mesh --bug tr-bolt-mixed --record target/demo/blame

say "Done in $(($(date +%s) - begun)) s: 3, 4 and 5 passed, 6 failed as it must. The pages:"
for name in replay story matrix blame; do
    target/release/meshproof report "target/demo/$name" --html "target/demo/$name.html" >/dev/null || true
    printf '  file://%s\n' "$PWD/target/demo/$name.html"
done
