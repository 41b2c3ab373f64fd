#!/bin/bash
# Chooses CUDA toolkit, cuDNN, NCCL and GPU architectures, prints the choice and writes it to FILE, which build.sh reads.
# Usage: cuda.sh FILE
# Environment: PYTHON (its pip fetches NVIDIA's wheels), CUDA_HOME, CUDA_ARCH ("90" or "80,9.0"), CUDNN=0|1, NCCL=0|1
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
file=$1
wheels=$PWD/build/caffe/cuda-wheels
# What a list for unknown GPUs is made from, as far as the toolkit has them: one a generation.
usual_architectures="70 75 80 86 89 90 100 120"

die() {
    printf 'caffe: %s\n' "$@" >&2
    exit 1
}

has_library() {
    compgen -G "$1/lib64/lib$2.so*" >/dev/null || compgen -G "$1/lib/lib$2.so*" >/dev/null
}

# finds_header HEADER [TOOLKIT]: whether the compiler finds it where it looks anyway, or beside a toolkit's.
finds_header() {
    echo "#include <$1>" | c++ -E -x c++ ${2:+-I"$2/include"} - >/dev/null 2>&1
}

# has_part TOOLKIT LIBRARY HEADER: in the toolkit; or in the system's folders when a distribution keeps the toolkit in those.
has_part() {
    if [ -e "$1/include/cuda_runtime.h" ]; then [ -e "$1/include/$3" ] && has_library "$1" "$2"
    else finds_header "$3" && [ -e "$(c++ -print-file-name="lib$2.so")" ]
    fi
}

# nvcc's own word for where its toolkit is: nvcc may be a link, or a script elsewhere.
root_of() {
    local here
    here=$("$1" --dryrun -E -x cu /dev/null 2>&1 | sed -n 's/^#\$ _HERE_=//p') || true
    (cd "${here:-$(dirname "$1")}/.." && pwd -P)
}

# What a toolkit lacks, in a word; nothing when it is whole.
lacks() {
    if [ ! -x "$1/bin/nvcc" ]; then echo "bin/nvcc"
    elif ! has_part "$1" cublas cublas_v2.h; then echo "cuBLAS"
    elif ! has_part "$1" curand curand.h; then echo "cuRAND"
    elif [ "$(major "$1")" -lt 12 ]; then echo "version 12 or newer (it is $(version "$1"))"
    fi
}

version() {
    "$1/bin/nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p'
}

major() {
    version "$1" | cut -d. -f1
}

# What nvidia-smi knows of the GPUs, a line each; nothing without a driver (it says so on standard output).
gpus() {
    local answer
    answer=$(nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null) || return 0
    echo "$answer"
}

