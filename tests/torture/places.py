"""Hostile places: folders, archives and lists with links, loops, odd names. What is read is counted."""
import io
import json
import os
import random
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from torture.cases import ANY, REFUSED, Case
from torture.hostile import named

IMAGES = 16  # of the good photos
Change = Callable[[Path, random.Random], None]


def all_places() -> Iterator[Case]:
    """Every case of this file."""
    for kind, (change, expected) in FOLDERS.items():
        yield _case("folders", "photos", kind, change, expected)
    for kind, (members, expected) in TARS.items():
        yield _case("archive tar", "photos.tar", kind, tar_with(members, "w"), expected)
        yield _case("archive tar.gz", "photos.tar.gz", kind, tar_with(members, "w:gz"), expected)
    for kind, (change, expected) in ZIPS.items():
        yield _case("archive zip", "photos.zip", kind, change, expected)
    for command in ("lists", "extract list"):
        for kind, (lines, expected) in LISTS.items():
            free = expected == REFUSED and command == "extract list" and kind in ONLY_LABELS
            yield _case(command, "list.txt", kind, list_with(lines), ANY if free else expected)


def _case(command: str, file: str, kind: str, change: Change, expected: str | int) -> Case:
    """expected: a number of images that are read, or refused, beside the others."""
    if isinstance(expected, str):
        return Case(named(command), file, kind, change, expected)
    return Case(named(command), file, kind, change, ANY, lambda folder: miscounted(folder, expected))


def miscounted(folder: Path, wanted: int) -> str | None:
    """What is wrong with the number of images that were read, by what was written."""
    counts = [json.loads(path.read_text())["count"] for path in sorted((folder / "out").rglob("meta.json"))]
    return None if sum(counts) == wanted else f"{sum(counts)} images were read, {wanted} are there"


# ---------------------------------------------------------------- folders
def first(photos: Path) -> Path:
    return sorted(photos.rglob("*.png"))[0]


def added(make: Callable[[Path, Path], object]) -> Change:
    """make(class folder, an image in it)."""
    def change(photos: Path, rng: random.Random) -> None:
        make(first(photos).parent, first(photos))
    return change


def copy_named(name: str | bytes) -> Change:
    return added(lambda folder, image: shutil.copy(os.fsencode(image), os.path.join(os.fsencode(folder),
                                                                                   os.fsencode(name))))


