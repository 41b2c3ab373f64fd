#!/bin/bash
# Obtains, patches and builds BVLC Caffe in build/caffe/<variant>, which ends up shaped like any Caffe checkout:
#   <variant>/python (pycaffe), <variant>/build/tools (caffe, convert_imageset, ...), <variant>/build/lib (libcaffe)
# Usage: build.sh source|configure|compile|cpptests VARIANT
# Environment: PYTHON (interpreter pycaffe is built for), CAFFE_SRC (directory or tarball of BVLC Caffe, optional),
#              JOBS (parallel compilers, default: cores), ONEDNN (0: without the CPU engine); for the variant cuda what cuda.sh reads.
# Called by the Makefile; every step can be repeated.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
step=$1
variant=$2
top=build/caffe
root=$top/$variant
log=$top/$variant-$step.log
jobs=${JOBS:-$(nproc)}

die() {
    printf 'caffe: %s\n' "$@" >&2
    exit 1
}

# Runs a command with its output in the log; on failure shows the errors and the likely cause.
logged() {
    "$@" >>"$log" 2>&1 || fail
}

fail() {
    grep -nE 'error|Error|ERROR|No space|Killed|cannot find|not found' "$log" | head -8 >&2 || true
    die "$step failed; the whole log: $log" "likely cause: $(likely_cause)"
}

likely_cause() {
    local missing
    if grep -qE 'No space left' "$log"; then echo "the disk is full (a build takes 1 GB)"
    elif grep -qE 'Killed|cc1plus.*signal' "$log"; then echo "out of memory: try JOBS=1"
    elif missing=$(grep -A3 'CMake Error' "$log" | grep -m1 -oE 'Could (NOT|not) find [^ ]+'); then # not where CMake went on without
        echo "a library is missing: $missing; make setup installs Debian's"
    elif grep -q 'unsupported GNU version' "$log"; then
        echo "this CUDA takes no $(c++ --version | head -1): install an older g++ and name it, CUDAHOSTCXX=g++-12"
    elif grep -qE 'hunk|FAILED' "$log"; then echo "CAFFE_SRC is not BVLC Caffe at commit 99bd997"
    else echo "a library or compiler newer or older than those the README names as tried"
    fi
}

