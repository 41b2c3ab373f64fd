"""The compiled loops of the evaluation: distances between packed codes, selection, counting, average precision.

Plain loops over arrays, compiled by numba for the processor at hand when first called; the result is kept in
build/numba. They release the interpreter's lock, so threads that share out the queries run at the same time; what a
query gets depends on nothing but that query, so the number of threads changes no result.

Codes come as columns (words, places) uint64, one contiguous run per word, `places` being their number rounded up to a
multiple of 64 (`columns_of`). Distances are uint8, or uint16 for codes of more than 254 bits: the dtype of the array
for the results says which. Nothing here checks its input.

What is called from here alone is merged into its callers (`part`): numba would compile it once more for each.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Read by numba when it is imported: compiled code belongs to the checkout, as other generated files do.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).resolve().parents[2] / "build" / "numba"))

import numpy as np  # noqa: E402

from basics.program import EvalError  # noqa: E402

try:
    from llvmlite import ir
    from numba import njit, uint16, uint64, void
    from numba.core import cgutils
    from numba.core.event import TimingListener, install_listener
    from numba.extending import intrinsic, overload
except ImportError as error:
    raise EvalError(f"numba, which compiles the searches, cannot be used ({error}): `make setup` installs what eval/ "
                    "needs, or install the versions of requirements.txt") from None

LANES = 64        # entries compared at once
EVERY_LANE = uint64(2 ** LANES - 1)
TILE = 4096       # distances that are made, then looked through, while they lie in the first cache
SHARED = 1 << 15  # codes that a few queries look through one after the other, while they lie in the second cache
AT_ONCE = 16      # such queries
BINS = 4096       # of a histogram of real numbers
STRIDE = 16       # of the real numbers from which a first limit is estimated
UNITS = 1024      # of fc7 multiplied at once: so much of a block's queries stays in the second cache
MANY_DOUBTFUL = 0.1     # of a list: with more of them, sorting it anew takes less time than mending the order
SIGMAS = 2.5      # of the number of sampled entries: how much wider a first radius is than the sample says

compiled = njit(nogil=True, cache=True, error_model="numpy")
approximate = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract"})   # sums in any order
part = njit(nogil=True, inline="always", error_model="numpy")


_announced = False


def announce_compilation():
    """Say once, on stderr, that what follows is compiled first, unless compiled code is kept from an earlier run."""
    global _announced
    if not _announced and not any(Path(os.environ["NUMBA_CACHE_DIR"]).glob("*/kernels.*.nbi")):
        print("compiling the searches for this processor, once: about a minute", file=sys.stderr)
    _announced = True


def timed(function: Callable, *arguments):
    """(result, seconds by the clock), without those in which loops were compiled for the first time."""
    compiling = TimingListener()
    started = time.perf_counter()
    with install_listener("numba:compile", compiling):
        result = function(*arguments)
    seconds = time.perf_counter() - started
    return result, max(0.0, seconds - compiling.duration) if compiling.done else seconds


def _lanes(builder, value, kind):
    """A vector of LANES integers of one type, all equal to `value`."""
    vector = ir.VectorType(kind, LANES)
    empty, places = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(builder.insert_element(empty, value, ir.IntType(32)(0)), empty, places)


def _lanes_at(builder, place, kind):
    """Where a vector of LANES integers begins at the address `place`."""
    return builder.bitcast(place, ir.VectorType(kind, LANES).as_pointer())


@intrinsic
def compare(_, columns, query, start, distances, at):
    """Distances of a query (words,) to the LANES entries from `start` on, into distances[at:at + LANES].

    XOR and bit counts of all words of a group of entries stay in registers; a loop over arrays would write and read
    sums, and takes numba many times as long to compile.
    """
    def emit(context, builder, signature, arguments):
        codes, words, results = (context.make_array(signature.args[i])(context, builder, arguments[i])
                                 for i in (0, 1, 3))
        word, lane = ir.IntType(64), ir.IntType(signature.args[3].dtype.bitwidth)
        vector = ir.VectorType(word, LANES)
        counter = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]),
                                                 f"llvm.ctpop.v{LANES}i64")
        count, run = cgutils.unpack_tuple(builder, codes.shape)
        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0] * LANES), total)
        with cgutils.for_range(builder, count) as loop:
            place = builder.gep(codes.data, [builder.add(builder.mul(loop.index, run), arguments[2])])
            entries = builder.load(_lanes_at(builder, place, word), align=8)
            code = _lanes(builder, builder.load(builder.gep(words.data, [loop.index])), word)
            differing = builder.call(counter, [builder.xor(entries, code)])
            builder.store(builder.add(builder.load(total), differing), total)
        narrow = builder.trunc(builder.load(total), ir.VectorType(lane, LANES))
        builder.store(narrow, _lanes_at(builder, builder.gep(results.data, [arguments[4]]), lane), align=1)
        return context.get_dummy_value()
    return void(columns, query, start, distances, at), emit


@intrinsic
def within(_, values, start, limit):
    """uint64 whose bit i tells whether values[start + i] <= limit, for LANES contiguous unsigned integers."""
    def emit(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        lane = ir.IntType(signature.args[0].dtype.bitwidth)
        here = builder.load(_lanes_at(builder, builder.gep(array.data, [arguments[1]]), lane), align=1)
        limits = _lanes(builder, builder.trunc(arguments[2], lane), lane)
        return builder.bitcast(builder.icmp_unsigned("<=", here, limits), ir.IntType(LANES))
    return uint64(values, start, limit), emit


@intrinsic
def lowest_bit(_, word):
    """Place of the lowest 1 bit of an unsigned integer that is not 0."""
    def emit(context, builder, signature, values):
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))
    return word(word), emit


@intrinsic
def bit_count(_, word):
    """Number of 1 bits of an unsigned integer."""
    return word(word), lambda context, builder, signature, values: builder.ctpop(values[0])


def columns_of(codes):
    """Packed codes (N, words) of any unsigned dtype as columns (words, places) uint64; the places after N hold 0."""
    count, width = codes.shape
    raw = np.ascontiguousarray(codes).view(np.uint8).reshape(count, -1)
    words = -(-raw.shape[1] // 8)
    whole = np.zeros((-(-count // LANES) * LANES, 8 * words), np.uint8)
    whole[:count, :raw.shape[1]] = raw
    return np.ascontiguousarray(whole.view(np.uint64).T)


@part
def scan(columns, query, start, stop, distances):
    """Distances of one query (words,) to the entries start..stop, into the first places of `distances`.

    start is a multiple of LANES; as many places after the last distance may be overwritten.
    """
    for first in range(start, stop, LANES):
        compare(columns, query, first, distances, first - start)


@part
def collect(distances, count, base, radius, found, near, kept):
    """Append the ids (from `base` on) and distances of the entries within `radius`; how many there are then.

    `distances` has LANES places after `count`, which are overwritten.
    """
    distances[count:count + LANES] = -1
    for start in range(0, count, LANES):
        mask = within(distances, start, radius)
        if mask == EVERY_LANE:
            for i in range(start, start + LANES):
                found[kept] = base + i
                near[kept] = distances[i]
                kept += 1
            continue
        while mask:
            i = start + np.int64(lowest_bit(mask))
            mask &= mask - uint64(1)
            found[kept] = base + i
            near[kept] = distances[i]
            kept += 1
    return kept


@part
def count_near(near, kept, histogram):
    """How many of the first `kept` distances are 0, 1, ..., into the histogram."""
    histogram[:] = 0
    for i in range(kept):
        histogram[near[i]] += 1


@part
def rank_at(histogram, rank):
    """The smallest distance up to which the histogram counts `rank` entries, at most its last place."""
    distance, count = 0, histogram[0]
    while count < rank and distance < len(histogram) - 1:
        distance += 1
        count += histogram[distance]
    return distance


@part
def tighten(found, near, kept, top_k, histogram):
    """Drop what cannot be among the first `top_k`: (entries left, the radius for entries that are still to come).

    Entries stand in database order, so among equal distances the first ones stay, and later ones must be nearer.
    """
    count_near(near, kept, histogram)
    limit = rank_at(histogram, top_k)
    room = top_k
    for distance in range(limit):
        room -= histogram[distance]
    left = 0
    for i in range(kept):
        at_limit = near[i] == limit
        if near[i] < limit or (at_limit and room > 0):
            room -= at_limit
            found[left], near[left] = found[i], near[i]
            left += 1
    return left, limit - 1


@compiled
def collect_range(columns, query, start, stop, radius, top_k, buffer, found, near, kept, histogram):
    """Append the entries of start..stop within `radius`: (entries kept, radius from here on).

    buffer: TILE + LANES distances. Whenever found has no place for a tile more, it is tightened: it needs
    max(2 * top_k, TILE) + TILE places, however many entries are equally near. A radius of -1 lets nothing in.
    """
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        if kept + TILE > len(found):
            kept, radius = tighten(found, near, kept, top_k, histogram)
        if radius < 0:
            break
        scan(columns, query, first, last, buffer)
        kept = collect(buffer, last - first, first, radius, found, near, kept)
    return kept, radius


@part
def starts_of_counts(counts):
    """Where each run of so many entries starts, in place."""
    total = 0
    for i in range(len(counts)):
        size = counts[i]
        counts[i] = total
        total += size


@compiled
def write_sorted(found, near, kept, histogram, ids, distances):
    """The nearest of the `kept` entries into ids and distances (top_k,): a stable counting sort."""
    count_near(near, kept, histogram)
    starts_of_counts(histogram)
    for i in range(kept):
        distance = near[i]
        place = histogram[distance]
        histogram[distance] = place + 1
        if place < len(ids):
            ids[place] = found[i]
            distances[place] = distance


@part
def sampled_radius(sample, size, query, top_k, count, buffer, histogram):
    """A radius that very likely holds `top_k` of `count` entries, and not many more, from `size` of them."""
    scan(sample, query, 0, size, buffer)
    count_near(buffer, size, histogram)
    expected = top_k * size / count
    spread = SIGMAS * np.sqrt(expected) if size < count else 0.0
    return rank_at(histogram, np.int64(np.ceil(expected + spread))) if size > 0 else len(histogram) - 1


@compiled
def first_radius(sample, size, query, top_k, count, levels, distances):
    """`sampled_radius` of one query. `distances` gives the dtype alone."""
    buffer, histogram = np.empty(TILE, distances.dtype), np.empty(levels, np.int64)
    return sampled_radius(sample, size, query, top_k, count, buffer, histogram)


@compiled
def search_all(columns, count, sample, size, queries, places, levels, ids, distances, misled):
    """The nearest entries of queries[place] for each of `places`, into those rows of ids and distances (Q, top_k).

    sample: columns of `size` <= TILE entries, from which a radius is estimated. Where it is too small for top_k
    entries, misled[place] is set and the rows are to be searched again with a sample of 0 entries: without one, the
    first radius is levels - 1, the largest distance. Ties stand in database order.
    """
    top_k = ids.shape[1]
    room = max(2 * top_k, TILE) + TILE
    histogram, buffer = np.empty(levels, np.int64), np.empty(TILE + LANES, distances.dtype)
    found, near = np.empty((AT_ONCE, room), np.int32), np.empty((AT_ONCE, room), distances.dtype)
    kept, radius = np.empty(AT_ONCE, np.int64), np.empty(AT_ONCE, np.int64)
    for group in range(0, len(places), AT_ONCE):
        members = places[group:group + AT_ONCE]
        for i in range(len(members)):
            kept[i] = 0
            radius[i] = sampled_radius(sample, size, queries[members[i]], top_k, count, buffer, histogram)
        for start in range(0, count, SHARED):
            for i in range(len(members)):
                kept[i], radius[i] = collect_range(columns, queries[members[i]], start, min(start + SHARED, count),
                                                   radius[i], top_k, buffer, found[i], near[i], kept[i], histogram)
        for i in range(len(members)):
            misled[members[i]] = kept[i] < top_k
            write_sorted(found[i], near[i], kept[i], histogram, ids[members[i]], distances[members[i]])


@compiled
def search_part(columns, query, start, stop, radius, top_k, levels, distances):
    """Entries of start..stop within `radius` of one query, in database order: their ids and distances.

    At most about 2 * top_k of them: those that cannot be among the first top_k of start..stop may be missing.
    `distances` gives the dtype alone.
    """
    room = max(2 * top_k, TILE) + TILE
    histogram, buffer = np.empty(levels, np.int64), np.empty(TILE + LANES, distances.dtype)
    found, near = np.empty(room, np.int32), np.empty(room, distances.dtype)
    kept, _ = collect_range(columns, query, start, stop, radius, top_k, buffer, found, near, 0, histogram)
    return found[:kept], near[:kept]


@compiled
def number_equal(columns, count):
    """Give equal codes one number: (number of each entry (N,) int32, first entry of each number (distinct,) int32).

    Numbers are in the order in which codes first appear. A hash table with open addressing.
    """
    words = len(columns)
    size = 2
    while size < 2 * count:
        size *= 2
    table = np.full(size, -1, np.int32)
    numbers, first = np.empty(count, np.int32), np.empty(count, np.int32)
    distinct = 0
    for i in range(count):
        mixed = uint64(0)
        for word in range(words):
            mixed = (mixed ^ uint64(columns[word, i])) * uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> uint64(32)
        place = np.int64(mixed & uint64(size - 1))
        while table[place] >= 0 and not equal_codes(columns, first[table[place]], i):
            place = (place + 1) & (size - 1)
        if table[place] < 0:
            table[place] = distinct
            first[distinct] = i
            distinct += 1
        numbers[i] = table[place]
    return numbers, first[:distinct].copy()


@part
def equal_codes(columns, one, other):
    """Whether two entries have one code."""
    for word in range(len(columns)):
        if columns[word, one] != columns[word, other]:
            return False
    return True


@compiled
def rows_of_groups(groups, count):
    """Rows of each of `count` groups, ascending: (starts (count + 1,), rows).

    groups (N,): the group of each row; a negative one belongs to none. Group g is rows[starts[g]:starts[g + 1]].
    """
    sizes = np.zeros(count + 1, np.int64)
    for i in range(len(groups)):
        if groups[i] >= 0:
            sizes[groups[i]] += 1
    starts_of_counts(sizes)
    rows, following = np.empty(sizes[count], np.int32), sizes.copy()
    for i in range(len(groups)):
        if groups[i] >= 0:
            rows[following[groups[i]]] = i
            following[groups[i]] += 1
    return sizes, rows


@compiled
def search_distinct(columns, starts, rows, queries, places, levels, ids, distances):
    """As `search_all`, for a database in which codes repeat: each code is compared once.

    columns: those of the distinct codes; starts (D + 1,) and rows (N,): the entries that have each code, ascending.
    """
    codes, top_k = len(starts) - 1, ids.shape[1]
    histogram, buffer = np.empty(levels, np.int64), np.empty(codes + 2 * LANES, distances.dtype)
    near, near_sorted = np.empty(codes, distances.dtype), np.empty(codes, distances.dtype)
    found, found_sorted = np.empty(codes, np.int32), np.empty(codes, np.int32)
    marks = np.zeros(len(rows) // 64 + 1, np.uint64)
    for place in places:
        scan(columns, queries[place], 0, codes, buffer)
        histogram[:] = 0
        for code in range(codes):
            histogram[buffer[code]] += starts[code + 1] - starts[code]
        kept = collect(buffer, codes, 0, rank_at(histogram, top_k), found, near, 0)
        write_sorted(found, near, kept, histogram, found_sorted[:kept], near_sorted[:kept])
        write_entries(found_sorted[:kept], near_sorted[:kept], starts, rows, marks, ids[place], distances[place])


@compiled
def write_entries(codes, near, starts, rows, marks, ids, distances):
    """The entries that have `codes`, nearest first, ties in database order, until ids (top_k,) is full.

    codes and near: distinct codes and their distances, ascending; marks: N zero bits, zero again afterwards.
    """
    done, first = 0, 0
    while first < len(codes) and done < len(ids):
        last = first
        while last < len(codes) and near[last] == near[first]:
            last += 1
        begun = done
        if last == first + 1:
            place = starts[codes[first]]
            while place < starts[codes[first] + 1] and done < len(ids):
                ids[done] = rows[place]
                place, done = place + 1, done + 1
        else:
            mark_entries(codes[first:last], starts, rows, marks)
            done = write_marked(marks, ids, done)
        distances[begun:done] = near[first]
        first = last


@part
def mark_entries(codes, starts, rows, marks):
    """Set the bit of every entry that has one of `codes`."""
    for code in codes:
        for place in range(starts[code], starts[code + 1]):
            marks[rows[place] >> 6] |= uint64(1) << uint64(rows[place] & 63)


@part
def write_marked(marks, ids, done):
    """Write the marked entries, ascending from place `done` on while there is room; clear all marks. The next place."""
    for i in range(len(marks)):
        mask = marks[i]
        marks[i] = 0
        while mask and done < len(ids):
            ids[done] = 64 * i + np.int64(lowest_bit(mask))
            mask &= mask - uint64(1)
            done += 1
    return done


@compiled
def copy_repeated(start, stop, sources, ids, distances):
    """Rows start..stop of the results whose query equals an earlier one, sources[row]: copy that one's results."""
    for row in range(start, stop):
        if sources[row] != row:
            ids[row] = ids[sources[row]]
            distances[row] = distances[sources[row]]


