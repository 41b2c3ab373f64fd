"""Readers given anything: what they read, or their own exception; nothing else ever leaves them."""
import json
import os

import numpy as np
from caffe.proto import caffe_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basics.files import read_json as read_saved
from basics.program import EvalError
from caffe_files.arrays import read_array
from caffe_files.images import decode_image
from caffe_files.prototxt import read_text
from databases.pixels import to_pixels
from features.sources import FileSource
from prep.errors import PrepError
from process.errors import DriverError
from process.readers import read_json
from search.feature_set import load_array
from sources.lists import ListFiles, load_lists

# make torture asks for more, by its own seed.
MORE = os.environ.get("TORTURE_EXAMPLES")
ANYTHING = settings(max_examples=int(MORE or 60), deadline=None, derandomize=not MORE, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])
OWN = (PrepError, DriverError, EvalError)
JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
HEADERS = st.dictionaries(st.sampled_from(["descr", "fortran_order", "shape", "more"]),
                          st.sampled_from(["<f4", "|O", "<U5", "x", [("a", "<i4")], (), (3,), (-1,), (10**12,),
                                           True, None]))


def outcome(read, *arguments):
    """What a reader gives; its own exception is an answer, too."""
    try:
        return read(*arguments)
    except OWN as error:
        assert str(error)
        return error


@ANYTHING
@given(st.binary(max_size=300) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(tmp_path, content):
    path = tmp_path / "any.txt"
    path.write_bytes(content)
    for reader in (read_json, read_saved, load_array):
        outcome(reader, path)
    outcome(read_array, path, "array")
    outcome(read_text, path, caffe_pb2.NetParameter(), "net")
    outcome(FileSource, [str(path)])
    outcome(load_lists, {"train": ListFiles(path)}, tmp_path)
    outcome(decode_image, content, "it")
    outcome(to_pixels, content, False)


@ANYTHING
@given(st.lists(st.tuples(st.text("ab. /\t", min_size=1), st.integers() | st.text("0123456789,.-²٣e+", max_size=40))))
def test_any_list(tmp_path, lines):
    path = tmp_path / "any.txt"
    path.write_text("".join(f"{name} {label}\n" for name, label in lines))
    for found in (outcome(FileSource, [str(path)]), outcome(load_lists, {"train": ListFiles(path)}, tmp_path)):
        if not isinstance(found, OWN):
            assert len(found["train"] if isinstance(found, dict) else found.ids) == len(lines)


@ANYTHING
@given(JSON)
def test_any_json_is_read_as_it_is_or_refused(tmp_path, content):
    path = tmp_path / "any.json"
    path.write_text(json.dumps(content))
    for reader in (read_json, read_saved):
        found = outcome(reader, path)
        assert isinstance(found, (*OWN, dict))


@ANYTHING
@given(HEADERS, st.binary(max_size=64))
def test_any_header_of_an_array(tmp_path, header, data):
    text = (str(header) + "\n").encode()
    path = tmp_path / "any.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data)
    for found in (outcome(read_array, path, "array"), outcome(load_array, path)):
        assert isinstance(found, (*OWN, np.ndarray))


@ANYTHING
@given(st.text("layer{}:\"name type_param0123456789-.\n", max_size=200))
def test_any_prototxt(tmp_path, text):
    path = tmp_path / "any.prototxt"
    path.write_text(text)
    assert isinstance(outcome(read_text, path, caffe_pb2.NetParameter(), "net"), (*OWN, caffe_pb2.NetParameter))
