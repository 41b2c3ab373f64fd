"""The scripts that install, fetch and select Caffe: what they print and what they refuse."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CAFFE = ROOT / "third_party" / "caffe"


def run(*command, cwd=ROOT, **environment):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
    return done.returncode, done.stdout + done.stderr


def test_setup_is_done_and_does_nothing_again():
    status, printed = run("make", "setup")
    assert status == 0
    assert "installing" not in printed


def test_class_folders_given_as_DATA_become_the_databases_of_cifar10(tmp_path):
    for number, split in enumerate(("train", "test")):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            picture = np.full((32, 32, 3), 50 * number, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / split / name / "1.png"), picture)
    status, printed = run("make", "databases", "DATASET=cifar10", "NET=caffenet", "WEIGHTS=none",
                          f"DATA={tmp_path / 'images'}", f"DATA_DIR={tmp_path / 'made'}")
    assert status == 0, printed
    assert {path.name for path in (tmp_path / "made").iterdir()} >= {
        "train_lmdb", "test_lmdb", "train_originals_lmdb", "test_originals_lmdb", ".complete"}


def test_missing_packages_without_root_print_the_command(tmp_path):
    (tmp_path / "list.txt").write_text("no-such-package-here  # a comment\n")
    shutil.copy(ROOT / "third_party" / "apt.sh", tmp_path)
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    status, printed = run(*as_nobody, "env", "PATH=/usr/bin:/bin", "sh", "apt.sh", "list.txt", cwd=tmp_path)
    if shutil.which("sudo", path="/usr/bin:/bin"):
        pytest.skip("sudo is installed here: the script would ask it")
    assert status == 1
    assert "apt-get install -y --no-install-recommends no-such-package-here" in printed


def caffe_scripts(tmp_path):
    shutil.copytree(CAFFE, tmp_path / "caffe")
    return tmp_path / "caffe"


def test_a_download_with_another_checksum_leaves_no_file(tmp_path):
    scripts = caffe_scripts(tmp_path)
    listing = (scripts / "source.txt").read_text()
    sum_of_patches = re.search(r"^([0-9a-f]{64}) .*debian\.tar", listing, re.MULTILINE).group(1)
    (scripts / "source.txt").write_text(listing.replace(sum_of_patches, "0" * 64))
    status, printed = run(str(scripts / "fetch.sh"), str(tmp_path / "to"), "debian.tar")
    assert status == 1
    assert "debian.tar.xz" in printed
    assert "CAFFE_SRC" in printed
    assert not list((tmp_path / "to").glob("*.xz"))


def test_a_damaged_copy_is_fetched_again(tmp_path):
    name = re.search(r"\S+debian\.tar\.xz", (CAFFE / "source.txt").read_text()).group()
    to = tmp_path / "to"
    to.mkdir()
    (to / name).write_bytes(b"cut off")
    status, printed = run(str(CAFFE / "fetch.sh"), str(to), "debian.tar")
    assert status == 0
    assert "downloading" in printed
    assert (to / name).stat().st_size > 10_000


def test_without_a_debian_mirror_the_file_and_its_folder_are_named_and_DEBIAN_MIRROR_is_one(tmp_path):
    (tmp_path / "bin").mkdir()
    apt = tmp_path / "bin" / "apt-get"
    apt.write_text("#!/bin/sh\necho universe http://mirror.example/ubuntu/ Ubuntu\n")
    apt.chmod(0o755)
    elsewhere = dict(PATH=f"{apt.parent}:{os.environ['PATH']}")
    status, printed = run(str(CAFFE / "fetch.sh"), str(tmp_path / "to"), "debian.tar", **elsewhere)
    assert status == 1
    assert "DEBIAN_MIRROR=" in printed
    assert re.search(r"put caffe_\S+debian.tar.xz \(SHA-256 [0-9a-f]{64}\)", printed)
    assert "pool/main/c/caffe" in printed
    ask_apt = ["apt-get", "indextargets", "--format", "$(COMPONENT) $(REPO_URI) $(ORIGIN)", "Created-By: Packages"]
    named = subprocess.run(ask_apt, capture_output=True, text=True).stdout
    mirror = next((line.split()[1] for line in named.splitlines()
                   if re.match("main .* Debian$", line) and "security" not in line), None)
    if mirror is None:
        pytest.skip("apt has no Debian mirror here")
    status, printed = run(str(CAFFE / "fetch.sh"), str(tmp_path / "to"), "debian.tar",
                          DEBIAN_MIRROR=mirror.rstrip("/"), **elsewhere)
    assert status == 0, printed


@pytest.mark.parametrize("source, complaint", [("/nowhere", "neither a directory nor a tarball"),
                                               (str(ROOT / "tests"), "not a Caffe source tree")])
def test_caffe_src_that_is_no_caffe_is_refused(tmp_path, source, complaint):
    status, printed = run("bash", str(CAFFE / "build.sh"), "source", "cpu", cwd=tmp_path, CAFFE_SRC=source)
    assert status == 1
    assert complaint in printed
    assert not (tmp_path / "build/caffe/cpu").exists()


def test_caffe_src_takes_a_tarball_and_a_patched_directory(tmp_path):
    downloads = ROOT / "build/caffe/downloads"
    tarball = next(iter(downloads.glob("*.orig.tar.gz")), None)
    if tarball is None:
        pytest.skip("Caffe was not built from the source package here")
    shutil.copytree(downloads, tmp_path / "build/caffe/downloads")
    build = ("bash", str(CAFFE / "build.sh"), "source", "cpu")
    assert run(*build, cwd=tmp_path, CAFFE_SRC=str(tarball)) == (0, "")
    io = (tmp_path / "build/caffe/cpu/src/caffe/util/io.cpp").read_text()
    assert "SetTotalBytesLimit(kProtoReadBytesLimit);" in io
    assert "cv::IMREAD_COLOR" in io
    first = tmp_path / "patched"
    shutil.move(tmp_path / "build/caffe/cpu", first)
    assert run(*build, cwd=tmp_path, CAFFE_SRC=str(first)) == (0, "")  # patches that are there are left out
    assert (tmp_path / "build/caffe/cpu/src/caffe/util/io.cpp").read_text() == io


def test_caffe_root_must_be_a_built_caffe(tmp_path):
    status, printed = run("bash", str(CAFFE / "use.sh"), str(tmp_path), str(tmp_path / "stamp"), cwd=tmp_path)
    assert status == 1
    assert "_caffe.so is missing" in printed
    assert not (tmp_path / "stamp").exists()


def test_the_python_package_of_the_protoc_that_wrote_caffe_pb2_is_installed(tmp_path):
    tree = tmp_path / "tree"
    for name in ("python/caffe/_caffe.so", "python/caffe/proto/caffe_pb2.py", "build/tools/caffe",
                 "build/tools/convert_imageset", ".venv/bin/pip", ".venv/bin/python", "asked"):
        path = (tmp_path if name.startswith((".venv", "asked")) else tree) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
    (tmp_path / ".venv/bin/python").write_text("#!/bin/sh\npwd\n")
    (tmp_path / ".venv/bin/pip").write_text('#!/bin/sh\necho "$@" >>asked; echo protobuf==4.25.8\n')
    use = (str(CAFFE / "use.sh"), str(tree), "stamp")
    assert run(*use, cwd=tmp_path)[0] == 0  # protoc 3.21 says nothing
    assert "install" not in (tmp_path / "asked").read_text()
    written_by = "# -*- coding: utf-8 -*-\n# Protobuf Python Version: 7.36.2\n"
    (tree / "python/caffe/proto/caffe_pb2.py").write_text(written_by)
    status, printed = run(*use, cwd=tmp_path)
    assert status == 0
    assert "protobuf 7.36.2" in printed
    assert "protobuf==7.36.2" in (tmp_path / "asked").read_text()


def test_caffe_tools_and_pycaffe_are_there():
    for tool in ("caffe", "convert_imageset", "compute_image_mean", "extract_features", "upgrade_net_proto_text",
                 "upgrade_net_proto_binary"):
        assert os.access(ROOT / "build/caffe/current/build/tools" / tool, os.X_OK), tool
    import caffe
    assert {"InnerProduct", "Sigmoid", "Data", "LRN"} <= set(caffe.layer_type_list())