# install_wheels NAME PATTERN: the wheels whose lines match, into a folder of their own (pip --target keeps or drops
# nvidia/ as a whole), unless these are there already.
install_wheels() {
    local to=$wheels/$1 wanted
    wanted=$(grep -E "$2" "$here/requirements-cuda.txt")
    [ "$wanted" != "$(cat "$to/.installed" 2>/dev/null)" ] || return 0
    echo "caffe: installing NVIDIA's wheels:" $wanted
    rm -rf "$to"
    mkdir -p "$to"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target "$to" $wanted \
        >build/caffe/cuda-wheels.log 2>&1 || {
        tail -3 build/caffe/cuda-wheels.log >&2
        die "NVIDIA's wheels could not be installed (log: build/caffe/cuda-wheels.log): a network is needed," \
            "or a CUDA toolkit of version 12 or newer with cuBLAS, cuRAND and cuDNN, named by CUDA_HOME="
    }
    # the names that CMake and the linker look for
    local library
    for library in "$to"/nvidia/*/lib/*.so.*; do
        ln -sfn "$(basename "$library")" "${library%.so.*}.so"
    done
    echo "$wanted" >"$to/.installed"
}

choose_toolkit() {
    local missing on_path
    if [ -n "${CUDA_HOME:-}" ]; then
        missing=$(lacks "$CUDA_HOME")
        [ -z "$missing" ] || die "CUDA_HOME=$CUDA_HOME lacks $missing: add it, or leave CUDA_HOME out for the toolkit of NVIDIA's wheels"
        toolkit=$(cd "$CUDA_HOME" && pwd)
        return
    fi
    on_path=$(command -v nvcc || true)
    [ -n "$on_path" ] || on_path=/usr/local/cuda/bin/nvcc
    if [ -x "$on_path" ]; then
        toolkit=$(root_of "$on_path")
        missing=$(lacks "$toolkit")
        [ -n "$missing" ] || return 0
        echo "caffe: the toolkit in $toolkit lacks $missing: NVIDIA's wheels are used"
    fi
    check_driver_for_wheels
    install_wheels toolkit '^nvidia-(cuda-|nvvm|cublas|curand)'
    toolkit=$wheels/toolkit/nvidia/cu13
    ln -sfn lib "$toolkit/lib64"
}

check_driver_for_wheels() {
    local driver
    driver=$(gpus driver_version | sed -n 1p)
    [ -z "$driver" ] || [ "${driver%%.*}" -ge 580 ] || \
        die "driver $driver is too old for the CUDA 13 of NVIDIA's wheels, which needs 580: update it," \
            "or install a CUDA 12 toolkit that it supports and name it by CUDA_HOME="
}

# choose_library NAME HEADER: sets `root` to where it is; empty: where compiler and linker look anyway.
choose_library() {
    root=""
    if [ -e "$toolkit/include/$2" ] && has_library "$toolkit" "$1"; then root=$toolkit
    elif finds_header "$2" "$toolkit"; then :
    else
        install_wheels "$1" "^nvidia-$1-cu$(major "$toolkit")="
        root=$wheels/$1/nvidia/$1
    fi
}

# Numbers of architectures, whatever way they are written (8.6, sm_86, 86,89), in order and once each.
numbers() {
    tr -d . | grep -oE '[0-9]+' | sort -un | tr '\n' ' ' || true
}

# The GPUs' own; for one newer than the toolkit the newest it knows, whose PTX the driver compiles for it.
of_the_gpus() {
    local one newest=${1##* }
    for one in $(gpus compute_cap | numbers); do
        [ "$one" -le "$newest" ] || one=$newest
        echo "$one"
    done | numbers
}

choose_architectures() {
    local known asked one
    known=$("$toolkit/bin/nvcc" --list-gpu-code | numbers)
    known=${known% }
    if [ -n "${CUDA_ARCH:-}" ]; then
        asked=$(echo "$CUDA_ARCH" | numbers)
        [ -n "$asked" ] || die "CUDA_ARCH=$CUDA_ARCH names no architecture; CUDA $(version "$toolkit") knows $known"
    else
        asked=$(of_the_gpus "$known")
    fi
    if [ -z "$asked" ]; then
        asked=$(for one in $usual_architectures; do case " $known " in *" $one "*) echo "$one" ;; esac; done | numbers)
    fi
    architectures=""
    for one in $asked; do
        case " $known " in
        *" $one "*) ;;
        *) die "CUDA $(version "$toolkit") has no code for architecture $one; it knows $known (CUDA_ARCH=); older GPUs need an older toolkit (CUDA_HOME=)" ;;
        esac
        architectures="$architectures;$one-real"
    done
    # the newest as PTX too: what the driver compiles for GPUs newer than the toolkit
    architectures="${architectures#;};${one}-virtual"
}

choose_toolkit
choose_architectures
cudnn="none (CUDNN=0)" cudnn_root="" nccl="none (NCCL=1 adds it)" nccl_root=""
if [ "${CUDNN:-1}" != 0 ]; then
    choose_library cudnn cudnn.h
    cudnn_root=$root cudnn=${root:-the system\'s}
fi
if [ "${NCCL:-0}" != 0 ]; then
    choose_library nccl nccl.h
    nccl_root=$root nccl=${root:-the system\'s}
fi
cat >"$file" <<END
# what cuda.sh chose; read by build.sh
# CUDA:          $(version "$toolkit") in $toolkit
# cuDNN:         $cudnn
# NCCL:          $nccl
# architectures: $architectures
# host compiler: $(${CUDAHOSTCXX:-c++} --version | head -1)
toolkit="$toolkit"
architectures="$architectures"
cudnn_root="$cudnn_root"
nccl_root="$nccl_root"
END
sed -n 's/^# \([A-Za-z]*[a-z ]*:.*\)/caffe: \1/p' "$file"
