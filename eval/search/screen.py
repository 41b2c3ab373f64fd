"""Screens for the exhaustive fc7 search: cheap rigorous bounds that leave few entries of the database to be compared.

`exhaustive` (fine.py) multiplies every query with every entry. Here a cheaper product bounds each distance first, and
only entries whose lower bound is within the `top_k`-th smallest upper bound go on to the same float32 product and
float64 order as without a screen, so ids and distances stay what they are.

    EightBits    rows rounded to 8 bits, multiplied by oneDNN. The true distance differs from that of the rounded
                 rows by at most the two rounding errors (triangle inequality), which are known for every row.
    Directions   projections P on a few leading directions of the data: |q - x|^2 >= |Pq - Px|^2 + (rest(q) - rest(x))^2

Queries that are alike share a block: their candidates overlap, so few rows are fetched and multiplied.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from basics.rows import block_slices, evenly, gather, map_blocks, release, release_sometimes
from search import eight_bit, kernels
from search.fine_block import rows_of
from search.slabs import rank

QUERIES_PER_GROUP = 256
QUERIES_PER_TASK = 16
ROWS_PER_TASK = 512
CENTRE_ROWS = 4096       # whose mean is taken from all rows
LARGEST_CODE = 127
LARGEST_BYTES = 5 << 30  # of the codes of 8 bits: more is not worth the memory
BOUND_BYTES = 1 << 30    # of a block's products with the whole database
ROUNDING = 4e-7          # of the lengths of both rows: a bound is kept as float32, from a square root of a difference
DIRECTIONS = 64
DIRECTION_ROWS = 1024    # that the directions are taken from
UNIT = 2.0 ** -24        # relative rounding of one float32 operation
FLOAT64_ROUNDING = 1e-12  # of a squared norm, and more
LIMIT_ERROR = 1.004      # squared distances of the fine search are right to a thousandth
SAMPLE_ROWS = 4096       # of the database, that the screens are tried on
SMALLEST_WORK = 2e10     # pairs times units: below, a second is not worth a choice
UNION_COST = 1.5         # of multiplying a row that is fetched, over one that lies in its place
PAIR_COST = 6.5          # of multiplying a row with one query, over its share of a product of matrices
LIST_COST = 5            # of putting an entry into a list, over the same share
PRODUCT_COST = {255: 0.27, 127: 0.5}   # of 8-bit products, with and without VNNI (eight_bit.largest_left)
BOUNDS_COST = 0.08       # of making and comparing a block's bounds, over its product
WORTH = 0.85             # a screen that promises less than that saves nothing for sure


@dataclass(frozen=True)
class Quantised:
    """Rows rounded to 8 bits: codes (n, d) and for each row scale, squared length, error, sum (kernels.quantise)."""

    codes: np.ndarray
    measures: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def quantise(fc7: np.ndarray, centre: np.ndarray, dtype: type, largest: int, offset: int,
             threads: int | None = None) -> Quantised:
    """Rows (n, d) of any float dtype less `centre` (d,) float64, rounded to -`largest`..`largest`, `offset` added.

    dtype: int8 or uint8, of the codes.
    """
    codes = np.empty(fc7.shape, dtype)
    measures = tuple(np.empty(len(fc7), kind) for kind in (float, float, float, np.int64))

    def work(rows):
        block = np.asarray(fc7[rows], np.float32)
        kernels.quantise(block, centre, largest, codes[rows], offset, *(measure[rows] for measure in measures))
        release_sometimes(fc7, rows.start)

    map_blocks(work, len(fc7), ROWS_PER_TASK, threads)
    release(fc7)
    return Quantised(codes, measures)


class EightBits:
    """Screen by 8-bit products; takes a byte of memory a unit. Needs `eight_bit.product_function`.

    Queries have 7 bits where the processor adds products of 8 bits wrongly.
    """

    def __init__(self, index, threads: int | None = None):
        self.centre = centre_of(index.fc7)
        # Added to the query's numbers: oneDNN wants its left side unsigned.
        self.offset = (eight_bit.largest_left(eight_bit.product_function()) + 1) // 2
        self.database = quantise(index.fc7, self.centre, np.int8, LARGEST_CODE, 0, threads)
        _, squares, errors, _ = self.database.measures
        self.longest = float((np.sqrt(squares) + errors).max())
        self.products = np.empty(0, np.int32)

    @staticmethod
    def cost(queries: int, units: int, share: float) -> float:
        """What the screen takes, building included, in bare float32 products of the same size.

        share: of the database, that a list is long. Nothing is timed: the same data get the same screen in every run.
        """
        return PRODUCT_COST[eight_bit.largest_left(eight_bit.product_function())] + BOUNDS_COST + 600 / queries

    @staticmethod
    def fits(index) -> bool:
        """Whether there is a function for the products, and the codes take no more memory than they may."""
        return eight_bit.product_function() is not None and index.fc7.size <= LARGEST_BYTES

    def candidates(self, queries: np.ndarray, top_k: int, threads: int | None = None) -> np.ndarray:
        """(B, N) bool: the entries that may be among the `top_k` nearest of each query (B, d) float32."""
        asked = quantise(queries, self.centre, np.uint8, self.offset - 1, self.offset, threads)
        products = self._room(len(queries), len(self.database.codes))
        eight_bit.products(asked.codes, self.database.codes, products)
        _, squares, errors, _ = asked.measures
        slack = ROUNDING * (np.sqrt(squares) + errors + self.longest)
        mask = np.empty(products.shape, bool)

        def work(rows):
            measures = tuple(measure[rows] for measure in asked.measures)
            kernels.candidates_by_eight_bits(products[rows], measures, self.offset, self.database.measures, top_k,
                                             slack[rows], mask[rows])

        map_blocks(work, len(queries), QUERIES_PER_TASK, threads)
        return mask

    def _room(self, *shape):
        """Memory for products, the same for every block: the system clears new memory first."""
        size = math.prod(shape)
        if self.products.size < size:
            self.products = np.empty(size, np.int32)
        return self.products[:size].reshape(shape)


class Directions:
    """Screen by the projections on the leading directions of a sample of the database.

    Projections are float64 products, rounded once; so the bounds' errors are those of a short float32 product.
    """

    def __init__(self, index, threads: int | None = None):
        self.index = index
        self.centre = centre_of(index.fc7)
        self.directions = leading_directions(index.fc7, self.centre)
        self.projected, self.measures = self._project(index.fc7, threads)
        self.margin = (self.directions.shape[1] + 8) * UNIT

    @staticmethod
    def cost(queries: int, units: int, share: float) -> float:
        """As of EightBits. It ranks the entries with the smallest bounds first."""
        first = (PAIR_COST + LIST_COST) * share
        return 2 * BOUNDS_COST + DIRECTIONS / units + 3 * DIRECTIONS / queries + first

    @staticmethod
    def fits(index) -> bool:
        """Projections are small beside fc7."""
        return True

    def _project(self, fc7, threads):
        """Projections (n, DIRECTIONS) float32, and squared norms and what is left over, (n,) float64."""
        projected = np.empty((len(fc7), self.directions.shape[1]), np.float32)
        squares, rests = np.empty(len(fc7)), np.empty(len(fc7))

        def work(rows):
            block = np.asarray(fc7[rows], np.float64) - self.centre
            along = block @ self.directions
            projected[rows] = along
            squares[rows] = np.einsum("nd,nd->n", block, block)
            left = squares[rows] - np.einsum("nk,nk->n", along, along)
            rests[rows] = np.sqrt(np.maximum(left, 0) + FLOAT64_ROUNDING * squares[rows])
            release_sometimes(fc7, rows.start)

        map_blocks(work, len(fc7), ROWS_PER_TASK, threads)
        release(fc7)
        return projected, (squares, rests)

    def candidates(self, queries: np.ndarray, top_k: int, threads: int | None = None) -> np.ndarray:
        """(B, N) bool: the entries that may be among the `top_k` nearest of each query (B, d) float32.

        The entries with the smallest bounds are compared first: the distance of the last of their `top_k` nearest
        limits the bounds of all.
        """
        asked, measures = self._project(queries, threads)
        bounds = asked @ self.projected.T
        mask = np.empty(bounds.shape, bool)

        def work(rows):
            kernels.bounds_by_directions(bounds[rows], tuple(measure[rows] for measure in measures), self.measures,
                                         self.margin)
            kernels.candidates_by_bounds(bounds[rows], top_k, mask[rows])

        map_blocks(work, len(queries), QUERIES_PER_TASK, threads)
        norms = np.einsum("nd,nd->n", queries, queries, dtype=np.float64)
        _, euclidean, *_ = rank(queries, norms, self.index, rows_of(mask, threads), top_k, threads)
        limits = LIMIT_ERROR * euclidean[:, -1].astype(np.float64) ** 2
        return bounds <= limits[:, None]


def leading_directions(fc7: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Orthonormal (d, k <= DIRECTIONS) float64: the directions in which some rows less the centre spread most."""
    rows = np.asarray(gather(fc7, evenly(len(fc7), DIRECTION_ROWS)), np.float64) - centre
    count, units = rows.shape
    if units <= count:
        return most_spread(rows.T @ rows)
    return np.linalg.qr(rows.T @ most_spread(rows @ rows.T))[0]


