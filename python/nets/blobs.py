"""The authors' names of the layers that make the codes (and of the blobs they write). Imports nothing."""

LATENT = "fc8_kevin"        # latent layer H, InnerProduct
CODES = "fc8_kevin_encode"  # its Sigmoid: bit j of the code is 1 where unit j is >= 0.5
CLASSIFIER = "fc8_pascal"
FC7 = "fc7"                 # after its ReLU


def wanted_blobs(latent_blob: str, feature_blob: str) -> dict[str, str]:
    """{"latent", "fc7": blob} of what --latent-blob and --feature-blob name; "none" leaves one out."""
    return {name: blob for name, blob in (("latent", latent_blob), ("fc7", feature_blob)) if blob != "none"}
