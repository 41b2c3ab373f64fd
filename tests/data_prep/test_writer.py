"""What lies in the database: order, content, companions; and that nothing half-written stays."""
import hashlib
import json
import resource
from dataclasses import replace

import lmdb
import numpy as np
import pytest

from databases import writer
from databases.datums import messages
from databases.pixels import to_pixels
from databases.writer import ImageFormat, LmdbAppender, write_database
from prep.errors import PrepError
from sources.image_set import ImageSet

SIDE = 8


def images(count=50, side=SIDE, broken=()):
    pixels = np.random.default_rng(1).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return ImageSet([f"i/{row}" for row in range(count)], np.arange(count, dtype=np.int64) % 3, ("a", "b", "c"),
                    lambda row: b"broken" if row in broken else pixels[row], {"description": "made up"})


AS_THEY_ARE = ImageFormat(SIDE)


def write(source, path, image_format=AS_THEY_ARE, **options):
    defaults = {"seed": None, "jobs": 2, "dataset": "d", "split": "train"}
    return write_database(source, path, image_format, **{**defaults, **options})


def entries(path):
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return [(key, messages().Datum.FromString(value)) for key, value in transaction.cursor()]


def pixels_of(datum):
    return np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)


@pytest.mark.parametrize("seed", [None, 3])
def test_rows_keys_labels_and_ids_agree(tmp_path, seed):
    source = images()
    meta = write(source, tmp_path / "train_lmdb", seed=seed)
    order = list(range(50)) if seed is None else np.random.default_rng(seed).permutation(50).tolist()
    found = entries(tmp_path / "train_lmdb")
    assert [key for key, _ in found] == [b"%08d" % row for row in range(50)]
    for (_, datum), row in zip(found, order):
        np.testing.assert_array_equal(pixels_of(datum), source.read(row).transpose(2, 0, 1))
        assert datum.label == row % 3
    assert (tmp_path / "train_lmdb/ids.txt").read_text().splitlines() == [f"i/{row}" for row in order]
    labels = np.load(tmp_path / "train_lmdb/labels.npy")
    assert labels.dtype == np.int64
    assert labels.tolist() == [row % 3 for row in order]
    assert json.loads((tmp_path / "train_lmdb/meta.json").read_text()) == meta
    assert {key: meta[key] for key in ("count", "height", "width", "channels", "seed", "encoded", "class_counts")} == {
        "count": 50, "height": SIDE, "width": SIDE, "channels": 3, "seed": seed, "encoded": False,
        "class_counts": [17, 17, 16]}


def test_threads_do_not_change_the_database(tmp_path):
    fingerprints = {write(images(), tmp_path / f"jobs{jobs}", seed=1, jobs=jobs)["fingerprint"] for jobs in (1, 2, 7)}
    assert len(fingerprints) == 1


def test_fingerprint_by_hand(tmp_path):
    source = images(2)
    digests = b"".join(hashlib.sha256(f"{row} 3 16 16\n".encode() + source.read(row).tobytes()).digest()
                       for row in range(2))
    assert write(source, tmp_path / "a", ImageFormat(16))["fingerprint"] == hashlib.sha256(digests).hexdigest()


def test_fingerprint_depends_on_order_labels_pixels_and_size(tmp_path):
    source = images()
    relabelled = replace(source, labels=(source.labels + 1) % 3)
    changed = replace(source, read=lambda row: source.read(row) if row != 49 else source.read(row) ^ 1)
    found = [write(source, tmp_path / "a"), write(source, tmp_path / "b", seed=1), write(relabelled, tmp_path / "c"),
             write(changed, tmp_path / "d"), write(source, tmp_path / "e", ImageFormat(9))]
    assert len({meta["fingerprint"] for meta in found}) == 5


def test_encoded_holds_the_same_pixels_and_the_same_fingerprint(tmp_path):
    raw, png = (write(images(), tmp_path / str(e), ImageFormat(16, encoded=e)) for e in (None, writer.PNG))
    assert raw["fingerprint"] == png["fingerprint"]
    assert png["encoded"]
    for (_, a), (_, b) in zip(entries(tmp_path / "None"), entries(tmp_path / "png")):
        assert b.encoded
        assert a.label == b.label
        np.testing.assert_array_equal(pixels_of(a), to_pixels(b.data, False).transpose(2, 0, 1))


