"""Names of data sets of the user's, and databases that were made from other images."""
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import inputs
import make_lmdb
from prep.errors import PrepError
from sources.listing import looked_into
from sources.naming import dataset_name, plain_name


def picture(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((8, 8, 3), value, np.uint8))[1].tobytes())


def photos(folder: Path, classes=("hats", "shoes"), each: int = 4) -> Path:
    for name in classes:
        for number in range(each):
            picture(folder / name / f"{number}.png", 10 * number)
    return folder


@pytest.mark.parametrize("text, name", [
    ("photos", "photos"), ("My Photos (2019)", "my-photos-2019"), ("Été à la mer", "été-à-la-mer"),
    ("a.b.tar.gz", "a-b"), ("set.ZIP", "set"), ("...", "images"), ("鳥", "鳥")])
def test_a_name_is_made_of_letters_and_digits(text, name):
    assert plain_name(text) == name


def test_what_is_no_known_set_never_gets_the_name_of_one(tmp_path):
    assert dataset_name(photos(tmp_path / "MNIST")) == "mnist-images"


def test_class_folders_of_cifar10_are_known_by_their_names(tmp_path):
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    assert dataset_name(photos(tmp_path / "pictures", names, each=2)) == "cifar10"


def test_the_program_prints_the_name(tmp_path, capsys):
    assert inputs.main(["name", "--data", str(photos(tmp_path / "Mes photos"))]) == 0
    assert capsys.readouterr().out == "mes-photos\n"
    with pytest.raises(PrepError, match="DATA=/none: no such file or directory"):
        inputs.main(["name", "--data", "/none"])


@pytest.fixture
def made(tmp_path):
    """(images, databases made from them)."""
    data, databases = photos(tmp_path / "photos"), tmp_path / "set"
    assert make_lmdb.main(["auto", "--data", str(data), "--size", "16", "--out", str(databases)]) == 0
    (databases / ".complete").touch()
    return data, databases


def ask(data: Path, databases: Path) -> int:
    return inputs.main(["experiment", "--dataset", "set", "--data", str(data), "--weights", "none",
                        "--databases", str(databases)])


def test_the_same_files_elsewhere_are_the_same(made, tmp_path, capsys):
    data, databases = made
    copy = shutil.copytree(data, tmp_path / "copy")
    assert ask(copy, databases) == 0
    assert "is kept: made from these files" in capsys.readouterr().out


def test_another_file_is_noticed_before_old_databases_are_used(made):
    data, databases = made
    picture(data / "hats" / "new.png")
    with pytest.raises(PrepError, match="holds other files than .*set was made from.*DATASET="):
        ask(data, databases)


def test_other_pixels_in_as_many_bytes_are_noticed(made):
    data, databases = made
    image = next((data / "hats").iterdir())
    changed = bytearray(image.read_bytes())
    changed[-20] ^= 1
    image.write_bytes(changed)
    with pytest.raises(PrepError, match="holds other files than .*set was made from"):
        ask(data, databases)


def test_another_label_in_a_list_of_the_same_length_is_noticed(tmp_path):
    data, databases = photos(tmp_path / "photos"), tmp_path / "set"
    lines = [f"{path.relative_to(data)} {label}\n" for label, name in enumerate(("hats", "shoes"))
             for path in sorted((data / name).iterdir())]
    (data / "train.txt").write_text("".join(lines))
    (data / "test.txt").write_text("".join(lines))
    assert make_lmdb.main(["auto", "--data", str(data), "--size", "16", "--out", str(databases)]) == 0
    (databases / ".complete").touch()
    assert ask(data, databases) == 0
    (data / "train.txt").write_text("".join([lines[0].replace(" 0", " 1"), *lines[1:]]))
    with pytest.raises(PrepError, match="holds other files than .*set was made from"):
        ask(data, databases)


def test_of_many_images_a_sample_is_looked_into_and_all_lists():
    names = [f"c/{row:05d}.jpg" for row in range(3000)] + ["test.txt", "train.txt"]
    looked = looked_into(names)
    assert looked[:2] == ["test.txt", "train.txt"]
    assert len(looked) == 1002
    assert {names[0], names[2999]} <= set(looked)


def test_folders_without_train_and_test_are_divided_and_the_division_is_written_down(tmp_path, capsys):
    data = photos(tmp_path / "photos", each=20)
    for place in ("one", "two"):
        assert make_lmdb.main(["auto", "--data", str(data), "--size", "8", "--out", str(tmp_path / place)]) == 0
    assert "folders of 2 classes; of each 10%, drawn with seed 0, are for tests" in capsys.readouterr().out
    ids = {split: (tmp_path / f"one/{split}_lmdb/ids.txt").read_text().split() for split in ("train", "test")}
    assert sorted(ids["train"] + ids["test"]) == sorted(f"{c}/{n}.png" for c in ("hats", "shoes") for n in range(20))
    assert sorted(name.split("/")[0] for name in ids["test"]) == ["hats", "hats", "shoes", "shoes"]
    assert (tmp_path / "two/test_lmdb/ids.txt").read_text().split() == ids["test"]
    assert '"test_fraction": 0.1' in (tmp_path / "one/test_lmdb/meta.json").read_text()
