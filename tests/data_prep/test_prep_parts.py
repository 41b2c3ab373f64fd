"""Databases in parts: joined they are those of one call; a part that is none of these is refused."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from databases import parts
from databases.parts import Part
from make_lmdb import main
from prep.errors import PrepError

ROOT = Path(__file__).resolve().parents[2]
OF = 3


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """train/ and test/ of two classes, 23 and 22 images of several sizes; the current directory is beside them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(45):
        path = tmp_path / "photos" / ("train", "test")[number % 2] / "ab"[number % 3 == 0] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (*rng.integers(9, 20, 2), 3)).astype(np.uint8))
    return tmp_path / "photos"


def words(*options, out="out"):
    return ["auto", "--data", "photos", "--out", out, "--size", "16", *options]


def make_parts(*options, numbers=range(OF, 0, -1)):
    for number in numbers:
        assert main(words("--part", f"{number}/{OF}", *options)) == 0


def content(database):
    with lmdb.open(str(database), readonly=True, lock=False) as env, env.begin() as transaction:
        entries = list(transaction.cursor())
    return entries, {name: (database / name).read_bytes() for name in ("ids.txt", "labels.npy", "meta.json")}


def folder(number, split="test", of=OF):
    return Path(f"out/{split}_lmdb.parts/part-{number:05d}-of-{of:05d}")


@pytest.mark.parametrize("options", [(), ("--originals",), ("--encoded",), ("--grey", "--seed", "5")])
def test_joined_parts_are_the_databases_of_one_call(photos, options):
    make_parts(*options)
    assert main(words("--join", *options)) == 0
    shutil.move("out", "joined")
    assert main(words(*options)) == 0
    names = sorted(os.listdir("out"))
    assert sorted(os.listdir("joined")) == names
    assert ("train_originals_lmdb" in names) == ("--originals" in options)
    for name in names:
        assert content(Path("joined", name)) == content(Path("out", name))


def test_originals_of_images_that_were_not_resized_are_no_more(photos):
    for path in photos.rglob("*.png"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (16, 16)))
    make_parts("--originals")
    assert main(words("--join", "--originals")) == 0
    assert sorted(os.listdir("out")) == ["test_lmdb", "train_lmdb"]


def test_images_with_several_labels(photos):
    names = sorted(str(path) for path in photos.rglob("*.png"))
    Path("photos/train.txt").write_text("".join(f"../{'/'.join(Path(name).parts[-4:])} {row % 2},{2}\n"
                                                for row, name in enumerate(names)))
    shutil.copy("photos/train.txt", "photos/test.txt")
    make_parts()
    assert main(words("--join")) == 0
    shutil.move("out", "joined")
    assert main(words()) == 0
    assert content(Path("joined/train_lmdb")) == content(Path("out/train_lmdb"))
    with lmdb.open("joined/train_lmdb/labels_lmdb", readonly=True, lock=False) as env:
        assert env.stat()["entries"] == 45


def test_unreadable_images_of_parts_are_told_together(photos):
    for name in sorted(photos.glob("test/b/*.png"))[:2]:
        name.write_bytes(b"nothing")
    with pytest.raises(PrepError, match="unreadable"):
        make_parts()
    shutil.rmtree("out")
    make_parts("--skip-unreadable")
    assert main(words("--join", "--skip-unreadable")) == 0
    shutil.move("out", "joined")
    assert main(words("--skip-unreadable")) == 0
    assert content(Path("joined/test_lmdb")) == content(Path("out/test_lmdb"))
    listing = Path("joined/test_lmdb_unreadable.txt").read_text()
    assert sorted(listing.splitlines()) == sorted(Path("out/test_lmdb_unreadable.txt").read_text().splitlines())


def edit(**changes):
    path = folder(2) / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip():
    content = bytearray((folder(2) / "data.mdb").read_bytes())
    content[-9] ^= 1
    (folder(2) / "data.mdb").write_bytes(content)


