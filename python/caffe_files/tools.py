"""The programs that come with Caffe."""
from pathlib import Path

import caffe

from process.errors import DriverError


def caffe_tool(name: str) -> Path:
    """Path of a tool (caffe, convert_imageset, ...) of the Caffe whose pycaffe is imported."""
    path = (Path(caffe.__file__).parent / "../../build/tools" / name).resolve()
    if not path.exists():
        raise DriverError(f"{path} is missing: the Caffe in use has no tool {name}; run make caffe")
    return path
