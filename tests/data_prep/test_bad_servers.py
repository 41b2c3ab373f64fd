"""Downloads from servers that misbehave: real ones, on this machine. Nothing is trusted before it was looked at."""
import gzip
import hashlib
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from downloads import fetching
from downloads.fetching import addresses, fetch
from downloads.public_files import PUBLIC_FILES, PublicFile
from prep.errors import PrepError

CONTENT = bytes(range(256)) * 64
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def serving(*answers):
    """URL of a server that sends each connection the next answer, the last one again and again.

    An answer is bytes, or a function that is given the socket and the head of the request.
    """
    def accept():
        for number in range(1000):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            answer = answers[min(number, len(answers) - 1)]
            threading.Thread(target=reply, args=(connection, answer), daemon=True).start()

    def reply(connection, answer):
        with connection:
            try:
                head = connection.recv(65536)
                answer(connection, head) if callable(answer) else connection.sendall(answer)
            except OSError:
                pass  # the client has gone

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/file.bin"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def with_length(content, length=None):
    return OK + f"Content-Length: {len(content) if length is None else length}\r\n\r\n".encode() + content


def drip(head, piece, pause=0.05):
    """Sends `head`, then `piece` again and again."""
    def send(connection, _):
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause)
    return send


def known(content=CONTENT, **more):
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    return PublicFile("file.bin", "http://publisher.example/file.bin", checksum, **more)