BAD = {
    "missing": (lambda: shutil.rmtree(folder(2)), (), "lacks 1 of 3 parts: 2/3; make each with --part"),
    "damaged": (flip, (), "is damaged (data.mdb is not what was written)"),
    "without its entries": (lambda: (folder(2) / "entries.npy").unlink(), (), "is damaged (entries.npy is not"),
    "no meta": (lambda: (folder(2) / "meta.json").unlink(), (), "part-00002-of-00003/meta.json: cannot be read"),
    "overlapping": (lambda: edit(first=3), (), "has the rows 3 to 14, where 7 to 14 are its own"),
    "of two kinds": (lambda: shutil.copytree(folder(2), folder(2, of=4)), (), "holds parts of 3 and of 4"),
    "of other images": (lambda: os.rename("photos/test/a/01.png", "photos/test/a/zz.png"), (),
                        "was made with other images"),
    "of another size": (lambda: None, ("--size", "15"), "was made with other size"),
    "of another encoding": (lambda: None, ("--encoded",), "was made with other encoded"),
}


@pytest.mark.parametrize("damage, options, complaint", BAD.values(), ids=BAD)
def test_a_part_that_does_not_belong_there(photos, damage, options, complaint):
    make_parts("--splits", "test")
    damage()
    with pytest.raises(PrepError) as fault:
        main(words("--splits", "test", "--join", *options))
    assert complaint in str(fault.value)
    assert sorted(os.listdir("out")) == ["test_lmdb.parts"]
    assert folder(3).is_dir()


def test_a_part_that_is_there_is_kept_and_one_of_other_images_made_anew(photos, capsys):
    make_parts("--splits", "test")
    capsys.readouterr()
    make_parts("--splits", "test", numbers=[2])
    assert "kept, made from the same list" in capsys.readouterr().out
    os.rename("photos/test/a/01.png", "photos/test/a/zz.png")
    make_parts("--splits", "test")
    assert main(words("--splits", "test", "--join")) == 0
    assert "zz.png" in Path("out/test_lmdb/ids.txt").read_text()


def test_more_parts_than_images(photos):
    with pytest.raises(PrepError, match="there are 23 images only; give at most 23 parts"):
        main(words("--part", "1/99"))


def test_rows_of_all_parts_are_every_row_once():
    for count in (1, 7, 100):
        for of in range(1, count + 1):
            assert [row for number in range(1, of + 1) for row in Part(number, of).rows(count)] == list(range(count))


def test_a_killed_part_leaves_nothing_that_counts(photos):
    command = [sys.executable, str(ROOT / "data_prep/make_lmdb.py"), *words("--splits", "test", "--part", f"2/{OF}")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not list(Path("out").glob("*.parts/*.partial")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    make_parts("--splits", "test")
    assert not list(Path("out").glob("*.parts/*.partial"))
    assert main(words("--splits", "test", "--join")) == 0


def test_what_a_killed_process_left_goes_though_nobody_has_asked_for_its_end(photos):
    """Its number lives on as long as its parent has not waited for it."""
    dead = subprocess.Popen(["true"])
    while Path(f"/proc/{dead.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    left = parts.Part(2, OF).folder(Path("out/train_lmdb"))
    of_the_dead, of_a_living = (left.with_name(f"{parts._of_this_machine(left)}{process}.ab.partial")
                                for process in (dead.pid, os.getpid()))
    for folder in (of_the_dead, of_a_living):
        folder.mkdir(parents=True)
    make_parts(numbers=[2])
    assert (of_the_dead.exists(), of_a_living.exists()) == (False, True)
    dead.wait()


def test_the_same_part_twice_at_a_time_is_there_once(photos):
    command = [sys.executable, str(ROOT / "data_prep/make_lmdb.py"), *words("--splits", "test", "--part", f"2/{OF}")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert os.listdir("out/test_lmdb.parts") == [folder(2).name]
