#!/bin/sh
# Downloads the Caffe source package from the machine's own Debian mirror, checked by SHA-256.
# Usage: fetch.sh DIRECTORY [FILE_NAME_PATTERN]     (a file already there with the right checksum is kept)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=$1
pattern=${2:-.}
mkdir -p "$to"

folder=$(sed -n '/^pool/p' "$here/source.txt")
# DEBIAN_MIRROR names one where apt has none (Ubuntu's mirrors do not have all of it).
mirror=${DEBIAN_MIRROR:+${DEBIAN_MIRROR%/}/}
find_mirror() {
    [ -z "$mirror" ] || return 0
    # apt knows the mirror only after its lists were read once
    mirror=$(apt-get indextargets --format '$(COMPONENT) $(REPO_URI) $(ORIGIN)' 'Created-By: Packages' |
        awk '$1 == "main" && $3 == "Debian" && $2 !~ /security/ { print $2; exit }')
    [ -n "$mirror" ] || {
        echo "caffe: apt has no Debian mirror in its lists. On Debian run apt-get update as root and try again; elsewhere name" >&2
        echo "       one, DEBIAN_MIRROR=<address>, or put $1 (SHA-256 $2)" >&2
        echo "       from the folder $folder of any Debian mirror into $to" >&2
        exit 1
    }
}

sed -n '/^[0-9a-f]\{64\} /p' "$here/source.txt" | grep -e "$pattern" | while read -r sum file; do
    if [ -f "$to/$file" ] && echo "$sum  $to/$file" | sha256sum --check --status; then
        continue
    fi
    find_mirror "$file" "$sum"
    echo "caffe: downloading $file"
    # apt-helper checks the sum itself and leaves nothing under the final name when it differs
    # (run in the folder: apt's sandbox warning for root is of no interest here)
    if ! /usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file \
            "$mirror$folder/$file" "$to/$file" "SHA256:$sum" >"$to/download.log" 2>&1; then
        grep -v '^Get:' "$to/download.log" | tail -3 >&2
        rm -f "$to/$file"
        echo "caffe: could not get $file (SHA-256 $sum) from the Debian mirror. Put the file into $to" >&2
        echo "       yourself; a copy of BVLC Caffe can be named too: make caffe CAFFE_SRC=<directory or tarball>" >&2
        exit 1
    fi
done
