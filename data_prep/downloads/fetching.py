"""Downloads of public files: resumed after a break, checked, and given their name only when whole."""
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from tqdm import tqdm

from downloads.checksums import check_file, file_checksum
from downloads.public_files import PublicFile
from prep.errors import PrepError

CONNECT_TIMEOUT = 10  # seconds, also the longest silence within a download
BLOCK = 1 << 20
MIRROR_VARIABLE = "FETCH_MIRROR"


def address(file: PublicFile, mirror: str | None = None) -> str:
    """Where the file is fetched from: its publisher, or `mirror`, a folder on the web that holds it under its name."""
    return f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url


def fetch(file: PublicFile, target: Path, url: str) -> None:
    """`target` is the whole, checked file afterwards; a file that is there already is only checked.

    A file without a published checksum is trusted the first time and leaves <target>.sha256, which
    later downloads must match. A broken download stays as <target>.partial and goes on from there.
    """
    pin = target.with_name(target.name + ".sha256")
    if target.exists():
        return _check(file, target, pin)
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _download(url, partial)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise PrepError(_by_hand(file, target, url, error)) from error
    except OSError as error:
        raise PrepError(f"{partial}: {error.strerror}; fix that and call again, it goes on from here") from error
    try:
        _check(file, partial, pin)
    except PrepError:
        partial.unlink()  # its content is wrong: going on from it would not help
        raise
    if file.checksum is None and not pin.exists():
        checksum = file_checksum(partial, "sha256")
        pin.write_text(f"{checksum}\n")
        print(f"{file.name}: no checksum was published; the SHA-256 of this one, {checksum}, is kept in {pin}")
    os.replace(partial, target)


def _by_hand(file: PublicFile, target: Path, url: str, error: Exception) -> str:
    return (f"cannot fetch {file.name} from {url} ({getattr(error, 'reason', error)}). "
            f"Call again to go on; or fetch it elsewhere from {file.url} ({file.expected()}) and put it at {target}; "
            f"or name another address with --url or --mirror (environment: {MIRROR_VARIABLE})")


def _check(file: PublicFile, path: Path, pin: Path) -> None:
    """PrepError unless `path` is the file that the registry, or `pin` from an earlier download, describes."""
    _refuse_web_page(path)
    if file.checksum:
        check_file(path, file.checksum, unpacked=file.unpacked)
    elif pin.exists():
        check_file(path, f"sha256:{pin.read_text().strip()}")


def _refuse_web_page(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        raise PrepError(f"{path}: empty; name another address with --url")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise PrepError(f"{path}: a web page came instead of the file (an error or login page?); "
                        "open the address in a browser, or name another one with --url")


def _download(url: str, partial: Path) -> None:
    """Append to `partial` what is missing of it; OSError or HTTPException when the connection breaks."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum decides
        raise
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        total = int(length) + (have if resumed else 0) if length else None
        with open(partial, "ab" if resumed else "wb") as file:
            _copy(response, file, total, have if resumed else 0)


def _copy(response: http.client.HTTPResponse, file: IO[bytes], total: int | None, done: int) -> None:
    with tqdm(total=total, initial=done, desc=Path(file.name).stem, unit="B", unit_scale=True,
              disable=None) as progress:
        while block := response.read(BLOCK):
            file.write(block)
            done += len(block)
            progress.update(len(block))
    if total is not None and done < total:
        raise http.client.HTTPException(f"the connection broke after {done} of {total} bytes")