@compiled
def distances_to_all(columns, queries, distances):
    """All distances of some queries (Q, words): into the first N places of rows of (Q, places)."""
    for q in range(len(queries)):
        scan(columns, queries[q], 0, columns.shape[1], distances[q])


@compiled
def count_by_distance(distances, labels, label, counts):
    """How many entries lie at each distance (N,), and how many of them have one label: into counts (2, levels).

    labels (N,) integers. Four counters in turns, as in `count_all`.
    """
    counters = np.zeros((4, 2, counts.shape[1]), np.int64)
    whole = len(distances) // 4 * 4
    for i in range(0, whole, 4):
        for lane in range(4):
            counters[lane, np.intp(labels[i + lane] == label), distances[i + lane]] += 1
    for i in range(whole, len(distances)):
        counters[0, np.intp(labels[i] == label), distances[i]] += 1
    for lane in range(4):
        for distance in range(counts.shape[1]):
            counts[0, distance] += counters[lane, 0, distance] + counters[lane, 1, distance]
            counts[1, distance] += counters[lane, 1, distance]


@compiled
def listed_distances(columns, queries, ids, distances):
    """Distances (Q, K) of queries (Q, words) to listed entries ids (Q, K)."""
    for q in range(len(queries)):
        for k in range(ids.shape[1]):
            distance = 0
            for word in range(len(columns)):
                distance += bit_count(columns[word, ids[q, k]] ^ queries[q, word])
            distances[q, k] = distance


