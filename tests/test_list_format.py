"""Lists of `path label` lines have two readers, as no folder imports another. Both keep to data_prep/README.md."""
import os

import pytest

from features.sources import FileSource
from prep.errors import PrepError
from process.errors import DriverError
from sources.lists import ListFiles, load_lists

# Text of a list -> its entries.
READ_ALIKE = {
    "one": ("a.jpg 0\n", [("a.jpg", 0)]),
    "order is kept": ("b.jpg 1\na.jpg 0\n", [("b.jpg", 1), ("a.jpg", 0)]),
    "no line end at the end": ("a.jpg 0\nb.jpg 1", [("a.jpg", 0), ("b.jpg", 1)]),
    "blanks in the path": ("my cat 2.jpg 0\n", [("my cat 2.jpg", 0)]),
    "a tab": ("a.jpg\t0\n", [("a.jpg", 0)]),
    "several blanks": ("a.jpg  \t 0\n", [("a.jpg", 0)]),
    "blanks at both ends": ("  a.jpg 0  \n", [("a.jpg", 0)]),
    "Windows line ends": ("a.jpg 0\r\nb.jpg 1\r\n", [("a.jpg", 0), ("b.jpg", 1)]),
    "byte order mark": ("\ufeffa.jpg 0\n", [("a.jpg", 0)]),
    "accents": ("été/ñandú.jpg 0\n", [("été/ñandú.jpg", 0)]),
    "folders": ("cat/a.jpg 0\n", [("cat/a.jpg", 0)]),
}
# Text of a list -> the line that is wrong.
REFUSED_ALIKE = {
    "no label": ("a.jpg 0\nb.jpg\n", 2),
    "a word for a label": ("a.jpg cat\n", 1),
    "a label with a point": ("a.jpg 1.0\n", 1),
    "two signs": ("a.jpg --1\n", 1),
    "a label below -1": ("a.jpg -2\n", 1),
    "a digit of another script": ("a.jpg \u0663\n", 1),
    "only a label": ("0\n", 1),
    "an empty line": ("a.jpg 0\n\nb.jpg 0\n", 2),
    "an empty line at the end": ("a.jpg 0\n\n", 2),
}


@pytest.fixture
def list_file(tmp_path):
    """write(text) -> path of the list, ending .txt."""
    def write(text):
        (tmp_path / "list.txt").write_bytes(text.encode())
        return tmp_path / "list.txt"
    return write


def database_entries(path):
    images = load_lists({"train": ListFiles(path)}, path.parent)["train"]
    return list(zip(images.ids, images.labels.tolist()))


def extraction_entries(path):
    source = FileSource([str(path)], str(path.parent))
    return [(os.path.relpath(name, path.parent), label) for name, label in zip(source.ids, source.labels)]


@pytest.mark.parametrize("text, entries", READ_ALIKE.values(), ids=READ_ALIKE)
@pytest.mark.parametrize("read", [database_entries, extraction_entries])
def test_lists_are_read_alike(list_file, read, text, entries):
    assert read(list_file(text)) == entries


@pytest.mark.parametrize("text, line", REFUSED_ALIKE.values(), ids=REFUSED_ALIKE)
@pytest.mark.parametrize("read", [database_entries, extraction_entries])
def test_mistakes_are_refused_alike_with_their_line(list_file, read, text, line):
    with pytest.raises((PrepError, DriverError), match=f"list.txt, line {line}: "):
        read(list_file(text))


def test_only_extraction_takes_a_label_that_is_not_known(list_file):
    assert extraction_entries(list_file("a.jpg -1\n")) == [("a.jpg", -1)]
    with pytest.raises(PrepError, match="line 1: label '-1' is not"):
        database_entries(list_file("a.jpg -1\n"))
