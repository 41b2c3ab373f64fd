"""What an experiment starts from: named at once where it is missing, fetched where it is public."""
import hashlib
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from downloads.public_files import PUBLIC_FILES
from inputs import main
from prep.errors import PrepError


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A web server on this machine that holds the files of its folder, named by FETCH_MIRROR. Returns the folder."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("FETCH_MIRROR", f"http://127.0.0.1:{server.server_port}")
    yield folder
    server.shutdown()
    server.server_close()


def serve(mirror, monkeypatch, name):
    """The public file of that name, with content of the test's own."""
    content = name.encode()
    monkeypatch.setitem(PUBLIC_FILES, name, replace(
        PUBLIC_FILES[name], checksum=f"sha256:{hashlib.sha256(content).hexdigest()}", unpacked=False, sha256=None,
        layers=None))
    (mirror / PUBLIC_FILES[name].name).write_bytes(content)


def experiment(tmp_path, dataset="cifar10", *, data="", weights="none", target="train-cifar"):
    return main(["experiment", "--dataset", dataset, "--data", str(data), "--weights", str(weights),
                 "--databases", str(tmp_path / "set"), "--to", str(tmp_path / "downloads"), "--target", target])


@pytest.mark.parametrize("given, message", [
    ({"data": "/no/pho tos"}, "DATA=/no/pho tos: no such file or directory"),
    ({"data": ".", "weights": "no.caffemodel"}, "WEIGHTS=no.caffemodel: no such file")])
def test_a_path_that_does_not_exist_is_named_by_its_variable(tmp_path, given, message):
    with pytest.raises(PrepError, match=message):
        experiment(tmp_path, **given)


def test_images_and_weights_that_are_public_are_fetched(tmp_path, mirror, monkeypatch):
    for name in ("cifar10", "caffenet"):
        serve(mirror, monkeypatch, name)
    weights = tmp_path / "downloads/bvlc_reference_caffenet.caffemodel"
    assert experiment(tmp_path, weights=weights) == 0
    assert weights.read_bytes() == b"caffenet"
    assert (tmp_path / "downloads/cifar-10-binary.tar.gz").read_bytes() == b"cifar10"


def test_all_that_cannot_be_fetched_is_named_at_once_with_what_to_type(tmp_path, mirror):
    with pytest.raises(PrepError) as caught:
        experiment(tmp_path, weights=tmp_path / "downloads/bvlc_reference_caffenet.caffemodel", target="cifar-table")
    assert "cannot fetch cifar-10-binary.tar.gz" in str(caught.value)
    assert "cannot fetch bvlc_reference_caffenet.caffemodel" in str(caught.value)
    assert str(caught.value).endswith("make cifar-table DATA=<images> WEIGHTS=<caffemodel>")


def test_images_of_ones_own_are_not_fetched(tmp_path, mirror):
    assert experiment(tmp_path, data=tmp_path) == 0
    assert not (tmp_path / "downloads").exists()


def test_databases_made_before_need_no_images_and_say_that_DATA_is_not_read_again(tmp_path, mirror, capsys):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/.complete").touch()
    assert experiment(tmp_path) == 0
    assert capsys.readouterr().out == ""
    assert experiment(tmp_path, data=tmp_path) == 0
    assert "set is kept as it was made (DATA= is not read again" in capsys.readouterr().out


def test_packaged_digits_need_nothing(tmp_path, mirror):
    assert experiment(tmp_path, "digits") == 0


def released(tmp_path, bits, file=""):
    return main(["released", "--bits", bits, "--file", str(file), "--to", str(tmp_path / "downloads")])


def test_the_released_model_is_fetched(tmp_path, mirror, monkeypatch):
    serve(mirror, monkeypatch, "released-48")
    assert released(tmp_path, "48") == 0
    assert (tmp_path / "downloads/KevinNet_CIFAR10_48.caffemodel").read_bytes() == b"released-48"


def test_without_a_network_a_copy_of_the_released_model_is_asked_for(tmp_path, mirror):
    with pytest.raises(PrepError, match=r"(?s)KevinNet_CIFAR10_48.*make compare-cifar RELEASED=<caffemodel>"):
        released(tmp_path, "48")


def test_other_code_lengths_have_no_address(tmp_path, mirror):
    with pytest.raises(PrepError, match="only the 48-bit model has an address; name the 12-bit one with RELEASED="):
        released(tmp_path, "12")


def test_a_released_model_that_is_named_must_exist(tmp_path):
    with pytest.raises(PrepError, match="RELEASED=no.caffemodel: no such file"):
        released(tmp_path, "12", "no.caffemodel")
