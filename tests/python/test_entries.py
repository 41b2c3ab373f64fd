"""Every entry of a database is looked at before anything is made of it, once."""
import faulthandler
import os

import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_cases import CLASSES, images_of, write_lmdb
from caffe_files import entries
from caffe_files.databases import cursor_of
from caffe_files.entries import check_entries
from process.errors import DriverError

Datum = caffe_pb2.Datum


def change_entry(path, row, value):
    with lmdb.open(str(path), map_size=1 << 28) as database, database.begin(write=True) as transaction:
        transaction.put(b"%08d" % row, value)


@pytest.fixture
def database(tmp_path):
    write_lmdb(tmp_path / "set_lmdb", *images_of(20, 1))
    return tmp_path / "set_lmdb"


def test_what_all_entries_have_in_common(database):
    found = check_entries(database)
    assert (found.count, found.shape, found.labels) == (20, (3, 36, 36), (0, CLASSES - 1))


@pytest.mark.parametrize("value, message", [
    (Datum(channels=3, height=36, width=36, data=b"x" * 100).SerializeToString(), "has 100 values for the shape"),
    (Datum(channels=3, height=0, width=36, label=1).SerializeToString(), "has 0 values for the shape"),
    (Datum(encoded=True, data=b"\xff\xd8 no more").SerializeToString(), "is not an image that OpenCV can read"),
    (b"\xff\xff\xff", "is no Caffe Datum"), (b"", "has 0 values")])
def test_an_entry_that_is_no_image_is_named(database, value, message):
    change_entry(database, 11, value)
    with pytest.raises(DriverError, match=f"set_lmdb: entry 00000011 {message}"):
        check_entries(database)


def test_a_database_without_its_end_is_told_from_a_full_memory(database):
    os.truncate(database / "data.mdb", (database / "data.mdb").stat().st_size // 2)
    with pytest.raises(DriverError, match="set_lmdb is not a whole LMDB .data.mdb has .* bytes"):
        check_entries(database)


def test_a_reader_that_dies_of_a_damaged_tree_ends_in_a_sentence(database, monkeypatch):
    monkeypatch.setattr(entries, "_look_at_all", lambda source: (faulthandler.disable(), os.kill(os.getpid(), 11)))
    with pytest.raises(DriverError, match="set_lmdb is damaged: reading it ended with SIGSEGV"):
        check_entries(database)


@pytest.mark.parametrize("name, content, message", [
    ("meta.json", b'{"count": 19}', "says 19 images, the database has 20"),
    ("meta.json", b"[1]", "is not the JSON that belongs there"),
    ("meta.json", b"\xff\xfe", "byte 0 is not UTF-8"),
    ("meta.json", b"[" * 100000, "is not the JSON that belongs there"),
    ("meta.json", b'{"count": NaN}', "NaN is no JSON"),
    ("labels.npy", b"", "is no .npy file"),
    ("labels.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<i8',", "is no whole .npy file")])
def test_files_beside_the_entries_that_contradict_them(database, name, content, message):
    (database / name).write_bytes(content)
    with pytest.raises(DriverError, match=f"{name} .*{message}"):
        check_entries(database)


def test_what_was_found_is_kept_until_the_database_changes(database, tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(entries, "KEPT_FROM", 0)
    first = check_entries(database)
    with monkeypatch.context() as patched:
        patched.setattr(entries, "_look_at_all", lambda source: pytest.fail("looked again"))
        assert check_entries(database) == first
    with cursor_of(database) as (_, cursor):
        cursor.set_key(b"00000007")
        datum = Datum.FromString(bytes(cursor.value()))
    datum.data = bytes([datum.data[0] ^ 1]) + datum.data[1:]
    change_entry(database, 7, datum.SerializeToString())
    assert check_entries(database).sha256 != first.sha256


def test_training_refuses_a_label_and_a_shape_deep_in_the_database(problem, call):
    def train():
        return call("train", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none")
    images, _ = images_of(1, 5)
    change_entry("train_lmdb", 40, Datum(channels=3, height=36, width=36, data=images[0].tobytes(), label=5000)
                 .SerializeToString())
    status, said = train()
    assert status == 1
    assert "go from 0 to 5000" in said
    change_entry("train_lmdb", 40, Datum(channels=3, height=36, width=35, data=b"x" * 3 * 36 * 35).SerializeToString())
    status, said = train()
    assert status == 1
    assert "train_lmdb holds images of several shapes" in said


def test_features_are_made_again_when_a_pixel_changed_under_the_same_meta(tiny_run, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tiny_run.folder)
    images, labels = images_of(6, 9)
    write_lmdb(tmp_path / "set_lmdb", images, labels)
    (tmp_path / "set_lmdb/meta.json").write_text('{"fingerprint": "same"}')

    def extract():
        status, said = call("extract", "--run", "run", "--lmdb", tmp_path / "set_lmdb", "--out", tmp_path / "features",
                            "--gpu", "none", "--protocol", "caffe")
        assert status == 0, said
        return said, np.load(tmp_path / "features/fc7.npy")
    first = extract()[1]
    assert "kept" in extract()[0]
    changed = Datum(channels=3, height=36, width=36, data=(255 - images[2]).tobytes(), label=int(labels[2]))
    change_entry(tmp_path / "set_lmdb", 2, changed.SerializeToString())
    assert not np.array_equal(extract()[1], first)
