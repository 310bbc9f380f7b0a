#!/bin/bash
# bad-input-soak.sh [FRAMES]: a million (or FRAMES) damaged frames and damaged HTTP on every port of a
# running sidecar with good calls beside them; its memory is watched.
set -eu
cd "$(dirname "$0")/.."
export MESHPROOF_SOAK_FRAMES=${1:-1000000}
exec cargo test --locked -p meshproof-proxy --test it -- --exact --nocapture \
    bad_input::bad_input_on_every_port_disturbs_nobody