@part
def count_all(distances, count, counters, histogram):
    """How many of the first `count` distances are 0, 1, ...: into histogram (levels,). counters: (4, levels) scratch.

    Four counters a distance in turns: neighbours often have equal distances, and one counter would wait for itself.
    """
    counters[:] = 0
    whole = count & ~3
    for i in range(0, whole, 4):
        counters[0, distances[i]] += 1
        counters[1, distances[i + 1]] += 1
        counters[2, distances[i + 2]] += 1
        counters[3, distances[i + 3]] += 1
    for i in range(whole, count):
        counters[0, distances[i]] += 1
    for distance in range(len(histogram)):
        count_of_two = counters[0, distance] + counters[1, distance]
        histogram[distance] = count_of_two + counters[2, distance] + counters[3, distance]


@compiled
def score_members(distances, members, places, seen, cuts, cutoffs, rank, run_sums, cut_sums, cut_hits):
    """Go through all entries in database order, and add up the precision at each relevant one.

    distances (N,); members: relevant entries, ascending; places (levels,): ranked entries before each distance, and
    seen (levels,): relevant ones before it; both move on. cuts (C,): the distance whose run of ties each cutoff cuts.
    Precision is added to run_sums (levels,), and up to the cutoff within the run that it cuts to cut_sums and cut_hits
    (C,). rank: (TILE,) scratch.
    """
    following, count = 0, len(distances)
    for start in range(0, count, TILE):
        stop = min(start + TILE, count)
        for i in range(stop - start):
            distance = distances[start + i]
            rank[i] = places[distance]
            places[distance] += 1
        while following < len(members) and members[following] < stop:
            entry = members[following]
            distance, place = distances[entry], rank[entry - start] + 1
            seen[distance] += 1
            precision = seen[distance] / place
            run_sums[distance] += precision
            for c in range(len(cuts)):
                if distance == cuts[c] and place <= cutoffs[c]:
                    cut_sums[c] += precision
                    cut_hits[c] += 1
            following += 1


