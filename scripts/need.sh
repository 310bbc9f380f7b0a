#!/bin/sh
# need.sh WHY COMMAND=PACKAGE... : makes sure that commands are there.
# Says what it will install before it does; installs only where it may (root, or sudo that asks
# nothing, on a machine with apt). Otherwise it says what to type. Never fails: whatever needs a
# missing command says SKIPPED itself.
why=$1
shift
missing=""
for pair in "$@"; do
    command=${pair%%=*}
    package=${pair#*=}
    command -v "$command" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
missing=${missing# }
if ! command -v apt-get >/dev/null 2>&1; then
    echo "$why wants: $missing. There is no apt-get here; please install them by hand."
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "$why wants: $missing. To install them, type: sudo apt-get install -y $missing"
    exit 0
fi
echo "$why: installing $missing (Debian packages)"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq >/dev/null 2>&1
# One by one, so that a package that cannot be had does not take the others with it.
for package in $missing; do
    $sudo apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
        echo "$why: could not install $package; going on without it"
done
exit 0
