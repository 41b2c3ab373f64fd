"""A multi-index over the codes beside the scan: what it would spare, exactly (Norouzi, Punjani, Fleet, CVPR 2012).

The code is cut into parts of 16 bits. Of a code within r bits of the query, some part is within floor(r / parts) bits
of the query's part (the first r mod parts + 1 parts), or within one less (the others). So each part has a table from
its values to the entries, and only values that near are looked up. Nothing that searches uses it: it is measured here.
"""

import itertools
from functools import partial

import numpy as np

from benchmarks.races import race, report_race
from search.coarse import CodeIndex
from search.codes import pack
from search.kernels import bit_count, compiled

PART = 16           # bits
VALUES = 1 << PART
MOST_BITS = 64
REPEATED = 2000     # codes that a clustered database varies
FLIPPED = 0.05      # of their bits
QUERIES = 20
RADII = (2, 4, 6, 8, 10)


class MultiIndex:
    """codes (N, bits) bool, at most 64 bits."""

    def __init__(self, codes: np.ndarray):
        assert codes.shape[1] <= MOST_BITS
        self.words = words_of(codes)
        self.parts = -(-codes.shape[1] // PART)
        values = [(self.words >> np.uint64(PART * part) & np.uint64(VALUES - 1)).astype(np.uint16)
                  for part in range(self.parts)]
        self.ids = np.stack([np.argsort(value, kind="stable").astype(np.int32) for value in values])
        self.starts = np.stack([np.concatenate([[0], np.cumsum(np.bincount(value, minlength=VALUES))])
                                for value in values])
        self.masks, self.ends = flips()
        self.found = np.empty(len(codes), np.int32)

    @property
    def nbytes(self) -> int:
        """Of the tables, beside the codes."""
        return self.ids.nbytes + self.starts.nbytes

    def within(self, query: np.uint64, radius: int) -> tuple[np.ndarray, int]:
        """(ids int32, ascending, of the entries at most `radius` bits from a query; how many were looked at)."""
        kept, looked = look_up(self.words, self.ids, self.starts, self.masks, self.ends, query, radius, self.found)
        return np.sort(self.found[:kept]), looked


def words_of(codes: np.ndarray) -> np.ndarray:
    """(N,) uint64 of codes (N, bits) bool."""
    return CodeIndex(pack(codes)).columns[0, :len(codes)]


def flips() -> tuple[np.ndarray, np.ndarray]:
    """(all values of a part, those of few bits first; ends[n]: how many have at most n bits)."""
    counts = [[sum(1 << bit for bit in bits) for bits in itertools.combinations(range(PART), size)]
              for size in range(PART + 1)]
    return np.concatenate(counts).astype(np.int64), np.cumsum([len(values) for values in counts])


@compiled
def look_up(words, ids, starts, masks, ends, query, radius, found):
    """Fills `found` with the entries within `radius` of a query, each once: (how many, how many were looked at)."""
    parts, kept, looked = len(ids), 0, 0
    limits = np.empty(parts, np.int64)
    for p in range(parts):
        limits[p] = min(PART, radius // parts - (p > radius % parts))
    for p in range(parts):
        own = np.int64(query >> np.uint64(PART * p) & np.uint64(VALUES - 1))
        for probe in range(ends[limits[p]] if limits[p] >= 0 else 0):
            value = own ^ masks[probe]
            for at in range(starts[p, value], starts[p, value + 1]):
                looked += 1
                differing = words[ids[p, at]] ^ query
                if bit_count(differing) <= radius and not earlier(differing, limits, p):
                    found[kept] = ids[p, at]
                    kept += 1
    return kept, looked


@compiled
def earlier(differing, limits, p):
    """Whether a part before p finds the same entry."""
    for other in range(p):
        if np.int64(bit_count(differing >> np.uint64(PART * other) & np.uint64(VALUES - 1))) <= limits[other]:
            return True
    return False


def clustered(count: int, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Codes as trained nets give them, in that many are near: few codes, varied a little. (count, bits) bool."""
    few = rng.random((REPEATED, bits)) < 0.5
    return few[rng.integers(0, REPEATED, count)] ^ (rng.random((count, bits)) < FLIPPED)


def bench_multi_index(bits: int, sizes: list[int], rounds: int) -> dict:
    """The pools of single queries on one thread, by multi-index and by scan. {codes: {size: {radius: report_race}}}."""
    rng, found = np.random.default_rng(0), {}
    for name, make in (("uniform", lambda count: rng.random((count, bits)) < 0.5),
                       ("clustered", partial(clustered, bits=bits, rng=rng))):
        found[name] = {str(count): against_scan(name, make(count), rounds) for count in sizes}
    return found


def against_scan(name: str, codes: np.ndarray, rounds: int) -> dict:
    """{radius: report_race} of one database, some of its own codes as the queries."""
    index, scan = MultiIndex(codes), CodeIndex(pack(codes))
    rows = np.linspace(0, len(codes) - 1, QUERIES).astype(int)
    queries, packed, table = index.words[rows], pack(codes[rows]), {}
    for radius in RADII:
        pools = scan.pools(packed, np.full(len(rows), radius + 1))
        answers = [index.within(query, radius) for query in queries]
        assert all(map(np.array_equal, pools, (ids for ids, _ in answers)))
        times = race(rounds, multi_index=lambda radius=radius: [index.within(query, radius) for query in queries],
                     scan=lambda radius=radius: [scan.pools(packed[row:row + 1], np.array([radius + 1]), threads=1)
                                                 for row in range(len(rows))])
        pool, looked = (np.mean(counts) for counts in zip(*((len(ids), looked) for ids, looked in answers)))
        title = (f"pools of {QUERIES} queries one by one, {len(codes):,} {name} codes of {codes.shape[1]} bits, "
                 f"at most {radius} bits: {pool:,.0f} entries, {looked:,.0f} looked at by the multi-index "
                 f"({index.nbytes / len(codes):.0f} bytes an image)")
        table[str(radius)] = report_race(title, times, "scan")
    return table
