"""bench_yahoo1m.py: made-up features in the paper's largest size, here in a small one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bench_yahoo1m
from basics.program import EvalError
from benchmarks.yahoo_size import CLASSES, Recipe, write_features
from search.feature_set import load_features


def load_lists(path):
    """ids of saved lists."""
    with np.load(path) as saved:
        return saved["ids"]


SMALL = Recipe(database=3000, queries=300, bits=24, units=48)
OPTIONS = ["--database", "3000", "--queries", "300", "--bits", "24", "--units", "48"]


def test_the_papers_size_is_the_default():
    usual = Recipe()
    assert (usual.database, usual.queries, usual.bits, usual.units) == (1_011_723, 112_363, 128, 4096)
    assert CLASSES == 116


def test_the_same_recipe_gives_the_same_bits_and_classes_overlap(tmp_path):
    for name in ("a", "b"):
        write_features(tmp_path / name, SMALL)
    queries, database = load_features(tmp_path / "a")
    assert (len(database), len(queries), database.bits) == (3000, 300, 24)
    for split in ("train", "test"):
        for name in ("latent", "fc7", "labels", "predictions"):
            one, other = ((tmp_path / x / split / f"{name}.npy").read_bytes() for x in ("a", "b"))
            assert one == other
    assert len(np.unique(database.labels)) == CLASSES
    assert 0.3 < (queries.predictions == queries.labels).mean() < 0.99
    assert not np.array_equal(database.labels[:300], queries.labels)


def test_another_recipe_is_made_anew_and_the_same_is_kept(tmp_path):
    write_features(tmp_path, SMALL)
    written = (tmp_path / "train/fc7.npy").stat().st_mtime_ns
    write_features(tmp_path, SMALL)
    assert (tmp_path / "train/fc7.npy").stat().st_mtime_ns == written
    write_features(tmp_path, Recipe(database=3000, queries=300, bits=24, units=48, seed=1))
    assert (tmp_path / "train/fc7.npy").stat().st_mtime_ns > written


def test_the_table(tmp_path, capfd):
    assert bench_yahoo1m.main(["--out", str(tmp_path), *OPTIONS, "--search", "bcs", "es"]) == 0
    printed = capfd.readouterr().out
    assert "300 queries, 3,000 images, 24 bits" in printed
    assert "synthetic features" in printed
    results = json.loads((tmp_path / "es/results.json").read_text())
    assert f"{results['searches']['es']['map']:.4f}" in printed


def test_the_exhaustive_search_of_some_queries(tmp_path, capfd):
    assert bench_yahoo1m.main(["--out", str(tmp_path), *OPTIONS, "--search", "es"]) == 0
    assert bench_yahoo1m.main(["--out", str(tmp_path), *OPTIONS, "--search", "es", "--es-queries", "40"]) == 0
    assert "   40 queries" in capfd.readouterr().out.splitlines()[-1]
    every, some = (load_lists(tmp_path / folder / "es/search-es.npz") for folder in ("", "first_40"))
    assert np.array_equal(every[:40], some)


def test_a_figure_of_another_recipe_is_not_shown_again(tmp_path, capfd):
    for seed in ("0", "0", "1"):
        assert bench_yahoo1m.main(["--out", str(tmp_path), *OPTIONS, "--search", "bcs", "--seed", seed]) == 0
    rows = [line for line in capfd.readouterr().out.splitlines() if line.startswith("bcs ")]
    assert rows[0] == rows[1] != rows[2]


def test_too_little_space_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(EvalError, match="GiB of space"):
        bench_yahoo1m.main(["--out", str(tmp_path / "out"), "--database", str(10**12)])
    assert list((tmp_path / "out").iterdir()) == []


def test_links_to_features_keep_what_they_have(tmp_path):
    """The first queries' folder links to the database of the recipe that it was made by."""
    write_features(tmp_path / "a", SMALL)
    link = tmp_path / "fc7.npy"
    link.hardlink_to(tmp_path / "a/train/fc7.npy")
    before = link.read_bytes()
    write_features(tmp_path / "a", Recipe(database=3000, queries=300, bits=24, units=48, seed=1))
    assert link.read_bytes() == before != (tmp_path / "a/train/fc7.npy").read_bytes()


def test_a_child_is_not_charged_with_what_this_process_once_had(tmp_path):
    """Writing gigabytes of features must not stand in the table as the memory of a search."""
    (tmp_path / "nothing.py").write_text("")
    (tmp_path / "results.json").write_text("{}")
    code = ("import sys; sys.path.insert(0, sys.argv[1])\n"
            "from pathlib import Path; import numpy as np; import bench_yahoo1m\n"
            "np.ones(1 << 26).sum()      # 512 MiB\n"
            "bench_yahoo1m.PROGRAM = Path('nothing.py')\n"
            "print(bench_yahoo1m.evaluate(Path('features'), Path('.'), 'bcs')['resident_gib'])")
    done = subprocess.run([sys.executable, "-c", code, Path(bench_yahoo1m.__file__).parent], cwd=tmp_path, text=True,
                          capture_output=True, check=True)
    assert float(done.stdout) < 0.3
