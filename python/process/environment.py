"""The environment that the libraries below Caffe read, once, when they are loaded. The one place where it is set."""
import os


def prepare_libraries() -> None:
    """Sets what glog and CUDA read. run_program calls it first: the work behind it loads them."""
    # Caffe's log goes to stderr, which the guard leads into the run's caffe.log; glog would write files into /tmp.
    os.environ.setdefault("GLOG_logtostderr", "1")
    # CUDA's own order is the fastest first: GPU 1 would not be nvidia-smi's.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
