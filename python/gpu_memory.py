"""Estimates the GPU memory a net needs, before Caffe is put on the card, where it aborts when that is full.

Counted are the blobs (data, and diff in training), what layers keep beside them, weights with gradient and momentum, the
batches read ahead, and allowances for cuDNN's workspaces and for CUDA itself. Shapes come from Caffe, which builds the net on
the CPU in a process of its own (this file run as a program); no blob takes memory there.

An estimate: never compared with what a GPU really took, for none was at hand.
"""
import json
import os
import subprocess
import sys
import tempfile

from driver_errors import DriverError
from nvidia import in_words

FLOAT = 4
ALLOWANCE = 1 << 30  # CUDA's context, cuBLAS and cuDNN themselves
WORKSPACE = 3 * (8 << 20)  # a convolution of Caffe's cuDNN engine: three streams of at most 8 MiB, for each group
ANYWAY = "an estimate: --any-memory tries all the same"
NONE_FITS = "Not even one image at a time fits: free some (nvidia-smi tells who uses it), or say GPU=none"
ENGINES = {"Convolution": "convolution_param", "Pooling": "pooling_param", "LRN": "lrn_param", "ReLU": "relu_param",
           "Sigmoid": "sigmoid_param", "Softmax": "softmax_param", "SoftmaxWithLoss": "softmax_param", "TanH": "tanh_param"}


# ---------------------------------------------------------------- in the program's own process, where Caffe is
def input_net(net, phase, shapes):
    """The layers of a phase without their Data layer: Input of the shapes in its place, plain fillers, no cuDNN."""
    from caffe.proto import caffe_pb2
    from prototxt_files import layers_of_phase
    copy = caffe_pb2.NetParameter(name=net.name)
    copy.layer.extend(layers_of_phase(net, phase))
    first = next(layer for layer in copy.layer if layer.type in ("Data", "Input"))
    first.CopyFrom(caffe_pb2.LayerParameter(name=first.name, type="Input", top=first.top,
                                            input_param=dict(shape=[dict(dim=shape) for shape in shapes])))
    for layer in copy.layer:
        layer.ClearField("include")
        layer.ClearField("exclude")
        for options in (layer.convolution_param, layer.inner_product_param):
            options.ClearField("weight_filler")
        if layer.type in ENGINES:
            options = getattr(layer, ENGINES[layer.type])
            options.engine = options.CAFFE
    return copy


def sizes(net, batch):
    """{forward, backward, workspace} in bytes of a pycaffe net at this batch. The inputs are not in `forward`."""
    for name in net.inputs:
        net.blobs[name].reshape(batch, *net.blobs[name].shape[1:])
    net.reshape()
    own = {name: blob.count for name, blob in net.blobs.items() if name not in net.inputs}
    forward = sum(count for name, count in own.items() if "_split_" not in name)  # copies of a split share its data, not its diff
    kept, workspace = 0, 0
    for number, layer in enumerate(net.layers):
        blobs = [net.blobs[net._blob_names[i]] for i in (*net._bottom_ids(number), *net._top_ids(number))]
        kept += beside(layer, blobs)
        if layer.type == "Convolution":
            workspace += convolution_workspace(layer, *blobs)
    return dict(forward=FLOAT * (forward + kept), backward=FLOAT * sum(own.values()), workspace=workspace)


def beside(layer, blobs):
    """Values a layer keeps for its backward pass: dropout and pooling a mask, LRN its scale, a softmax loss the probabilities."""
    if layer.type in ("Dropout", "LRN", "SoftmaxWithLoss"):
        return blobs[0].count
    return blobs[-1].count if layer.type == "Pooling" else 0


def convolution_workspace(layer, bottom, top):
    """cuDNN's, or the unrolled image of Caffe's own engine, whichever is larger."""
    outputs, inputs, height, width = layer.blobs[0].shape
    groups = bottom.shape[1] // inputs
    unrolled = FLOAT * groups * inputs * height * width * top.shape[2] * top.shape[3]
    return max(groups * WORKSPACE, unrolled)


def main(argv):
    """gpu_memory.py NET.prototxt TRAIN|TEST BATCH...: prints {"weights": bytes, "sizes": [of each batch]}."""
    import caffe
    net = caffe.Net(argv[0], getattr(caffe, argv[1]))
    weights = FLOAT * sum(blob.count for blobs in net.params.values() for blob in blobs)
    print(json.dumps(dict(weights=weights, sizes=[sizes(net, int(batch)) for batch in argv[2:]])))


