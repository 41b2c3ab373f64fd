#!/bin/bash
# Shows that a CUDA build is whole: libcaffe and pycaffe find CUDA's libraries, and no symbol is left undefined.
# Usage: check_links.sh CAFFE_TREE
set -euo pipefail
tree=$1
[ -e "$tree/build/CMakeCache.txt" ] || { echo "caffe: $tree is no build with CUDA: make caffe CUDA=1" >&2; exit 1; }
expected="libcudart libcublas libcurand"
grep -q 'USE_CUDNN:BOOL=ON' "$tree/build/CMakeCache.txt" && expected="$expected libcudnn"
grep -q 'USE_NCCL:BOOL=ON' "$tree/build/CMakeCache.txt" && expected="$expected libnccl"

library=$tree/build/lib/libcaffe.so
[ -e "$library" ] || { echo "caffe: $library is missing: not built to the end" >&2; exit 1; }
links=$(ldd -r "$library" 2>&1)
for name in $expected; do
    echo "$links" | grep -E "$name\.so" || { echo "caffe: $library is not linked with $name" >&2; exit 1; }
done
if faults=$(echo "$links" | grep -E 'undefined|not found'); then
    echo "$faults" | head -5 >&2
    echo "caffe: $library has undefined symbols or libraries that are not found" >&2
    exit 1
fi
echo "caffe: $library: $expected found, nothing undefined"
