"""A net from somewhere is data: layers that do more than compute, and sizes beyond the machine, are refused."""
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_cases import DEPLOY, TRAIN_VAL, change
from caffe_files.trusted import check_net, check_solver, check_training_net
from process.errors import DriverError
from process.machine import memory

LAYERS = {
    "Python": 'python_param { module: "os" layer: "system" }',
    "HDF5Output": 'bottom: "fc7" bottom: "fc7" hdf5_output_param { file_name: "thesis.txt" }',
    "HDF5Data": 'top: "x" hdf5_data_param { source: "list.txt" batch_size: 1 }',
    "ImageData": 'top: "x" top: "y" image_data_param { source: "list.txt" }',
    "WindowData": 'top: "x" top: "y" window_data_param { source: "list.txt" }',
    "Data": 'top: "x" data_param { source: "other_lmdb" backend: LMDB }',
    "MemoryData": 'top: "x" top: "y" memory_data_param { batch_size: 1 }',
    "InfogainLoss": 'bottom: "fc7" bottom: "fc7" infogain_loss_param { source: "any.binaryproto" }',
}


def with_layer(text, kind):
    return text + f'layer {{ name: "guest" type: "{kind}" {LAYERS[kind]} }}\n'


def net(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("text, check", [(DEPLOY, check_net), (TRAIN_VAL, check_training_net)])
def test_a_layer_that_does_more_than_compute_is_refused_by_name(text, check, kind):
    guest = net(with_layer(text, kind))
    with pytest.raises(DriverError, match=f"x.prototxt: layer 'guest' is of type {kind}, .* --trust-net"):
        check(guest, "x.prototxt", trusted=False)
    check(guest, "x.prototxt", trusted=True)


@pytest.mark.parametrize("text, check", [(DEPLOY, check_net), (TRAIN_VAL, check_training_net)])
def test_nets_that_compute_are_taken(text, check):
    check(net(text), "x.prototxt", trusted=False)


@pytest.mark.parametrize("side", [0, -20])
def test_images_without_a_size_are_refused(side):
    with pytest.raises(DriverError, match=f"x.prototxt: layer 'data' has a side of {side}"):
        check_net(net(DEPLOY.replace("dim: 20 dim: 20", f"dim: 20 dim: {side}")), "x.prototxt", trusted=False)


def test_a_deploy_net_has_no_database():
    with pytest.raises(DriverError, match="'data' is of type Data"):
        check_net(net(TRAIN_VAL), "x.prototxt", trusted=False)


@pytest.mark.parametrize("line", ['test_net: "t.prototxt"', 'train_net: "t.prototxt"', 'net_param { name: "t" }',
                                  'weights: "w.caffemodel"'])
def test_a_solver_that_names_nets_or_weights_elsewhere(line):
    solver = text_format.Parse(f'net: "n.prototxt" {line}', caffe_pb2.SolverParameter())
    with pytest.raises(DriverError, match=f"s.prototxt has {line.split(':')[0].split()[0]}"):
        check_solver(solver, "s.prototxt")


def test_extraction_writes_no_file_that_a_net_names(tiny_run, problem, call):
    (problem / "deploy.prototxt").write_text(with_layer(DEPLOY, "HDF5Output"))
    (problem / "thesis.txt").write_text("two years")
    status, said = call("extract", "--run", tiny_run.run, "--net", "deploy.prototxt", "--lmdb", "test_lmdb", "--mean",
                        "mean.binaryproto", "--protocol", "caffe", "--gpu", "none", "--out", "q")
    assert status == 1
    assert "layer 'guest' is of type HDF5Output" in said
    assert (problem / "thesis.txt").read_text() == "two years"


def test_training_refuses_a_net_that_runs_code(problem, call):
    (problem / "train_val.prototxt").write_text(with_layer(TRAIN_VAL, "Python"))
    status, said = call("train", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none")
    assert status == 1
    assert "layer 'guest' is of type Python" in said


def test_a_batch_larger_than_the_machine(problem, call):
    change(problem / "train_val.prototxt", "batch_size: 8", "batch_size: 2000000000")
    status, said = call("train", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none")
    assert status == 1
    assert "batch_size 2,000,000,000 of layer 'data' needs about" in said


def test_an_extraction_batch_larger_than_the_machine(tiny_run, problem, call):
    status, said = call("extract", "--run", tiny_run.run, "--lmdb", "test_lmdb", "--mean", "mean.binaryproto",
                        "--protocol", "caffe", "--gpu", "none", "--out", "q", "--batch", 2_000_000_000)
    assert status == 1
    assert "a batch of 2,000,000,000 images needs about" in said


def test_memory_is_the_control_groups_where_that_is_less(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 5 kB\nSwapTotal: 20 kB\n")
    (tmp_path / "max").write_text("max\n")
    assert memory(tmp_path / "meminfo", tmp_path / "max") == 120 * 1024
    (tmp_path / "max").write_text("4096\n")
    assert memory(tmp_path / "meminfo", tmp_path / "max") == 4096
    assert memory(tmp_path / "meminfo", tmp_path / "none") == 120 * 1024
