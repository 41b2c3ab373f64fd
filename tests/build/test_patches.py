"""third_party/caffe/patches: each says what needs it, and all apply one after another to the sources of Debian."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "third_party" / "caffe" / "build.sh"
PATCHES = sorted((BUILD.parent / "patches").glob("*.patch"))
DOWNLOADS = ROOT / "build" / "caffe" / "downloads"


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.name)
def test_every_patch_says_what_needs_it(patch):
    header = patch.read_text().split("\n---", 1)[0]
    assert re.match(r"Needed by \S+", header), patch.name


@pytest.mark.skipif(not list(DOWNLOADS.glob("*.orig.tar.gz")), reason="Caffe was built from a copy of the user's")
def test_all_patches_apply_in_order_and_exactly(tmp_path):
    shutil.copytree(DOWNLOADS, tmp_path / "build" / "caffe" / "downloads")
    done = subprocess.run([BUILD, "source", "cpu"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "build" / "caffe" / "cpu-source.log").read_text()
    ours = log[log.index(f"applying {PATCHES[0]}"):]
    assert re.findall(r"^applying (.*)$", ours, re.MULTILINE) == [str(path) for path in PATCHES]
    assert "fuzz" not in ours  # a context that has moved on may put a change into the wrong place
