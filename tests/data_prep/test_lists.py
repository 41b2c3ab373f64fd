"""List files, and for each mistake in one the file and the line."""
import pytest

from prep.errors import PrepError
from sources.lists import ListFiles, load_lists


def listing(folder, text, name="train.txt"):
    (folder / name).write_text(text)
    return folder / name


def load(folder, train, test=None, **options):
    lists = {"train": ListFiles(listing(folder, train))}
    if test:
        lists["test"] = ListFiles(listing(folder, test, "test.txt"))
    return load_lists(lists, folder, **options)


def test_path_and_label_lines(tmp_path):
    (tmp_path / "b c.jpg").write_bytes(b"image")
    sets = load(tmp_path, "\ufeffa.jpg 1\r\nb c.jpg 0\n", "x.jpg\t1\n")
    assert sets["train"].ids == ["a.jpg", "b c.jpg"]
    assert sets["train"].labels.tolist() == [1, 0]
    assert sets["train"].classes == ["0", "1"] == sets["test"].classes
    assert sets["test"].ids == ["x.jpg"]
    assert sets["train"].read(1) == b"image"
    with pytest.raises(OSError, match="a.jpg"):
        sets["train"].read(0)


def test_two_files(tmp_path):
    pair = ListFiles(listing(tmp_path, "a b.jpg\nc.jpg\n"), listing(tmp_path, "1\n0\n", "labels.txt"))
    images = load_lists({"train": pair}, tmp_path)["train"]
    assert images.ids == ["a b.jpg", "c.jpg"]
    assert images.labels.tolist() == [1, 0]
    listing(tmp_path, "1\n0\n1\n", "labels.txt")
    with pytest.raises(PrepError, match="train.txt has 2 lines, .*labels.txt 3"):
        load_lists({"train": pair}, tmp_path)
    listing(tmp_path, "1\nzero\n", "labels.txt")
    with pytest.raises(PrepError, match="labels.txt, line 2: label 'zero'"):
        load_lists({"train": pair}, tmp_path)


@pytest.mark.parametrize("text, message", [
    ("", "train.txt: the list is empty"),
    ("a.jpg 0\nb.jpg\n", "train.txt, line 2: 'b.jpg' is not `path label`"),
    ("a.jpg 0\n\nb.jpg 0\n", "train.txt, line 2: blank"),
    ("a.jpg x\n", "train.txt, line 1: label 'x' is not"),
    ("a.jpg -1\n", "line 1: label '-1' is not"),
    ("a.jpg 1.0\n", "line 1: label '1.0' is not"),
    ("a.jpg 0\nb.jpg 2\n", "no image has label 1 of 0..2"),
    ("a.jpg 1\nb.jpg 2\n", "no image has label 0 of 0..2"),
])
def test_mistakes_are_named_with_their_line(tmp_path, text, message):
    with pytest.raises(PrepError, match=message):
        load(tmp_path, text)


def test_a_test_label_that_training_does_not_know(tmp_path):
    with pytest.raises(PrepError, match="test.txt, line 2: label 2, but there are 2 classes"):
        load(tmp_path, "a 0\nb 1\n", "c 0\nd 2\n")


def test_class_names(tmp_path):
    names = listing(tmp_path, "cat\nsea horse\n", "names.txt")
    assert load(tmp_path, "a 0\nb 1\n", classes_file=names)["train"].classes == ["cat", "sea horse"]
    with pytest.raises(PrepError, match="label 2, but there are 2 classes"):
        load(tmp_path, "a 0\nb 1\nc 2\n", classes_file=names)
    with pytest.raises(PrepError, match="no image has label 1"):
        load(tmp_path, "a 0\n", classes_file=names)
    with pytest.raises(PrepError, match="occurs twice"):
        load(tmp_path, "a 0\n", classes_file=listing(tmp_path, "x\nx\n", "names.txt"))


def test_a_test_list_need_not_hold_every_class(tmp_path):
    assert load(tmp_path, "a 0\nb 1\n", "c 1\n")["test"].labels.tolist() == [1]
