"""The run's own copies of the prototxt: what Caffe is given."""
import shutil

from caffe.proto import caffe_pb2

from caffe_files.prototxt import copy_net, write_message
from training.plan import Plan
from training.problem import Problem

BY = "by python/train.py, which tests and takes snapshots itself."
# Done by the driver: snapshots whole or not at all, tests on every test image.
DRIVERS_OWN = ("test_iter", "test_interval", "snapshot", "display")


def write_resolved(plan: Plan, problem: Problem, snapshot_prefix: str) -> None:
    """Writes solver, net and (where one lies beside the solver) deploy net into the run's folder."""
    run = plan.run
    if problem.cut:
        origin = f"{problem.net_file} with batches for iter_size {problem.solver.iter_size}"
        write_message(run.train_val, problem.net, origin)
    else:
        copy_net(problem.net_file, run.train_val)
    deploy = problem.solver_file.parent / "deploy.prototxt"
    if deploy.exists():
        shutil.copyfile(deploy, run.deploy)
    write_message(run.solver, _solver(plan, problem, snapshot_prefix), f"Resolved from {problem.solver_file} {BY}")


def _solver(plan: Plan, problem: Problem, snapshot_prefix: str) -> caffe_pb2.SolverParameter:
    """The problem's solver for this seed, folder and device."""
    resolved = caffe_pb2.SolverParameter()
    resolved.CopyFrom(problem.solver)
    for name in DRIVERS_OWN:
        resolved.ClearField(name)
    resolved.net = str(plan.run.train_val)
    resolved.random_seed = plan.seed
    resolved.snapshot_prefix = snapshot_prefix
    mode = caffe_pb2.SolverParameter
    resolved.solver_mode = mode.GPU if plan.gpus else mode.CPU
    resolved.device_id = plan.gpus[0] if plan.gpus else 0
    resolved.snapshot_after_train = False
    if len(plan.gpus) > 1 and resolved.iter_size > 1:
        # Caffe starts to exchange a layer's gradient behind every backward pass; the next pass would add to it
        # meanwhile.
        resolved.layer_wise_reduce = False
    return resolved
