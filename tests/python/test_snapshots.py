"""A snapshot is verified before it is gone on from or becomes the final model."""
import json
import os
from types import SimpleNamespace

import caffe
import pytest
from caffe.proto import caffe_pb2

from caffe_cases import DEPLOY
from caffe_files.weights import load
from process.errors import DriverError
from process.run_folder import RunFolder
from training.snapshots import Snapshots

PROGRESS = {"iteration": 7, "losses": [1.0], "first_loss": 1.0, "elapsed_s": 1.0}


@pytest.fixture
def net(tmp_path):
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    return caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)


@pytest.fixture
def snapshots(tmp_path, net):
    """One snapshot, of iteration 7, written through the real code with Caffe's files in a solver's place."""
    made = Snapshots(RunFolder(tmp_path / "run"))

    def snapshot():
        net.save(f"{made.prefix}_iter_7.caffemodel")
        history = [caffe_pb2.BlobProto(data=[0.5] * 100)]
        state = caffe_pb2.SolverState(iter=7, learned_net="x", history=history)
        with open(f"{made.prefix}_iter_7.solverstate", "wb") as file:
            file.write(state.SerializeToString())
    made.save(SimpleNamespace(iter=7, net=net, snapshot=snapshot), PROGRESS)
    return made


def test_a_whole_snapshot_becomes_the_final_model(snapshots):
    assert snapshots.make_final(7).read_bytes() == snapshots.path(7, "caffemodel").read_bytes()


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("kind", ["caffemodel", "solverstate"])
def test_a_damaged_snapshot_does_not(snapshots, kind, damage):
    damage(snapshots.path(7, kind))
    with pytest.raises(DriverError, match="iter_7.* is damaged .* goes on from the snapshot before it"):
        snapshots.make_final(7)
    assert not snapshots.final_model.exists()


@pytest.mark.parametrize("kind", ["caffemodel", "solverstate"])
def test_a_link_that_leads_nowhere_is_told_and_a_missing_file_is_not(snapshots, kind):
    path = snapshots.path(7, kind)
    path.unlink()
    assert snapshots.last() == 0
    path.symlink_to(path.name)
    with pytest.raises(DriverError, match=f"{path.name} is a link that leads nowhere"):
        snapshots.last()


def test_a_fifo_in_place_of_a_snapshot_is_told(snapshots):
    path = snapshots.path(7, "solverstate")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DriverError, match="is no file but a folder, a FIFO or a device"):
        snapshots.last()


def test_one_layer_less_still_parses_and_is_refused(snapshots):
    model = caffe_pb2.NetParameter.FromString(snapshots.path(7, "caffemodel").read_bytes())
    del model.layer[-2:]
    snapshots.path(7, "caffemodel").write_bytes(model.SerializeToString())
    with pytest.raises(DriverError, match="its length or SHA-256 is not the one written"):
        snapshots.make_final(7)


def test_a_run_that_was_moved_is_still_whole(snapshots):
    state = caffe_pb2.SolverState.FromString(snapshots.path(7, "solverstate").read_bytes())
    state.learned_net = "/elsewhere/iter_7.caffemodel"
    snapshots.path(7, "solverstate").write_bytes(state.SerializeToString())
    snapshots.check_whole(7)


def test_snapshots_of_earlier_versions_have_no_digests(snapshots):
    snapshots.path(7, "json").write_text(json.dumps(PROGRESS))
    snapshots.check_whole(7)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_at_loading(net, tmp_path, value):
    net.params["fc6"][0].data[3, 4] = value
    net.save(str(tmp_path / "broken.caffemodel"))
    with pytest.raises(DriverError, match="broken.caffemodel: layer fc6 has weights that are not finite"):
        load(tmp_path / "broken.caffemodel", net)