@part
def prepare_runs(total, relevant, places, seen, run_sums, cutoffs, cuts):
    """From the counts of one query: entries and relevant entries before each distance, and the runs that are cut."""
    ended, hits = 0, 0
    cuts[:] = len(total)
    for distance in range(len(total)):
        places[distance], seen[distance], run_sums[distance] = ended, hits, 0
        ended, hits = ended + total[distance], hits + relevant[distance]
        for c in range(len(cutoffs)):
            if cuts[c] == len(total) and ended > cutoffs[c]:
                cuts[c] = distance


@compiled
def measure(columns, count, numbers, queries, groups, starts, members, cutoffs, total, relevant, precision_sums, hits,
            distances):
    """Everything that follows from the ranking of all entries, for each query, from one scan.

    columns: of the `count` entries; or of distinct codes, numbers (count,) saying which of them each entry has.
    Entries relevant to query q: members[starts[g]:starts[g + 1]] with g = groups[q], ascending. Into total and relevant
    (Q, levels): entries at each distance; into precision_sums and hits (Q, C): over the relevant ones among the first
    cutoffs[c] of the ranking, ties in database order. `distances` gives the dtype alone.
    """
    levels, codes = total.shape[1], columns.shape[1]
    scanned, ranked = np.empty(codes, distances.dtype), np.empty(count, distances.dtype)
    counters, rank = np.empty((4, levels), np.int32), np.empty(TILE, np.int32)
    places, seen = np.empty(levels, np.int32), np.empty(levels, np.int32)
    run_sums, cuts = np.empty(levels), np.empty(len(cutoffs), np.int64)
    for q in range(len(queries)):
        scan(columns, queries[q], 0, codes, scanned)
        ordered = scanned[:count]
        if len(numbers):
            for i in range(count):
                ranked[i] = scanned[numbers[i]]
            ordered = ranked
        wanted = members[starts[groups[q]]:starts[groups[q] + 1]]
        count_all(ordered, count, counters, total[q])
        relevant[q] = 0
        for entry in wanted:
            relevant[q, ordered[entry]] += 1
        prepare_runs(total[q], relevant[q], places, seen, run_sums, cutoffs, cuts)
        precision_sums[q] = 0
        hits[q] = 0
        score_members(ordered, wanted, places, seen, cuts, cutoffs, rank, run_sums, precision_sums[q], hits[q])
        for c in range(len(cutoffs)):
            for distance in range(cuts[c]):
                precision_sums[q, c] += run_sums[distance]
                hits[q, c] += relevant[q, distance]


