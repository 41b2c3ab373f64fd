"""A directory, a tar and a zip of it must answer alike; a damaged archive must not answer at all."""
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from prep.errors import PrepError
from sources.file_tree import open_tree

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


def zipped(folder, compression=zipfile.ZIP_DEFLATED):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member in sorted(folder.rglob("*")):
            archive.write(member, member.relative_to(folder))
    return path


PACKERS = {"directory": lambda folder: folder, "zip": zipped, "stored zip": lambda f: zipped(f, zipfile.ZIP_STORED),
           **{mode: lambda folder, mode=mode: packed(folder, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")}}


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_directory_and_archives_answer_alike(folder, pack):
    tree = open_tree(pack(folder))
    assert tree.files() == sorted(FILES)
    assert [name for name in tree.folders() if name != "."] == ["a", "b", "b/c", "empty"]
    assert {name: tree.read(name) for name in tree.files()} == FILES
    with pytest.raises(OSError, match="no.jpg"):
        tree.read("no.jpg")


def test_hard_links_in_a_tar_are_read(folder):
    os.link(folder / "a/1.jpg", folder / "a/linked.jpg")
    assert open_tree(packed(folder)).read("a/linked.jpg") == b"one"


def test_a_zip_is_read_by_several_threads_at_once(folder):
    for number in range(60):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 30_000)
    tree = open_tree(zipped(folder))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(tree.read, [f"{number % 60}.bin" for number in range(600)]))
    assert all(content == bytes([number % 60]) * 30_000 for number, content in enumerate(read))


def test_folders_of_a_zip_that_lists_only_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/b/1.jpg", b"one")
    assert open_tree(tmp_path / "x.zip").folders() == ["a", "a/b"]


def test_a_zip_cut_short_is_refused(folder):
    path = zipped(folder)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PrepError, match="not a whole zip file .* fetch or copy it again"):
        open_tree(path)


def test_a_damaged_member_of_a_zip_is_an_error_that_names_the_archive(folder):
    path = zipped(folder, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"twotwotwo", b"twotwo---", 1))
    with pytest.raises(OSError, match="root.zip .*CRC"):
        open_tree(path).read("a/2.jpg")


def test_a_zip_with_a_password_is_refused(folder):
    path = zipped(folder)
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02")  # the first entry of the directory; its flags are at 8
    content[start + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(PrepError, match="has a password; unpack it"):
        open_tree(path)


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


def test_neither_directory_nor_archive(tmp_path):
    with pytest.raises(PrepError, match="no such directory, tar or zip"):
        open_tree(tmp_path / "missing")
    (tmp_path / "text").write_text("x" * 2000)
    with pytest.raises(PrepError, match="not a whole tar"):
        open_tree(tmp_path / "text")
