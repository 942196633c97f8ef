"""Pictures found in an archive, and how fast: ``python -m benchmarks find [--parts NAME ...] [--quick] [--json]``.

``scenes``: the 48 real scenes as queries, their own date left out. ``crops``: parts of them, turned, scaled, compressed
and coloured, against the whole archive, and with their own date left out. ``unrelated``: pictures of other places, of
the same landscape elsewhere, noise, maps and text. ``search``: one query against an archive of 10,000 scenes, made of
real descriptors with bits flipped, beside FAISS and OpenCV; ``clusters``: the same by FAISS's inverted lists and by its
graph. ``size``: bytes, seconds and memory. ``similar``: pairs by likeness (``matching.pairs = "similar"``) beside all
pairs of the 48 scenes.

Real data lie beside the checkout. Features are extracted once, into the folder of ``--cache``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import s2fast
from benchmarks import find_speed
from benchmarks.datasets import REAL
from benchmarks.harness import emit, option_parser
from benchmarks.pictures import Cut, Pixels, cut, drawn_map, noise, other_places, part_of, text
from s2fast.config import load_config
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import Job, run_stages
from s2fast.retrieval.build import build
from s2fast.retrieval.find import Finder
from s2fast.retrieval.finding import Finding
from s2fast.retrieval.index import Index

Record = dict[str, Any]

CACHE = Path.home() / ".cache" / "s2fast-benchmarks" / "find"

SNOW = ("20160212", "20161205")
SLIVERS = ("20160330", "20160405", "20160509", "20160618", "20161026", "20161121", "20161205")
CLOUD = ("20190706", "20190726", "20190805")
"""Dates that show snow, hardly any ground, or mostly cloud: named apart, as nothing can be matched with them."""

SIDE_PX = 1024
"""Side of a scene."""

STRIP_PX = 932.2
"""Column of tile 36UXA at which tile 36UYA begins."""

LEAST_CLEAR = 0.5
"""Share of a cut picture that shows clear ground."""

LOCATED_PX = 1.0
"""A picture is located if all of its corners lie this near to the truth [px]."""


@dataclass(frozen=True)
class Archive:
    """The run of the real scenes and its index."""

    folder: RunFolder
    index: Index

    def grey(self, scene: str) -> Pixels:
        """Return a scene."""
        return self.folder.grey(scene)

    @property
    def scenes(self) -> list[str]:
        """Ids of all scenes."""
        return [entry.scene_id for entry in self.index.entries]

    def of_date(self, scene: str) -> Set[str]:
        """Return the scenes of the same date."""
        return {other for other in self.scenes if date(other) == date(scene)}


def date(scene: str) -> str:
    """Return the date in a scene's id."""
    return scene.split("_")[1][:8]


def kind_of(scene: str) -> str:
    """Return what a scene shows."""
    for kind, dates in (("snow", SNOW), ("slivers", SLIVERS), ("cloud", CLOUD)):
        if date(scene) in dates:
            return kind
    return "clear"


def archive(cache: Path, per_scene: int) -> Archive:
    """Extract the features of the real scenes, with orientations, and index them, unless that is done."""
    settings = {"features.upright": False, "regions.mode": "none"}
    job = Job(load_config(None, settings), [str(REAL)], None, cache / "run")
    run_stages(job, stages=["ingest", "extract"])
    build(str(cache / f"index-{per_scene}"), [cache / "run"], per_scene)
    return Archive(RunFolder(cache / "run"), Index(cache / f"index-{per_scene}"))


class Pictures:
    """Writes pictures to files and finds them."""

    def __init__(self, data: Archive, keypoints: int, folder: Path) -> None:
        self._finder, self._file = Finder(data.index, keypoints=keypoints), folder / "picture.png"

    def find(self, pixels: Pixels, without: Set[str] = frozenset()) -> Finding:
        """Find a picture."""
        cv2.imwrite(str(self._file), pixels)
        return self._finder.find(str(self._file), without)