@part
def expected_sum(n, r, before, hits_before, harmonic):
    """Expected sum of precision at the r hits of a run of n results, in random places, after `before` others."""
    inverse = harmonic[before + n] - harmonic[before]           # sum of 1 / (N0 + i)
    weighted = n - (before + 1) * inverse                       # sum of (i - 1) / (N0 + i)
    return r / n * ((hits_before + 1) * inverse + (r - 1) / max(n - 1, 1) * weighted)


@part
def log_choose(n, r, log_factorial):
    """Logarithm of how many ways there are to choose r of n."""
    return log_factorial[n] - log_factorial[r] - log_factorial[n - r]


@compiled
def expected_average_precision(total, relevant, top_k, harmonic, log_factorial, expected):
    """AP@K of each query expected over all orders of equal distances (measures/distance_counts.py), into expected (Q,).

    total, relevant (Q, levels): entries at each distance. harmonic and log_factorial of 0, 1, ... to their number.
    """
    for q in range(len(total)):
        before, hits, precision_sum, cut, expected[q] = 0, 0, 0.0, -1, 0.0
        for distance in range(total.shape[1]):
            n, r = total[q, distance], relevant[q, distance]
            if before + n > top_k:
                cut = distance
                break
            if n > 0:
                precision_sum += expected_sum(n, r, before, hits, harmonic)
                before, hits = before + n, hits + r
        if cut < 0 or before == top_k:
            if hits > 0:
                expected[q] = precision_sum / hits
            continue
        n, r = total[q, cut], relevant[q, cut]
        m = top_k - before      # places of the run that K cuts
        log_all = log_choose(n, m, log_factorial)
        for h in range(max(0, m - (n - r)), min(m, r) + 1):
            if hits + h > 0:
                log_ways = log_choose(r, h, log_factorial) + log_choose(n - r, m - h, log_factorial)
                run = expected_sum(m, h, before, hits, harmonic)
                expected[q] += np.exp(log_ways - log_all) * (precision_sum + run) / (hits + h)


