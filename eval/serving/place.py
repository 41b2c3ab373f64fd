"""Where the files of what is served lie: a run's folder, or a package."""

from dataclasses import dataclass
from pathlib import Path

from search.package import check_package


@dataclass(frozen=True)
class Place:
    """database, test: folders of features; results: results.json; evaluation: folder of report.html and figures/.

    test is None where the queries of the evaluation are not there. Files of the others need not exist.
    """

    name: str
    database: Path
    test: Path | None
    results: Path
    evaluation: Path

    @property
    def splits(self) -> dict[str, Path]:
        """{"train", and "test" where it is there: folder}."""
        return {"train": self.database} | ({"test": self.test} if self.test and self.test.is_dir() else {})


def run_place(features: Path) -> Place:
    """Features as extract.py leaves them, with the evaluation beside them."""
    run = features.resolve().parent
    return Place(run.name, features / "train", features / "test", run / "eval/results.json", run / "eval")


def package_place(folder: Path) -> Place:
    """A package of python/package.py. EvalError unless it is whole."""
    check_package(folder)
    return Place(folder.resolve().name, folder, None, folder / "results.json", folder / "eval")