def bound_socket(folder: Path, image: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("s.png")
    finally:
        os.chdir(here)


def deep(folder: Path, image: Path) -> None:
    place = folder.joinpath(*["deeper"] * 60)
    place.mkdir(parents=True)
    shutil.copy(image, place)


FOLDERS = {
    "a link to its parent": (added(lambda folder, image: (folder / "up").symlink_to("..")), REFUSED),
    "a link to its own folder": (added(lambda folder, image: (folder / "again").symlink_to(".")), REFUSED),
    "a link to itself": (added(lambda folder, image: (folder / "x.png").symlink_to("x.png")), REFUSED),
    "two links in a circle": (added(lambda folder, image: ((folder / "a.png").symlink_to("b.png"),
                                                           (folder / "b.png").symlink_to("a.png"))), REFUSED),
    "a link to nowhere": (added(lambda folder, image: (folder / "x.png").symlink_to("gone")), REFUSED),
    "a link to an image": (added(lambda folder, image: (folder / "x.png").symlink_to(image.name)), IMAGES + 1),
    "a link to /dev/zero": (added(lambda folder, image: (folder / "x.png").symlink_to("/dev/zero")), REFUSED),
    "a link to /etc": (added(lambda folder, image: (folder.parent / "etc").symlink_to("/etc")), ANY),
    "a FIFO": (added(lambda folder, image: os.mkfifo(folder / "x.png")), REFUSED),
    "a socket": (added(bound_socket), REFUSED),
    "a folder named as an image": (added(lambda folder, image: (folder / "x.png").mkdir()), IMAGES),
    "a name with blanks": (copy_named("a b  c.png"), IMAGES + 1), "a name of blanks": (copy_named(" .png"), IMAGES + 1),
    "a name with a line's end": (copy_named("a\nb.png"), IMAGES + 1),
    "a name with quotes": (copy_named("a'\"`$(touch stolen.txt)`.png"), IMAGES + 1),
    "a name that is no UTF-8": (copy_named(b"caf\xe9.png"), IMAGES + 1),
    "a name like an option": (copy_named("--out.png"), IMAGES + 1),
    "a name like HTML": (copy_named("<script>alert(1)<.png"), IMAGES + 1),
    "a long name": (copy_named("x" * 250 + ".png"), IMAGES + 1),
    "60 folders deep": (added(deep), ANY),
}


# ---------------------------------------------------------------- archives
def tar_with(members: tuple[tuple[str, bytes, str | None], ...], mode: str) -> Change:
    """The good photos and these members: (name, type, target of a link; None: an image)."""
    def change(path: Path, rng: random.Random) -> None:
        photos = path.parent / "photos"
        image = first(photos).read_bytes()
        path.unlink()
        with tarfile.open(path, mode, encoding="utf-8", errors="surrogateescape") as tar:
            tar.add(photos, "photos")
            for name, kind, target in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, target or ""
                member.size = len(image) if target is None else 0
                tar.addfile(member, io.BytesIO(image) if target is None else None)
    return change


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
FIRST = "photos/class0/here.png"  # put there by the cases that link to it
HERE = (FIRST, FILE, None)
TARS = {
    "a link inside": ((HERE, ("photos/class0/x.png", LINK, "here.png")), IMAGES + 2),
    "a link by another folder": ((HERE, ("photos/class1/x.png", LINK, "../class0/here.png")), IMAGES + 2),
    "a hard link": ((HERE, ("photos/class0/x.png", HARD, FIRST)), IMAGES + 2),
    "a link before its target": ((("photos/class0/x.png", LINK, "here.png"), HERE), IMAGES + 2),
    "a link out of it": ((("photos/class0/x.png", LINK, "/etc/passwd"),), REFUSED),
    "a link above it": ((("photos/class0/x.png", LINK, "../../../list.txt"),), REFUSED),
    "a link to itself": ((("photos/class0/x.png", LINK, "x.png"),), REFUSED),
    "links in a circle": ((("photos/class0/x.png", LINK, "y.png"), ("photos/class0/y.png", LINK, "x.png")), REFUSED),
    "a hard link to nowhere": ((("photos/class0/x.png", HARD, "gone.png"),), REFUSED),
    "a link to a folder": ((("photos/class9", LINK, "class0"),), ANY),
    "a FIFO": ((("photos/class0/x.png", tarfile.FIFOTYPE, ""),), REFUSED),
    "a device": ((("photos/class0/x.png", tarfile.CHRTYPE, ""),), REFUSED),
    "a name above it": ((("../stolen.png", FILE, None),), ANY),
    "a name far above it": ((("photos/class0/../../../../stolen.png", FILE, None),), ANY),
    "an absolute name": ((("/tmp/stolen.png", FILE, None),), ANY),
    "one name twice": ((HERE, HERE), ANY),
    "a name with blanks": ((("photos/class0/a b  .png", FILE, None),), IMAGES + 1),
    "a name with a line's end": ((("photos/class0/a\nb.png", FILE, None),), IMAGES + 1),
    "a name that is no UTF-8": ((("photos/class0/caf\udce9.png", FILE, None),), IMAGES + 1),
    "a name of 3000 characters": ((("photos/class0/" + "x" * 3000 + ".png", FILE, None),), IMAGES + 1),
    "no name": ((("", FILE, None),), ANY),
}


def zip_with(write: Callable[[zipfile.ZipFile, bytes], object]) -> Change:
    """The good photos and what `write` (archive, an image) adds."""
    def change(path: Path, rng: random.Random) -> None:
        image = first(path.parent / "photos").read_bytes()
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as packed:
            write(packed, image)
    return change


def member(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.create_system, found.external_attr = 3, mode << 16
    return found


def other_sum(path: Path, rng: random.Random) -> None:
    """A wrong check sum in the list at the end."""
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 16] ^= 1
    path.write_bytes(content)


def locked(path: Path, rng: random.Random) -> None:
    """The flag of a password."""
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(mark) + place] |= 1
    path.write_bytes(content)


