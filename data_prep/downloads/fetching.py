"""Downloads of public files: resumed after a break, checked, and given their name only when whole."""
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from downloads.caffemodel import check_layers
from downloads.checksums import check_file, file_checksum
from downloads.limited_http import opener
from downloads.public_files import PublicFile
from prep.errors import PrepError

CONNECT_TIMEOUT = 10   # seconds, also the longest silence within a download
ANSWER_LIMIT = 60      # seconds from the connection to the end of the answer's head
TOTAL_LIMIT = 4 * 3600  # seconds a file may take in one call
LEAST_SPEED = 2000     # bytes/s, over
SPEED_WINDOW = 60      # seconds
LARGEST = 1 << 30      # bytes: no public file is larger
BLOCK = 1 << 20
MIRROR_VARIABLE = "FETCH_MIRROR"
BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def addresses(file: PublicFile, mirror: str | None = None) -> list[str]:
    """Where the file is fetched from: its publisher, or `mirror`, a folder on the web that holds it under its name."""
    return [f"{mirror.rstrip('/')}/{file.name}"] if mirror else list(filter(None, (file.url, file.other_url)))


def fetch(file: PublicFile, target: Path, *urls: str) -> None:
    """`target` is the whole, checked file afterwards, from the first address that gives it; one there is only checked.

    A file without a published checksum is trusted the first time, when it holds what it should, and leaves
    <target>.sha256, which later downloads must match. A broken download stays as <target>.partial and goes on from
    there. PrepError says what each address answered.
    """
    pin = target.with_name(target.name + ".sha256")
    if target.exists():
        return _check(file, target, pin)
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in urls:
        try:
            _fetch_from(url, file, partial, pin)
            break
        except (*BROKEN, PrepError) as error:
            failures.append(_in_words(file, url, error))
    else:
        raise PrepError("\n".join([*failures, _by_hand(file, target)]))
    if file.checksum is None and not pin.exists():
        checksum = file_checksum(partial, "sha256")
        pin.write_text(f"{checksum}\n")
        print(f"{file.name}: no checksum was published; the SHA-256 of this one, {checksum}, is kept in {pin}")
    os.replace(partial, target)


def _fetch_from(url: str, file: PublicFile, partial: Path, pin: Path) -> None:
    """`partial` is the whole, checked file afterwards. BROKEN, or PrepError for wrong content or a full disk."""
    try:
        _download(url, partial)
    except BROKEN:
        raise
    except ValueError as error:  # urllib's, of an address
        raise PrepError(f"{url}: not an address that can be fetched ({error})") from error
    except OSError as error:
        raise PrepError(f"{partial}: {error.strerror}; fix that and call again, it goes on from here") from error
    try:
        _check(file, partial, pin)
    except PrepError:
        partial.unlink()  # its content is wrong: going on from it would not help
        raise


def _in_words(file: PublicFile, url: str, error: Exception) -> str:
    if isinstance(error, PrepError):
        return str(error)
    return f"cannot fetch {file.name} from {url} ({getattr(error, 'reason', error)})"


def _by_hand(file: PublicFile, target: Path) -> str:
    return (f"Call again to go on; or fetch it elsewhere from {file.url} ({file.expected()}) and put it at {target}; "
            f"or name another address with --url or --mirror (environment: {MIRROR_VARIABLE})")


def _check(file: PublicFile, path: Path, pin: Path) -> None:
    """PrepError unless `path` is the file that the registry, or `pin` from an earlier download, describes."""
    _refuse_web_page(path)
    if file.checksum:
        check_file(path, file.checksum, unpacked=file.unpacked)
    elif pin.exists():
        check_file(path, f"sha256:{_pinned(pin)}")
    if file.sha256:
        check_file(path, f"sha256:{file.sha256}")
    if file.layers:
        check_layers(path, file.layers)


def _pinned(pin: Path) -> str:
    text = pin.read_text("utf-8", "replace").strip()
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise PrepError(f"{pin}: holds no SHA-256; remove it, and the file is trusted anew")
    return text


def _refuse_web_page(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        raise PrepError(f"{path}: empty; name another address with --url")
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"{")):
        raise PrepError(f"{path}: a web page came instead of the file (an error or login page?); "
                        "open the address in a browser, or name another one with --url")


def _download(url: str, partial: Path) -> None:
    """Append to `partial` what is missing of it; one of BROKEN when the connection breaks or is too slow."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = opener(ANSWER_LIMIT).open(request, timeout=CONNECT_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum decides
        raise
    with response:
        done = have if have and _goes_on_from(response, have) else 0
        length = _length(response)
        with open(partial, "ab" if done else "wb") as file:
            _copy(response, file, None if length is None else length + done, done)


def _goes_on_from(response: http.client.HTTPResponse, have: int) -> bool:
    """Whether the answer is the rest that was asked for. HTTPException for another part."""
    if response.status != http.client.PARTIAL_CONTENT:
        return False
    told = response.headers.get("Content-Range", f"bytes {have}-")
    if not told.startswith(f"bytes {have}-"):
        raise http.client.HTTPException(f"bytes from {have} on were asked for, the server sent {told!r}")
    return True


def _length(response: http.client.HTTPResponse) -> int | None:
    """Bytes that the answer announces; None where it does not."""
    told = response.headers.get("Content-Length")
    if told is None:
        return None
    if not (told.isascii() and told.isdigit()):
        raise http.client.HTTPException(f"the server says Content-Length {told!r}, which is no number")
    if int(told) > LARGEST:
        raise http.client.HTTPException(f"the server announces {told} bytes; no public file is that large")
    return int(told)


def _copy(response: http.client.HTTPResponse, file: IO[bytes], total: int | None, done: int) -> None:
    with tqdm(total=total, initial=done, desc=Path(file.name).stem, unit="B", unit_scale=True,
              disable=None) as progress:
        for block in _watched_blocks(response, done):
            file.write(block)
            done += len(block)
            progress.update(len(block))
    if total is not None and done < total:
        raise http.client.HTTPException(f"the connection broke after {done} of {total} bytes")


def _watched_blocks(response: http.client.HTTPResponse, done: int) -> Iterator[bytes]:
    """What comes, as it comes; HTTPException when it is too slow, too long or too much."""
    started = window = time.monotonic()
    in_window = 0
    while block := response.read1(BLOCK):
        now, done, in_window = time.monotonic(), done + len(block), in_window + len(block)
        if done > LARGEST:
            raise http.client.HTTPException(f"{done} bytes and no end; no public file is that large")
        if now - started > TOTAL_LIMIT:
            raise http.client.HTTPException(f"not finished after {TOTAL_LIMIT / 3600:g} hours")
        if now - window > SPEED_WINDOW:
            if in_window / (now - window) < LEAST_SPEED:
                raise http.client.HTTPException(f"less than {LEAST_SPEED} bytes/s for {SPEED_WINDOW} s")
            window, in_window = now, 0
        yield block
