"""Search of a large index by FAISS's inverted lists: a picture's keypoints are compared with those near them only.

Descriptors are grouped around centres found by k-means; a keypoint is compared with the lists of the nearest centres.
How many lists suffice is measured against the exact search when the lists are made, and written into the index.

References
----------
Douze et al.: The Faiss library. arXiv 2401.08281 (IndexBinaryIVF).
"""

from __future__ import annotations

import itertools
from collections.abc import Set
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.errors import ConfigError, RunFolderError
from s2fast.files.open_storage import open_storage
from s2fast.files.storage import FREE_SPACE
from s2fast.files.temporary import temporary_folder
from s2fast.folder.content_key import content_key
from s2fast.retrieval.index import INDEX_JSON, Clusters, Contents, Index, Keypoints, index_call, write_contents
from s2fast.retrieval.votes import MAX_BITS, RATIO, Ballot, Box, cast
from s2fast.work.progress import Progress
from s2fast_kernels.features import WORDS
from s2fast_kernels.hamming_top2 import hamming_top2

WANTED_RECALL = 0.95
"""Share of the exact votes for which enough lists are read."""

_BITS = 64 * WORDS
"""Length of a descriptor."""

_PER_LIST = 40
"""Descriptors per list with which the centres are trained."""

_ROUNDS = 8
"""Iterations of k-means."""

_LEAST_ROWS = 10_000
"""Fewest keypoints of an index for which lists are made."""

_SAMPLE = 2_000
"""Keypoints whose exact votes are compared."""

_SAMPLED_SCENES = 100
"""Scenes from which they are drawn: those of one scene are alike, so that few scenes would say little of the others."""


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ConfigError("inverted lists need FAISS: pip install faiss-cpu") from error
    return faiss


def make_clusters(to: str, progress: Progress | None = None) -> Clusters:
    """Make the inverted lists of a finished index, unless it has them.

    All descriptors are held in memory meanwhile.

    Raises
    ------
    ConfigError
        FAISS is not installed.
    RunFolderError
        The index is not finished, or too small to need lists.
    """
    faiss, index, progress = _faiss(), Index(to), progress or Progress()
    contents = index.contents
    key = _key(contents)
    if contents.clusters is not None and contents.clusters.key == key:
        return contents.clusters
    rows = sum(int(segment.offsets[-1]) for segment in contents.segments)
    if rows < _LEAST_ROWS:
        raise RunFolderError(f"{to} has {rows} keypoints: search it exactly, lists serve from {_LEAST_ROWS} on")
    lists = 1 << round(np.log2(rows**0.5))
    quantizer = faiss.IndexBinaryFlat(_BITS)
    found = faiss.IndexBinaryIVF(quantizer, _BITS, lists)
    found.cp.niter = _ROUNDS
    rng = np.random.default_rng(0)
    with progress.stage("lists", len(contents.segments), 0) as bar:
        found.train(_sample(index, rng, _PER_LIST * lists).view(np.uint8))
        centres = faiss.vector_to_array(quantizer.xb).view(np.uint64).reshape(lists, WORDS)
        for _, segment in index.segments():
            added = index.descriptors(segment)
            own = _nearest(added, centres)
            found.add_core(len(added), faiss.swig_ptr(added.view(np.uint8)), None, faiss.swig_ptr(own))
            bar.advance()
    probed, recall, queries = _measured(index, quantizer, centres, rng)
    _store(faiss, found, to, key)
    contents.clusters = Clusters(key=key, lists=lists, probed=probed, recall=recall, queries=queries)
    write_contents(to, contents)
    for name in open_storage(to).names("clusters"):
        if name != f"{key}.faiss":
            open_storage(to).remove(f"clusters/{name}")
    return contents.clusters


