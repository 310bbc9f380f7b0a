#!/bin/bash
# A real SOFARPC capture to a verdict and a report. Leaves nothing running; writes only below
# target/.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() {
    # Beside the output, which may go to a file.
    printf '\033[36m$ meshproof %s\033[0m\n' "$*" >&2
    target/release/meshproof "$@"
}

if ! command -v cargo >/dev/null 2>&1; then
    echo "make demo needs Rust: https://rustup.rs" >&2
    exit 2
fi
scripts/need.sh "make demo" cc=gcc
echo "make demo builds the release binary (a few minutes the first time), then works below target/demo/."
echo "It opens connections to 127.0.0.1 only."
cargo build --release --locked --quiet -p meshproof $(scripts/features.sh)

rm -rf target/demo
mkdir -p target/demo
capture=fixtures/captures/sofarpc_bolt_hessian2.pcap

say "1. What does the capture hold? Real SOFARPC 5.13, one connection, four requests."
run ls "$capture"

say "2. Its addresses belong to production. Propose what to replace, and replace it."
run rewrite "$capture" --propose > target/demo/map.yaml
grep -vE '^ *#|^$' target/demo/map.yaml | head -n 20
run rewrite "$capture" --map target/demo/map.yaml -o target/demo/offline.pcapng

say "3. Was anything forgotten? The audit shares no matching code with the rewriter."
run audit target/demo/offline.pcapng --map target/demo/map.yaml --original "$capture"

say "4. Replay it against stubs that answer from the recorded responses: nothing may differ."
run replay target/demo/offline.pcapng --stub --record target/demo/pass
run report target/demo/pass --html target/demo/pass.html --junit target/demo/pass.xml

say "5. The same against an application that has changed one field: the verdict must say which."
target/release/meshproof fixture app --listen 127.0.0.1:0 --field place.amount=1 > target/demo/app.log &
app=$!
trap 'kill "$app" 2>/dev/null || true; wait "$app" 2>/dev/null || true' EXIT
# The application says READY and its port when it listens; 10 s is plenty.
port=""
for _ in $(seq 1 200); do
    port=$(sed -n 's/^READY //p' target/demo/app.log)
    [ -n "$port" ] && break
    kill -0 "$app"
    read -r -t 0.05 _ <> <(:) || true
done
[ -n "$port" ] || { echo "the application did not say READY" >&2; exit 3; }
status=0
run replay target/demo/offline.pcapng --to "127.0.0.1:$port" --record target/demo/fail || status=$?
run report target/demo/fail --html target/demo/fail.html >/dev/null || true
[ "$status" = 1 ] || { echo "expected a FAIL (exit 1), got exit $status" >&2; exit 1; }

say "Done: step 4 passed, step 5 failed as it must. Open the reports in a browser:"
printf '  file://%s\n' "$PWD/target/demo/pass.html" "$PWD/target/demo/fail.html"
