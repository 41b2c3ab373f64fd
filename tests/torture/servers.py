"""Servers that misbehave, and downloads from them. `python -m torture.servers FOLDER` is the server itself.

It prints its port. A process of its own: the trial forks, and a fork of a process with threads is not to be trusted.
"""
import gzip
import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torture.cases import ANY, REFUSED, Case, Command

OK = b"HTTP/1.1 200 OK\r\n"
LABELS = bytes(range(10)) * 500  # what a file of labels holds here


def plain(content: bytes, length: object = None) -> bytes:
    return OK + f"Content-Length: {len(content) if length is None else length}\r\n\r\n".encode() + content


def drip(connection: socket.socket, head: bytes, piece: bytes, pause: float) -> None:
    """Never ends."""
    connection.sendall(head)
    while True:
        connection.sendall(piece)
        time.sleep(pause)


def answers(model: bytes) -> dict[str, bytes | Callable[[socket.socket], None]]:
    """{name in the address: what the server sends}."""
    packed = gzip.compress(LABELS, mtime=0)
    damaged = packed[:30] + b"\xff" * 20 + packed[50:]
    fixed = {
        "good": plain(model), "good without length": OK + b"\r\n" + model, "labels": plain(packed),
        "html": plain(b"<!DOCTYPE html><html><title>Sign in</title></html>"), "json": plain(b'{"error": "quota"}'),
        "text": plain(b"Too many requests"), "empty": plain(b""), "zeros": plain(bytes(9999)),
        "cut": plain(model[:len(model) // 2]), "cut by one": plain(model[:-1]), "gzipped": plain(gzip.compress(model)),
        "broken": plain(model[:len(model) // 2], len(model)), "too long": plain(model + b"\xff" * 50),
        "length abc": plain(model, "abc"), "length -5": plain(model, -5), "length 1e3": plain(model, "1e3"),
        "length of 20 digits": plain(model, "9" * 20), "two lengths": OK + b"Content-Length: 5\r\n" + plain(model)[17:],
        "damaged deflate": plain(damaged), "cut deflate": plain(packed[:len(packed) // 2]),
        "other labels": plain(gzip.compress(LABELS[::-1])), "no head": model, "nothing": b"",
        "a status that is none": b"HTTP/1.1 999999 x\r\n\r\n", "a head without end": OK + b"X: " + b"y" * 70000,
        "200 heads": OK + b"X: 1\r\n" * 200 + b"\r\n", "404": b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno",
        "503": b"HTTP/1.1 503 Busy\r\nContent-Length: abc\r\n\r\n", "another protocol": b"SSH-2.0-OpenSSH\r\n",
        "bad chunks": OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n" + model,
        "to itself": b"HTTP/1.1 302 Found\r\nLocation: file\r\n\r\n",
        "to a file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        "to nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[bad/\r\n\r\n",
        "another part": b"HTTP/1.1 206 Part\r\nContent-Range: bytes 9-20/21\r\nContent-Length: 12\r\n\r\nhello, world",
    }
    dripping = {"endless": lambda c: drip(c, OK + b"\r\n", model[:5000], 0),
                "slow": lambda c: drip(c, OK + b"\r\n", b"x", 0.05),
                "slow head": lambda c: drip(c, OK, b"X-Wait: yes\r\n", 0.05), "silent": lambda c: time.sleep(60),
                "silent in the midst": lambda c: (c.sendall(plain(model)[:900]), time.sleep(60))}
    return fixed | dripping


def serve(folder: Path) -> None:
    found = answers((folder / "run/final.caffemodel").read_bytes())

    def reply(connection: socket.socket) -> None:
        with connection:
            try:
                asked = connection.recv(65536).split(b" ")[1].decode().split("/")[1].replace("%20", " ")
                answer = found[asked]
                answer(connection) if callable(answer) else connection.sendall(answer)
            except (OSError, IndexError, KeyError):
                pass  # the client has gone, or was no client

    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=reply, args=(connection,), daemon=True).start()


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """The server's port while the block lasts."""
    process = subprocess.Popen([sys.executable, "-m", "torture.servers", folder], stdout=subprocess.PIPE,
                               cwd=Path(__file__).resolve().parents[1])
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- the client's side
def short_limits() -> None:
    """In the process that fetches: small public files in place of the large ones, and limits of seconds."""
    from downloads import fetching, public_files  # in the fork only
    files = public_files.PUBLIC_FILES
    files["released-48"] = replace(files["released-48"], layers={"fc7": (16, 32), "fc8_kevin": (8, 16)})
    files["t10k-labels-idx1-ubyte"] = replace(files["t10k-labels-idx1-ubyte"],
                                              checksum=f"md5:{hashlib.md5(LABELS).hexdigest()}")
    fetching.CONNECT_TIMEOUT = fetching.ANSWER_LIMIT = 5
    fetching.SPEED_WINDOW, fetching.TOTAL_LIMIT, fetching.LARGEST = 2, 20, 1 << 22


READ = ("good", "good without length")  # names of answers


def fetched(folder: Path) -> str | None:
    """What is wrong with a download that was taken."""
    model, wanted = folder / "out/file.bin", folder / "run/final.caffemodel"
    if model.read_bytes() != wanted.read_bytes():
        return "another file than the model got its name"
    pin = (folder / "out/file.bin.sha256").read_text().strip()
    return None if pin == hashlib.sha256(wanted.read_bytes()).hexdigest() else "another SHA-256 was pinned"


def unpacked(folder: Path) -> str | None:
    return None if gzip.decompress((folder / "out/file.bin").read_bytes()) == LABELS else "other labels were taken"


def nothing_named(folder: Path) -> str | None:
    """What is wrong after a refusal: only a part that goes on may be there."""
    left = [path.name for path in (folder / "out").glob("*") if not path.name.endswith(".partial")]
    return f"{left[0]} was left" if left else None


# What comes whole and is wrong: going on from it would fail for ever.
WRONG = ("html", "json", "text", "empty", "zeros", "cut", "cut by one", "gzipped", "damaged deflate", "cut deflate")


def nothing_left(folder: Path) -> str | None:
    left = [path.name for path in (folder / "out").glob("*")]
    return f"{left[0]} was left, and the next call goes on from it" if left else None


def all_downloads(port: int, model: bytes) -> Iterator[Case]:
    """Every answer, to a program that asks for the model, and to one that asks for a packed file with a checksum."""
    for name in answers(model):
        address = f"http://127.0.0.1:{port}/{name.replace(' ', '%20')}/file"
        for what, good, check in (("released-48", READ, fetched), ("t10k-labels-idx1-ubyte", ("labels",), unpacked)):
            command = Command(f"fetch {what}", "fetch", (what, "--to", "out/file.bin", "--url", address), (), ("out",),
                              short_limits)
            expected = ANY if name in (*good, "two lengths") else REFUSED
            yield Case(command, "", name, lambda path, rng: None, expected, check,
                       nothing_left if name in WRONG else nothing_named)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
