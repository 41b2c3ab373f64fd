"""The public files this project uses: where they lie and their checksums."""
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublicFile:
    """checksum: "algorithm:hex", None where the publisher gave none.
    unpacked: the checksum is of what the .gz file holds, as packing it again changes its bytes.
    sha256: of the file, where its publisher gave a weaker checksum and others found this one.
    other_url: asked where `url` does not answer.
    layers: {layer: shape of its weights} of a caffemodel, without which the file is another one."""
    name: str
    url: str
    checksum: str | None = None
    unpacked: bool = False
    sha256: str | None = None
    other_url: str | None = None
    layers: Mapping[str, tuple[int, ...]] | None = None

    def expected(self) -> str:
        """The checksum in words."""
        if self.checksum is None:
            return "no checksum was published"
        algorithm, value = self.checksum.split(":")
        return f"{algorithm.upper()}{' of the unpacked file' if self.unpacked else ''} {value}"


# CaffeNet up to fc7, as a net of 227x227 colour images stores it.
CAFFENET_BODY = {"conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3),
                 "conv4": (384, 192, 3, 3), "conv5": (256, 192, 3, 3), "fc6": (4096, 9216), "fc7": (4096, 4096)}


def _mnist(stem: str, md5: str) -> PublicFile:
    url = f"https://ossci-datasets.s3.amazonaws.com/mnist/{stem}.gz"
    return PublicFile(f"{stem}.gz", url, f"md5:{md5}", unpacked=True)


PUBLIC_FILES = {
    "train-images-idx3-ubyte": _mnist("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": _mnist("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": _mnist("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": _mnist("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
    "cifar10": PublicFile("cifar-10-binary.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                          "md5:c32a1d4ab5d03f1284b67883e8d87530"),
    "caffenet": PublicFile("bvlc_reference_caffenet.caffemodel",
                           "https://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel",
                           "sha1:4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
                           # Package recipes of several systems hold the file of this address to it.
                           sha256="472d4a06035497b180636d8a82667129960371375bd10fcb6df5c6c7631f25e0",
                           other_url="http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel"),
    "released-48": PublicFile("KevinNet_CIFAR10_48.caffemodel",
                              "https://www.dropbox.com/s/1om7xa8mz93wkzh/KevinNet_CIFAR10_48.caffemodel?dl=1",
                              layers={**CAFFENET_BODY, "fc8_kevin": (48, 4096), "fc8_pascal": (10, 4096)}),
}
GROUPS = {"mnist": tuple(name for name in PUBLIC_FILES if name.endswith("ubyte"))}


def files_of(name: str) -> list[PublicFile]:
    """The files of a group, or the one of that name."""
    return [PUBLIC_FILES[member] for member in GROUPS.get(name, (name,))]
