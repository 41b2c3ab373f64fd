"""ImageNet's mean image: the numpy file of the Caffe sources -> the .binaryproto that Caffe's Data layer reads."""
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from databases.datums import messages
from downloads.checksums import check_file
from prep.errors import PrepError
from prep.outputs import refuse_inputs_as_outputs
from prep.readers import read_array

ROOT = Path(__file__).resolve().parents[2]
MEAN_NPY = ROOT / "build/caffe/current/python/caffe/imagenet/ilsvrc_2012_mean.npy"
MEAN_CHECKSUM = "sha256:97eefba7e046ee097121ad18564329636d2f9c153b748c7313653cae8594a149"
MEAN_SHAPE = (3, 256, 256)


@dataclass(frozen=True)
class Options:
    """own: the mean image is the user's, so that its checksum is not that of ImageNet's."""
    npy: Path
    own: bool
    out: Path


def convert(options: Options) -> None:
    """Check the numpy file and write it as a .binaryproto. PrepError when it is no mean image or another one."""
    refuse_inputs_as_outputs([options.out], [options.npy])
    _check_replaceable(options.out)
    if not options.npy.exists():
        raise PrepError(f"{options.npy}: not there; run make caffe, which unpacks it, or give --npy")
    if not options.own:
        check_file(options.npy, MEAN_CHECKSUM)
    write_mean(load_mean(options.npy), options.out)


def _check_replaceable(out: Path) -> None:
    """PrepError when there is a file that is no mean image: it is not ours to replace."""
    if not out.exists():
        return
    try:
        whole = out.is_file() and len(messages().BlobProto.FromString(out.read_bytes()).data) == np.prod(MEAN_SHAPE)
    except DecodeError:
        whole = False
    if not whole:
        raise PrepError(f"{out}: is there and is no mean image; it is left alone. Move it, or choose another --out")


def load_mean(path: Path) -> np.ndarray:
    """(3, 256, 256) float32 BGR in 0..255."""
    mean = read_array(path)
    if mean.shape != MEAN_SHAPE:
        raise PrepError(f"{path}: {mean.dtype} array of shape {mean.shape}; "
                        f"a mean image is numbers of shape {MEAN_SHAPE}")
    if not (mean.min() >= 0 and mean.max() <= 255):  # so put, NaN fails too
        raise PrepError(f"{path}: values from {mean.min()} to {mean.max()}; pixel values lie in 0..255")
    return mean.astype(np.float32)


def write_mean(mean: np.ndarray, out: Path) -> None:
    """BlobProto of shape (1, 3, 256, 256), its dimensions in the old fields that every Caffe reads."""
    channels, height, width = mean.shape
    blob = messages().BlobProto(num=1, channels=channels, height=height, width=width, data=mean.ravel().tolist())
    partial = out.with_name(out.name + ".partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_bytes(blob.SerializeToString())
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
