#!/bin/bash
# run.sh [SECONDS] [TARGET...]: each fuzz target for a minute (or SECONDS), on stable Rust.
# Our code has no unsafe, so coverage alone is enough and no sanitizer is wanted.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- bolt tr http mesh-api hessian capture map rewrite
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
for target in "$@"; do
    # With --target the flags reach our code and not the build scripts.
    cargo build --release --quiet --locked --target "$host" --bin "$target"
    mkdir -p "artifacts/$target" "target/found/$target"
    echo "== $target, $seconds s"
    "target/$host/release/$target" -max_total_time="$seconds" -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" "target/found/$target" "corpus/$target" 2>&1 |
        grep -E '^(stat::number_of_executed|stat::average|SUMMARY|==.*ERROR)|panicked|Test unit written' || true
    if [ -n "$(ls -A "artifacts/$target")" ]; then
        echo "$target: see fuzz/artifacts/$target" >&2
        exit 1
    fi
done
