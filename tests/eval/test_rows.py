"""rows.py: memory of mapped files."""

import numpy as np

from basics import rows
from basics.rows import release


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


def test_other_arrays_are_left_alone():
    values = np.arange(5)
    release(values)
    assert values.tolist() == [0, 1, 2, 3, 4]
