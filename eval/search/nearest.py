"""The nearest entries of rows of integer distances, equal ones in column order.

A stable order is what MATLAB's sort gave the authors. It costs little here: a stable sort of the entries within
a radius that holds at least K of them, of which the first K are taken.
"""

import numpy as np

WHOLE_SHARE = 0.25       # of the database: longer lists are cut from a sort of everything
SAMPLE = 2048            # distances of a query that its first radius is estimated from


def stable_nearest(distances, top_k):
    """Columns of the `top_k` smallest integers of each row, ties in column order, and those integers.

    distances (B, N). Everything within a radius that holds at least `top_k` entries of its row is sorted.
    """
    queries, count = distances.shape
    if top_k > WHOLE_SHARE * count:
        ids = np.argsort(distances, axis=1, kind="stable")[:, :top_k]
        return ids, np.take_along_axis(distances, ids, axis=1)
    radius = sampled_radius(distances, top_k)
    found, starts = entries_within(distances, radius)
    short = np.diff(starts) < top_k
    if short.any():  # the sample misled: partition those rows
        radius[short] = np.partition(distances[short], top_k - 1, axis=1)[:, top_k - 1]
        found, starts = entries_within(distances, radius)
    near = distances.reshape(-1)[found]
    # one stable sort of all rows, by (row, distance): 16-bit keys get a radix sort
    row_key = np.arange(queries, dtype=np.uint16) * np.uint16(int(radius.max()) + 1)
    order = np.argsort(np.repeat(row_key, np.diff(starts)) + near, kind="stable")
    first = order[starts[:-1, None] + np.arange(top_k)]
    return found[first] - np.arange(queries)[:, None] * count, near[first]


def sampled_radius(distances, top_k):
    """For each row a radius that very likely holds `top_k` entries, and not many more: (B,)."""
    count = distances.shape[1]
    sample = distances[:, ::max(1, count // SAMPLE)]
    size = sample.shape[1]
    expected = top_k * size / count
    rank = int(np.ceil(expected + 2.5 * np.sqrt(expected))) if size < count else top_k
    if rank > size:
        return distances.max(axis=1)
    # a histogram of all rows in one count; a partition of so many equal bytes is slower
    levels = np.iinfo(distances.dtype).max + 1 if distances.itemsize == 1 else int(sample.max()) + 1
    row_start = np.arange(len(distances))[:, None] * levels
    histogram = np.bincount((sample + row_start).reshape(-1), minlength=len(distances) * levels)
    within = np.cumsum(histogram.reshape(-1, levels), axis=1)
    return np.argmax(within >= rank, axis=1).astype(distances.dtype)


def entries_within(distances, radius):
    """Flat positions of the entries at most `radius` away, and where each row of them starts, (B + 1,)."""
    queries, count = distances.shape
    found = true_positions((distances <= radius[:, None]).reshape(-1))
    return found, np.searchsorted(found, np.arange(queries + 1) * count)


def true_positions(mask):
    """np.flatnonzero of a sparse (n,) bool mask, by way of the groups of eight that hold a True.

    One entry in forty is True but one group in five, and numpy has no branches to mispredict from one in ten on.
    """
    whole = len(mask) // 8 * 8
    words = mask[:whole].view(np.uint64)
    groups = np.flatnonzero(words != 0)
    places = np.flatnonzero(words[groups].view(bool))
    found = groups[places >> 3] * 8 + (places & 7)
    return np.append(found, whole + np.flatnonzero(mask[whole:])) if whole < len(mask) else found
