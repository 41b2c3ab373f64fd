"""A data set of the user's, as its databases tell of it."""
from pathlib import Path

from caffe_files.databases import read_meta
from nets.definitions import DataSet
from process.errors import DriverError


def data_set_of(databases: Path, name: str) -> DataSet:
    """The DataSet of data/<set>, by the meta.json of its two databases. DriverError where they do not say enough."""
    metas = {split: read_meta(databases / f"{split}_lmdb") for split in ("train", "test")}
    for split, meta in metas.items():
        if not isinstance(meta.get("count"), int) or not isinstance(meta.get("classes"), list):
            raise DriverError(f"{databases / f'{split}_lmdb'}: no meta.json of make_lmdb.py that tells its images and "
                              "classes; give the number of classes with --classes")
    if metas["train"]["classes"] != metas["test"]["classes"]:
        raise DriverError(f"{databases}: its two databases have other classes; make them anew")
    several = [bool(meta.get("several_labels")) for meta in metas.values()]
    if several[0] != several[1]:
        raise DriverError(f"{databases}: the images of one of its two databases have several labels each, those of the "
                          "other have one; make them anew, from lists of one kind")
    if len(metas["train"]["classes"]) < 2:
        raise DriverError(f"{databases} has one class only, {metas['train']['classes'][0]!r}: a classifier needs two")
    return DataSet(name, len(metas["train"]["classes"]), metas["test"]["count"], metas["train"]["count"],
                   several[0])
