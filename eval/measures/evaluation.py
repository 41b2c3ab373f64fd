"""One evaluation: what is asked for, settled against the features, and what each of its files depends on.

Labels, class names and whatever else only scoring or the report reads make lists no older: they are in the key of
results.json and the report alone.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from basics.program import EvalError
from measures.baselines import possible_methods
from search.engine import Engine
from search.feature_set import Split, load_features
from search.made_from import array_digest, file_digest, json_digest, split_digest
from search.protocols import Protocol
from search.retrieval import Pretrained, Retrieval, Retrievals, load_pretrained
from search.searches import SearchOptions, made_from

RUN_FILES = ("run.json", "train_log.csv", "standstill.json")   # of the run, which the report reads
VERSION = 4   # of what results.json and the report hold: raise it when either changes, so that none older is kept


@dataclass(frozen=True)
class EvaluationOptions:
    """What evaluate.py was asked for. None leaves the choice to the features (searches, baselines) or the search.

    make_engine: gives what searches the database, None for this machine. It changes no result, so it is in no key.
    """

    features: Path
    out: Path
    run: Path
    protocol: Protocol
    pretrained_features: Path | None = None
    searches: tuple[str, ...] | None = None
    radius: int | None = None
    pool_min: int | None = None
    sweep: bool = True
    baselines: tuple[str, ...] | None = None
    report: bool = True
    score_only: bool = False
    if_changed: bool = False
    threads: int | None = None
    make_engine: Callable[[Split], Engine] | None = None


@dataclass(frozen=True)
class OutputFolder:
    """Where an evaluation keeps its files."""

    path: Path

    def ranking(self, search: str) -> Path:
        return self.path / f"search-{search}.npz"

    def table(self, name: str) -> Path:
        """A table made while searching: sweep, baselines or cost."""
        return self.path / f"{name}.json"

    def codes(self, split: str) -> Path:
        """Packed codes of the train or test images, as faiss and usearch take them."""
        return self.path / f"codes-{split}.npy"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One evaluation. searches, baselines: the names that were asked for, or else all that the features allow."""

    options: EvaluationOptions
    retrievals: Retrievals
    retrieval: Retrieval
    pretrained: Pretrained | None
    searches: tuple[str, ...]
    baselines: tuple[str, ...]

    @property
    def queries(self) -> Split:
        return self.retrievals.queries

    @property
    def database(self) -> Split:
        return self.retrievals.database

    @property
    def out(self) -> OutputFolder:
        return OutputFolder(self.options.out)

    @cached_property
    def search_options(self) -> SearchOptions:
        length = self.options.protocol.list_length(len(self.retrieval.database))
        return SearchOptions(length, self.options.radius, self.options.pool_min)

    @cached_property
    def lists(self) -> dict[str, dict]:
        """{search: what its lists are made from}."""
        return {name: made_from(name, self.retrieval, self.search_options, self.pretrained) for name in self.searches}

    @cached_property
    def tables(self) -> dict[str, dict]:
        """{table: what it is made from}, of those that are wanted."""
        retrieval = self.retrieval
        fc7 = retrieval.query_fc7
        found = {"cost": {"bits": retrieval.bits, "units": None if fc7 is None else fc7.shape[1]}}
        ranked = {"codes": retrieval.codes_digest, "labels": retrieval.labels_digest}
        if fc7 is not None:
            ranked["fc7"] = retrieval.fc7_digest
        if "hdl" in self.searches and self.options.sweep:
            found["sweep"] = ranked
        if self.baselines:
            found["baselines"] = ranked | {"methods": list(self.baselines), "top_k": self.search_options.top_k}
        return found

    def key(self, lists: dict[str, dict], tables: dict[str, dict]) -> str:
        """Tells results.json and the report made with these lists and tables from all others."""
        run = [self.options.run.name] + [file_digest(self.options.run / name) for name in RUN_FILES]
        return json_digest([VERSION, lists, tables, asdict(self.options.protocol), self._scored, run])

    @cached_property
    def _scored(self) -> list:
        """What scoring and the report read of the features beside codes and fc7."""
        labels = array_digest(self.queries.labels, self.database.labels)
        return [labels] + [[split_digest(split, "predictions"), split_digest(split, "thumbs"), split.ids, split.meta]
                           for split in (self.queries, self.database)]


def load_evaluation(options: EvaluationOptions) -> Evaluation:
    """Read the features and settle what is searched. EvalError for features that do not allow what was asked for."""
    retrievals = Retrievals(*load_features(options.features), options.make_engine)
    retrieval = retrievals.by(options.protocol)
    if options.make_engine and len(retrieval.database.joining):
        raise EvalError("--cluster (CLUSTER=): by this protocol test images join the database, but shards hold the "
                        "training images alone: leave the cluster out")
    searches = chosen_searches(options, retrieval)
    pretrained = load_pretrained(options.pretrained_features, retrieval) if "es-pretrained" in searches else None
    return Evaluation(options, retrievals, retrieval, pretrained, searches, chosen_baselines(options, retrieval))


def chosen_searches(options: EvaluationOptions, retrieval: Retrieval) -> tuple[str, ...]:
    """The searches asked for, or all that the features allow."""
    possible = ["bcs"] + ["hdl", "es"] * (retrieval.query_fc7 is not None)
    possible += ["es-pretrained"] * (options.pretrained_features is not None)
    for name in options.searches or ():
        if name == "es-pretrained" and name not in possible:
            raise EvalError("--search es-pretrained needs --pretrained-features (fc7 of the net before fine-tuning)")
        if name not in possible:
            raise EvalError(f"--search {name} needs fc7.npy of both splits in {options.features}: extract it, "
                            "or use --search bcs")
    return options.searches or tuple(possible)


def chosen_baselines(options: EvaluationOptions, retrieval: Retrieval) -> tuple[str, ...]:
    """The methods asked for, or all that the features allow."""
    if options.baselines is None:
        return possible_methods(retrieval)
    methods = tuple(name for name in options.baselines if name != "none")
    if methods and retrieval.query_fc7 is None:
        raise EvalError(f"--baselines {methods[0]} needs fc7.npy of both splits: extract it, or use --baselines none")
    return methods
