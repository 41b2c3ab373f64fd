"""Downloads from a real web server on this machine, one that can also misbehave."""
import gzip
import hashlib
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from downloads import fetching
from downloads.fetching import fetch
from downloads.public_files import PUBLIC_FILES, PublicFile
from fetch import main
from prep.errors import PrepError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(ThreadingHTTPServer):
    """Serves `files`; breaks the connection after `break_after` bytes of an answer; records the Range headers."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ranges, self.break_after, self.knows_ranges = {"/file.bin": CONTENT}, [], None, True
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, data = self.server, self.server.files.get(self.path)
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        if data is None:
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.knows_ranges else 0
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:][:server.break_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    running = Server()
    yield running
    running.shutdown()
    running.server_close()


def described(content=CONTENT, algorithm="sha1"):
    checksum = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    return PublicFile("file.bin", "http://publisher.example/file.bin", checksum)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_whole_and_checked(server, tmp_path, algorithm):
    fetch(described(algorithm=algorithm), tmp_path / "deep/file.bin", server.url())
    assert (tmp_path / "deep/file.bin").read_bytes() == CONTENT
    assert names(tmp_path / "deep") == ["file.bin"]


def test_a_file_that_is_there_is_checked_and_not_fetched(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    fetch(described(), tmp_path / "file.bin", server.url())
    assert server.ranges == []
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(PrepError, match="file.bin: SHA1 .* expected .* remove it and fetch it again"):
        fetch(described(), tmp_path / "file.bin", server.url())
    assert names(tmp_path) == ["file.bin"], "a file of the user's is never removed"


def test_a_broken_download_goes_on_where_it_broke(server, tmp_path):
    server.break_after = 300_000
    with pytest.raises(PrepError, match="cannot fetch file.bin .*300000 of 1048576 bytes"):
        fetch(described(), tmp_path / "file.bin", server.url())
    assert names(tmp_path) == ["file.bin.partial"]
    server.break_after = None
    fetch(described(), tmp_path / "file.bin", server.url())
    assert server.ranges == [None, "bytes=300000-"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["file.bin"]


def test_a_server_that_knows_no_ranges_starts_over(server, tmp_path):
    server.knows_ranges = False
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:1000])
    fetch(described(), tmp_path / "file.bin", server.url())
    assert server.ranges == ["bytes=1000-"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_whole_part_only_needs_its_name(server, tmp_path):
    (tmp_path / "file.bin.partial").write_bytes(CONTENT)
    fetch(described(), tmp_path / "file.bin", server.url())
    assert names(tmp_path) == ["file.bin"]


def test_wrong_content_is_refused_and_removed(server, tmp_path):
    server.files["/file.bin"] = CONTENT[:-1] + b"x"
    with pytest.raises(PrepError, match="expected"):
        fetch(described(), tmp_path / "file.bin", server.url())
    assert names(tmp_path) == []


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Sign in</title>", b"\n <HTML>",
                                  b"<?xml version='1.0'?><Error/>"])
def test_a_web_page_is_no_file(server, tmp_path, page):
    server.files["/file.bin"] = page
    with pytest.raises(PrepError, match="a web page came instead"):
        fetch(PublicFile("file.bin", "http://publisher.example"), tmp_path / "file.bin", server.url())
    assert names(tmp_path) == []


def test_without_a_published_checksum_the_first_download_is_remembered(server, tmp_path):
    unknown = PublicFile("file.bin", "http://publisher.example")
    fetch(unknown, tmp_path / "file.bin", server.url())
    assert (tmp_path / "file.bin.sha256").read_text().strip() == hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / "file.bin").unlink()
    server.files["/file.bin"] = b"changed"
    with pytest.raises(PrepError, match="SHA256 .* expected"):
        fetch(unknown, tmp_path / "file.bin", server.url())
    assert names(tmp_path) == ["file.bin.sha256"]


def test_checksum_of_unpacked_content(server, tmp_path):
    packed = PublicFile("file.bin", "http://publisher.example", described(b"content").checksum, unpacked=True)
    server.files["/file.bin"] = gzip.compress(b"content", 1)
    fetch(packed, tmp_path / "file.bin", server.url())
    server.files["/file.bin"] = gzip.compress(b"content")[:-3]
    with pytest.raises(PrepError, match="not a whole .gz file"):
        fetch(packed, tmp_path / "other", server.url())


def test_without_a_network_the_message_says_what_to_do(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    started = time.monotonic()
    with pytest.raises(PrepError) as caught:
        main(["caffenet", "--to", str(tmp_path / "w.caffemodel"), "--mirror", url])
    assert time.monotonic() - started < fetching.CONNECT_TIMEOUT
    for part in (f"{url}bvlc_reference_caffenet.caffemodel", PUBLIC_FILES["caffenet"].url,
                 "SHA1 4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46", str(tmp_path / "w.caffemodel"), "--mirror"):
        assert part in str(caught.value)
    assert names(tmp_path) == []


def test_a_silent_server_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(PrepError, match="timed out"):
            fetch(described(), tmp_path / "file.bin", f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin")


def test_program_with_url_mirror_and_environment(server, tmp_path, monkeypatch):
    monkeypatch.setitem(PUBLIC_FILES, "released-48", replace(PUBLIC_FILES["released-48"], layers=None))
    server.files |= {"/KevinNet_CIFAR10_48.caffemodel": CONTENT}
    assert main(["released-48", "--to", str(tmp_path / "a.caffemodel"), "--url", server.url()]) == 0
    assert main(["released-48", "--to", str(tmp_path / "folder"), "--mirror", server.url("")]) == 0
    monkeypatch.setenv("FETCH_MIRROR", server.url(""))
    assert main(["released-48", "--to", str(tmp_path / "other")]) == 0
    found = sorted(tmp_path.rglob("*.caffemodel"))
    assert len(found) == 3
    assert {path.read_bytes() for path in found} == {CONTENT}


def test_a_missing_file_and_one_url_for_four_files(server, tmp_path):
    with pytest.raises(PrepError, match="Not Found"):
        main(["cifar10", "--to", str(tmp_path), "--mirror", server.url("")])
    with pytest.raises(PrepError, match="mnist is 4 files"):
        main(["mnist", "--to", str(tmp_path), "--url", server.url()])
