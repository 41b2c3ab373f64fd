"""The benchmark runs through on a small net and prints its three ratios."""
import re


def test_three_ratios(problem, call):
    status, said = call(
        "bench_driver",
        "--setting",
        problem,
        "--lmdb",
        "test_lmdb",
        "--originals",
        "test_lmdb",
        "--iterations",
        60,
        "--count",
        40,
        "--rounds",
        1,
    )
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()[1:]] == ["train", "extract", "extract"]
    ratios = re.findall(r" ratio ([\d.]+) ", said)
    assert len(ratios) == 3
    assert all(0 < float(ratio) < 100 for ratio in ratios)