@compiled
def share_label(query_labels, query, db_labels, entry):
    """Whether two images share a label: equal class numbers, or a common bit of their sets of labels."""
    if query_labels.ndim == 1:
        return query_labels[query] == db_labels[entry]
    for word in range(query_labels.shape[1]):
        if query_labels[query, word] & db_labels[entry, word]:
            return True
    return False


@compiled
def score_lists(ids, query_labels, db_labels, precision_sums, hits, hits_at):
    """Of ranked lists ids (Q, K): precision summed over the hits, (Q,), and hits, (Q,); hits at each place are added to
    hits_at (K,).

    Labels: class numbers (Q,) and (N,), or sets of labels as bits of (Q, words) and (N, words) unsigned integers.
    """
    for q in range(len(ids)):
        found, total = 0, 0.0
        for k in range(ids.shape[1]):
            if share_label(query_labels, q, db_labels, ids[q, k]):
                found += 1
                hits_at[k] += 1
                total += found / (k + 1)
        precision_sums[q] = total
        hits[q] = found


@approximate
def quantise(rows, centre, largest_code, codes, offset, scales, squares, errors, sums):
    """Round rows (n, d) less the centre (d,) to whole numbers, at most largest_code, each row by its own scale.

    Into codes (n, d): the numbers plus `offset`; scales (n,): row = scale * number + rest; squares (n,): scale^2 times
    the sum of the squared numbers; errors (n,): Euclidean norm of the rest; sums (n,) int64 of the numbers.
    """
    for i in range(len(rows)):
        largest = 0.0
        for j in range(len(centre)):
            largest = max(largest, abs(rows[i, j] - centre[j]))
        scale = largest / largest_code if largest > 0 else 1.0
        per_scale, square, error, total = 1 / scale, 0, 0.0, 0
        for j in range(len(centre)):
            value = rows[i, j] - centre[j]
            number = np.int32(np.rint(value * per_scale))
            rest = value - scale * number
            codes[i, j] = number + offset
            square, total = square + number * number, total + number
            error += rest * rest
        scales[i], squares[i], errors[i], sums[i] = scale, scale * scale * square, np.sqrt(error), total


@part
def limit_by_bins(values, top_k, histogram):
    """A limit with at least `top_k` of the values (N,) up to it, and few more: the end of the k-th smallest's bin."""
    lowest, highest = values[0], values[0]
    for value in values:
        lowest, highest = min(lowest, value), max(highest, value)
    width = (np.float64(highest) - lowest) / len(histogram)
    if not width > 0:
        return np.float64(highest)
    per_width = (1 - 1e-6) / width
    histogram[:] = 0
    for value in values:
        histogram[np.int64((np.float64(value) - lowest) * per_width)] += 1
    return lowest + (rank_at(histogram, top_k) + 1) / per_width


@compiled
def limit_of_nearest(values, top_k, histogram, few):
    """`limit_by_bins`, of those values alone that a sample does not rule out. few (N + 1,) is overwritten."""
    expected = top_k / STRIDE
    rank = np.int64(expected + 3 * np.sqrt(expected)) + 1
    if rank < len(values) // (4 * STRIDE):
        guess, kept = limit_by_bins(values[::STRIDE], rank, histogram), 0
        for value in values:
            few[kept] = value
            kept += value <= guess
        if kept >= top_k:
            return limit_by_bins(few[:kept], top_k, histogram)
    return limit_by_bins(values, top_k, histogram)


@compiled
def places_of_nearest(values, top_k, margin):
    """Places, ascending, of the values (N,) up to `margin` above the `top_k`-th smallest, and of few more."""
    few, places = np.empty(len(values) + 1, values.dtype), np.empty(len(values) + 1, np.int64)
    limit, kept = limit_of_nearest(values, top_k, np.empty(BINS, np.int64), few) + margin, 0
    for i in range(len(values)):
        places[kept] = i
        kept += values[i] <= limit
    return places[:kept].copy()


@compiled
def doubtful_places(squared, order, off):
    """The places of squared distances (n,), given in their order, that products in float32 do not decide.

    Those within 2 `off` of a neighbour, or so near to 0 that `off` is more than a thousandth of them.
    """
    places, kept, last = np.empty(len(order), np.int64), 0, len(order) - 1
    for i in range(len(order)):
        here = squared[order[i]]
        close = i > 0 and here - squared[order[i - 1]] <= 2 * off
        close |= i < last and squared[order[i + 1]] - here <= 2 * off
        if close or here < 1000 * off:
            places[kept] = order[i]
            kept += 1
    return places[:kept]


@compiled
def sort_nearly_sorted(order, values):
    """Put `order`, places of values (n,) that are nearly in it, into the order of (value, place): by insertion."""
    for i in range(1, len(order)):
        place, at = order[i], i
        while at > 0 and (values[order[at - 1]] > values[place] or
                          (values[order[at - 1]] == values[place] and order[at - 1] > place)):
            order[at] = order[at - 1]
            at -= 1
        order[at] = place