def test_grey_is_one_channel(tmp_path):
    assert write(images(), tmp_path / "g", ImageFormat(SIDE, grey=True))["channels"] == 1
    assert entries(tmp_path / "g")[0][1].channels == 1


def test_the_map_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "FIRST_MAP_SIZE", 1 << 16)
    source = images(60, side=40)
    write(source, tmp_path / "big", ImageFormat(40))
    for row, (_, datum) in enumerate(entries(tmp_path / "big")):
        np.testing.assert_array_equal(pixels_of(datum), source.read(row).transpose(2, 0, 1))


def test_unreadable_images_are_all_named_and_leave_no_database(tmp_path):
    with pytest.raises(PrepError, match=r"2 of 50 images unreadable.*i/4: .*--skip-unreadable"):
        write(images(broken={4, 40}), tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x_unreadable.txt"]
    assert [line.split("\t")[0] for line in (tmp_path / "x_unreadable.txt").read_text().splitlines()] == ["i/4", "i/40"]


def test_skipped_images_leave_no_gap_and_the_list_goes_with_the_next_whole_run(tmp_path):
    meta = write(images(broken={4, 40}), tmp_path / "x", skip_unreadable=True)
    assert meta["count"] == 48 == len(entries(tmp_path / "x")) == len(np.load(tmp_path / "x/labels.npy"))
    assert entries(tmp_path / "x")[4][1].label == 5 % 3
    write(images(), tmp_path / "x")
    assert not (tmp_path / "x_unreadable.txt").exists()


def test_a_class_that_skipping_empties_is_an_error(tmp_path):
    with pytest.raises(PrepError, match="no readable image left of class 'b'"):
        write(images(6, broken={1, 4}), tmp_path / "x", skip_unreadable=True)


def test_all_unreadable_is_an_error_even_when_skipping(tmp_path):
    with pytest.raises(PrepError, match="50 of 50 images unreadable.*--root right"):
        write(images(broken=range(50)), tmp_path / "x", skip_unreadable=True)


def test_images_of_different_sizes(tmp_path):
    source = ImageSet(["a", "b"], np.array([0, 0]), ("k",), lambda row: np.zeros((4, 5 + row), np.uint8),
                      {"description": "two widths"})
    with pytest.raises(PrepError, match="differ in size"):
        write(source, tmp_path / "x", ImageFormat(0))
    assert not (tmp_path / "x").exists()
    meta = write(source, tmp_path / "x", ImageFormat(0), same_size=False)
    assert (meta["height"], meta["width"]) == (4, None)


def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit on the size of files fails as a full disk does: the write returns an error in mid-transaction."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(PrepError, match="cannot write the database: .*File too large"):
            write(images(100, side=40), tmp_path / "x", ImageFormat(40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small_is_seen_before_the_work(tmp_path):
    with pytest.raises(PrepError, match="needs .* MB, the disk has"):
        write(images(), tmp_path / "x", ImageFormat(1 << 20))  # 3 TB an image


def test_a_failed_overwrite_keeps_the_old_database(tmp_path):
    before = write(images(), tmp_path / "x")
    with pytest.raises(PrepError):
        write(images(broken={1}), tmp_path / "x")
    assert json.loads((tmp_path / "x/meta.json").read_text()) == before
    after = write(images(20), tmp_path / "x")
    assert len(entries(tmp_path / "x")) == after["count"] == 20
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_a_killed_run_left_is_cleared(tmp_path):
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial/data.mdb").write_bytes(b"half")
    assert write(images(), tmp_path / "x")["count"] == len(entries(tmp_path / "x"))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_appender_counts_on_across_calls(tmp_path):
    with LmdbAppender(tmp_path) as database:
        database.append([b"a", b"b"])
        database.append([b"c"])
    with lmdb.open(str(tmp_path), readonly=True) as env, env.begin() as transaction:
        assert dict(transaction.cursor()) == {b"00000000": b"a", b"00000001": b"b", b"00000002": b"c"}
