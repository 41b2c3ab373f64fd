"""The model card of a package: README.md, its front matter as Hugging Face's hub reads it."""
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffe_files.prototxt import read_net
from features.preprocess import Preprocessor
from nets.blobs import SSDH
from packing.finished import Finished

HUB_NAMES = {"cifar10": "uoft-cs/cifar10", "mnist": "ylecun/mnist"}  # data sets that the hub has, by our names
METHODS = {
    SSDH.codes: "SSDH (Yang, Lin, Chen: Supervised Learning of Semantics-Preserving Hash via Deep Convolutional Neural "
                "Networks)",
    None: "K. Lin, H.-F. Yang, J.-H. Hsiao, C.-S. Chen: Deep Learning of Binary Hash Codes for Fast Image Retrieval, "
          "CVPR Workshops 2015, doi:10.1109/CVPRW.2015.7301269",
}
FILES = {
    "deploy.prototxt": "the net, as Caffe reads it", "model.caffemodel": "its weights",
    "model.onnx": "both, as ONNX", "mean.binaryproto": "the mean image, as Caffe reads it",
    "mean.npy": "the mean image, (channels, height, width) float32, BGR",
    "codes.npy": "the database's codes, (images, bytes) uint8: bit j of a code is bit 7 - j % 8 of byte j // 8, as "
                 "numpy.packbits writes it; unused bits are 0. Binary indexes of faiss and usearch take it as it is",
    "labels.npy": "(images,) classes, or (images, labels) 0/1", "ids.txt": "a line for each image of the database",
    "meta.json": "what made the codes: net, weights, pre-processing, names of the classes",
    "results.json": "all figures", "fc7.npy": "(images, units) float32 features, for the second stage",
    "thumbs.npy": "(images, side, side, 3) uint8 RGB pictures", "SHA256SUMS": "checksums: sha256sum -c SHA256SUMS"}


