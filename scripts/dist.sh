#!/usr/bin/env bash
# What a CI job downloads, in dist/: one static binary that needs no library, its checksum, and an
# image that holds nothing else. It is the whole program but for `capture` by libpcap, which a
# static program cannot load; it says so. Stories and matrices capture without it.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(uname -m)-unknown-linux-musl
if ! rustc --print sysroot | xargs -I{} test -d "{}/lib/rustlib/$target"; then
    rustup target add "$target"
fi
if ! command -v musl-gcc >/dev/null; then
    echo "make dist needs musl-gcc: apt-get install musl-tools" >&2
    exit 1
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=meshproof-$version-$(uname -m)-linux
cargo=${CARGO_HOME:-$HOME/.cargo}
# Nothing of the machine that built it is in the program.
export RUSTFLAGS="--remap-path-prefix=$PWD=. --remap-path-prefix=$cargo=cargo"
export "CC_${target//-/_}=musl-gcc"
export CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=debuginfo
# At a fixed place, as every other build (cli/build.rs).
cargo rustc --release --locked --target "$target" -p meshproof --bin meshproof -- \
    -C relocation-model=static
rm -rf dist
mkdir dist
cp "${CARGO_TARGET_DIR:-target}/$target/release/meshproof" "dist/$name"

# It is what it says: no loader, no library, and it runs where there is nothing.
if readelf --program-headers --dynamic "dist/$name" | grep -E 'INTERP|NEEDED'; then
    echo "dist/$name is not static" >&2
    exit 1
fi
(cd / && env -i "$OLDPWD/dist/$name" --version)
# What it lacks, it says.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if said=$("dist/$name" capture --interface lo --for 1s --output "$scratch/lo" 2>&1); then
    echo "dist/$name captures by libpcap: $said" >&2
    exit 1
fi
grep --quiet static <<<"$said" || {
    echo "dist/$name does not say why it cannot capture: $said" >&2
    exit 1
}

cat >dist/Dockerfile <<EOF
# docker build --tag meshproof:$version dist
# docker run --rm --volume "\$PWD:/project" meshproof:$version ls calls.pcap
# The gate's questions to git need git beside it: COPY --from=meshproof:$version /meshproof /bin/
FROM scratch
COPY $name /meshproof
WORKDIR /project
ENTRYPOINT ["/meshproof"]
EOF
(cd dist && sha256sum "$name" Dockerfile >SHA256SUMS && sha256sum --check --quiet --strict SHA256SUMS)
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    docker build --quiet --tag "meshproof:$version" dist
    docker run --rm "meshproof:$version" --version
else
    echo "SKIPPED: the image is not built: no docker here; dist/Dockerfile is ready"
fi
ls -l dist
cat dist/SHA256SUMS
