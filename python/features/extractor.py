"""The net that computes the features."""
from pathlib import Path

import caffe
import numpy as np

from caffe_files.weights import Match, load
from process.errors import DriverError


class Extractor:
    """A deploy net with weights, run as far as the blobs wanted. blobs: {"latent", "fc7": blob}, or one of them."""

    def __init__(self, net_file: Path, weights: Path, blobs: dict[str, str], batch: int) -> None:
        self.net = caffe.Net(str(net_file), caffe.TEST)
        for option, blob in blobs.items():
            if blob not in self.net.blobs:
                name = {"fc7": "feature"}.get(option, option)
                raise DriverError(f"{net_file} has no blob {blob!r} (--{name}-blob). "
                                  f"It has: {', '.join(self.net.blobs)}")
        self.blobs = blobs
        found = load(weights, self.net)
        self._check_needed(net_file, weights, found)
        self.classifier = self._classifier(found)
        self.input = self.net.inputs[0]
        self.net.blobs[self.input].reshape(batch, *self.net.blobs[self.input].data.shape[1:])
        self.net.reshape()

    def _check_needed(self, net_file: Path, weights: Path, found: Match) -> None:
        """A layer that the wanted blobs depend on and that the file lacks is an error."""
        needed = list(self.net._layer_names)[:self._last_layer() + 1]
        missing = [name for name in found.initialised if name in needed]
        if missing:
            raise DriverError(f"{weights} has no weights for layer {', '.join(missing)} of {net_file}: the features "
                              "would be noise. Is it the model of this net? If it has only the layers below, name a "
                              "blob it reaches with --feature-blob and leave the codes out with --latent-blob none")

    def _classifier(self, found: Match) -> str | None:
        """The blob that the final Softmax or the end of the net gives, when the net goes on to class scores.

        Not of a net for several labels an image, which ends with a Sigmoid: its highest score is no class.
        """
        if "latent" not in self.blobs or found.initialised:
            return None
        ends = [blob for blob in self.net.outputs
                if self.net.blobs[blob].data.ndim == 2 and blob not in self.blobs.values()]
        return ends[-1] if ends and self._writer(ends[-1]) != "Sigmoid" else None

    def _writer(self, blob: str) -> str:
        """Type of the last layer that writes a blob."""
        return [layer.type for i, layer in enumerate(self.net.layers)
                if any(self.net._blob_names[top] == blob for top in self.net._top_ids(i))][-1]

    def _last_layer(self) -> int:
        """Index of the last layer that writes one of the wanted blobs (in-place layers write them too)."""
        names = list(self.net._layer_names)
        return max(i for i in range(len(names)) for top in self.net._top_ids(i)
                   if self.net._blob_names[top] in self.blobs.values())

    def width(self, name: str) -> int | None:
        """Columns of a blob by its name, latent or fc7; None when it is not wanted."""
        if name not in self.blobs:
            return None
        blob = self.net.blobs[self.blobs[name]]
        return blob.count // blob.data.shape[0]

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """{name: (n, d) float32} for images (n, C, H, W), n at most the batch.

        Where the net classifies also predictions (n,) int64. DriverError for values that no such blob can have.
        """
        count = len(images)
        self.net.blobs[self.input].data[:count] = images
        self.net._forward(0, len(self.net.layers) - 1 if self.classifier else self._last_layer())
        result = {name: self.net.blobs[blob].data[:count].reshape(count, -1) for name, blob in self.blobs.items()}
        _check_activations(result, self.blobs)
        if self.classifier:
            scores = self.net.blobs[self.classifier].data[:count]
            _check_finite(scores, self.classifier)
            result["predictions"] = scores.argmax(1)
        return result


def _check_activations(result: dict[str, np.ndarray], blobs: dict[str, str]) -> None:
    """NaN, latent outside 0..1, negative fc7 mean a wrong blob or broken weights: a silent wrong number otherwise."""
    for name, values in result.items():
        _check_finite(values, blobs[name])
        low, high = values.min(), values.max()
        if name == "latent" and (low < 0 or high > 1):
            raise DriverError(f"blob {blobs[name]} goes from {low:g} to {high:g}: latent activations lie in 0..1. Name "
                              "the blob behind the Sigmoid with --latent-blob")
        if name == "fc7" and low < 0:
            raise DriverError(f"blob {blobs[name]} goes down to {low:g}: it is taken before its ReLU. Name the blob "
                              "behind it with --feature-blob")


def _check_finite(values: np.ndarray, blob: str) -> None:
    if not np.isfinite(values).all():
        raise DriverError(f"blob {blob} has values that are not finite: the weights are broken or the input is")
