"""What is searched: the queries and the database that a protocol makes of the two splits."""

import hashlib
from dataclasses import dataclass

import numpy as np

from codes import pack
from eval_errors import EvalError
from feature_set import identity, load_features
from protocols import split_rows


@dataclass
class Trial:
    """What one protocol searches: arrays of queries and database, row i of all being image i.

    query_rows: rows of the test split that are queries; joining: those appended to the training images.
    """

    query_codes: np.ndarray
    db_codes: np.ndarray
    query_labels: np.ndarray
    db_labels: np.ndarray
    query_fc7: np.ndarray | None
    db_fc7: np.ndarray | None
    query_rows: np.ndarray
    joining: np.ndarray
    bits: int

    def fingerprint(self):
        """SHA-256 of both sides' codes: ranked lists of other codes are stale."""
        digest = hashlib.sha256()
        for codes in (self.query_codes, self.db_codes):
            digest.update(repr(codes.shape).encode() + np.ascontiguousarray(codes).tobytes())
        return digest.hexdigest()


def make_trial(queries, database, protocol):
    """The Trial of a protocol from two loaded splits (feature_set.Split)."""
    rows, joining = split_rows(protocol, queries.labels)

    def select(test, train):
        if test is None or train is None:
            return None, None
        picked = test if len(rows) == len(test) else test[rows]
        return picked, (train if len(joining) == 0 else np.concatenate([train, test[joining]]))

    query_codes, db_codes = select(pack(queries.codes()), pack(database.codes()))
    query_labels, db_labels = select(queries.labels, database.labels)
    query_fc7, db_fc7 = select(queries.fc7, database.fc7)
    return Trial(query_codes, db_codes, query_labels, db_labels, query_fc7, db_fc7, rows, joining, queries.bits)


@dataclass
class Pretrained:
    """Activations of the net before fine-tuning, (Q, d) and (N, d), and the blob they were taken from."""

    query_fc7: np.ndarray
    db_fc7: np.ndarray
    blob: str


# Entries of meta.json that must not change between the two nets: only fine-tuning is to make the difference.
SHARED_WITH_PRETRAINED = ("data", "protocol", "mean", "scale", "input")


def load_pretrained(directory, queries, database, protocol):
    """The Pretrained of a protocol, for the same images in the same order and by the same pre-processing."""
    before_queries, before_database = load_features(directory, latent_required=False)
    for before, after in ((before_queries, queries), (before_database, database)):
        if before.fc7 is None:
            raise EvalError(f"{before.folder / 'fc7.npy'} is missing: es-pretrained needs fc7 of the pretrained net")
        if not np.array_equal(before.labels, after.labels):
            raise EvalError(f"{before.folder} and {after.folder} hold other images or another order "
                            "(labels.npy differ): extract both from the same data")
        for key in SHARED_WITH_PRETRAINED:
            values = [identity(side.meta.get(key)) for side in (before, after)]
            if all(key in side.meta for side in (before, after)) and values[0] != values[1]:
                raise EvalError(f"{before.folder} and {after.folder} differ in '{key}' of meta.json ({values[0]} against "
                                f"{values[1]}): extract both from the same images by the same pre-processing")
    before_queries.latent, before_database.latent = queries.latent, database.latent
    trial = make_trial(before_queries, before_database, protocol)
    return Pretrained(trial.query_fc7, trial.db_fc7, before_queries.meta.get("blobs", {}).get("fc7", "fc7"))
