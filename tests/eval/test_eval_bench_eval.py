"""bench_eval.py on a small scale: it runs, and what it races agrees."""

import json

import numpy as np
import pytest

import bench_eval
from benchmarks.contests import faiss_searches
from search.coarse import CodeIndex
from search.codes import pack


def test_all_parts_run(tmp_path, capsys):
    assert bench_eval.main(["--queries", "150", "--database", "300", "--dimension", "32", "--rounds", "1",
                            "--bits", "48", "128", "--sizes", "1000",
                            "--large", "2500", "--scratch", str(tmp_path), "--picture", str(tmp_path / "tradeoff.svg"),
                            "--out", str(tmp_path / "bench.json")]) == 0
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert {"codes_48", "codes_128", "fine", "cost", "large"} <= set(figures)
    assert figures["defeat"]["es"]["seconds"] > 0
    assert figures["program"]["evaluate_py"]["processor_seconds"] > 0.3
    assert {"ours", "reading_the_codes"} <= set(figures["sizes"]["48"]["1000"]["one"])
    assert figures["fine"]["es"]["seconds"] > 0
    assert figures["fine"]["bare_product"]["ratio"] == 1
    assert figures["large"]["latency"]["fine"]["queries"] == 200
    assert "uniform codes of 128 bits" in capsys.readouterr().out
    points = {(row["search"], row["setting"]): row for row in figures["tradeoff"]}
    assert figures["multi_index"]["uniform"]["1000"]["6"]["multi_index"]["seconds"] > 0
    assert {"bcs", "es", "hdl"} <= {search for search, _ in points}
    assert points["hdl", "T = 8"]["precision_at_10"] >= points["bcs", ""]["precision_at_10"] > 0.5
    assert "<svg" in (tmp_path / "tradeoff.svg").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "tradeoff.svg"}


def test_faiss_finds_the_same_distances():
    """The opponent solves the same task: its distances equal ours (its ids may differ among ties)."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    queries, database = rng.random((20, 44)) < 0.5, rng.random((500, 44)) < 0.5
    _, ours = CodeIndex(pack(database)).search(pack(queries), 30)
    for search in faiss_searches(queries, database, 30).values():
        distances, _ = search()
        assert np.array_equal(np.sort(distances, axis=1), ours)
