"""The authors' names of the layers that make the codes (and of the blobs they write). Imports no room."""
from collections.abc import Container
from dataclasses import dataclass

FC7 = "fc7"  # after its ReLU
OWN = "own"  # for --latent-blob: whichever of the names below the net has


@dataclass(frozen=True)
class Names:
    """latent: InnerProduct. codes: its Sigmoid, bit j is 1 where unit j is >= 0.5. classifier: behind it."""
    latent: str
    codes: str
    classifier: str


CVPRW = Names("fc8_kevin", "fc8_kevin_encode", "fc8_pascal")  # the paper's
SSDH = Names("latent", "latent_sigmoid", "fc9")               # its 2017 follow-up's
NAMES = (CVPRW, SSDH)


def codes_blob(blobs: Container[str]) -> str:
    """The blob of the codes in a net of these blobs: SSDH's where it has that, else the paper's, there or not."""
    return next((names.codes for names in NAMES if names.codes in blobs), CVPRW.codes)


def wanted_blobs(latent_blob: str, feature_blob: str, blobs: Container[str]) -> dict[str, str]:
    """{"latent", "fc7": blob} of what --latent-blob and --feature-blob name; "none" leaves one out.

    blobs: of the net; what OWN stands for is looked up there.
    """
    latent = codes_blob(blobs) if latent_blob == OWN else latent_blob
    return {name: blob for name, blob in (("latent", latent), ("fc7", feature_blob)) if blob != "none"}
