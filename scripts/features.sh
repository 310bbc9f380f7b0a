#!/bin/sh
# features.sh: what cargo is told where libpcap is missing, which `meshproof capture` is built on.
command -v pcap-config >/dev/null 2>&1 || echo --no-default-features
