"""What `hamming_top2` is measured with and against.

Descriptors are AKAZE's of real images where these are at hand, random ones elsewhere; peers are OpenCV, every exact
binary search of FAISS, and the notebook's loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.notebook_baseline import parse_descriptors, similarity
from s2fast_kernels.akaze import akaze
from s2fast_kernels.akaze.contract import unpack
from s2fast_kernels.hamming_top2.cases import random_descriptors

IMAGES = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Sentinel-2 images beside the repository; they are no part of it."""

Search = Callable[[], npt.NDArray[np.int32]]
"""Runs a search and returns the (n, 2) distances found."""


def opencv(query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """Match as the notebook does: ``BFMatcher.knnMatch`` of 61-byte descriptors."""
    matches = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(unpack(query), unpack(train), k=2)
    return np.array([[match.distance for match in pair] for pair in matches], np.int32)


def faiss_searches(query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64]) -> dict[str, Search]:
    """List FAISS's exact searches of binary vectors, by name; indexes are filled before the clock starts."""
    searches: dict[str, Search] = {}
    for width, queries, rows in (
        (61, unpack(query), unpack(train)),
        (64, query.view(np.uint8), train.view(np.uint8)),
    ):
        index = faiss.IndexBinaryFlat(8 * width)
        index.add(rows)
        searches[f"faiss IndexBinaryFlat, {width} B"] = partial(_faiss_index, index, queries)
        for variant, words in (("hc", "heap"), ("mc", "counters")):
            searches[f"faiss knn_hamming {words}, {width} B"] = partial(_faiss_knn, queries, rows, variant)
    return searches


def _faiss_index(index: Any, queries: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    distance: npt.NDArray[np.int32] = index.search(queries, 2)[0]
    return distance


def _faiss_knn(queries: npt.NDArray[np.uint8], rows: npt.NDArray[np.uint8], variant: str) -> npt.NDArray[np.int32]:
    distance: npt.NDArray[np.int32] = faiss.knn_hamming(queries, rows, 2, variant=variant)[0]
    return distance


def descriptor_text(descriptors: npt.NDArray[np.uint64]) -> str:
    """Write descriptors as the notebook's CSV holds them: one cell an image, a list of lists of 61 numbers."""
    return str(unpack(descriptors).tolist())


def notebook_pair(query: str, train: str) -> float:
    """Match one pair as the notebook does, its parsing included; return the similarity [%]."""
    return similarity(parse_descriptors(query), parse_descriptors(train))


def akaze_descriptors(rows: int) -> npt.NDArray[np.uint64] | None:
    """Describe real images until there are so many rows, shuffled; None where there are no images, or too few."""
    found: list[npt.NDArray[np.uint64]] = []
    for path in sorted(IMAGES.rglob("*TCI*.jp2")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            found.append(akaze(np.asarray(image, np.uint8), backend="opencv").descriptors)
        if sum(map(len, found)) >= rows:
            # Rows of one image go to both sides, as do those of two dates of one place.
            return np.random.default_rng(0).permutation(np.concatenate(found))[:rows]
    return None


def pools(rows: int) -> dict[str, npt.NDArray[np.uint64]]:
    """Give the descriptors to measure with, by kind."""
    real = akaze_descriptors(rows)
    drawn = {"random": random_descriptors(np.random.default_rng(0), rows)}
    return drawn if real is None else {"akaze": real} | drawn
