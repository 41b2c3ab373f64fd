"""How programs end: one sentence, the right status, whole files, one writer at a time."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import evaluate
from basics.files import locked_folder, read_json, whole_file, write_json
from basics.program import EvalError
from basics.rows import evenly, map_blocks


def test_a_foreseeable_mistake_is_one_line_and_status_1(tmp_path):
    done = subprocess.run([sys.executable, evaluate.__file__, "--features", tmp_path / "none",
                           "--out", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def start(features, out):
    """evaluate.py in a process of its own, with work for many seconds."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20_000), ("test", 20_000)):
        np.save(features / split / "labels.npy", rng.integers(0, 3, count))
        np.save(features / split / "latent.npy", rng.random((count, 300), np.float32))
        (features / split / "fc7.npy").unlink()
    return subprocess.Popen([sys.executable, evaluate.__file__, "--features", features, "--out", out],
                            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def stop(process):
    """(status, stderr) after Ctrl-C."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    return process.returncode, said


def test_ctrl_c_ends_in_a_sentence(features, tmp_path):
    process = start(features, tmp_path / "out")
    while not (tmp_path / "out").exists():   # it is searching from here on
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    status, said = stop(process)
    assert status == 130, said
    assert "stopped: finished files are whole" in said
    assert "Traceback" not in said
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_in_a_callback_of_c_comes_again():
    """Such a callback can raise nothing: Python reports what it raised and goes on."""
    callback = ("import basics.program as program, ctypes, time\n"
                "def pressed(): raise KeyboardInterrupt\n"
                "def main():\n"
                "    ctypes.CFUNCTYPE(None)(pressed)()\n"
                "    time.sleep(60)\n"
                "program.run_program(main)\n")
    done = subprocess.run([sys.executable, "-c", callback], cwd=evaluate.__file__.removesuffix("evaluate.py"),
                          capture_output=True, text=True, timeout=50)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


ENDS = {
    "C code made another error of it": "try: raise KeyboardInterrupt\n"
                                       "    except KeyboardInterrupt as error: raise SystemError('x') from error",
    "an object was half made": "global half; half = Half()\n    raise KeyboardInterrupt",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_what_ctrl_c_leaves_ends_in_its_sentence_alone(end):
    program = ("import basics.program as program\n"
               "class Half:\n"
               "    def __del__(self): self.never_set\n"
               f"def main():\n    {end}\n"
               "program.run_program(main)\n")
    done = subprocess.run([sys.executable, "-c", program], cwd=evaluate.__file__.removesuffix("evaluate.py"),
                          capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert "stopped" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_another_kind_keeps_its_traceback():
    program = "import basics.program as program\ndef main(): raise SystemError('x')\nprogram.run_program(main)\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=evaluate.__file__.removesuffix("evaluate.py"),
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "SystemError: x" in done.stderr


@pytest.mark.parametrize("seconds", [0.15, 0.4])
def test_ctrl_c_during_the_imports_ends_so_too(tmp_path, seconds):
    slow = "import basics.program, time; print('ready', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", slow], cwd=evaluate.__file__.removesuffix("evaluate.py"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(seconds)
    status, said = stop(process)
    assert status == 130, said
    assert "Traceback" not in said
    assert "stopped" in said


def test_a_second_evaluation_of_the_folder_is_refused(features, tmp_path):
    with locked_folder(tmp_path / "out"), pytest.raises(EvalError, match="out is being written by another process"):
        evaluate.main(["--features", str(features), "--out", str(tmp_path / "out")])
    assert list((tmp_path / "out").iterdir()) == []


def test_the_lock_ends_with_the_block(tmp_path):
    for _ in range(2):
        with locked_folder(tmp_path / "out"):
            pass
    with pytest.raises(ZeroDivisionError), locked_folder(tmp_path / "out"):
        raise ZeroDivisionError
    with locked_folder(tmp_path / "out"):
        pass


def test_a_file_is_whole_or_absent(tmp_path):
    with pytest.raises(ValueError), whole_file(tmp_path / "a") as file:
        file.write(b"half")
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    with whole_file(tmp_path / "a") as file:
        file.write(b"all")
        assert [path.name for path in tmp_path.iterdir()] == ["a.partial"]
    assert (tmp_path / "a").read_bytes() == b"all"


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"map": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_that_is_none_is_an_error_and_absence_is_empty(tmp_path):
    assert read_json(tmp_path / "a.json") == {}
    (tmp_path / "a.json").write_text(json.dumps([1]))
    with pytest.raises(EvalError, match="holds list, not a JSON object: do that"):
        read_json(tmp_path / "a.json", "do that")


def test_rows_are_taken_evenly_first_and_last_among_them():
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(3, 8).tolist() == [0, 1, 2]
    assert evenly(1, 1).tolist() == [0]


def test_an_error_in_a_block_leaves_the_others_out():
    begun = []

    def work(rows):
        begun.append(rows.start)
        time.sleep(0.01)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        map_blocks(work, 1000, 1, threads=2)
    assert len(begun) < 20
