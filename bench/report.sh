#!/usr/bin/env bash
# The page of a matrix with 2,000 cells: its size, and how long a browser takes to its first paint.
#
#   ROUNDS=7 bench/report.sh
set -euo pipefail
cd "$(dirname "$0")/.."
chromium=$(command -v chromium || command -v chromium-browser || true)
[ -n "$chromium" ] || { echo "SKIPPED: needs chromium (Debian package chromium)"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo run --release --locked --quiet -p meshproof-record --example samples -- "$folder/samples" >"$folder/told" 2>&1
page=$folder/samples/matrix-2000/report.html
bytes=$(stat -c %s "$page")
# The browser says on its console when it painted; the page itself says nothing.
observer='<script>new PerformanceObserver(function(l){l.getEntries().forEach(function(e){console.log("PAINT "+e.name+" "+Math.round(e.startTime)+" .")})}).observe({type:"paint",buffered:true})</script></body>'
sed "s#</body>#$observer#" "$page" >"$folder/observed.html"
for _ in $(seq "${ROUNDS:-7}"); do
    "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$folder/profile" \
        --enable-logging=stderr --v=0 --window-size=1280,1000 --screenshot="$folder/shot.png" \
        "file://$folder/observed.html" 2>&1 |
        sed -nE 's/.*PAINT first-contentful-paint ([0-9]+) .*/\1/p'
done | sort -n >"$folder/paints"
n=$(wc -l <"$folder/paints")
[ "$n" -gt 0 ] || { echo "report: FAIL, no paint was seen"; exit 1; }
at() { sed -n "$1p" "$folder/paints"; }
echo "report: 2,000 cells: $bytes bytes (at most 2097152); first paint $(at $(((n + 1) / 2))) ms ($(at 1)..$(at "$n"), $n opened, load $(cut -d' ' -f1 /proc/loadavg))"
[ "$bytes" -le 2097152 ] || { echo "report: FAIL, the page is too large"; exit 1; }