def number(value):
    """Protobuf's number of variable length."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)


def field(name, content):
    """A field of protobuf that has a length: its number, wire type 2."""
    return number(name << 3 | 2) + number(len(content)) + content


def blob(*shape, values=None):
    count = 1
    for side in shape:
        count *= side
    data = b"\0\0\x80\x3f" * (count if values is None else values)
    return field(7, field(1, b"".join(map(number, shape)))) + field(5, data)


def caffemodel(**layers):
    """Bytes of a caffemodel with these layers: {name: [blob, ...]}."""
    return b"".join(field(100, field(1, name.encode()) + b"".join(field(7, one) for one in blobs))
                    for name, blobs in layers.items())


RELEASED = PublicFile("file.bin", "http://publisher.example/file.bin", layers={"fc7": (4, 6), "codes": (3, 4)})
GOOD = caffemodel(fc7=[blob(4, 6), blob(4)], codes=[blob(1, 1, 3, 4), blob(1, 1, 1, 3)], more=[blob(2)])


def test_a_model_with_the_layers_that_are_expected_is_pinned(tmp_path):
    with serving(with_length(GOOD)) as url:
        fetch(RELEASED, tmp_path / "file.bin", url)
    assert (tmp_path / "file.bin.sha256").read_text().strip() == hashlib.sha256(GOOD).hexdigest()
    fetch(RELEASED, tmp_path / "file.bin")
    (tmp_path / "file.bin.sha256").write_text("not a sum")
    with pytest.raises(PrepError, match="file.bin.sha256: holds no SHA-256; remove it"):
        fetch(RELEASED, tmp_path / "file.bin")


@pytest.mark.parametrize("content, message", [
    (b"<!DOCTYPE html><title>Sign in</title>", "a web page came"),
    (json.dumps({"error": "quota"}).encode(), "a web page came"),
    (b"Too many requests", "not a caffemodel, or cut short"),
    (GOOD[:-10], "not a caffemodel, or cut short"),
    (GOOD[:len(GOOD) // 2], "not a caffemodel, or cut short"),
    (gzip.compress(GOOD, mtime=0), "not a caffemodel, or cut short"),
    (caffemodel(fc7=[blob(4, 6), blob(4)]), "without the layer codes"),
    (caffemodel(fc7=[blob(4, 6), blob(4)], codes=[blob(2, 4), blob(2)]), r"layer codes has blobs of shape .*\(2, 4\)"),
    (caffemodel(fc7=[blob(4, 6), blob(4)], codes=[blob(3, 4)]), "layer codes has blobs"),
    (caffemodel(fc7=[blob(4, 6), blob(4)], codes=[blob(3, 4, values=11), blob(3)]), "11 values for the shape"),
    (b"", "empty")])
def test_what_is_not_the_model_is_neither_kept_nor_pinned(tmp_path, content, message):
    with serving(with_length(content)) as url, pytest.raises(PrepError, match=message):
        fetch(RELEASED, tmp_path / "file.bin", url)
    assert list(tmp_path.iterdir()) == []


def test_a_model_put_there_by_hand_is_looked_at_too_and_left_alone(tmp_path):
    (tmp_path / "file.bin").write_bytes(GOOD[:-10])
    with pytest.raises(PrepError, match="not a caffemodel"):
        fetch(RELEASED, tmp_path / "file.bin", "http://127.0.0.1:1/")
    assert (tmp_path / "file.bin").exists()


def test_the_registrys_own_model_is_described_by_its_layers():
    layers = PUBLIC_FILES["released-48"].layers
    assert layers["fc8_kevin"] == (48, 4096)
    assert set(layers) == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8_kevin", "fc8_pascal"}


def test_caffenet_is_asked_for_by_https_first_and_held_to_two_sums(tmp_path):
    caffenet = PUBLIC_FILES["caffenet"]
    assert [url.split(":")[0] for url in addresses(caffenet)] == ["https", "http"]
    assert len(caffenet.sha256) == 64
    with serving(with_length(CONTENT)) as url:
        with pytest.raises(PrepError, match="SHA256 .* expected 0000"):
            fetch(known(sha256="0" * 64), tmp_path / "file.bin", url)
        fetch(known(sha256=hashlib.sha256(CONTENT).hexdigest()), tmp_path / "file.bin", url)


def test_the_next_address_is_asked_where_one_fails(tmp_path):
    with serving(OK + b"Content-Length: 9\r\n\r\n<html></h") as page, serving(with_length(CONTENT)) as good:
        fetch(known(), tmp_path / "file.bin", "http://127.0.0.1:1/file.bin", page, good)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    with serving(with_length(CONTENT[:-1])) as bad, pytest.raises(PrepError) as caught:
        fetch(known(), tmp_path / "other", "http://127.0.0.1:1/file.bin", bad)
    assert "127.0.0.1:1/file.bin (" in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", "", "\u00b2", "99999999999999999999"])
def test_a_length_that_is_none_is_told(tmp_path, length):
    with serving(with_length(CONTENT, length)) as url, pytest.raises(PrepError, match="Content-Length|announces"):
        fetch(known(), tmp_path / "file.bin", url)


def test_a_longer_and_a_shorter_file_than_announced(tmp_path):
    with serving(with_length(CONTENT, len(CONTENT) + 5), with_length(CONTENT)) as url:
        with pytest.raises(PrepError, match="the connection broke after 16384 of 16389 bytes"):
            fetch(known(), tmp_path / "file.bin", url)
        fetch(known(), tmp_path / "file.bin", url)


def test_the_wrong_part_is_not_put_behind_what_is_there(tmp_path):
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:1000])
    part = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 900-16383/16384\r\n\r\n" + CONTENT[900:]
    with serving(part) as url, pytest.raises(PrepError, match="bytes from 1000 on were asked for"):
        fetch(known(), tmp_path / "file.bin", url)
    assert (tmp_path / "file.bin.partial").read_bytes() == CONTENT[:1000]


def test_damaged_deflate_data_leaves_no_part_that_fails_for_ever(tmp_path):
    packed = bytearray(gzip.compress(CONTENT * 8))
    packed[20:60] = b"\xff" * 40
    with serving(with_length(bytes(packed)), with_length(gzip.compress(CONTENT))) as url:
        with pytest.raises(PrepError, match="not a whole .gz file"):
            fetch(known(unpacked=True), tmp_path / "file.bin", url)
        assert list(tmp_path.iterdir()) == []
        fetch(known(unpacked=True), tmp_path / "file.bin", url)


@pytest.mark.parametrize("limits, answer, message", [
    ({"SPEED_WINDOW": 0.3}, drip(OK + b"\r\n", b"x"), "less than 2000 bytes/s"),
    ({"TOTAL_LIMIT": 0.3}, drip(OK + b"\r\n", b"x" * 1000), "not finished after"),
    ({"LARGEST": 100_000}, drip(OK + b"\r\n", b"x" * 5000, 0), "no end"),
    ({"ANSWER_LIMIT": 0.3}, drip(OK, b"X-Wait: yes\r\n"), "no answer within 0.3 s"),
    ({"ANSWER_LIMIT": 0.3}, drip(b"HTTP/1.1 200 O", b"K"), "no answer within 0.3 s"),
    ({"CONNECT_TIMEOUT": 0.3}, lambda *_: time.sleep(3), "timed out")])
def test_downloads_without_an_end_have_one(tmp_path, monkeypatch, limits, answer, message):
    for name, value in limits.items():
        monkeypatch.setattr(fetching, name, value)
    started = time.monotonic()
    with serving(answer) as url, pytest.raises(PrepError, match=message):
        fetch(known(), tmp_path / "file.bin", url)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("answer", [
    b"", b"\0" * 100, b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70000,
    OK + b"X: 1\r\n" * 200 + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: file.bin\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[bad/\r\n\r\n", b"HTTP/1.1 503 Busy\r\nContent-Length: abc\r\n\r\n"])
def test_answers_that_are_no_answer_end_in_a_sentence(tmp_path, answer):
    with serving(answer) as url, pytest.raises(PrepError, match="file.bin"):
        fetch(known(), tmp_path / "file.bin", url)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "file.bin.partial"])


@pytest.mark.parametrize("url", ["nowhere", "http://", "gopher://x/file.bin", "http://a b/file.bin", "http://x:y/"])
def test_an_address_that_is_none(tmp_path, url):
    with pytest.raises(PrepError):
        fetch(known(), tmp_path / "file.bin", url)
