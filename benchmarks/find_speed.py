"""How fast an index is searched, exactly and by lists, beside FAISS and OpenCV; its size, and memory of a search."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.harness import interleaved, ratio
from benchmarks.meter import MIB, alone, peak_memory
from s2fast.model import Features
from s2fast.retrieval.build import build, write_segment
from s2fast.retrieval.clusters import make_clusters, vote_by_lists
from s2fast.retrieval.index import Contents, Entry, Index, Keypoints, write_contents
from s2fast.retrieval.votes import vote
from s2fast_kernels.hamming_top2 import hamming_top2

Record = dict[str, Any]
T = TypeVar("T")

FLIPPED = 1 / 8
"""Share of the bits flipped in a copy of a real scene: 61 of 486, as between two dates of one place."""

DATES = 10
"""Scenes of each place."""

QUERY = 2_000
"""Keypoints of the query, and of every scene."""

_NEIGHBOURS = 64
"""Neighbours of a keypoint that FAISS finds: as many dates of one place may vote."""

_SEGMENT = 64
_BITS = 486


def synthetic(to: Path, real: Index, scenes: int, seed: int = 0) -> Index:
    """Write an index of noisy copies of real scenes, `DATES` of each place; return it. Scene 0 is a copy of the query.

    Copies of a real scene for another place have its descriptors' bits permuted, so that they are as far from the
    first as two scenes of different ground, and still distributed as real descriptors are.
    """
    if (to / "index.json").exists():
        return Index(to)
    shutil.rmtree(to, ignore_errors=True)
    rng = np.random.default_rng(seed)
    contents = Contents(made=real.contents.made, complete=True, runs=["none"], crs=["EPSG:32636"])
    entries: list[Entry] = []
    features: list[Features] = []
    real_scenes = [real.scene(number).take(np.arange(QUERY)) for number in _full(real)]
    for number in range(scenes):
        place = number // DATES
        if number % DATES == 0:
            ground = turned(real_scenes[place % len(real_scenes)], place // len(real_scenes))
        made = noisy(ground, rng)
        entries.append(_entry(number, place, len(made)))
        features.append(made)
        if len(entries) == _SEGMENT or number == scenes - 1:
            contents.segments.append(write_segment(str(to), entries, features, QUERY))
            entries, features = [], []
    write_contents(str(to), contents)
    return Index(to)


def _full(real: Index) -> list[int]:
    return [number for number, entry in enumerate(real.entries) if entry.rows >= QUERY]


def _entry(number: int, place: int, rows: int) -> Entry:
    return Entry(
        scene_id=f"S{number}", run=0, key=f"key {number}", rows=rows, tile=f"T{place}", crs=0,
        transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), shape=(1024, 1024),
    )  # fmt: skip


def turned(base: Keypoints, turn: int) -> Keypoints:
    """Return keypoints whose 486 bits are rotated, which makes them another place."""
    bits = np.unpackbits(base.descriptors.view(np.uint8), axis=1, bitorder="little")
    bits[:, :_BITS] = np.roll(bits[:, :_BITS], 7 * turn, axis=1)
    return replace(base, descriptors=np.packbits(bits, axis=1, bitorder="little").view(np.uint64))


def noisy(base: Keypoints, rng: np.random.Generator) -> Features:
    """Return a copy of keypoints with a share of `FLIPPED` of the bits flipped."""
    one, two, three = rng.integers(0, 1 << 64, (3, *base.descriptors.shape), np.uint64)
    used = np.packbits(np.arange(512) < _BITS, bitorder="little").view(np.uint64)
    nothing = np.zeros(len(base), np.float32)
    descriptors = base.descriptors ^ (one & two & three & used)  # three bits are set together in an eighth of all cases
    return Features(base.xy, base.size, base.angle, nothing, nothing.astype(np.int16), descriptors)


def query_of(real: Index) -> Keypoints:
    """Return the query: another noisy copy of the first scene."""
    made = noisy(real.scene(_full(real)[0]).take(np.arange(QUERY)), np.random.default_rng(99))
    return Keypoints(made.xy, made.size, made.angle, made.descriptors)


def timed(call: Callable[[], T], rounds: int) -> tuple[T, Record]:
    """Call a function; return its last result, and the medians of the wall's and of all threads' seconds."""
    spent = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        found = call()
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = np.median(spent, axis=0)
    return found, {"wall_s": float(wall), "cpu_s": float(cpu)}


def search(cache: Path, real: Index, scenes: int, rounds: int) -> Iterator[Record]:
    """Time the exact search of the whole archive, and of a fiftieth of it in turn with FAISS's and OpenCV's."""
    index, query = synthetic(cache / f"synthetic-{scenes}", real, scenes), query_of(real)
    rows = sum(entry.rows for entry in index.entries)
    vote(index, query)
    ballot, seconds = timed(lambda: vote(index, query), rounds)
    yield {
        "measure": f"exact search, {scenes} scenes, {rows} rows, one query of {len(query)}", **seconds,
        "right place first": bool(np.argmax(ballot.scenes) < DATES),
    }  # fmt: skip
    part = [segment for _, segment in index.segments()][: max(1, len(index.contents.segments) // 50)]
    train = np.concatenate([np.array(index.descriptors(segment)) for segment in part])
    queries, trains = query.descriptors.view(np.uint8), train.view(np.uint8)
    flat = faiss.IndexBinaryFlat(512)
    flat.add(trains)
    small = synthetic(cache / f"synthetic-{scenes}", real, scenes)
    small.contents = index.contents.model_copy(update={"segments": part})
    small.entries = [entry for segment in part for entry in segment.entries]
    limit = 1 << 17  # OpenCV refuses 262,144 rows
    found = interleaved(
        {
            "s2fast": lambda: vote(small, query),
            "FAISS": lambda: flat.search(queries, 2),
            "OpenCV": lambda: [
                cv2.batchDistance(queries, trains[at : at + limit], cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2)
                for at in range(0, len(trains), limit)
            ],
        },
        rounds,
    )
    yield {
        "measure": f"the same in turn with others, {len(train)} rows", "s2fast_s": float(np.median(found["s2fast"])),
        "FAISS flat, times": ratio(found["FAISS"], found["s2fast"]),
        "OpenCV, times": ratio(found["OpenCV"], found["s2fast"]), "rounds": rounds,
    }  # fmt: skip


def clusters(cache: Path, real: Index, scenes: int, rounds: int) -> Iterator[Record]:
    """Time inverted lists, and count which exact votes they find; the same for FAISS's graph (HNSW) on a part."""
    index, query = synthetic(cache / f"synthetic-{scenes}", real, scenes), query_of(real)
    made, making = timed(lambda: make_clusters(str(index)), 1)
    index = Index(str(index))
    exact = vote(index, query)
    vote_by_lists(index, query)
    near, seconds = timed(lambda: vote_by_lists(index, query), rounds)
    right = slice(0, DATES)
    yield {
        "measure": f"inverted lists, {scenes} scenes", "lists": made.lists, "read": made.probed,
        "recall measured": made.recall, **seconds, "made in cpu_s": making["cpu_s"],
        "votes of right scenes found": float(near.scenes[right].sum() / exact.scenes[right].sum()),
        "right place first": bool(np.argmax(near.scenes) < DATES),
    }  # fmt: skip
    file = Path(str(index), f"clusters/{made.key}.faiss")
    lists: Any = faiss.read_index_binary(str(file), faiss.IO_FLAG_MMAP)
    lists.nprobe = made.probed
    peer = interleaved(
        {
            "s2fast": lambda: vote_by_lists(index, query),
            "FAISS": lambda: lists.search(query.descriptors.view(np.uint8), _NEIGHBOURS),
        },
        rounds,
        time.process_time,
    )
    yield {
        "measure": f"the same lists by FAISS's own search, {_NEIGHBOURS} neighbours, no votes",
        "cpu_s": float(np.median(peer["FAISS"])), "times": ratio(peer["FAISS"], peer["s2fast"]),
    }  # fmt: skip
    yield from _graph(index, query, rounds)