@dataclass(frozen=True)
class Card:
    """names: files of the package. licence: of the weights; None: not stated."""
    run: Finished
    licence: str | None
    names: frozenset[str]

    def text(self) -> str:
        """The whole file."""
        parts = [self._front_matter(), self._what(), self._figures(), self._training(), self._licence(), self._files(),
                 self._use()]
        return "\n".join(parts)

    @property
    def _title(self) -> str:
        return f"{self.run.settings['net']}, {self.run.meta['bits']}-bit hash codes"

    @property
    def _dataset(self) -> str:
        return self.run.meta["data"].get("dataset") or "unnamed"

    def _front_matter(self) -> str:
        """YAML; the values are written as JSON, which YAML reads."""
        results, hub = self.run.results, HUB_NAMES.get(self._dataset)
        fields: dict[str, Any] = {
            "library_name": "caffe", "pipeline_tag": "image-feature-extraction",
            "tags": ["caffe", "onnx", "image-retrieval", "hashing", "binary-codes", "cvprw15"],
            "license": self.licence or "other",
            **({} if self.licence else {"license_name": "not-stated"}), **({"datasets": [hub]} if hub else {}),
            "model-index": [{"name": self.run.folder.path.name, "results": [{
                "task": {"type": "image-retrieval", "name": "Image retrieval"},
                "dataset": {"type": hub or self._dataset, "name": self._dataset},
                "metrics": [{"type": "mean_average_precision", "value": round(row["map"], 6),
                             "name": f"mAP@{row['top_k']}, protocol {row['protocol']}"}
                            for row in results.get("protocols", []) if row.get("map") is not None]
                + ([{"type": "accuracy", "value": round(results["accuracy"], 6), "name": "accuracy of the classifier"}]
                   if "accuracy" in results else [])}]}]}
        lines = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items())
        return f"---\n{lines}---\n"

    def _what(self) -> str:
        meta = self.run.meta
        method = METHODS.get(meta["blobs"]["latent"], METHODS[None])
        return (f"# {self._title}\n\nA net that turns an image into a code of {meta['bits']} bits, so that images of "
                f"one class have codes of small Hamming distance, and the codes of {meta['count']:,} images to search."
                f"\n\nMethod: {method}. Trained by a reproduction of it in BVLC Caffe.\n")

    def _figures(self) -> str:
        results = self.run.results
        rows = [f"| mAP@{row['top_k']:,} | {row['map']:.4f} | `{row['protocol']}`: {row['queries']:,} queries, "
                f"{row['database']:,} images in the database, AP divided by {row['ap_divisor']} |"
                for row in results.get("protocols", []) if row.get("map") is not None]
        if "accuracy" in results:
            rows.append(f"| accuracy of the classifier | {results['accuracy']:.4f} | {results['queries']:,} test "
                        "images |")
        return "\n".join(["## Figures", "", "Codes alone, on the test images of the data set.", "",
                          "| measure | value | protocol |", "|---|---|---|", *rows, ""])

    def _training(self) -> str:
        made, meta = self.run.settings, self.run.meta
        start, part = made["weights"], made.get("schedule", 1)
        started = f"`{Path(start['file']).name}` (SHA-256 `{start['sha256']}`)" if start["file"] else "random weights"
        classes = ", ".join(map(str, meta.get("classes") or [])) or f"{made['classes']} classes"
        shortened = f" ({part:g} of the solver's schedule)" if part != 1 else ""
        rows = (("data", f"{self._dataset}: {made['train_data']['images']:,} training and "
                         f"{made['test_data']['images']:,} test images"),
                ("classes", classes), ("started from", started),
                ("iterations", f"{made['iterations']:,} of {made['batch']} images{shortened}"),
                ("seed", made["seed"]), ("project's commit", made["commit"]), ("started", made["started"]),
                ("pre-processing", f"`{meta['protocol']}`, scale {meta['scale']:.7g}"))
        return "\n".join(["## Training", "", *_table("", "", rows)])

    def _licence(self) -> str:
        words = (f"Of the weights and codes: `{self.licence}`." if self.licence else
                 "Not stated by whoever made this package: ask before you use it for more than a trial.")
        return (f"## Licence\n\n{words} The data set and the weights that training started from have licences of their "
                "own.\n")

    def _files(self) -> str:
        names = [name for name in FILES if name in self.names]
        rows = [(f"`{name}`", FILES[name]) for name in names]
        return "\n".join(["## Files", "", "Row i of the arrays is image i.", "", *_table("file", "what", rows)])

    def _use(self) -> str:
        blob = self.run.meta["blobs"]["latent"]
        return f"""\
## Use

With the project, which checks the checksums first:

    make query PACKAGE=this-folder IMAGE=photo.jpg

With ONNX Runtime:

```python
import cv2
import numpy as np
import onnxruntime

{self._prepared()}
net = onnxruntime.InferenceSession("model.onnx")
latent, = net.run(["{blob}"], {{"{self._input}": image}})
code = np.packbits(latent >= 0.5, axis=1)
codes, labels = np.load("codes.npy"), np.load("labels.npy")
distances = np.bitwise_count(codes ^ code).sum(1)
nearest = distances.argsort(kind="stable")[:10]
print(np.column_stack([nearest, distances[nearest]]), labels[nearest])
```

With Caffe, `image` prepared as above:

```python
import caffe

net = caffe.Net("deploy.prototxt", "model.caffemodel", caffe.TEST)
net.blobs["{self._input}"].reshape(*image.shape)
net.blobs["{self._input}"].data[...] = image
net.forward()
latent = net.blobs["{blob}"].data
```
"""

    @property
    def _input(self) -> str:
        """The net's input blob."""
        return next(layer.top[0] for layer in read_net(self.run.folder.deploy).layer if layer.type == "Input")

    def _prepared(self) -> str:
        """Lines of Python from a file to the net's input, as features/preprocess.py does it."""
        meta = self.run.meta
        channels, crop, _ = meta["input"]
        size = meta["resize"]
        start = Preprocessor(meta["protocol"], channels, crop, size).start if meta["protocol"] != "none" else 0
        grey = channels == 1
        lines = ['image = cv2.imread("photo.jpg")  # BGR'] + ["image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)"] * grey
        early = ".astype(np.float32)" if meta["protocol"] == "authors" else ""
        lines.append(f"image = cv2.resize(image{early}, ({size}, {size})){'' if early else '.astype(np.float32)'}")
        lines.append("image = image[np.newaxis]" if grey else "image = image.transpose(2, 0, 1)")
        lines += ['image -= np.load("mean.npy")'] if self.run.mean else []
        window = f"{start}:{start + crop}"
        scale = f" * np.float32({meta['scale']!r})" if meta["scale"] != 1 else ""
        lines.append(f"image = np.ascontiguousarray(image[np.newaxis, :, {window}, {window}]){scale}")
        return "\n".join(lines)


def _table(left: str, right: str, rows: Iterable[tuple[str, Any]]) -> list[str]:
    """Lines of a table of two columns."""
    return [f"| {left} | {right} |", "|---|---|", *(f"| {one} | {other} |" for one, other in rows), ""]
