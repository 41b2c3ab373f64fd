"""embed.py: a net asked through a pipe. Real Caffe, real images, and what people drop by mistake."""
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from caffe_cases import BITS, REPO, run
from embedding.decoding import NoImage, decode
from embedding.framing import BrokenPipe, read_frame, write_frame


def encoded(pixels, kind="PNG", **options):
    """Bytes of an image file of (H, W) or (H, W, 3) uint8 RGB."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


PHOTO = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)


class Net:
    """embed.py with its pipe, its messages made here by hand: an independent reading of the written-down framing."""

    def __init__(self, folder, *options):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(REPO, "python/embed.py"), "--run", "run", "--gpu", "none", *options],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.ready = self.read()[0]

    def read(self):
        """(header, {name: bytes})."""
        magic, header, body = struct.unpack("<4sII", self.process.stdout.read(12))
        assert magic == b"BHC1"
        told = json.loads(self.process.stdout.read(header))
        parts = {part["name"]: self.process.stdout.read(part["bytes"]) for part in told["parts"]}
        assert sum(map(len, parts.values())) == body
        return told, parts

    def ask(self, op, image=None, **more):
        parts = [] if image is None else [{"name": "image", "bytes": len(image)}]
        header = json.dumps({"op": op, "parts": parts, **more}).encode()
        body = image or b""
        self.process.stdin.write(struct.pack("<4sII", b"BHC1", len(header), len(body)) + header + body)
        self.process.stdin.flush()
        return self.read()

    def end(self):
        self.process.stdin.close()
        said = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.wait(30), said


@pytest.fixture(scope="module")
def folder(tiny_run, tmp_path_factory):
    """The small run, to be added to."""
    return shutil.copytree(tiny_run.folder, tmp_path_factory.mktemp("embed") / "work")


@pytest.fixture(scope="module")
def features(folder):
    """Features of the small run's training images, and of three image files."""
    (folder / "photos").mkdir()
    for name, data in {"a.png": encoded(PHOTO), "b.jpg": encoded(PHOTO[:, :, 0], "JPEG"),
                       "c.bmp": encoded(PHOTO[:9], "BMP")}.items():
        (folder / "photos" / name).write_bytes(data)
    for source, out in (("--lmdb train_lmdb", "asked/train"), ("--images photos", "asked/test")):
        status, said = run("extract.py", "--run", "run", "--gpu", "none", *source.split(), "--out", out, cwd=folder)
        assert status == 0, said
    return folder / "asked"


@pytest.fixture(scope="module")
def net(folder, features):
    net = Net(folder, "--images-of", "asked")
    yield net
    assert net.end()[0] == 0


@pytest.fixture
def own_net(folder):
    """For tests that break it."""
    net = Net(folder)
    yield net
    net.process.kill()
    net.process.communicate()


def test_the_features_are_those_of_extraction_bit_for_bit(net, features):
    for row, name in enumerate(("a.png", "b.jpg", "c.bmp")):
        header, parts = net.ask("embed", (features.parent / "photos" / name).read_bytes())
        for array in ("latent", "fc7"):
            expected = np.load(features / "test" / f"{array}.npy")
            # Rows of one batch can differ by rounding: an image alone is the batch's first.
            given = np.frombuffer(parts[array], "<f4")
            assert np.array_equal(given, expected[row]) if row == 0 else given == pytest.approx(expected[row], abs=1e-5)
        assert header["prediction"] == np.load(features / "test" / "predictions.npy")[row]


def test_it_tells_what_it_is_and_what_it_saw(net, features):
    meta = json.loads((features / "train/meta.json").read_text())
    for name in ("weights", "net", "mean", "blobs", "protocol", "scale", "resize", "input", "bits", "feature_dim"):
        assert net.ready["meta"][name] == meta[name]
    header, parts = net.ask("embed", encoded(PHOTO))
    assert (header["format"], header["width"], header["height"], header["notes"]) == ("PNG", 50, 40, [])
    assert set(header["seconds"]) == {"decode", "net"}
    assert [part["shape"] for part in header["parts"] if part["name"] == "latent"] == [[BITS]]
    assert np.array_equal(np.array(Image.open(io.BytesIO(parts["preview"]))), PHOTO)


NO_IMAGES = {
    "no image came": b"",
    "a PDF is not an image": b"%PDF-1.7 ...",
    "an HEIC image is not": b"\0\0\0\x18ftypheic" + bytes(50),
    "a web page is not": b"<!DOCTYPE html><p>",
    "this file is not": b"just text",
    "cut short or damaged": encoded(PHOTO, "JPEG")[:-300],
    "20,000 x 20,000 pixels, 50 million are the most": encoded(np.zeros((20000, 20000), np.uint8), compress_level=1),
}


