#!/bin/sh
# Installs the Debian packages of the list files given that are missing. Needs root or sudo only when one is.
# Usage: apt.sh LIST...
set -eu

command -v dpkg-query >/dev/null || {
    echo "setup: this is not a Debian system. Install the equivalents of the packages in $* yourself," >&2
    echo "       then run make again with APT=no" >&2
    exit 1
}
missing=""
for package in $(cat "$@" | sed 's/#.*//'); do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=sudo
else
    echo "setup: system packages are missing, and neither root nor sudo is at hand. As root, run" >&2
    echo "       apt-get update && $install" >&2
    echo "       and then make again" >&2
    exit 1
fi
echo "setup: installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
log=build/apt.log
mkdir -p build
if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive $install; } >"$log" 2>&1; then
    tail -5 "$log" >&2
    echo "setup: apt-get failed (log: $log). Common causes: no network, no space, another apt running" >&2
    exit 1
fi
