"""One call of extract_cluster.py: parts of an extraction as tasks of a Ray cluster, then joined."""
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from tqdm import tqdm

from features.extraction import Extraction
from features.feature_files import META, META_SCHEMA
from features.joining import join
from features.options import ExtractOptions, Part, parts_folder
from features.recipe import Recipe, decide, expected
from features.sources import sources_of
from on_cluster.connect import NODE, connect, is_reachable, nodes
from on_cluster.options import ClusterOptions
from on_cluster.task import Outcome, extract_part
from process.checkout import ROOT
from process.errors import DriverError
from process.readers import read_json

LOOK_AGAIN_S = 1.0
WITHOUT_S = 60.0  # without a node, or without its head, a cluster is given up
_NONE_YET = object()
KILLS = 5         # times that a part is begun anew because its process was killed while Ray's worker lived
ONE_A_NODE = 0.6  # of the node's resource: two do not fit
SOME_A_NODE = 0.0001


def extract_on_cluster(options: ClusterOptions, console: TextIO) -> int:
    """Extracts all parts of every source on the nodes, and joins them; returns the exit status."""
    asked = options.extraction
    recipe = decide(asked, None, console)
    if all(_is_made(asked, recipe).values()):
        print(f"{asked.out}: kept, made from the same weights, net, pre-processing and images", file=console)
        return 0
    in_parts = replace(asked, join=True)
    rows = [Part(number, options.parts).rows(source.count, recipe.batch) for source in sources_of(in_parts).values()
            for number in range(1, options.parts + 1)]
    ray = connect(options.cluster)
    try:
        print(f"cluster {options.cluster}: {nodes(ray)} nodes, {options.parts} parts", file=console)
        _Parts(ray, options, recipe, sum(map(len, rows))).extract(console)
    finally:
        ray.shutdown()
    return join(in_parts, console)


def _is_made(options: ExtractOptions, recipe: Recipe) -> dict[Path, bool]:
    """Whether each folder of features is there already, made from these very things. Images are read only then."""
    metas = {out: out / META for out in options.folders}
    if any(parts_folder(out).exists() or not meta.is_file() for out, meta in metas.items()):
        return dict.fromkeys(options.folders, False)
    return {out: Extraction(source, out, replace(recipe, engine=read_json(metas[out], META_SCHEMA).get("engine"))
                            ).is_made() for out, source in sources_of(options).items()}


class _Parts:
    """All parts of an extraction as tasks, each until it is done. images: of all of them."""

    def __init__(self, ray: ModuleType, options: ClusterOptions, recipe: Recipe, images: int) -> None:
        self.ray, self.options, self.images = ray, options, images
        self.words = (*options.words, "--expect", expected(recipe))
        here = Path.cwd()
        self.place = None if here == ROOT else str(here)
        threads = options.extraction.threads
        self.task: Callable[..., Any] = ray.remote(extract_part).options(
            max_retries=-1, num_cpus=threads or 0,
            resources={NODE: SOME_A_NODE if threads else ONE_A_NODE})
        self.kills: dict[str, int] = {}
        self.engine: Any = _NONE_YET  # of the first part that is done

    def extract(self, console: TextIO) -> None:
        """Returns when all parts are there. DriverError, with its node, for one that cannot be made."""
        waiting = [self._begin(str(Part(number, self.options.parts))) for number in range(1, self.options.parts + 1)]
        alive = time.monotonic()
        with tqdm(total=self.images, unit="image", desc="extracting", file=console,
                  mininterval=0.5 if console.isatty() else 10) as bar:
            while waiting:
                done, waiting = self.ray.wait(waiting, timeout=LOOK_AGAIN_S)
                for reference in done:
                    outcome = self._outcome(reference)
                    if outcome.was_killed and self._may_begin_anew(outcome):
                        waiting.append(self._begin(outcome.part))
                    else:
                        bar.update(self._checked(outcome))
                if done or is_reachable(self.options.cluster) and nodes(self.ray):
                    alive = time.monotonic()
                elif time.monotonic() - alive > WITHOUT_S:
                    raise DriverError(f"the cluster at {self.options.cluster} has had no head or no node for "
                                      f"{WITHOUT_S:.0f} s: start it again. The same command goes on from the parts "
                                      "that are there")

    def _begin(self, part: str) -> Any:
        return self.task.remote(self.words, part, self.place)

    def _outcome(self, reference: Any) -> Outcome:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            why = " ".join(str(error).split())[-600:]
            raise DriverError(f"a node of the cluster at {self.options.cluster} failed: {why}. The same command goes "
                              "on from the parts that are there") from None

    def _may_begin_anew(self, outcome: Outcome) -> bool:
        self.kills[outcome.part] = self.kills.get(outcome.part, 0) + 1
        return self.kills[outcome.part] <= KILLS

    def _checked(self, outcome: Outcome) -> int:
        """Rows of a part that is done. DriverError where it is not here, or cannot be joined with the others."""
        if outcome.status:
            said = " ".join(outcome.said.split()) or f"status {outcome.status}"
            raise DriverError(f"node {outcome.node}, part {outcome.part}: {said.removeprefix('extract: ')}")
        number, of = map(int, outcome.part.split("/"))
        found = 0
        for out in self.options.extraction.folders:
            meta = Part(number, of).folder(out) / META
            if not meta.is_file():
                raise DriverError(f"node {outcome.node} wrote part {outcome.part} of {out} to its own disk, here is "
                                  f"none: give an --out on a disk that all nodes share")
            told = read_json(meta)
            self.engine = told.get("engine") if self.engine is _NONE_YET else self.engine
            if told.get("engine") != self.engine:
                raise DriverError(f"node {outcome.node} computed part {outcome.part} by another engine than the nodes "
                                  "before it, which differ by rounding: name one with ENGINE= (or GPU=none)")
            found += told["count"]
        return found
