"""The benchmark's table by hand, and one small run of it."""
import pytest

from bench_prep import CONVERT, Result, main, table


def test_table_by_hand():
    results = [Result("convert_imageset", False, [4.0, 2.0, 3.0], [3.0, 3.0, 3.0], 40.0, 100.0),
               Result("make_lmdb", False, [9.0, 1.5, 1.0], [2.0, 2.7, 3.0], 40.0, 90.0)]
    _, theirs, ours = [line.split() for line in table(results, 300).splitlines()]
    assert theirs == ["convert_imageset", "raw", "100", "1.00", "10.00", "40", "133.3", "100"]
    assert ours == ["make_lmdb", "raw", "200", "2.00", "9.00", "40", "133.3", "90"]


@pytest.mark.skipif(not CONVERT.exists(), reason="Caffe's convert_imageset is not built (make caffe)")
def test_a_small_run(tmp_path, capsys):
    assert main(["--count", "20", "--size", "16", "--rounds", "1", "--work", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("20 images to 16x16")
    assert len(lines) == 6
    assert list(tmp_path.iterdir()) == [], "the databases are removed"