@compiled
def candidates_by_eight_bits(products, query, offset, database, top_k, slack, candidates):
    """Which entries may be among the `top_k` nearest of each query: into candidates (B, N) bool.

    products (B, N) int32 of the quantised rows, those of the queries with `offset` added; query and database: scales,
    squares, errors and sums as from `quantise`. With d the distance of the quantised rows, the true one is within
    d -+ (error of the query + error of the entry) by the triangle inequality. slack (B,): for rounding here.
    """
    query_scales, query_squares, query_errors, _ = query
    scales, squares, errors, sums = database
    histogram, upper = np.empty(BINS, np.int64), np.empty(products.shape[1], np.float32)
    few = np.empty(len(upper) + 1, np.float32)
    for i in range(len(products)):
        factor = 2 * query_scales[i]
        for j in range(len(upper)):
            squared = query_squares[i] + squares[j] - factor * scales[j] * (products[i, j] - offset * sums[j])
            upper[j] = np.sqrt(max(squared, 0.0)) + errors[j]
        limit = limit_of_nearest(upper, top_k, histogram, few) + 2 * query_errors[i] + slack[i]
        for j in range(len(upper)):
            candidates[i, j] = upper[j] - 2 * errors[j] <= limit


@compiled
def bounds_by_directions(products, query, database, margin):
    """Lower bounds of squared distances, in place of the float32 products (B, N) of the leading directions.

    query and database: squared norms and what the directions leave over, (B,) and (N,) float64 each:
    |q - x|^2 >= |q|^2 + |x|^2 - 2 Pq.Px - 2 rest(q) rest(x). margin: for rounding, over |q|^2 + |x|^2.
    """
    query_squares, query_rests = query
    squares, rests = database
    for i in range(len(products)):
        square, rest = query_squares[i], 2 * query_rests[i]
        for j in range(products.shape[1]):
            products[i, j] = (1 - margin) * (square + squares[j]) - 2.0 * products[i, j] - rest * rests[j]


@compiled
def candidates_by_bounds(bounds, top_k, candidates):
    """The entries with the `top_k` smallest bounds, and few more: into candidates (B, N) bool."""
    histogram, few = np.empty(BINS, np.int64), np.empty(bounds.shape[1] + 1, bounds.dtype)
    for i in range(len(bounds)):
        limit = limit_of_nearest(bounds[i], top_k, histogram, few)
        for j in range(bounds.shape[1]):
            candidates[i, j] = bounds[i, j] <= limit


@compiled
def ids_within(columns, count, queries, radii, scratch):
    """The entries, of the first `count`, within radii (Q,) of queries (Q, words), in database order.

    (ids (Q, room) int32, how many of each row are meant (Q,)). A radius of -1 lets nothing in. `scratch` gives the
    distances' dtype alone.
    """
    buffer, near = np.empty(TILE + LANES, scratch.dtype), np.empty(TILE, scratch.dtype)
    ids, kept = np.empty((len(queries), TILE), np.int32), np.zeros(len(queries), np.int64)
    found = np.empty(TILE, np.int32)
    for start in range(0, count, SHARED):
        for i in range(len(queries)):
            for first in range(start, min(start + SHARED, count), TILE):
                if radii[i] < 0:
                    break
                last = min(first + TILE, count)
                scan(columns, queries[i], first, last, buffer)
                here = collect(buffer, last - first, first, radii[i], found, near, 0)
                if kept[i] + here > ids.shape[1]:
                    more = np.empty((len(queries), 2 * ids.shape[1]), np.int32)
                    more[:, :ids.shape[1]] = ids
                    ids = more
                ids[i, kept[i]:kept[i] + here] = found[:here]
                kept[i] += here
    return ids, kept


@part
def widen(row, bits, activations):
    """A row (d,) of float16, given as its uint16, as float32 into `activations`, whose memory `bits` (uint32) shares.

    Exponent and fraction move to their places in a float32; 2^112 is the difference of the exponents' offsets. Right
    for every finite float16, and without an instruction that not every processor has.
    """
    for j in range(len(row)):
        half = np.uint32(row[j])
        bits[j] = ((half & np.uint32(0x7FFF)) << np.uint32(13)) | ((half & np.uint32(0x8000)) << np.uint32(16))
    for j in range(len(row)):
        activations[j] *= np.float32(2.0 ** 112)


def floats_of(row, bits, activations):
    """A row (d,) of fc7 as float32: itself, or in `activations` if it is one of float16, given as uint16 (`widen`)."""


@overload(floats_of, inline="always")
def _floats_of(row, bits, activations):
    if row.dtype != uint16:
        return lambda row, bits, activations: row

    def widened(row, bits, activations):
        widen(row, bits, activations)
        return activations[:len(row)]
    return widened


