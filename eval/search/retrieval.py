"""What is searched: the queries and the database that a protocol makes of the two splits, with its indexes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from basics.program import EvalError
from search.coarse import CodeIndex
from search.engine import Engine, ThisMachine
from search.feature_set import Split, differing_key, load_features, told_difference
from search.fine import Fc7Index
from search.made_from import array_digest, json_digest, split_digest
from search.protocols import Protocol, split_rows


@dataclass(frozen=True, eq=False)
class Database:
    """What queries are compared with: the training images, and after them the test images that joined them.

    codes (N, words) packed; labels (N,) or (N, L); joining: rows of the test split. fc7 and the indexes are made when
    first asked for, once, and belong to this object. elsewhere: gives an engine that holds the same database.
    """

    codes: np.ndarray
    labels: np.ndarray | None = None
    train: Split | None = None
    test: Split | None = None
    joining: np.ndarray | None = None
    elsewhere: Callable[[], Engine] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def engine(self) -> Engine:
        """Where it is searched: `elsewhere`, or this machine."""
        if self.elsewhere:
            return self.elsewhere()
        return ThisMachine(self.code_index, None if self.fc7 is None else lambda: self.fc7_index)

    @cached_property
    def fc7(self) -> np.ndarray | None:
        """(N, d), memory-mapped where no test images joined; None without fc7."""
        if self.train is None or self.train.fc7 is None or self.test.fc7 is None:
            return None
        return joined(self.train.fc7, self.test.fc7, self.joining)

    @cached_property
    def code_index(self) -> CodeIndex:
        return CodeIndex(self.codes)

    @cached_property
    def fc7_index(self) -> Fc7Index:
        return Fc7Index(self.fc7)

    def locate(self, image: int) -> tuple[Split, int]:
        """(split, row) of a database image."""
        if image < len(self.train):
            return self.train, image
        return self.test, self.joining[image - len(self.train)]


def joined(train: np.ndarray, test: np.ndarray, joining: np.ndarray) -> np.ndarray:
    """Rows of the training images with those of the joining test images after them; no copy if none joins."""
    return train if len(joining) == 0 else np.concatenate([train, test[joining]])


@dataclass(frozen=True, eq=False)
class Retrieval:
    """One protocol's queries, row i of every array being query i, and their database.

    query_codes (Q, words) packed; query_labels (Q,) or (Q, L); query_rows: rows of the test split that are queries.
    """

    query_codes: np.ndarray
    query_labels: np.ndarray | None
    database: Database
    bits: int
    test: Split | None = None
    query_rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.query_codes)

    @cached_property
    def query_fc7(self) -> np.ndarray | None:
        """(Q, d); None unless both sides have fc7."""
        if self.test is None or self.database.train.fc7 is None or self.test.fc7 is None:
            return None
        return picked(self.test.fc7, self.query_rows)

    @cached_property
    def codes_digest(self) -> str:
        """Tells whether lists are of these codes, and of these queries and this database."""
        return array_digest(self.query_codes, self.database.codes, self.query_rows, self.database.joining)

    @cached_property
    def fc7_digest(self) -> str:
        return json_digest([split_digest(split, "fc7") for split in (self.test, self.database.train)])

    @cached_property
    def labels_digest(self) -> str:
        return array_digest(self.query_labels, self.database.labels)


def picked(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows of an array; the array itself, without a copy, where they are all."""
    return array if len(rows) == len(array) else array[rows]


class Retrievals:
    """Two splits, and the Retrieval that each protocol makes of them. What protocols share is made once.

    make_engine: gives what searches the training images, None for this machine. Where test images join them it is not
    asked.
    """

    def __init__(self, queries: Split, database: Split, make_engine: Callable[[Split], Engine] | None = None):
        self.queries, self.database = queries, database
        self.elsewhere = make_engine and partial(make_engine, database)
        self.test_codes, self.train_codes = queries.packed(), database.packed()
        self._databases = {}

    def by(self, protocol: Protocol) -> Retrieval:
        """The Retrieval of one protocol."""
        rows, joining = split_rows(protocol, self.queries.labels)
        return Retrieval(picked(self.test_codes, rows), picked(self.queries.labels, rows), self._database(joining),
                         self.queries.bits, self.queries, rows)

    def _database(self, joining):
        key = joining.tobytes()
        if key not in self._databases:
            self._databases[key] = Database(joined(self.train_codes, self.test_codes, joining),
                                            joined(self.database.labels, self.queries.labels, joining),
                                            self.database, self.queries, joining,
                                            None if len(joining) else self.elsewhere)
        return self._databases[key]


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Activations of the net before fine-tuning, query_fc7 (Q, d) and db_fc7 (N, d), and the blob they are of."""

    query_fc7: np.ndarray
    db_fc7: np.ndarray
    blob: str
    digest: str

    @cached_property
    def fc7_index(self) -> Fc7Index:
        return Fc7Index(self.db_fc7)


# Entries of meta.json that must not change between the two nets: only fine-tuning is to make the difference.
SHARED_WITH_PRETRAINED = ("data", "protocol", "mean", "scale", "input")


def load_pretrained(directory: Path, retrieval: Retrieval) -> Pretrained:
    """The Pretrained of a retrieval's images. EvalError unless they are the same, in the same order, prepared alike."""
    splits = load_features(directory, latent_required=False)
    for before, after in zip(splits, (retrieval.test, retrieval.database.train)):
        check_pretrained(before, after)
    test, train = (split.fc7 for split in splits)
    return Pretrained(picked(test, retrieval.query_rows), joined(train, test, retrieval.database.joining),
                      splits[0].meta.get("blobs", {}).get("fc7", "fc7"),
                      json_digest([split_digest(split, "fc7") for split in splits]))


def check_pretrained(before: Split, after: Split):
    """EvalError unless `before` has fc7 of the images of `after`."""
    if before.fc7 is None:
        raise EvalError(f"{before.folder / 'fc7.npy'} is missing: es-pretrained needs fc7 of the pretrained net")
    if not np.array_equal(before.labels, after.labels):
        raise EvalError(f"{before.folder} and {after.folder} hold other images or another order "
                        "(labels.npy differ): extract both from the same data")
    key = differing_key(before.meta, after.meta, SHARED_WITH_PRETRAINED)
    if key:
        raise EvalError(f"{before.folder} and {after.folder} differ in {told_difference(before, after, key)} of "
                        "meta.json: extract both from the same images by the same pre-processing")
