"""A directory and a tar of it must answer alike; a damaged tar must not answer at all."""
import os
import tarfile

import pytest

from file_tree import open_tree
from prep_errors import PrepError

FILES = {"a/1.jpg": b"one", "a/2.jpg": b"two" * 1000, "b/c/3.jpg": b""}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "root"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "empty").mkdir()
    return root


def packed(folder, mode="w", suffix=".tar"):
    path = folder.with_suffix(suffix)
    with tarfile.open(path, mode) as tar:
        tar.add(folder, arcname=".")
    return path


@pytest.mark.parametrize("mode", [None, "w", "w:gz", "w:bz2", "w:xz"])
def test_directory_and_tars_answer_alike(folder, mode):
    tree = open_tree(packed(folder, mode) if mode else folder)
    assert tree.files() == sorted(FILES)
    assert [name for name in tree.folders() if name != "."] == ["a", "b", "b/c", "empty"]
    assert {name: tree.read(name) for name in tree.files()} == FILES
    with pytest.raises(OSError, match="no.jpg"):
        tree.read("no.jpg")


def test_hard_links_in_a_tar_are_read(folder):
    os.link(folder / "a/1.jpg", folder / "a/linked.jpg")
    assert open_tree(packed(folder)).read("a/linked.jpg") == b"one"


def test_a_tar_cut_anywhere_is_refused(folder):
    whole = packed(folder)
    data = whole.read_bytes()
    with tarfile.open(whole) as tar:
        end = max(member.offset_data + (member.size + 511) // 512 * 512 for member in tar)
    for length in (0, 100, 512, 1024, 3000, end - 512, end):  # at block borders tarfile itself sees nothing wrong
        whole.write_bytes(data[:length])
        with pytest.raises(PrepError, match="fetch or copy it again"):
            open_tree(whole)


def test_a_damaged_gz_is_refused(folder):
    path = packed(folder, "w:gz", ".tar.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PrepError, match="damaged or cut short"):
        open_tree(path)


def test_neither_directory_nor_tar(tmp_path):
    with pytest.raises(PrepError, match="no such directory, tar or zip"):
        open_tree(tmp_path / "missing")
    (tmp_path / "text").write_text("x" * 2000)
    with pytest.raises(PrepError, match="not a whole tar"):
        open_tree(tmp_path / "text")
