#!/bin/bash
# Makes the Caffe tree given the one in use: checks that pycaffe imports, then points build/caffe/current and .venv at it.
# Usage: use.sh CAFFE_TREE STAMP_FILE
set -euo pipefail
tree=$(cd "$1" 2>/dev/null && pwd -P) || { echo "caffe: CAFFE_ROOT=$1: no such directory" >&2; exit 1; }
stamp=$2
mkdir -p build/caffe

for needed in python/caffe/_caffe.so build/tools/caffe build/tools/convert_imageset; do
    [ -e "$tree/$needed" ] || {
        echo "caffe: $tree/$needed is missing: not a built Caffe with pycaffe and its tools (build it, or leave CAFFE_ROOT out)" >&2
        exit 1
    }
done
# From version 26 protoc writes which Python package goes with its caffe_pb2; the pinned one goes with older ones.
wanted=$(sed -n 's/^# Protobuf Python Version: //p' "$tree/python/caffe/proto/caffe_pb2.py" 2>/dev/null) || true
if [ -n "$wanted" ] && [ "$wanted" != "$(.venv/bin/pip list --format freeze 2>/dev/null | sed -n 's/^protobuf==//p')" ]; then
    echo "caffe: caffe_pb2 was written by a newer protoc: its Python package protobuf $wanted is installed"
    .venv/bin/pip install --quiet --disable-pip-version-check "protobuf==$wanted"
fi
if ! PYTHONPATH="$tree/python" GLOG_minloglevel=2 .venv/bin/python -c 'import caffe' 2>build/caffe/import.log; then
    tail -2 build/caffe/import.log >&2
    echo "caffe: pycaffe of $tree does not import in .venv (log: build/caffe/import.log)." >&2
    echo "       It must have been built for $(.venv/bin/python -c 'import platform; print("Python", platform.python_version())')" >&2
    exit 1
fi
ln -sfn "$tree" build/caffe/current
echo "$tree/python" >"$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pycaffe.pth"
rm -f build/caffe/.*-in-use
touch "$stamp"
