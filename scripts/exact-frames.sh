#!/bin/bash
# exact-frames.sh [FRAMES]: loses answers 3 to 5 to the heartbeats of one connection beside 100,000 (or
# FRAMES) business frames of each of BOLT v1, BOLT v2 and TR, none of which may be lost.
set -eu
cd "$(dirname "$0")/.."
export MESHPROOF_EXACT_FRAMES=${1:-100000}
exec cargo test --locked -p meshproof-harness --lib -- \
    --nocapture relay::exact::
