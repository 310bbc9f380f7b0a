# The one front door. `make` alone says what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.PHONY: help demo demo-mesh test lint bench fuzz build soak dist

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: ## the release binary, target/release/meshproof
	cargo build --release --locked -p meshproof

demo: ## a real SOFARPC capture to a verdict and a report, in about a minute after the build
	@scripts/demo.sh

demo-mesh: ## a whole mesh in namespaces: its app is killed, isolated, and comes back
	cargo build --release --locked --quiet -p meshproof
	@target/release/meshproof demo mesh

test: ## every test; installs the tools that serve as outside judges
	@scripts/need.sh "make test" tcpdump=tcpdump tshark=tshark capinfos=wireshark-common \
		java=default-jdk-headless mvn=maven chromium=chromium nft=nftables \
		iptables-nft-restore=iptables iptables-legacy-restore=iptables
	@scripts/test.sh

lint: ## format, clippy, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@scripts/licences.sh

bench: ## ratios measured in one run, frames checked in the same run
	@scripts/need.sh "make bench" tcpdump=tcpdump tshark=tshark python3=python3 haproxy=haproxy \
		chromium=chromium nft=nftables iptables-nft-restore=iptables
	@bench/run.sh
	@bench/pace.sh
	@bench/mesh.sh
	@bench/cells.sh
	@bench/faults.sh
	@bench/report.sh
	@bench/link.sh

dist: ## a static binary, its checksum and an image from scratch, in dist/: what a CI job downloads
	@scripts/dist.sh

soak: build ## bad input on every port; 20 upgrades under 2,000 calls/s; 200 runs and 12,000 holders of faults killed at random moments
	@scripts/bad-input-soak.sh
	@scripts/upgrade-soak.sh
	@scripts/kill-soak.sh 200
	@scripts/need.sh "make soak" nft=nftables iptables-nft-restore=iptables
	@target/release/meshproof fault soak --kills $${KILLS:-750} --pairs 20 --pair-kills 100

fuzz: ## each fuzz target for a minute, on stable Rust
	@fuzz/run.sh
