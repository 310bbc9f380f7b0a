#!/bin/bash
# Runs every test, lists what was skipped and why, and ends with the count.
set -u
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# --show-output, because a test that skips says so on its output.
cargo test --workspace --no-fail-fast -- --show-output 2>&1 | tee "$log" |
    grep --line-buffered -E '^(test |test result|error|warning: unused|   Compiling meshproof|     Running|SKIPPED|thread .* panicked|---- .* stdout|assertion)' |
    grep --line-buffered -v '^test .* ok$'
status=${PIPESTATUS[0]}
if [ "$status" -ne 0 ]; then
    echo
    echo "What failed, in full:"
    sed -n '/^failures:$/,/^test result: FAILED/p' "$log" | tail -n 400
    grep -E '^error' -A 20 "$log" | head -n 100
fi
passed=$(sed -nE 's/^test result: .* ([0-9]+) passed;.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
failed=$(sed -nE 's/^test result: .* ([0-9]+) failed;.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
skipped=$(grep -c '^SKIPPED' "$log")
if [ "$skipped" -gt 0 ]; then
    echo
    echo "Skipped parts (each is counted as passed by cargo, and proved nothing here):"
    grep '^SKIPPED' "$log" | sort | uniq -c
fi
# A build that broke ran nothing, and must not look like a pass.
[ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
echo
echo "$passed passed, $failed failed"
exit "$status"