def scenes(data: Archive, quick: bool) -> Iterator[Record]:
    """Use each scene as a query, its own date left out."""
    names = [name for name in data.scenes if kind_of(name) == "clear"][:2] if quick else data.scenes
    tiles = {entry.scene_id: entry.tile for entry in data.index.entries}
    places = [entry.place for entry in data.index.entries]
    rows: dict[str, list[tuple[bool, bool, bool]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(data, 2_000, Path(folder))
        for name in names:
            found = pictures.find(data.grey(name), data.of_date(name))
            candidates = [tiles[other] for other in found.candidates]
            located = found.place is not None and _off(found, np.eye(2, 3), name) <= LOCATED_PX
            right = tiles[name]
            rows.setdefault(kind_of(name), []).append(
                (candidates[:1] == [right], right in candidates[:20], located and found.found)
            )
    for kind, hits in rows.items():
        first, twenty, located_ = np.mean(hits, axis=0)
        yield {
            "measure": f"scenes as queries, own date left out, {kind}", "queries": len(hits), "tiles": len(set(places)),
            "right tile first": float(first), "among 20": float(twenty), "located within 1 px": float(located_),
        }  # fmt: skip


def crops(data: Archive, count: int, seed: int = 0) -> Iterator[Record]:
    """Cut pictures from clear scenes and find them, in the whole archive and without the scenes of their date."""
    clear = [name for name in data.scenes if kind_of(name) == "clear"]
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(data, 2_000, Path(folder))
        for side in (256, 128):
            rng = np.random.default_rng(seed)
            made: list[tuple[str, Cut]] = []
            while len(made) < count:
                name = clear[int(rng.integers(len(clear)))]
                part = cut(data.grey(name), side, rng)
                if part is not None and clear_share(data, name, part) >= LEAST_CLEAR:
                    made.append((name, part))
            for kind in ("whole archive", "own date left out"):
                off, first, twenty, spent = [], [], [], time.process_time()
                for name, part in made:
                    found = pictures.find(part.pixels, data.of_date(name) if kind != "whole archive" else frozenset())
                    off.append(_off(found, part.to_scene, name) if found.found else np.nan)
                    shown = [_shows(other, name, part) for other in found.candidates[:20]]
                    first.append(shown[:1] == [True])
                    twenty.append(any(shown))
                spent = time.process_time() - spent
                yield {
                    "measure": f"crops of {side} px, {kind}", **_summary(np.array(off)),
                    "right ground first": float(np.mean(first)), "among 20": float(np.mean(twenty)),
                    "cpu_s each": spent / count,
                }  # fmt: skip


def _shows(other: str, name: str, part: Cut) -> bool:
    """Return whether the middle of a picture cut from a scene lies in another scene."""
    middle = part.to_scene @ (len(part.pixels) / 2, len(part.pixels) / 2, 1.0)
    return bool(0 <= middle[0] + STRIP_PX * (float("36UYA" in name) - float("36UYA" in other)) < SIDE_PX)


def clear_share(data: Archive, name: str, part: Cut) -> float:
    """Return the share of a cut picture that shows clear ground in its scene, by the scene's map of it."""
    cells, shape = data.folder.clear(name), data.folder.tile(name).full_shape
    side = len(part.pixels)
    at = np.stack(np.meshgrid(*[np.linspace(0, side - 1, 16)] * 2), axis=2).reshape(-1, 2)
    xy = at @ part.to_scene[:, :2].T + part.to_scene[:, 2]
    column, row = np.clip(xy / (np.array(shape[::-1]) / cells.shape[::-1]), 0, np.array(cells.shape[::-1]) - 1).T
    return float(cells[row.astype(int), column.astype(int)].mean() / 100)


def _summary(off: npt.NDArray[np.float64]) -> Record:
    """Summarise the errors of found pictures; NaN: not found."""
    found = off[np.isfinite(off)]
    near = found[found <= LOCATED_PX * 10]
    return {
        "pictures": len(off),
        "found": float(np.mean(np.isfinite(off))),
        "found, located within 1 px": float(np.mean(found <= LOCATED_PX)) if len(found) else np.nan,
        "error px, median": float(np.median(near)) if len(near) else np.nan,
        "error px, 95 %": float(np.quantile(near, 0.95)) if len(near) else np.nan,
        "elsewhere": len(found) - len(near),
    }


def _off(found: Finding, to_scene: npt.NDArray[np.float64], name: str) -> float:
    """Return the largest error of a found picture's corners [px of the scene]; the tiles' strip is the same ground."""
    if found.place is None or found.entry is None:
        return float("nan")
    rows, columns = found.image.shape
    corners = np.array([[0.0, 0.0], [columns, 0.0], [columns, rows], [0.0, rows]]) - 0.5
    wanted = corners @ to_scene[:, :2].T + to_scene[:, 2]
    got = found.place.at(corners)
    # x_36UYA = x_36UXA - STRIP_PX
    shift = STRIP_PX * (float("36UYA" in found.entry.scene_id) - float("36UYA" in name))
    return float(np.hypot(*(got + np.array([shift, 0.0]) - wanted).T).max())


def unrelated(data: Archive, count: int, seed: int = 0) -> Iterator[Record]:
    """Find pictures that no scene shows; none may be accepted."""
    uxa = [data.grey(name) for name in data.scenes if "36UXA" in name and kind_of(name) == "clear"]
    only_uya = frozenset(name for name in data.scenes if "36UXA" in name)
    kinds: list[tuple[str, Callable[..., Pixels], Set[str]]] = [
        ("other places", part_of(other_places(REAL.parent)), frozenset()),
        ("same landscape, other place", part_of(uxa, (0.0, STRIP_PX - 30)), only_uya),
        ("noise", noise, frozenset()),
        ("maps", drawn_map, frozenset()),
        ("text", text, frozenset()),
    ]
    each = -(-count // len(kinds))
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(data, 2_000, Path(folder))
        for kind, draw, without in kinds:
            rng = np.random.default_rng(seed)
            verdicts = [pictures.find(draw(rng), without).verdict for _ in range(each)]
            yield {
                "measure": f"unrelated, {kind}", "pictures": each, "accepted": verdicts.count("found"),
                "ambiguous": verdicts.count("ambiguous"),
            }  # fmt: skip


def _connected(pairs: Set[tuple[str, str]]) -> int:
    """Return the number of scenes in the largest group that pairs connect."""
    names, of = np.unique(np.array(sorted(pairs)).reshape(-1, 2), return_inverse=True)
    query, train = of.reshape(-1, 2).T
    links = coo_array((np.ones(len(query)), (query, train)), (len(names), len(names)))
    return int(np.bincount(connected_components(links, directed=False)[1], minlength=1).max())


SIMILAR = (10, 5)
"""Numbers of scenes with which each is compared in the part ``similar``."""


def similar(cache: Path, quick: bool) -> Iterator[Record]:
    """Match the pairs that are alike, and all pairs; the scenes that verified pairs connect are a group."""
    files = sorted(REAL.rglob("*TCI*.jp2"))[: 6 if quick else None]

    def verified(settings: Record) -> tuple[int, set[tuple[str, str]]]:
        overrides = {"regions.mode": "none", **settings}
        pairs = s2fast.run(scenes=files, out=cache / f"similar-{len(files)}", overrides=overrides).pairs()
        right = pairs[pairs["verified"].astype(bool)]
        return len(pairs), set(zip(right["query"], right["train"], strict=True))

    of_all, wanted = verified({})
    for count in SIMILAR:
        compared, found = verified({"matching.pairs": "similar", "matching.similar": count})
        yield {
            "measure": f"pairs by likeness, {count} scenes each", "scenes": len(files), "pairs of all": of_all,
            "verified of all": len(wanted), "pairs compared": compared, "verified": len(found),
            "of them among those of all": len(found & wanted), "not looked at or lost": len(wanted - found),
            "scenes connected": _connected(found),
        }  # fmt: skip


PARTS = ("scenes", "crops", "unrelated", "search", "clusters", "size", "similar")


def records(parts: Sequence[str], cache: Path, per_scene: int, pictures: int, *, quick: bool) -> Iterator[Record]:
    """Run the parts and yield their records."""
    if {"scenes", "crops", "unrelated"} & set(parts):
        data = archive(cache, per_scene)
        if "scenes" in parts:
            yield from scenes(data, quick)
        if "crops" in parts:
            yield from crops(data, 3 if quick else pictures)
        if "unrelated" in parts:
            yield from unrelated(data, 5 if quick else 2_000)
    if {"search", "clusters", "size"} & set(parts):
        real, count, rounds = archive(cache, 2_000).index, (100 if quick else 10_000), (1 if quick else 3)
        if "search" in parts:
            yield from find_speed.search(cache, real, count, rounds)
        if "clusters" in parts:
            yield from find_speed.clusters(cache, real, count, rounds)
        if "size" in parts:
            yield from find_speed.size(cache, real, count)
    if "similar" in parts:
        yield from similar(cache, quick)


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = option_parser("find", __doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the run and its indexes")
    parser.add_argument("--per-scene", type=int, default=2_000, help="keypoints of a scene in the index; 0: all")
    parser.add_argument("--pictures", type=int, default=100, help="crops of each size")
    parser.add_argument("--quick", action="store_true", help="few pictures, as a test")
    options = parser.parse_args(argv)
    for record in records(options.parts, options.cache, options.per_scene, options.pictures, quick=options.quick):
        emit({"benchmark": "find"} | record, as_json=options.json)
    return 0
