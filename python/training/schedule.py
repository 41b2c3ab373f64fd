"""A part of a solver's schedule: the same course of the learning rate in fewer iterations."""
from caffe.proto import caffe_pb2

INTERVALS = ("max_iter", "stepsize", "test_interval", "snapshot")


def shorten(solver: caffe_pb2.SolverParameter, part: float) -> None:
    """Multiplies by `part` (0..1) what the solver counts in iterations, in place; nothing becomes 0 that was not.

    The learning rate falls at the same share of the run. lr_policy inv, exp, poly and sigmoid: poly follows max_iter by
    itself, the others keep their decay of each iteration.
    """
    for name in INTERVALS:
        if getattr(solver, name):
            setattr(solver, name, max(1, round(part * getattr(solver, name))))
    solver.stepvalue[:] = [max(1, round(part * step)) for step in solver.stepvalue]


def schedule_words(part: float) -> str:
    """"" for the whole schedule, else what a person should be told beside every figure: "a tenth of the schedule"."""
    return "" if part == 1 else f"{part:.4g} of the solver's schedule"