def _nearest(descriptors: npt.NDArray[np.uint64], centres: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return the list of each descriptor, that of the nearest centre: (n,) int64. FAISS takes three times as long."""
    found = hamming_top2(descriptors, centres, np.array([0, len(centres)], np.int64))
    return found.index[:, 0].astype(np.int64)


def _key(contents: Contents) -> str:
    return content_key("clusters", [segment.key for segment in contents.segments])


def _sample(index: Index, rng: np.random.Generator, count: int) -> npt.NDArray[np.uint64]:
    """Draw descriptors from all segments: (about `count`, 8) uint64."""
    sizes = np.array([segment.offsets[-1] for _, segment in index.segments()])
    parts = []
    for size, (_, segment) in zip(sizes.tolist(), index.segments(), strict=True):
        wanted = min(size, -(-count * size // int(sizes.sum())))
        parts.append(index.descriptors(segment)[np.sort(rng.choice(size, wanted, replace=False))])
    return np.concatenate(parts)


def _measured(
    index: Index, quantizer: Any, centres: npt.NDArray[np.uint64], rng: np.random.Generator
) -> tuple[int, float, int]:
    """Compare keypoints of the index with the scenes they are not from; return lists to read, recall, keypoints."""
    counted = np.flatnonzero(index.counted)
    chosen = rng.choice(counted, min(len(counted), _SAMPLED_SCENES), replace=False)
    queries: list[npt.NDArray[np.uint64]] = []
    sources: list[npt.NDArray[np.int64]] = []
    for number in chosen.tolist():
        descriptors = index.scene(number).descriptors
        rows = rng.choice(len(descriptors), min(len(descriptors), -(-_SAMPLE // len(chosen))), replace=False)
        queries.append(descriptors[rows])
        sources.append(np.full(len(rows), number))
    query = np.ascontiguousarray(np.concatenate(queries))
    source = np.concatenate(sources)
    lists = len(centres)
    near = quantizer.search(query.view(np.uint8), lists)[1]
    rank_of = np.empty_like(near)
    np.put_along_axis(rank_of, near, np.broadcast_to(np.arange(lists), near.shape), axis=1)
    ranks, weights = [], []
    for first, segment in index.segments():
        descriptors = index.descriptors(segment)
        found = hamming_top2(query, descriptors, segment.offsets)
        good = (found.best <= MAX_BITS) & (found.best < RATIO * found.second)
        row, scene = np.nonzero(good & (first + np.arange(len(segment.entries)) != source[:, None]))
        train = segment.offsets[scene] + found.index[row, scene]
        ranks.append(rank_of[row, _nearest(descriptors[train], centres)])
        weights.append(1 - found.best[row, scene] / MAX_BITS)
    rank, weight = np.concatenate(ranks), np.concatenate(weights)
    if not weight.sum():
        return lists, 1.0, len(query)
    share = np.cumsum(np.bincount(rank, weight, lists)) / weight.sum()
    probed = int(np.searchsorted(share, WANTED_RECALL)) + 1
    return min(probed, lists), float(share[min(probed, lists) - 1]), len(query)


def _store(faiss: Any, found: Any, to: str, key: str) -> None:
    """Write the lists into the index."""
    with temporary_folder() as folder:
        file = folder / "lists"
        try:
            faiss.write_index_binary(found, str(file))
        except RuntimeError as error:
            raise RunFolderError(
                f"cannot write to {folder}: {str(error).splitlines()[-1][:200]}; {FREE_SPACE}, or set TMPDIR to another"
            ) from error
        open_storage(to).write(f"clusters/{key}.faiss", file.read_bytes())


@lru_cache(maxsize=1)
def _opened(address: str, key: str) -> Any:
    """Open the lists of an index: mapped into memory from a disk, read from an object store."""
    faiss, storage = _faiss(), open_storage(address)
    name = f"clusters/{key}.faiss"
    if "://" in storage.address:
        return faiss.deserialize_index_binary(storage.mapped(name))
    storage.mapped(name)  # refuses links and what is no file
    return faiss.read_index_binary(str(Path(storage.address) / name), faiss.IO_FLAG_MMAP)


def _within(
    lists: Any, query: npt.NDArray[np.uint64], probed: int, most_bits: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Compare keypoints with the lists of the nearest centres; return those that are near.

    Each list is compared with all keypoints for which it is read, while it is in the processor's cache: FAISS goes from
    keypoint to keypoint, and takes three times as long.

    Returns
    -------
    row, train, distance : (n,) int64
        Keypoint, row of the index, and distance [bits], at most `most_bits`.
    """
    faiss, queries = _faiss(), query.view(np.uint8)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # few keypoints share a list: threads would mostly wait for each other
    try:
        wanted = lists.quantizer.search(queries, probed)[1]
        order = np.argsort(wanted.ravel(), kind="stable")
        number, reader = wanted.ravel()[order], order // probed
        edges = np.flatnonzero(np.diff(number, prepend=-1, append=lists.nlist))
        lists.nprobe = 1
        parts = [np.zeros((3, 0), np.int64)]
        for low, high in itertools.pairwise(edges.tolist()):
            of_list, nothing = number[low:high, None], np.zeros((high - low, 1), np.int32)
            ends, distance, train = lists.range_search_preassigned(
                queries[reader[low:high]], most_bits + 1, of_list, nothing
            )
            row = np.repeat(reader[low:high], np.diff(ends.astype(np.int64)))
            parts.append(np.stack([row, train, distance.astype(np.int64)]))
    finally:
        faiss.omp_set_num_threads(threads)
    row, train, distance = np.concatenate(parts, axis=1)
    return row, train, distance


def vote_by_lists(index: Index, query: Keypoints, *, without: Set[str] = frozenset()) -> Ballot:
    """Let a picture's keypoints vote for the scenes of an index, by its inverted lists; see `s2fast.retrieval.votes`.

    Raises
    ------
    RunFolderError
        The index has no lists, or scenes were added since.
    """
    clusters = index.contents.clusters
    if clusters is None or clusters.key != _key(index.contents):
        why = "no inverted lists" if clusters is None else "inverted lists of fewer scenes"
        raise RunFolderError(f"{index} has {why}: {index_call(index, lists=True)}")
    try:
        lists = _opened(str(index), clusters.key)
    except (RuntimeError, FileNotFoundError) as error:
        raise RunFolderError(f"{index}: its inverted lists cannot be read: {index_call(index, lists=True)}") from error
    offsets = np.cumsum([0, *(entry.rows for entry in index.entries)], dtype=np.int64)
    if (lists.d, lists.nlist, lists.ntotal) != (_BITS, clusters.lists, offsets[-1]) or clusters.probed > lists.nlist:
        raise RunFolderError(
            f"{index}: its inverted lists are not those that {INDEX_JSON} describes: {index_call(index, lists=True)}"
        )
    row, train, distance = _within(lists, query.descriptors, clusters.probed, int(MAX_BITS / RATIO))
    scene = np.searchsorted(offsets, train, side="right") - 1
    order = np.lexsort((train, distance, scene, row))
    row, scene, train, best = row[order], scene[order], train[order], distance[order].astype(np.uint16)
    new = np.ones(len(row), np.bool_)
    new[1:] = (np.diff(row) != 0) | (np.diff(scene) != 0)
    second = np.full(len(row), _BITS)
    second[:-1][~new[1:]] = best[1:][~new[1:]]
    good = new & (best <= MAX_BITS) & (best < RATIO * second)
    allowed = index.counted & np.array([entry.scene_id not in without for entry in index.entries], np.bool_)
    row, scene, train, best = row[good], scene[good], train[good], best[good]
    box = Box(index.entries)
    for first, segment in index.segments():
        number, low = len(segment.entries), offsets[first]
        here = (scene >= first) & (scene < first + number)
        keypoints = index.keypoints(segment)
        at = row[here], scene[here] - first, train[here] - low, best[here]
        box.add(first, allowed[first : first + number], cast(query, keypoints, *at))
    return box.counted(len(query) * clusters.probed * int(offsets[-1]) // clusters.lists)