def _graph(index: Index, query: Keypoints, rounds: int, rows: int = 100_000) -> Iterator[Record]:
    """Measure `IndexBinaryHNSW` on a part of the archive, beside lists of the same part."""
    parts: list[npt.NDArray[np.uint64]] = []
    for _, segment in index.segments():
        parts.append(np.array(index.descriptors(segment)))
        if sum(map(len, parts)) >= rows:
            break
    train = np.concatenate(parts)[:rows].view(np.uint8)
    queries = query.descriptors.view(np.uint8)
    flat = faiss.IndexBinaryFlat(512)
    flat.add(train)
    true = flat.search(queries, 1)[0][:, 0]
    offsets = np.array([0, len(train)], np.int64)
    found, seconds = timed(lambda: hamming_top2(query.descriptors, train.view(np.uint64), offsets), rounds + 1)
    yield {
        "measure": f"exact kernel, {len(train)} rows", **seconds,
        "nearest found": float(np.mean(found.best[:, 0] == true)),
    }  # fmt: skip
    graph = faiss.IndexBinaryHNSW(512, 16)
    start = time.process_time()
    graph.add(train)
    built = time.process_time() - start
    lists = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(512), 512, 256)
    start = time.process_time()
    lists.train(train[::4])
    lists.add(train)
    listed = time.process_time() - start
    for name, knob, setting, values, cpu in (
        ("graph (HNSW, M = 16)", graph.hnsw, "efSearch", (32, 128), built),
        ("lists (IVF, 256)", lists, "nprobe", (8, 16), listed),
    ):
        searched = graph if knob is graph.hnsw else lists
        for value in values:
            setattr(knob, setting, value)
            (distance, _), seconds = timed(partial(searched.search, queries, 2), rounds)
            hit = np.equal(distance[:, 0], true)
            yield {
                "measure": f"{name}, {len(train)} rows, {setting} = {value}", "made in cpu_s": cpu, **seconds,
                "nearest found": float(hit.mean()), "nearest within 80 bits found": float(hit[true <= 80].mean()),
            }  # fmt: skip


