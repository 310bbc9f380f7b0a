#!/usr/bin/env bash
# Ratios measured in one run. Absolute times say little on a machine that others use too.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked -p meshproof
python3 bench/pipeline.py "$@"