# ---------------------------------------------------------------- in the driver, which keeps Caffe off the GPU until later
def ask(net, phase, batches):
    """(bytes of the weights, [sizes of each batch]) of a NetParameter that starts with an Input layer."""
    from google.protobuf import text_format
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text_format.MessageToString(net))
        file.flush()
        asked = subprocess.run([sys.executable, os.path.abspath(__file__), file.name, phase, *map(str, batches)],
                               capture_output=True, text=True, env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))
    if asked.returncode:
        import abort_words
        raise DriverError(f"Caffe cannot build the net {net.name!r}: {abort_words.last_words(asked.stderr) or asked.stderr[-500:]}")
    answer = json.loads(asked.stdout.splitlines()[-1])
    return answer["weights"], answer["sizes"]


def phase_need(net, phase, layer, batches):
    """(bytes of the weights, [bytes of all else] for each batch) of a phase that starts with this Data layer."""
    from caffe.proto import caffe_pb2
    from data_checks import first_image
    _, shape = first_image(layer.data_param.source)
    crop = layer.transform_param.crop_size
    image = (shape[0], crop, crop) if crop else shape
    weights, found = ask(input_net(net, getattr(caffe_pb2, phase), [(batches[0], *image), (batches[0],)][:len(layer.top)]), phase, batches)
    ahead = FLOAT * layer.data_param.prefetch * image[0] * image[1] * image[2]
    return weights, [at["forward"] + at["workspace"] + batch * ahead + (at["backward"] if phase == "TRAIN" else 0)
                     for batch, at in zip(batches, found)]


def training_needs(problem, iter_sizes):
    """{iter_size: bytes on each GPU} with the batches that a Problem would have at each iter_size."""
    batches = [problem.batches(iter_size) for iter_size in iter_sizes]
    weights, train = phase_need(problem.net, "TRAIN", problem.train_layer, [train for train, _ in batches])
    _, test = phase_need(problem.net, "TEST", problem.test_layer, [test for _, test in batches])
    copies = weight_copies(problem.solver, problem.devices)
    return {iter_size: ALLOWANCE + copies * weights + train[i] + test[i] for i, iter_size in enumerate(iter_sizes)}


def weight_copies(solver, devices):
    """How many arrays of the weights' size there are: weights, gradients, momentum; more for other solvers and for NCCL's buffers."""
    plain = solver.type == "SGD" and solver.regularization_type == "L2"
    return (3 if plain else 6) + (2 if devices > 1 else 0)


def check_training(problem, gpus):
    """A line on the memory needed and there is. DriverError when the estimate is more than the smallest of these GPUs has free."""
    now = problem.solver.iter_size
    needs = training_needs(problem, [now, *(n for n in problem.iter_sizes() if n > now)])
    told = [gpu for gpu in gpus if gpu.free is not None]
    line = f"memory: about {in_words(needs[now])} needed on each GPU" if len(gpus) > 1 else f"memory: about {in_words(needs[now])} needed"
    if not told:
        return f"{line}; how much is free the driver does not tell"
    smallest = min(told, key=lambda gpu: gpu.free)
    if needs[now] <= smallest.free:
        return f"{line} with batches of {problem.batches(now)[0]}"
    fitting = [n for n in needs if needs[n] <= smallest.free]
    raise DriverError(f"{too_small(needs[now], problem.batches(now)[0], smallest)}. " + (
        f"Batches of {problem.batches(fitting[0])[0]} fit: --iter-size {fitting[0]} (ITER_SIZE={fitting[0]}) trains with them, and an "
        f"iteration stays {problem.batch} images ({ANYWAY})" if fitting else
        f"{NONE_FITS} ({ANYWAY})"))


def check_extraction(net_file, batch, gpu):
    """The same for a deploy net. Weights have no gradient there, blobs no diff."""
    from caffe.proto import caffe_pb2
    from prototxt_files import read_net
    net = read_net(net_file)
    shape = tuple(next(layer for layer in net.layer if layer.type == "Input").input_param.shape[0].dim)[1:]
    batches = [batch >> halved for halved in range(batch.bit_length())]
    weights, found = ask(input_net(net, caffe_pb2.TEST, [(batch, *shape)]), "TEST", batches)
    image = FLOAT * shape[0] * shape[1] * shape[2]
    needs = {size: ALLOWANCE + weights + at["forward"] + at["workspace"] + size * image for size, at in zip(batches, found)}
    if gpu.free is None or needs[batch] <= gpu.free:
        return f"memory: about {in_words(needs[batch])} needed with batches of {batch}"
    fitting = [size for size in needs if needs[size] <= gpu.free]
    raise DriverError(f"{too_small(needs[batch], batch, gpu)}. " + (
        f"--batch {fitting[0]} fits ({ANYWAY})" if fitting else f"{NONE_FITS} ({ANYWAY})"))


def too_small(need, batch, gpu):
    return f"batches of {batch} need about {in_words(need)} of memory; {gpu}"


if __name__ == "__main__":
    main(sys.argv[1:])
