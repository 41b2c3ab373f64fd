"""Mean images, as Caffe and numpy write them."""
from pathlib import Path

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from caffe_files.arrays import read_array
from process.errors import DriverError
from process.readers import read_bytes


def read_mean(path: Path) -> np.ndarray:
    """(channels, height, width) float32 of a .binaryproto or .npy mean image. DriverError when it is something else."""
    try:
        mean = (read_array(path, "mean image").astype(np.float32) if path.suffix == ".npy" else
                _binaryproto(read_bytes(path, "mean image")))
    except FileNotFoundError:
        raise DriverError(f"mean image {path} does not exist. Without it every figure would be wrong; make it with: "
                          "make mean") from None
    except (DecodeError, ValueError) as error:
        raise DriverError(f"{path} is not a mean image ({error}): make it again") from None
    if mean.ndim != 3 or not mean.size:
        raise DriverError(f"{path} is not a mean image: its shape is {mean.shape}, not (channels, height, width)")
    if not np.isfinite(mean).all():
        raise DriverError(f"{path} has values that are not finite (NaN or infinite): make the mean image again")
    return mean


def _binaryproto(content: bytes) -> np.ndarray:
    blob = caffe_pb2.BlobProto.FromString(content)
    shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
    return np.array(blob.data, np.float32).reshape(shape[-3:])
