"""Places with links, loops, FIFOs and odd members: every image counts once, or a sentence says why not."""
import io
import os
import tarfile
import zipfile

import cv2
import numpy as np
import pytest

from prep.errors import PrepError
from prep.readers import parse_label
from sources.file_tree import open_tree
from sources.lists import ListFiles, load_lists

IMAGE = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()


def tar_with(path, *members):
    """members: (name, type, content or target of the link)."""
    with tarfile.open(path, "w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                tar.addfile(member)
    return path


def test_links_in_a_tar_are_images_like_others(tmp_path):
    path = tar_with(tmp_path / "a.tar", ("a/2.png", tarfile.SYMTYPE, "../b/3.png"), ("a/1.png", tarfile.REGTYPE, IMAGE),
                    ("b/3.png", tarfile.SYMTYPE, "../a/1.png"), ("b/4.png", tarfile.LNKTYPE, "a/1.png"))
    tree = open_tree(path)
    assert tree.files() == ["a/1.png", "a/2.png", "b/3.png", "b/4.png"]
    assert {tree.read(name) for name in tree.files()} == {IMAGE}


@pytest.mark.parametrize("member, message", [
    (("a/2.png", tarfile.SYMTYPE, "/etc/passwd"), "the link a/2.png leads to /etc/passwd, which is no file in the tar"),
    (("a/2.png", tarfile.SYMTYPE, "gone.png"), "leads to a/gone.png, which is no file"),
    (("a/2.png", tarfile.SYMTYPE, "2.png"), "leads to a/2.png, which is no file"),
    (("a/2.png", tarfile.LNKTYPE, "gone.png"), "leads to gone.png"),
    (("a/2.png", tarfile.FIFOTYPE, ""), "holds a/2.png, which is neither"),
    (("a/2.png", tarfile.CHRTYPE, ""), "holds a/2.png, which is neither")])
def test_members_of_a_tar_that_cannot_be_counted_are_named(tmp_path, member, message):
    path = tar_with(tmp_path / "a.tar", ("a/1.png", tarfile.REGTYPE, IMAGE), member)
    with pytest.raises(PrepError, match=message):
        open_tree(path)


def test_a_loop_of_folders_is_named_and_other_links_are_followed(tmp_path):
    (tmp_path / "set/a").mkdir(parents=True)
    (tmp_path / "set/a/1.png").write_bytes(IMAGE)
    (tmp_path / "set/b").symlink_to("a")
    assert open_tree(tmp_path / "set").files() == ["a/1.png", "b/1.png"]
    (tmp_path / "set/a/up").symlink_to("..")
    with pytest.raises(PrepError, match="set/[ab]/up: a link back to .*set, which holds it"):
        open_tree(tmp_path / "set").files()


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(PrepError, match="1.png: no file but a folder, a FIFO or a device"):
        open_tree(tmp_path).read("1.png")
    with pytest.raises(PrepError, match="1.png: no file but"):
        load_lists({"train": ListFiles(tmp_path / "1.png")}, tmp_path)


def test_a_name_with_a_zero_byte_is_told(tmp_path):
    with pytest.raises(PrepError, match="zero byte"):
        open_tree(tmp_path).read("a\0b.png")


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_a_packed_tar_with_damaged_data(tmp_path, ending):
    rng = np.random.default_rng(0)
    with tarfile.open(tmp_path / "a", f"w:{ending}") as tar:
        member = tarfile.TarInfo("a/1.png")
        member.size = 50000
        tar.addfile(member, io.BytesIO(rng.integers(0, 99, 50000).astype(np.uint8).tobytes()))
    content = bytearray((tmp_path / "a").read_bytes())
    content[500:900] = b"\xff" * 400
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(PrepError, match="a: the compressed tar is damaged or cut short"):
        open_tree(tmp_path / "a")


def test_a_zip_with_damaged_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/1.png", IMAGE * 50)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[45:60] = b"\xff" * 15
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(OSError, match="cannot be unpacked from"):
        open_tree(tmp_path / "a.zip").read("a/1.png")


@pytest.mark.parametrize("text", ["1" + "0" * 23, "9" * 5000, str(2**31), "\u00b2", "\u0663", "-1", "1.0", ""])
def test_labels_that_no_database_can_hold(text):
    with pytest.raises(PrepError, match="here: label"):
        parse_label(text, "here")


def test_a_label_far_above_the_others_costs_no_memory(tmp_path):
    (tmp_path / "a.txt").write_text("a.png 0\nb.png 2147483647\n")
    with pytest.raises(PrepError, match="no image has label 1 of 0..2147483647"):
        load_lists({"train": ListFiles(tmp_path / "a.txt")}, tmp_path)