@pytest.mark.parametrize("words", NO_IMAGES)
def test_what_is_no_image_gets_a_sentence_and_the_next_is_answered(net, words):
    header, parts = net.ask("embed", NO_IMAGES[words])
    assert words in header["error"]
    assert (header["kind"], parts) == ("image", {})
    assert "error" not in net.ask("embed", encoded(PHOTO))[0]


@pytest.mark.parametrize("data, words", [
    (encoded(PHOTO[:1, :1]), "only 1 x 1 pixels"),
    (encoded(np.dstack([PHOTO, PHOTO[:, :, :1]])), "transparent"),
    (encoded(PHOTO[:, :, 0].astype(np.uint16) * 257), "more than 8 bits"),
])
def test_what_a_person_should_know_is_noted(net, data, words):
    header, _ = net.ask("embed", data)
    assert words in " ".join(header["notes"])


def test_cmyk_is_taken_as_opencv_takes_it():
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).convert("CMYK").save(buffer, "JPEG")
    image, seen = decode(buffer.getvalue())
    assert np.array_equal(image, cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR))
    assert "CMYK" in seen.notes[0]


def test_a_turned_photo_is_turned_as_by_imread(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "x.jpg").write_bytes(encoded(PHOTO, "JPEG", exif=exif))
    image, _ = decode((tmp_path / "x.jpg").read_bytes())
    assert image.shape == (50, 40, 3)
    assert np.array_equal(image, cv2.imread(str(tmp_path / "x.jpg")))


def test_originals_come_by_row(net, features):
    of_datum = cv2.imdecode(np.frombuffer(net.ask("original", split="train", row=7)[1]["image"], np.uint8), 1)
    thumbs = np.load(features / "train/thumbs.npy")
    assert np.array_equal(of_datum[:, :, ::-1], thumbs[7])
    of_file = net.ask("original", split="test", row=0)[1]["image"]
    assert np.array_equal(np.array(Image.open(io.BytesIO(of_file))), PHOTO)


def test_an_original_that_is_not_there_or_no_image_gets_a_sentence(net, features):
    assert "no image 60" in net.ask("original", split="train", row=60)[0]["error"]
    assert "not where it was" in net.ask("original", split="test", row=3)[0]["error"]
    assert "nothing tells" in net.ask("original", split="../../etc", row=0)[0]["error"]
    third = features.parent / "photos/c.bmp"
    kept = third.read_bytes()
    third.write_text("root:x:0:0")
    header, parts = net.ask("original", split="test", row=2)
    third.write_bytes(kept)
    assert "this file is not an image" in header["error"]
    assert parts == {}


def test_a_decoder_that_dies_costs_one_image(own_net):
    assert "error" not in own_net.ask("embed", encoded(PHOTO))[0]
    decoders = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and is_decoder_of(pid, own_net.process.pid)]
    assert len(decoders) == 1
    os.kill(decoders[0], signal.SIGKILL)
    time.sleep(0.1)
    assert "broke the process that decodes" in own_net.ask("embed", encoded(PHOTO))[0]["error"]
    assert "error" not in own_net.ask("embed", encoded(PHOTO))[0]


def is_decoder_of(pid, program):
    """Whether a process is the decoder of the child of this embed.py."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
        return b"embedding.decoder_worker" in words and parent in children(program)
    except OSError:
        return False


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_it_ends_with_its_pipe_and_so_does_the_decoder(folder):
    net = Net(folder)
    guarded, = children(net.process.pid)
    decoder, = children(guarded)
    assert net.end()[0] == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in (guarded, decoder))


def test_a_net_without_codes_tells_why_it_does_not_start(folder):
    net = Net(folder, "--latent-blob", "nothing")
    assert "has no blob 'nothing'" in net.ready["error"]
    status, said = net.end()
    assert status == 1
    assert "has no blob 'nothing'" in said


def test_frames_hold_arrays_and_bytes():
    stream = io.BytesIO()
    write_frame(stream, {"op": "x"}, {"a": np.arange(6, dtype=">i4").reshape(2, 3), "b": b"yz", "c": np.empty((0, 2))})
    write_frame(stream, {})
    stream.seek(0)
    frame = read_frame(stream)
    assert frame.header["op"] == "x"
    assert frame.parts["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert frame.parts["b"] == b"yz"
    assert frame.parts["c"].shape == (0, 2)
    assert read_frame(stream).parts == {}
    assert read_frame(stream) is None


@pytest.mark.parametrize("data", [b"BHC", b"HTTP/1.1 200", struct.pack("<4sII", b"BHC1", 9, 0) + b"{}",
                                  struct.pack("<4sII", b"BHC1", 2, 1 << 30) + b"{}"])
def test_what_is_no_frame_is_told(data):
    with pytest.raises(BrokenPipe):
        read_frame(io.BytesIO(data))


def test_no_more_pixels_than_the_limit_are_decoded():
    with pytest.raises(NoImage, match="7,072 x 7,072"):
        decode(encoded(np.zeros((7072, 7072), np.uint8), compress_level=1))
