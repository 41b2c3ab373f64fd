"""What embed.py can be told. Imports nothing that loads Caffe."""
from dataclasses import dataclass
from pathlib import Path

from features.options import ExtractOptions


@dataclass(frozen=True)
class EmbedOptions:
    """model: net, weights, blobs, pre-processing and device, as extract.py has them.

    images_of: folder with the train/ and test/ of features whose images are shown, or None.
    """
    model: ExtractOptions
    images_of: Path | None
