"""bench_serve.py on a small database: what it measures is of the same answers."""

import json

import pytest

import bench_serve
from basics.program import EvalError


def test_served_and_bare_searches_are_timed_and_compared(tmp_path, capfd):
    out = tmp_path / "bench.json"
    assert bench_serve.main(["--images", "700", "--units", "20", "--queries", "70", "--scratch", str(tmp_path),
                             "--out", str(out)]) == 0
    told = json.loads(out.read_text())["small"]
    assert set(told) == {"beside_bare", "by_row"}
    assert [row["clients"] for row in told["by_row"]] == [1, 8, 64]
    for row in told["by_row"]:
        assert row["requests"] + row["refused"] == 70
        assert 0 < row["p50_ms"] <= row["p99_ms"]
    for side in told["beside_bare"].values():
        assert side["served_p50_ms"] > 0 < side["bare_p50_ms"]
    assert "700 images, 48 bits" in capfd.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_a_net_goes_with_a_run():
    with pytest.raises(EvalError, match="--run and --net go together"):
        bench_serve.main(["--run", "runs/demo"])
