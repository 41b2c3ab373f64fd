"""rows.py: memory of mapped files."""

import numpy as np

from basics import rows
from basics.rows import evenly, gather, release


def resident_of_files() -> int:
    """Bytes of mapped files that count as this process's memory."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssFile"))


def test_pages_that_were_read_are_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "LARGE_FILE", 1 << 20)
    np.save(tmp_path / "x.npy", np.arange(1 << 24, dtype=np.int32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    before = resident_of_files()
    total = int(mapped.sum(dtype=np.int64))
    assert resident_of_files() - before > mapped.nbytes / 2
    release(mapped)
    assert resident_of_files() - before < mapped.nbytes / 8
    assert int(mapped.sum(dtype=np.int64)) == total


def test_rows_that_lie_apart_are_gathered_a_few_at_a_time(tmp_path, monkeypatch):
    """Each may map 2 MiB around it: 32 rows as far apart as that would hold the whole file."""
    monkeypatch.setattr(rows, "LARGE_FILE", 1 << 20)
    monkeypatch.setattr(rows, "GATHERED_ROWS", 4)
    np.save(tmp_path / "x.npy", np.arange(1 << 24, dtype=np.int32).reshape(-1, 1024))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    before, most = resident_of_files(), []

    def released(array):
        most.append(resident_of_files() - before)
        release(array)

    monkeypatch.setattr(rows, "release", released)
    wanted = evenly(len(mapped), 32)
    np.testing.assert_array_equal(gather(mapped, wanted), wanted[:, None] * 1024 + np.arange(1024))
    assert len(most) == 8
    assert max(most) < mapped.nbytes / 4
    assert resident_of_files() - before < mapped.nbytes / 8


def test_gathered_rows_go_where_they_are_wanted():
    values, room = np.arange(600, dtype=np.float16).reshape(200, 3), np.full((150, 3), -1, np.float32)
    wanted = np.arange(199, 49, -1)
    assert gather(values, wanted, room) is room
    np.testing.assert_array_equal(room, values[wanted])
    assert gather(values, wanted[:0]).shape == (0, 3)


def test_other_arrays_are_left_alone():
    values = np.arange(5)
    release(values)
    assert values.tolist() == [0, 1, 2, 3, 4]