def most_spread(products: np.ndarray) -> np.ndarray:
    """Eigenvectors (n, at most DIRECTIONS) of the largest eigenvalues of a symmetric matrix (n, n)."""
    size = len(products)
    return scipy.linalg.eigh(products, subset_by_index=[max(0, size - DIRECTIONS), size - 1])[1]


def choose_screen(query_fc7: np.ndarray, blocks: list[np.ndarray], index, top_k: int, threads: int | None = None):
    """The screen that promises to save most on these data, built; None where none does.

    Tried on a few thousand rows of the database with the queries of one of `blocks` (`alike`): what a screen saves
    depends on how many candidates there are, and how many rows those of a block have together (`slabs.rank`).
    """
    if len(query_fc7) * len(index) * query_fc7.shape[1] < SMALLEST_WORK:
        return None
    sample, share = index.sample(SAMPLE_ROWS), top_k / len(index)
    queries = np.asarray(query_fc7[blocks[len(blocks) // 2]], np.float32)
    costs = {}
    for screen in (screen for screen in (Directions, EightBits) if screen.fits(index)):
        costs[screen] = screen.cost(*query_fc7.shape, share) + LIST_COST * share
        if costs[screen] < WORTH:
            found = screen(sample, threads).candidates(queries, -(-top_k * len(sample) // len(index)), threads)
            costs[screen] += min(UNION_COST * found.any(axis=0).mean(), PAIR_COST * found.mean())
    best = min(costs, key=costs.get)
    return best(index, threads) if costs[best] < WORTH else None


def centre_of(fc7: np.ndarray) -> np.ndarray:
    """Mean of some rows, (d,) float64: distances stay as they are when it is taken from all rows."""
    return gather(fc7, evenly(len(fc7), CENTRE_ROWS)).mean(axis=0, dtype=np.float64)


def alike(queries: np.ndarray, count: int) -> list[np.ndarray]:
    """Blocks of rows of queries (Q, d) that are alike, as many as are compared with `count` rows at once: index arrays.

    Queries are grouped by the nearest of a few taken evenly from among them.
    """
    size = max(1, min(QUERIES_PER_GROUP, BOUND_BYTES // (4 * count)))
    pivots = np.asarray(queries[evenly(len(queries), -(-len(queries) // size))], np.float32)
    half = np.einsum("nd,nd->n", pivots, pivots) / 2
    nearest = np.concatenate([np.argmin(half - np.asarray(queries[rows], np.float32) @ pivots.T, axis=1)
                              for rows in block_slices(len(queries), ROWS_PER_TASK)])
    order = np.argsort(nearest, kind="stable")
    return [order[rows] for rows in block_slices(len(order), size)]
