"""Pictures of queries and their results, for reports."""

import numpy as np

from pages.parts import Picture, Strip, picture
from pages.summary import NAMES
from search.feature_set import Split
from search.rankings import Ranking
from search.retrieval import Retrieval

SHOWN_RESULTS = 10


class Gallery:
    """Pictures and names of the queries and database images of one retrieval."""

    def __init__(self, retrieval: Retrieval):
        self.retrieval = retrieval
        self.queries = retrieval.test
        self.class_name = self.queries.class_name

    @property
    def available(self) -> bool:
        """Whether both splits have thumbs.npy."""
        return self.queries.thumbs is not None and self.retrieval.database.train.thumbs is not None

    def query(self, query: int, note="") -> Picture:
        row = self.retrieval.query_rows[query]
        return picture(self.queries.thumbs[row], self.class_name(self.retrieval.query_labels[query]) + note,
                       title=title_of(self.queries, row))

    def results(self, query: int, ids: np.ndarray) -> list[Picture]:
        """Pictures of results, marked right where they share a label with the query."""
        database, wanted = self.retrieval.database, self.retrieval.query_labels[query]
        pictures = []
        for image in ids[:SHOWN_RESULTS]:
            split, row = database.locate(image)
            label = database.labels[image]
            right = bool(np.any(wanted & label)) if np.ndim(label) else wanted == label
            pictures.append(picture(split.thumbs[row], self.class_name(label), "right" if right else "wrong",
                                    title_of(split, row)))
        return pictures

    def strip(self, query: int, rankings: dict[str, Ranking], note="") -> Strip:
        """One query with its first results by each of the two searches."""
        shown = [name for name in ("bcs", "hdl") if name in rankings]
        lists = [(NAMES[name], self.results(query, rankings[name].ids[query])) for name in shown]
        return Strip(self.query(query, note), lists)


def title_of(split: Split, row: int) -> str:
    """What is shown when a picture is pointed at."""
    return f"{row}: {split.ids[row]}" if split.ids else f"row {row}"