unpack_source() {
    local to=$1 from=${CAFFE_SRC:-}
    mkdir -p "$to"
    if [ -z "$from" ]; then
        "$here/fetch.sh" "$top/downloads"
        tar -xzf "$top"/downloads/*.orig.tar.gz -C "$to"
    elif [ -d "$from" ]; then
        # without what an in-tree build of the user's left: it must not leak into ours
        tar -C "$from" --exclude=./build --exclude=./.git --exclude=./.build_release --exclude=_caffe.so -cf - . | tar -xf - -C "$to"
    elif [ -f "$from" ]; then
        tar -xf "$from" -C "$to" --strip-components="$(tarball_depth "$from")"
    else
        die "CAFFE_SRC=$from is neither a directory nor a tarball"
    fi
    [ -f "$to/src/caffe/proto/caffe.proto" ] || die "CAFFE_SRC=$from holds no src/caffe/proto/caffe.proto: not a Caffe source tree"
}

# 0 when the archive holds the tree itself, 1 when it holds one folder with the tree in it
tarball_depth() {
    # (grep reads to the end: with -q tar would die of a closed pipe)
    if tar -tf "$1" | grep -E '^(\./)?src/caffe/proto/caffe\.proto$' >/dev/null; then echo 0; else echo 1; fi
}

# A patch that is in the source already is left out: a user's own copy may carry Debian's, or be a tree patched here, where
# a later patch may have changed the same lines again and only the list tells.
apply_patch() {
    local sum
    sum=$(sha256sum <"$2")
    if grep -qsF "$sum" "$1/.patches" || patch -d "$1" -p1 --reverse --dry-run --force --quiet <"$2" >/dev/null 2>&1; then
        echo "already there: $2" >>"$log"
    else
        echo "applying $2" >>"$log"
        logged patch -d "$1" -p1 --force --no-backup-if-mismatch -i "$2"
    fi
    echo "$sum" >>"$1/.patches"
}

make_source() {
    rm -rf "$root.partial"
    unpack_source "$root.partial"
    "$here/fetch.sh" "$top/downloads" debian.tar
    tar -xJf "$top"/downloads/*.debian.tar.xz -C "$root.partial"
    local name
    while read -r name; do
        apply_patch "$root.partial" "$PWD/$root.partial/debian/patches/$name"
    done <"$root.partial/debian/patches/series"
    for name in "$here"/patches/*.patch; do
        apply_patch "$root.partial" "$name"
    done
    rm -rf "$root"
    mv "$root.partial" "$root"
}

# Options of cmake for the device the variant is for.
device_options() {
    device=(-DCPU_ONLY=ON -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=14)
    [ "$variant" = cuda ] || return 0
    local toolkit architectures cudnn_root nccl_root
    "$here/cuda.sh" "$top/cuda-choice.txt" || exit 1
    . "$top/cuda-choice.txt"
    device=(-DCPU_ONLY=OFF -DCMAKE_CUDA_COMPILER="$toolkit/bin/nvcc" -DCUDAToolkit_ROOT="$toolkit"
        -DCMAKE_CUDA_ARCHITECTURES="$architectures" -DCUDNN_ROOT="$cudnn_root"
        -DUSE_CUDNN="$([ "${CUDNN:-1}" = 0 ] && echo OFF || echo ON)" -DUSE_NCCL="$([ "${NCCL:-0}" = 0 ] && echo OFF || echo ON)")
    [ -z "$nccl_root" ] || device+=(-DNCCL_INCLUDE_DIR="$nccl_root/include" -DNCCL_LIBRARIES="$nccl_root/lib/libnccl.so")
    rm -f "$root/build/CMakeCache.txt" # another compiler or cuDNN than last time is not taken over from the cache
}

# The CPU engine on oneDNN (ONEDNN=0 leaves it out), and the OpenMP build of OpenBLAS where Debian's package has put it: with
# another one there are two pools of threads, which wait for each other's processors.
engine_options() {
    engine=(-DUSE_ONEDNN=OFF)
    [ "${ONEDNN:-1}" = 0 ] || engine=(-DUSE_ONEDNN=ON)
    local triplet
    triplet=$(gcc -print-multiarch 2>/dev/null || true)
    local blas=/usr/lib/$triplet/openblas-openmp/libopenblas.so include=/usr/include/$triplet/openblas-openmp
    [ ! -e "$blas" ] || engine+=(-DOpenBLAS_LIB="$blas" -DOpenBLAS_INCLUDE_DIR="$include")
}

configure() {
    device_options
    engine_options
    # No package registry: it would be written to the home folder. NOLOCK lets Data layers read LMDBs on read-only disks.
    logged cmake -S "$root" -B "$root/build" \
        -DCMAKE_BUILD_TYPE=Release -DBLAS=Open -DUSE_LEVELDB=OFF -DALLOW_LMDB_NOLOCK=ON -DCMAKE_EXPORT_NO_PACKAGE_REGISTRY=ON \
        -DBUILD_docs=OFF -DBUILD_matlab=OFF -Dpython_version=3 -DPYTHON_EXECUTABLE="$PWD/$PYTHON" \
        "${engine[@]}" "${device[@]}"
    if ! grep -q 'Interpreter' "$log"; then
        die "cmake found no Python development files, so pycaffe would be left out (log: $log)" \
            "install python3-dev and libboost-python-dev for the interpreter $PYTHON"
    fi
}

# Compiles the targets given, showing per cent while it goes.
compile() {
    : >"$log"
    cmake --build "$root/build" -j "$jobs" --target "$@" >>"$log" 2>&1 &
    local worker=$!
    while kill -0 $worker 2>/dev/null; do
        sleep 1
        [ ! -t 2 ] || printf '\rcaffe: compiling %s ' "$(grep -aoE '^\[ *[0-9]+%\]' "$log" | tail -1)" >&2
    done
    [ ! -t 2 ] || printf '\n' >&2
    wait $worker || fail
}

mkdir -p "$top"
case $step in
source)
    : >"$log"
    make_source
    ;;
configure)
    : >"$log"
    configure
    ;;
compile)
    compile caffe pycaffe caffe.bin convert_imageset compute_image_mean extract_features \
        upgrade_net_proto_text upgrade_net_proto_binary upgrade_solver_proto_text
    ;;
cpptests)
    compile test.testbin
    ;;
*) die "unknown step $step" ;;
esac