@approximate
def add_products(row, queries, pairs, query_of, products):
    """Add what some units of a row (u,) float32 give to its products with some queries.

    Those are of some pairs: pair p with queries[query_of[p]], (Q, at least u), in products[p]. Four at a time, so that
    the row is read once for them.
    """
    units, whole = len(row), len(pairs) - len(pairs) % 4
    for at in range(0, whole, 4):
        one, two = queries[query_of[pairs[at]]][:units], queries[query_of[pairs[at + 1]]][:units]
        three, four = queries[query_of[pairs[at + 2]]][:units], queries[query_of[pairs[at + 3]]][:units]
        with_one = with_two = with_three = with_four = np.float32(0)
        for j in range(units):
            with_one += row[j] * one[j]
            with_two += row[j] * two[j]
            with_three += row[j] * three[j]
            with_four += row[j] * four[j]
        products[pairs[at]] += with_one
        products[pairs[at + 1]] += with_two
        products[pairs[at + 2]] += with_three
        products[pairs[at + 3]] += with_four
    for pair in pairs[whole:]:
        query, total = queries[query_of[pair]][:units], np.float32(0)
        for j in range(units):
            total += row[j] * query[j]
        products[pair] += total


@compiled
def pair_products(rows, wanted, starts, queries, pairs, query_of, products):
    """Products of rows (N, d): `add_products`, the pairs of row wanted[i] are pairs[starts[i]:starts[i + 1]].

    queries (parts, Q, at least UNITS): UNITS units of each query in a part. products: 0 before.
    """
    bits = np.empty(min(UNITS, rows.shape[1]), np.uint32)
    activations = bits.view(np.float32)
    for part in range(len(queries)):
        begin, end = part * UNITS, min((part + 1) * UNITS, rows.shape[1])
        for i in range(len(wanted)):
            row = floats_of(rows[wanted[i]][begin:end], bits, activations)
            add_products(row, queries[part], pairs[starts[i]:starts[i + 1]], query_of, products)


@approximate
def squared_difference(row, query):
    """Squared Euclidean distance of a row (d,) and a query (d,) float32, in float64: nothing cancels."""
    total = 0.0
    for j in range(len(query)):
        difference = np.float64(row[j]) - np.float64(query[j])
        total += difference * difference
    return total


@compiled
def squared_distances(rows, row_of, queries, query_of, squared):
    """`squared_difference` of pairs (P,), rows (N, d) with queries (Q, d), into squared (P,) float64."""
    bits = np.empty(rows.shape[1], np.uint32)
    activations = bits.view(np.float32)
    for pair in range(len(row_of)):
        row = floats_of(rows[row_of[pair]], bits, activations)
        squared[pair] = squared_difference(row, queries[query_of[pair]])


@compiled
def decide(squared, order, off, rows, row_of, query):
    """The order (n,) of squared distances of a query (d,) and the rows row_of (n,) of `rows` (N, d).

    squared (n,) float64 may be off by `off`, and `order` is theirs. What that leaves in doubt gets its
    `squared_difference`, in place; equal distances then stand as they do in `squared`.
    """
    doubtful = doubtful_places(squared, order, off)
    bits = np.empty(rows.shape[1], np.uint32)
    activations = bits.view(np.float32)
    for place in doubtful:
        squared[place] = squared_difference(floats_of(rows[row_of[place]], bits, activations), query)
    if len(doubtful) > MANY_DOUBTFUL * len(order):
        return np.argsort(squared, kind="mergesort")
    if len(doubtful) > 0:
        sort_nearly_sorted(order, squared)
    return order


@compiled
def merge_sorted(ids, values, starts, merged_ids, merged_values, sources):
    """Each row's sorted lists become one: list i stands in the columns starts[i] to starts[i + 1]. NaN stays last.

    Equal values stay in the order of the lists. sources: the list that an entry comes from.
    """
    lists = len(starts) - 1
    heads, at = np.empty(lists, values.dtype), np.empty(lists, np.int64)
    for row in range(len(ids)):
        at[:] = starts[:-1]
        for i in range(lists):
            heads[i] = head_of(values[row], at[i], starts[i + 1])
        for place in range(ids.shape[1]):
            best = -1
            for i in range(lists):
                if at[i] < starts[i + 1] and (best < 0 or heads[i] < heads[best]):
                    best = i
            merged_ids[row, place], merged_values[row, place] = ids[row, at[best]], values[row, at[best]]
            sources[row, place] = best
            at[best] += 1
            heads[best] = head_of(values[row], at[best], starts[best + 1])


@part
def head_of(values, at, end):
    """The next value of a list; infinity for NaN and at its end."""
    return np.inf if at >= end or np.isnan(values[at]) else values[at]


@compiled
def mark_mixed_runs(values, sources, errors, rounding, top_k, runs):
    """Marks neighbours in each row of sorted values that their errors do not tell apart and that have several sources.

    Such a run gets a number of its own in `runs`, all else -1. Runs that begin behind top_k are of no interest. Two
    neighbours are of one run where their squares differ by no more than 2 errors[row] and `rounding` of the larger one.
    """
    width = values.shape[1]
    for row in range(len(values)):
        runs[row] = -1
        begin = 0
        while begin < min(top_k, width):
            end, mixed, last = begin + 1, False, np.float64(values[row, begin]) ** 2
            while end < width:
                squared = np.float64(values[row, end]) ** 2
                if not squared - last <= 2 * errors[row] + rounding * squared:
                    break
                mixed |= sources[row, end] != sources[row, begin]
                last = squared
                end += 1
            if mixed:
                runs[row, begin:end] = row * width + begin
            begin = end
