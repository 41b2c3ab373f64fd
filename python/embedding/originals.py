"""The images that features were made from, by their row: from their database, or from the files that ids.txt names."""
from pathlib import Path

import lmdb
import numpy as np

from caffe_files.databases import datum_image, entry_name, is_database, parse_datum
from embedding.decoder import Decoder
from embedding.decoding import MOST_PIXELS, NoImage, preview
from features.feature_files import META_SCHEMA
from features.sources import LmdbSource
from process.errors import DriverError
from process.readers import read_json

SIDE = 1024             # of what is shown
MOST_BYTES = 4 * MOST_PIXELS


class Originals:
    """Images of one folder of features. DriverError, in a sentence, where there is nothing to show."""

    def __init__(self, features: Path) -> None:
        meta = features / "meta.json"
        if not meta.is_file():
            raise DriverError(f"{meta} is missing: nothing tells where the images lie")
        told = read_json(meta, META_SCHEMA)
        self.features, self.data = features, told.get("data") or {}
        self.own: int | None = told.get("own_count")  # rows from here on were added from files (add.py)
        self.path = Path(self.data.get("path") or "")
        self.keys: list[bytes] | None = None
        self.names: list[str] | None = None

    def png(self, row: int, decoder: Decoder) -> bytes:
        """The image of a row as PNG, no side above 1,024. DriverError when it is not there (any more) or none."""
        of_run = self.own is None or row < self.own
        if of_run and self.data.get("path") and is_database(self.path):
            return self._of_database(row, decoder)
        return self._of_file(row, decoder)

    def _of_database(self, row: int, decoder: Decoder) -> bytes:
        if self.keys is None:
            self._check_images()
        with lmdb.open(str(self.path), readonly=True, lock=False) as database, database.begin() as transaction:
            self.keys = self.keys or _keys(transaction)
            key = self.keys[row] if row < len(self.keys) else None
            value = transaction.get(key) if key is not None else None
        if value is None:
            raise DriverError(f"{self.path} has no image {row} any more: extract the features again")
        where = entry_name(self.path, key)
        datum = parse_datum(value, where)
        if datum.encoded:
            return self._through(decoder, datum.data, where)
        return preview(np.ascontiguousarray(datum_image(datum, where)), SIDE)

    def _check_images(self) -> None:
        """DriverError unless the database still is the one that the features are of."""
        source = LmdbSource(self.path)
        if any(self.data.get(name, value) != value for name, value in source.identity().items()):
            raise DriverError(f"{self.path} holds other images than the features were made from: extract them again")

    def _of_file(self, row: int, decoder: Decoder) -> bytes:
        if self.names is None:
            ids = self.features / "ids.txt"
            self.names = ids.read_text("utf-8", "surrogateescape").splitlines() if ids.is_file() else []
        path = Path(self.names[row]) if row < len(self.names) else None
        if path is None or not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise DriverError(f"the original of image {row} is not where it was when the features were made")
        return self._through(decoder, path.read_bytes(), f"the original of image {row}")

    def _through(self, decoder: Decoder, data: bytes, what: str) -> bytes:
        """Decoded and encoded again: nothing but pixels leaves."""
        try:
            return decoder.decode(data, SIDE, net_input=False).parts["preview"]
        except NoImage as error:
            raise DriverError(f"{what}: {error}") from None


def _keys(transaction: lmdb.Transaction) -> list[bytes]:
    """All keys, in the order of rows."""
    with transaction.cursor() as cursor:
        return list(cursor.iternext(keys=True, values=False))