ZIPS = {
    "a link": (zip_with(lambda z, i: z.writestr(member("photos/class0/x.png", 0o120777), "/etc/passwd")), REFUSED),
    "a name above it": (zip_with(lambda z, i: z.writestr(member("../stolen.png"), i)), ANY),
    "an absolute name": (zip_with(lambda z, i: z.writestr(member("/tmp/stolen.png"), i)), ANY),
    "a name with blanks": (zip_with(lambda z, i: z.writestr(member("photos/class0/a b .png"), i)), IMAGES + 1),
    "a name of another system": (zip_with(lambda z, i: z.writestr(member("photos\\class0\\x.png"), i)), ANY),
    "a name with a line's end": (zip_with(lambda z, i: z.writestr(member("photos/class0/a\nb.png"), i)), IMAGES + 1),
    "300 MB of zeros": (zip_with(lambda z, i: z.writestr(member("photos/class0/x.png"), bytes(300 << 20),
                                                         zipfile.ZIP_DEFLATED)), REFUSED),
    "a wrong check sum": (other_sum, REFUSED), "a password": (locked, REFUSED),
}


# ---------------------------------------------------------------- lists
def list_with(lines: Callable[[list[bytes]], bytes]) -> Change:
    def change(path: Path, rng: random.Random) -> None:
        os.mkfifo(path.parent / "fifo.png")
        path.write_bytes(lines(path.read_bytes().splitlines()))
    return change


def and_line(line: bytes) -> Callable[[list[bytes]], bytes]:
    return lambda lines: b"\n".join([*lines, line, b""])


def relabelled(label: bytes) -> Callable[[list[bytes]], bytes]:
    return lambda lines: b"\n".join([lines[0].rsplit(b" ", 1)[0] + b" " + label, *lines[1:], b""])


ONLY_LABELS = ("label 5000", "label -1", "label ²")
LISTS = {
    "label 1e23": (relabelled(b"1" + b"0" * 23), REFUSED), "label 5000": (relabelled(b"5000"), REFUSED),
    "label 2^31": (relabelled(b"2147483648"), REFUSED), "label ²": (relabelled("²".encode()), REFUSED),
    "label -1": (relabelled(b"-1"), REFUSED), "label 1.5": (relabelled(b"1.5"), REFUSED),
    "no label": (and_line(b"photos/x.png"), REFUSED), "an empty line": (and_line(b""), REFUSED),
    "a FIFO": (and_line(b"fifo.png 0"), REFUSED), "/dev/zero": (and_line(b"/dev/zero 0"), REFUSED),
    "a folder": (and_line(b"photos 0"), REFUSED), "a file that is gone": (and_line(b"gone.png 0"), REFUSED),
    "a name of 5000 characters": (and_line(b"x" * 5000 + b".png 0"), REFUSED),
    "a zero byte": (and_line(b"a\0b.png 0"), REFUSED), "a name that is no UTF-8": (and_line(b"caf\xe9.png 0"), REFUSED),
    "a text in place of an image": (and_line(b"list.txt 0"), REFUSED),
    "CRLF": (lambda lines: b"\r\n".join([*lines, b""]), IMAGES),
    "a byte order mark": (lambda lines: b"\xef\xbb\xbf" + b"\n".join(lines), IMAGES),
    "a line twice": (lambda lines: b"\n".join([*lines, lines[0], b""]), IMAGES + 1),
}
