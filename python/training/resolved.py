"""The run's own copies of the prototxt: what Caffe is given."""
import shutil
from pathlib import Path

from caffe.proto import caffe_pb2

from caffe_files.prototxt import copy_net, input_dims, read_net, write_message
from process.errors import DriverError
from process.outputs import refuse_foreign_text, refuse_inputs_as_outputs
from process.run_folder import RunFolder
from training.plan import Plan
from training.problem import Problem

BY = "by python/train.py, which tests and takes snapshots itself."
# Done by the driver: snapshots whole or not at all, tests on every test image.
DRIVERS_OWN = ("test_iter", "test_interval", "snapshot", "display")


def write_resolved(plan: Plan, problem: Problem, snapshot_prefix: str) -> None:
    """Writes solver, net and (where one lies beside the solver) deploy net into the run's folder."""
    run = plan.run
    # The solver first: its comment is what tells the folder for a run's, should this be interrupted.
    write_message(run.solver, _solver(plan, problem, snapshot_prefix), f"Resolved from {problem.solver_file} {BY}")
    if problem.cut:
        origin = f"{problem.net_file} with batches for iter_size {problem.solver.iter_size}"
        write_message(run.train_val, problem.net, origin)
    else:
        copy_net(problem.net_file, run.train_val)
    if (deploy := _deploy_beside(problem)).exists():
        shutil.copyfile(deploy, run.deploy)


def _deploy_beside(problem: Problem) -> Path:
    return problem.solver_file.parent / "deploy.prototxt"


def check_deploy(problem: Problem) -> None:
    """DriverError when the deploy net beside the solver takes images of other channels than the net is trained on.

    Extraction would find out too, but only after the training.
    """
    deploy = _deploy_beside(problem)
    shape = input_dims(read_net(deploy)) if deploy.exists() else None
    trained = problem.train_meta["shape"][0]
    if shape and shape[1] != trained:
        raise DriverError(f"{deploy} and {problem.train_source} have different numbers of channels ({shape[1]} and "
                          f"{trained}): no features could be extracted. Make the databases with --grey (one channel) "
                          "or without it (three)")


def check_run_folder(problem: Problem, run: RunFolder) -> None:
    """DriverError when the run would write over its own inputs, or over files that no run wrote."""
    layers = (problem.train_layer, problem.test_layer)
    databases = [Path(layer.data_param.source) for layer in layers]
    means = [Path(layer.transform_param.mean_file) for layer in layers if layer.transform_param.mean_file]
    refuse_inputs_as_outputs([run.path], [problem.solver_file, problem.net_file, *databases, *means])
    if not run.settings.exists():
        refuse_foreign_text(run.solver, BY)
        written = [path for path in (run.train_val, run.deploy, run.final_model, run.train_log) if path.exists()]
        if written and not run.solver.exists():
            raise DriverError(f"{run} is no run's folder (it has no run.json) and holds {written[0].name}, which a run "
                              "would replace: choose another --run (RUN=)")


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