def size(cache: Path, real: Index, scenes: int) -> Iterator[Record]:
    """State bytes, the time to index real scenes, and how much a search raises the peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        _, seconds = timed(lambda: build(f"{folder}/index", real.contents.runs, QUERY), 1)
    yield {
        "measure": f"indexing {len(real.scene_ids)} real scenes", **seconds,
        "cpu_s per thousand scenes": seconds["cpu_s"] * 1000 / len(real.scene_ids),
    }  # fmt: skip
    index = synthetic(cache / f"synthetic-{scenes}", real, scenes)
    stored = {"exact": 0, "lists": 0}
    for name, stamp in index.storage.stamps().items():
        stored["lists" if name.startswith("clusters/") else "exact"] += stamp.size
    for of in (scenes // 10, scenes):
        yield {
            "measure": f"memory of an exact search of {of} scenes", "peak_MiB": alone(_peak_mib, str(index), of),
            "index_MiB per thousand scenes": stored["exact"] / MIB / (scenes / 1000),
            "lists_MiB per thousand scenes": stored["lists"] / MIB / (scenes / 1000),
        }  # fmt: skip
    few = scenes // 10
    part = synthetic(cache / f"synthetic-{few}", real, few)
    make_clusters(str(part))
    first, next_one = alone(_peaks_by_lists_mib, str(part), query_of(real))
    yield {
        "measure": f"memory of a search by lists of {few} scenes",
        "first, loading of its code included, peak_MiB": first,
        "next, peak_MiB": next_one,
    }  # fmt: skip


def _peaks_by_lists_mib(address: str, query: Keypoints) -> tuple[float, float]:
    """Return how much the first and the next search by lists raise resident memory, mapped pages of lists included."""
    index = Index(address)
    peaks: list[float] = []
    for _ in range(2):
        with peak_memory(peaks):
            vote_by_lists(index, query)
    return peaks[0], peaks[1]


def _peak_mib(address: str, scenes: int) -> float:
    """Return how much a search of an index's first scenes raises resident memory that is not of the mapped files."""
    index = Index(address)
    query = index.scene(0)
    kept, number = [], 0
    for _, segment in index.segments():
        if number < scenes:
            kept.append(segment)
            number += len(segment.entries)
    index.contents = index.contents.model_copy(update={"segments": kept[:1]})
    index.entries = [entry for segment in kept[:1] for entry in segment.entries]
    vote(index, query)
    index = Index(address)
    index.contents = index.contents.model_copy(update={"segments": kept})
    index.entries = [entry for segment in kept for entry in segment.entries]
    peaks: list[float] = []
    with peak_memory(peaks):
        vote(index, query)
    return peaks[0]
