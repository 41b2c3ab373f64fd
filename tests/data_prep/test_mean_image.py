"""The mean image as Caffe itself reads it, and files that are none."""
import caffe
import numpy as np
import pytest

from mean_image import MEAN_NPY, main
from prep.errors import PrepError


def saved(folder, array):
    np.save(folder / "mean.npy", array)
    return folder / "mean.npy"


def convert(npy, out, *options):
    return main(["--npy", str(npy), "--out", str(out), *options])


def test_caffe_reads_back_every_value(tmp_path):
    mean = np.random.default_rng(0).uniform(0, 255, (3, 256, 256))
    assert convert(saved(tmp_path, mean), tmp_path / "deep/mean.binaryproto", "--own") == 0
    blob = caffe.proto.caffe_pb2.BlobProto.FromString((tmp_path / "deep/mean.binaryproto").read_bytes())
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob), mean.astype(np.float32)[np.newaxis])
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["mean.binaryproto"]


def test_a_data_layer_subtracts_it(tmp_path):
    """Caffe's Data layer, with this mean file, gives pixel minus mean: channel, row and column in their places."""
    import lmdb
    mean = np.random.default_rng(0).integers(0, 255, (3, 256, 256))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 256, 256)).astype(np.uint8)
    convert(saved(tmp_path, mean), tmp_path / "mean", "--own")
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        datum = caffe.proto.caffe_pb2.Datum(channels=3, height=256, width=256, data=pixels.tobytes(), label=0)
        transaction.put(b"0", datum.SerializeToString())
    (tmp_path / "net").write_text(f'''layer {{ name: "data" type: "Data" top: "data"
        transform_param {{ mean_file: "{tmp_path}/mean" }}
        data_param {{ source: "{tmp_path}/db" backend: LMDB batch_size: 1 }} }}''')
    net = caffe.Net(str(tmp_path / "net"), caffe.TEST)
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data[0], pixels.astype(np.float32) - mean)


@pytest.mark.parametrize("array, message", [
    (np.zeros((3, 227, 227)), r"shape \(3, 227, 227\)"), (np.zeros((256, 256, 3)), r"shape \(256, 256, 3\)"),
    (np.full((3, 256, 256), np.nan), "values from nan"), (np.full((3, 256, 256), 300.0), "to 300.0"),
    (np.full((3, 256, 256), "x"), "array of shape")])
def test_what_is_no_mean_image(tmp_path, array, message):
    with pytest.raises(PrepError, match=f"mean.npy: .*{message}"):
        convert(saved(tmp_path, array), tmp_path / "out", "--own")
    assert not (tmp_path / "out").exists()


def test_another_file_than_imagenets_must_be_said_to_be_ones_own(tmp_path):
    with pytest.raises(PrepError, match="SHA256 .* expected 97eefba7"):
        convert(saved(tmp_path, np.zeros((3, 256, 256))), tmp_path / "out")
    (tmp_path / "text").write_text("no array")
    with pytest.raises(PrepError, match="not a numpy file"):
        convert(tmp_path / "text", tmp_path / "out", "--own")
    with pytest.raises(PrepError, match="run make caffe"):
        convert(tmp_path / "missing.npy", tmp_path / "out")


@pytest.mark.skipif(not MEAN_NPY.exists(), reason="the Caffe sources are not unpacked (make caffe)")
def test_imagenets_mean(tmp_path):
    assert convert(MEAN_NPY, tmp_path / "mean.binaryproto") == 0
    blob = caffe.proto.caffe_pb2.BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes())
    colour = caffe.io.blobproto_to_array(blob).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(colour, [104.007, 116.669, 122.679], atol=1e-3)
