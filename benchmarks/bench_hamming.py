"""Compare `hamming_top2` with its peers and with the hardware's bound: ``python -m benchmarks hamming``.

Results are checked before anything is timed. Peers are interleaved in the same run, and figures are medians of at least
seven rounds. A ratio is the median of the ratios within each round.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks import bound, counting, isolated, peers
from benchmarks.harness import emit, interleaved, option_parser, ratio
from s2fast.work.thread_limits import limit_threads
from s2fast_kernels.hamming_top2 import BACKENDS, hamming_top2
from s2fast_kernels.hamming_top2_both import hamming_top2_both
from s2fast_kernels.machine import available_cores

Record: TypeAlias = dict[str, Any]
Descriptors: TypeAlias = npt.NDArray[np.uint64]

_BLOCK_STEP = 7
"""An archive has one block call per scene except the last; every seventh is timed."""


def one_scene(rows: int) -> npt.NDArray[np.int64]:
    """Return the offsets of a single train scene."""
    return np.array([0, rows], np.int64)


def check(found: npt.NDArray[np.int32], query: Descriptors, train: Descriptors, name: str) -> None:
    """Exit unless a peer found the same distances as `hamming_top2`."""
    ours = hamming_top2(query, train, one_scene(len(train)), backend="numba")
    if not (np.array_equal(found[:, 0], ours.best[:, 0]) and np.array_equal(found[:, 1], ours.second[:, 0])):
        raise SystemExit(f"{name} and hamming_top2 do not agree: nothing was timed")


def pair_records(kind: str, query: Descriptors, train: Descriptors, *, rounds: int, every: bool) -> Iterator[Record]:
    """Measure one pair of scenes against the peers and the bound."""
    searches: dict[str, peers.Search] = {"opencv BFMatcher, 61 B": functools.partial(peers.opencv, query, train)}
    faiss = peers.faiss_searches(query, train)
    searches |= faiss if every else {name: faiss[name] for name in faiss if "64 B" in name and "counters" not in name}
    for name, search in searches.items():
        check(search(), query, train, name)
    comparisons = len(query) * len(train)
    candidates: dict[str, Any] = dict(searches)
    candidates["numba"] = functools.partial(hamming_top2, query, train, one_scene(len(train)), backend="numba")
    candidates["bound"] = functools.partial(bound.comparisons, comparisons)
    seconds = interleaved(candidates, rounds)
    for name, times in seconds.items():
        record: Record = {
            "measure": f"pair {kind} {len(query)} x {len(train)}",
            "what": name,
            "median_s": float(np.median(times)),
            "rate_1e9_per_s": comparisons / float(np.median(times)) / 1e9,
            "rounds": rounds,
        }
        if name != "numba":
            record["numba_is_times_faster"] = ratio(times, seconds["numba"])
        yield record


def archive_records(kind: str, pool: Descriptors, *, scenes: int, rows: int, rounds: int) -> Iterator[Record]:
    """Measure all pairs of an archive in block calls, against one OpenCV call per pair and the notebook's loop.

    Each is timed on a sample of about a second, so that noise affects all equally, and extrapolated to the archive;
    ``extrapolated_from_pairs`` gives the size of the sample.
    """
    archive = pool[: scenes * rows].reshape(scenes, rows, -1)
    pairs = scenes * (scenes - 1) // 2
    sample = [(number, scenes - 1 - number) for number in range(min(10, scenes // 2))]
    texts = [peers.descriptor_text(archive[number]) for number in (0, 1)]

    block_queries = range(0, scenes - 1, _BLOCK_STEP)

    def blocks() -> None:
        for number in block_queries:
            rest = archive[number + 1 :]
            offsets = np.arange(len(rest) + 1, dtype=np.int64) * rows
            hamming_top2(archive[number], rest.reshape(-1, rest.shape[-1]), offsets, backend="numba")

    def separate() -> None:
        for query, train in sample:
            peers.opencv(archive[query], archive[train])

    candidates: dict[str, Any] = {
        "numba, block calls": blocks,
        "opencv, one call a pair": separate,
        "the notebook's loop": functools.partial(peers.notebook_pair, *texts),
    }
    seconds = interleaved(candidates, rounds)
    ours = seconds["numba, block calls"]
    block_pairs = sum(scenes - 1 - number for number in block_queries)
    for (name, times), pairs_timed in zip(seconds.items(), (block_pairs, len(sample), 1), strict=True):
        scaled = [second * pairs / pairs_timed for second in times]
        record: Record = {
            "measure": f"archive {kind} {scenes} scenes x {rows}, {pairs} pairs",
            "what": name,
            "median_s": float(np.median(scaled)),
            "extrapolated_from_pairs": pairs_timed,
            "rounds": rounds,
        }
        if times is not ours:
            record["numba_is_times_faster"] = ratio(scaled, [second * pairs / block_pairs for second in ours])
        yield record


def both_records(query: Descriptors, train: Descriptors, *, rounds: int) -> Iterator[Record]:
    """Compare one pass over both directions with two passes."""
    forward, backward = one_scene(len(train)), one_scene(len(query))

    def twice() -> None:
        hamming_top2(query, train, forward, backend="numba")
        hamming_top2(train, query, backward, backend="numba")

    seconds = interleaved(
        {
            "one direction": functools.partial(hamming_top2, query, train, forward, backend="numba"),
            "both, one pass": functools.partial(hamming_top2_both, query, train, forward, backend="numba"),
            "both, two passes": twice,
        },
        rounds,
    )
    for name, times in seconds.items():
        yield {
            "measure": f"both directions {len(query)} x {len(train)}",
            "what": name,
            "median_s": float(np.median(times)),
            "times_one_direction": ratio(times, seconds["one direction"]),
            "rounds": rounds,
        }


def backend_records(kind: str, query: Descriptors, train: Descriptors, *, rounds: int) -> Iterator[Record]:
    """Compare all backends that compute on the CPU, and torch's products, with OpenCV, in CPU time of one thread."""
    import torch

    from s2fast_kernels.hamming_top2 import torch_any

    operands = query, train, one_scene(len(train))
    candidates: dict[str, Any] = {
        row.name: functools.partial(hamming_top2, *operands, backend=row.name)
        for row in BACKENDS
        if row.device == "cpu" and row.missing() is None
    }
    cpu = torch.device("cpu")
    products: tuple[torch_any.Product, ...] = ("int8", "float32")
    for product in products:
        selected = ", selected" if product == torch_any.default_product(cpu) else ""
        candidates[f"torch, {product}{selected}"] = functools.partial(
            torch_any.hamming_top2, *operands, device=cpu, product=product
        )
    wanted = candidates["opencv"]()
    for name, search in candidates.items():
        if not all(map(np.array_equal, astuple(search()), astuple(wanted))):
            raise SystemExit(f"{name} and opencv do not agree: nothing was timed")
    # Threads that wait for one another suffer from neighbours, each library in its own way.
    limit_threads(1)
    seconds = interleaved(candidates, rounds, time.process_time)
    limit_threads(available_cores())
    for name, times in seconds.items():
        yield {
            "measure": f"backends {kind} {len(query)} x {len(train)}",
            "what": name,
            "rate_1e9_per_s": len(query) * len(train) / float(np.median(times)) / 1e9,
            "times_opencv": ratio(seconds["opencv"], times),
            "rounds": rounds,
        }


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the measurements."""

    rows: int
    """Rows of each scene of a pair."""
    large_rows: int
    """Rows of each scene of a large pair."""
    scenes: int
    """Scenes of the archive."""
    scene_rows: int
    """Rows of each scene of the archive."""
    memory_rows: int
    """Train rows of the call whose memory is measured."""
    rounds: int
    """Rounds of the short measurements."""
    large_rounds: int
    """Rounds of the long measurements."""


FULL = Sizes(10_000, 50_000, 50, 5_000, 1_000_000, rounds=9, large_rounds=7)
QUICK = Sizes(2_000, 4_000, 6, 1_000, 100_000, rounds=3, large_rounds=3)


def parts(sizes: Sizes) -> dict[str, Callable[[], Iterator[Record]]]:
    """Return all measurements by name, short ones first."""
    drawn = functools.cache(lambda: peers.pools(2 * sizes.large_rows))

    def pair(rows: int, rounds: int, *, every: bool) -> Iterator[Record]:
        for kind, pool in drawn().items():
            yield from pair_records(kind, pool[:rows], pool[rows : 2 * rows], rounds=rounds, every=every)

    def both() -> Iterator[Record]:
        pool = next(iter(drawn().values()))
        return both_records(pool[: sizes.rows], pool[sizes.rows : 2 * sizes.rows], rounds=sizes.rounds)

    def backends() -> Iterator[Record]:
        rows = sizes.rows // 5
        for kind, pool in drawn().items():
            yield from backend_records(kind, pool[:rows], pool[rows : 2 * rows], rounds=sizes.rounds)

    def archive() -> Iterator[Record]:
        kind, pool = next(iter(drawn().items()))
        pool = np.concatenate([pool] * -(-sizes.scenes * sizes.scene_rows // len(pool)))
        return archive_records(kind, pool, scenes=sizes.scenes, rows=sizes.scene_rows, rounds=sizes.large_rounds)

    return {
        "pair": lambda: pair(sizes.rows, sizes.rounds, every=True),
        "backends": backends,
        "both": both,
        "memory": lambda: isolated.memory(sizes.memory_rows),
        "first": isolated.first_calls,
        "counting": lambda: counting.rates(sizes.rows // 2, sizes.rounds),
        "instructions": lambda: isolated.restricted_rates(sizes.rows // 2, sizes.rounds),
        "archive": archive,
        "large": lambda: pair(sizes.large_rows, sizes.large_rounds, every=False),
    }


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = option_parser("hamming", __doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds, as a test")
    parser.add_argument("--only", action="append", choices=list(parts(FULL)), help="only this measurement; repeatable")
    arguments = parser.parse_args(argv)
    for name, measure in parts(QUICK if arguments.quick else FULL).items():
        if not arguments.only or name in arguments.only:
            for record in measure():
                emit({"benchmark": "hamming"} | record, as_json=arguments.json)
    return 0
