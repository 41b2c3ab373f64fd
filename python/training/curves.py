"""Pictures of training logs."""
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from process.files import whole_file
from process.run_folder import RunFolder
from training.log import read_rows, series

TRAINING, TEST = "#4477aa", "#cc6677"  # colours


def draw_curves(run: RunFolder) -> None:
    """Writes the run's curves.png: training and test loss on the left, test accuracy on the right."""
    rows = read_rows(run.train_log)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    losses.plot(*series(rows, "loss"), color=TRAINING, label="training")
    losses.plot(*series(rows, "test_loss"), "o-", color=TEST, label="test")
    losses.set(xlabel="iteration", ylabel="loss", ylim=(min(0, *losses.get_ylim()), None))  # SSDH's goes below 0
    losses.legend(frameon=False)
    accuracies.plot(*series(rows, "test_accuracy"), "o-", color=TEST)
    accuracies.set(xlabel="iteration", ylabel="test accuracy", ylim=(0, 1))
    save(figure, (losses, accuracies), run.curves)


def save(figure: Figure, axes: Sequence[Axes], path: Path) -> None:
    """Writes a figure as PNG, its axes in the style of all of them."""
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.3)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
