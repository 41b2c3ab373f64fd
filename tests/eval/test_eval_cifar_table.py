"""The table of our runs beside the published figures."""

import json

import pytest

from basics.program import EvalError
from cifar_table import main


def results_file(folder, bits, value, **changes):
    folder.mkdir()
    path = folder / "results.json"
    path.write_text(json.dumps({"protocol": "cvprw15", "top_k": 1000, "bits": bits, "map": value,
                                "queries": 10_000, "database": 50_000, **changes}))
    return path


def test_our_figure_stands_over_the_published_ones(tmp_path, capsys):
    paths = [results_file(tmp_path / "a", 16, 0.5), results_file(tmp_path / "b", 48, 0.7065)]
    assert main([str(path) for path in paths]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert cells["mAP@1000 (%)"] == ["12 bits", "16 bits", "32 bits", "48 bits"]
    assert cells["this project"] == ["-", "50.00", "-", "70.65"]
    assert cells["This method (paper)"] == ["89.30", "-", "89.72", "89.73"]
    assert cells["LSH"] == ["12.10", "-", "12.00", "12.00"]


def test_another_protocol_or_a_code_length_twice_is_refused(tmp_path):
    other = results_file(tmp_path / "a", 48, 0.9, top_k=50000, protocol="ssdh")
    with pytest.raises(EvalError, match="ssdh, K = 50000"):
        main([str(other)])
    digits = results_file(tmp_path / "d", 48, 0.98, database=60_000)
    with pytest.raises(EvalError, match="10,000 queries against 60,000 images"):
        main([str(digits)])
    twice = [results_file(tmp_path / name, 48, 0.9) for name in "bc"]
    with pytest.raises(EvalError, match="second run with 48 bits"):
        main([str(path) for path in twice])
    with pytest.raises(EvalError, match="is missing"):
        main([str(tmp_path / "nowhere.json")])


def test_runs_of_a_part_of_the_schedule_have_a_row_that_says_so(tmp_path, capsys):
    part = {"features": {"training": {"iterations": 5000, "schedule": 0.1}}}
    paths = [results_file(tmp_path / "a", 48, 0.75), results_file(tmp_path / "b", 48, 0.5, **part)]
    assert main([str(path) for path in paths]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["this", "project", "-", "-", "75.00"]
    assert lines[2].split() == ["this", "project,", "0.1", "of", "the", "schedule", "-", "-", "50.00"]
