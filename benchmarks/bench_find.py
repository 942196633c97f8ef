"""Pictures found in an archive, and how fast: ``python -m benchmarks find [--parts NAME ...] [--quick] [--json]``.

``scenes``: the 48 real scenes as queries, their own date left out. ``crops``: parts of them, turned, scaled, compressed
and coloured, against the whole archive, and with their own date left out; ``places``: the same of other places, whose
scenes are added to the archive. ``unrelated``: pictures of other places, of the same landscape elsewhere, noise, maps
and text. ``search``: one query against an archive of 10,000 scenes, made of real descriptors with bits flipped, beside
FAISS and OpenCV; ``clusters``: the same by FAISS's inverted lists and by its graph. ``size``: bytes, seconds and
memory. ``similar``: pairs by likeness (``matching.pairs = "similar"``) beside all pairs of the 48 scenes.

Real data lie beside the checkout. Features are extracted once, into the folder of ``--cache``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import s2fast
from benchmarks import find_speed
from benchmarks.datasets import REAL
from benchmarks.find_archive import Archive, Pictures, archive, kind_of
from benchmarks.find_crops import LOCATED_PX, crops, error_px, places
from benchmarks.harness import emit, option_parser
from benchmarks.pictures import Pixels, drawn_map, noise, other_places, part_of, text
from s2fast.verdicts import is_verified

Record = dict[str, Any]

CACHE = Path.home() / ".cache" / "s2fast-benchmarks" / "find"

UNRELATED = 2_000
"""Pictures of what no scene shows."""

SCENES = 10_000
"""Scenes of the archive in which the search is timed."""


def scenes(data: Archive, quick: bool) -> Iterator[Record]:
    """Use each scene as a query, its own date left out."""
    names = [name for name in data.scenes if kind_of(name) == "clear"][:2] if quick else data.scenes
    tiles = {name: entry.tile for name, entry in data.entries.items()}
    rows: dict[str, list[tuple[bool, bool, bool]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(data, 2_000, Path(folder))
        for name in names:
            found = pictures.find(data.grey(name), data.of_date(name))
            candidates = [tiles[other] for other in found.candidates]
            located = error_px(data, found, np.eye(2, 3), name) <= LOCATED_PX
            right = tiles[name]
            rows.setdefault(kind_of(name), []).append(
                (candidates[:1] == [right], right in candidates[:20], located and found.found)
            )
    for kind, hits in rows.items():
        first, twenty, near = map(int, np.sum(hits, axis=0))
        yield {
            "measure": f"scenes as queries, own date left out, {kind}", "queries": len(hits),
            "tiles": len(set(tiles.values())), "right tile first": first, "among 20": twenty,
            "located within 1 px": near,
        }  # fmt: skip


def unrelated(data: Archive, count: int, seed: int) -> Iterator[Record]:
    """Find pictures that no scene shows; none may be accepted."""
    uxa = [data.grey(name) for name in data.scenes if "36UXA" in name and kind_of(name) == "clear"]
    only_uya = frozenset(name for name in data.scenes if "36UXA" in name)
    one, two = (next(name for name in data.scenes if tile in name) for tile in ("36UYA", "36UXA"))
    strip = float(data.moved(np.zeros((1, 2)), one, two)[0, 0])  # the column of 36UXA at which 36UYA begins
    kinds: list[tuple[str, Callable[..., Pixels], Set[str]]] = [
        ("other places", part_of(other_places(REAL.parent)), frozenset()),
        ("same landscape, other place", part_of(uxa, (0.0, strip - 30)), only_uya),
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
        right = pairs[is_verified(pairs)]
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


PARTS = ("scenes", "crops", "places", "unrelated", "search", "clusters", "size", "similar")


def records(parts: Sequence[str], options: argparse.Namespace) -> Iterator[Record]:
    """Run the parts and yield their records."""
    cache, quick = options.cache, options.quick
    pictures = 3 if quick else options.pictures
    if {"scenes", "crops", "unrelated"} & set(parts):
        data = archive(cache, options.per_scene)
        if "scenes" in parts:
            yield from scenes(data, quick)
        if "crops" in parts:
            yield from crops(data, pictures, options.seed)
        if "unrelated" in parts:
            yield from unrelated(data, 5 if quick else options.unrelated, options.seed)
    if "places" in parts:
        yield from places(archive(cache, options.per_scene, others=True), pictures, options.seed)
    if {"search", "clusters", "size"} & set(parts):
        real, count, rounds = (
            archive(cache, 2_000).index,
            (100 if quick else options.scenes),
            (1 if quick else options.rounds),
        )
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
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the runs and indexes")
    parser.add_argument("--per-scene", type=int, default=2_000, help="keypoints of a scene in the index; 0: all")
    parser.add_argument("--pictures", type=int, default=100, help="crops of each size")
    parser.add_argument("--unrelated", type=int, default=UNRELATED, help="pictures of what no scene shows")
    parser.add_argument("--scenes", type=int, default=SCENES, help="scenes of the archive of search, clusters, size")
    parser.add_argument("--rounds", type=int, default=3, help="times that each search is timed")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pictures")
    parser.add_argument("--quick", action="store_true", help="few pictures, as a test")
    options = parser.parse_args(argv)
    for record in records(options.parts, options):
        emit({"benchmark": "find"} | record, as_json=options.json)
    return 0
