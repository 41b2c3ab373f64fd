"""The log of a run: train_log.csv, the line on the terminal, and curves.png."""
import csv
import os
import time

COLUMNS = ("iteration", "loss", "learning_rate", "images_per_second", "elapsed_s", "test_accuracy", "test_loss")


class TrainingLog:
    """Appends rows to <run>/train_log.csv; on resuming, rows later than the snapshot are dropped first.

    loss is Caffe's training loss averaged over the last `display` iterations; test columns are filled at tests only.
    """

    def __init__(self, run, iteration, elapsed_s):
        self.path = os.path.join(run, "train_log.csv")
        kept = [row for row in read_rows(self.path) if int(row["iteration"]) <= iteration]
        with open(self.path + ".partial", "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(self.path + ".partial", self.path)
        self.file = open(self.path, "a", newline="")
        self.writer = csv.DictWriter(self.file, COLUMNS)
        self.started = time.monotonic() - elapsed_s

    def elapsed(self):
        return time.monotonic() - self.started

    def row(self, iteration, **values):
        values = {name: f"{value:.7g}" for name, value in values.items()}
        self.writer.writerow(dict(iteration=iteration, elapsed_s=f"{self.elapsed():.1f}", **values))
        self.file.flush()


def read_rows(path):
    """Rows of a train_log.csv as dicts of strings; [] when there is none."""
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if (row["iteration"] or "").isdigit() and row["test_loss"] is not None]


def series(rows, column):
    """(iterations, values) of a column where it is filled."""
    filled = [(int(row["iteration"]), float(row[column])) for row in rows if row[column]]
    return [n for n, _ in filled], [value for _, value in filled]


def draw_curves(run):
    """Writes <run>/curves.png: training and test loss on the left, test accuracy on the right."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    rows = read_rows(os.path.join(run, "train_log.csv"))
    figure, (losses, accuracies) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    losses.plot(*series(rows, "loss"), color="#4477aa", label="training")
    losses.plot(*series(rows, "test_loss"), "o-", color="#cc6677", label="test")
    losses.set(xlabel="iteration", ylabel="softmax loss", ylim=(0, None))
    losses.legend(frameon=False)
    accuracies.plot(*series(rows, "test_accuracy"), "o-", color="#cc6677")
    accuracies.set(xlabel="iteration", ylabel="test accuracy", ylim=(0, 1))
    for axes in (losses, accuracies):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    path = os.path.join(run, "curves.png")
    figure.savefig(path + ".partial", format="png", dpi=120)
    pyplot.close(figure)
    os.replace(path + ".partial", path)
    return path


def duration(seconds):
    """3 h 05 min, 4 min 10 s, 12 s."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    if seconds >= 60:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds} s"
