"""What `s2fast tune` finds: ``python -m benchmarks tune [--archive NAME] [--minutes 20] [--out DIR] [--json]``.

Tunes on an archive; tries a grid until it has cost as much processor time as the search; then runs the defaults, the
result of tuning and the best case of the grid on scenes that neither has seen, or, where the archive has too few
scenes, on the half that `s2fast tune` reports on. The same command continues a stopped one.

Archives: ``ukraine``, 48 real scenes; ``lebanon``, a real tile and a pair of real scenes of another place; ``haze``, 24
synthetic scenes, each behind haze of its own, which takes 30 to 80 % of its contrast. The real ones lie beside the
checkout.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from benchmarks.check.command import default_cache
from benchmarks.datasets import REAL, ensure_archive
from benchmarks.harness import emit, option_parser
from s2fast.config import load_config
from s2fast.errors import S2FastError
from s2fast.folder.record import RunRecord
from s2fast.planning import Job, plan
from s2fast.truth.spread import spread
from s2fast.tuning.command import Part, Wanted, largest_tile, split_scenes, trials_of, tune
from s2fast.tuning.score import difference
from s2fast.tuning.search import text
from s2fast.tuning.space import Settings
from s2fast.tuning.trials import Trial, Trials

GRID: Mapping[str, Sequence[Any]] = {
    "features.threshold": (0.0003, 0.001, 0.0001),
    "ingest.contrast": ("clahe", "none"),
    "features.max_per_scene": (20_000, 40_000, 5000),
    "matching.ratio": (0.9, 0.8, 0.95),
    "ingest.reduction": (1, 2),
}
"""Settings of the grid, those with the largest effect first, and of each its values, the default first."""

_FEWEST = 3
"""Unseen scenes of one tile below which the results are of the half that `s2fast tune` reports on."""

UNLIMITED_S = 86_400.0
"""Limit of a trial that may take as long as it needs: a day [s]."""


def grid(values: Mapping[str, Sequence[Any]]) -> Iterator[Settings]:
    """Yield all cases, those of two values per setting and of few settings first.

    Wherever it ends, what was tried is a whole grid and a part of the next larger one. The first case is the defaults;
    a case does not contain values that are the default's.

    Examples
    --------
    >>> list(grid({"a": (1, 2, 3), "b": (1, 2)}))
    [{}, {'a': 2}, {'b': 2}, {'a': 2, 'b': 2}, {'a': 3}, {'a': 3, 'b': 2}]
    """
    keys = list(values)
    sizes = [(2, last) for last in range(1, len(keys) + 1)] + [(max(map(len, values.values())), len(keys))]
    seen: list[Settings] = []
    for count, last in sizes:
        for case in itertools.product(*(values[key][:count] for key in keys[:last])):
            settings = {key: value for key, value in zip(keys, case, strict=False) if value != values[key][0]}
            if settings not in seen:
                seen.append(settings)
                yield settings


def cost_s(trials: Sequence[Trial]) -> float:
    """Return the processor time that trials have cost; a stage kept from another trial costs nothing [s]."""
    return sum(float(stage["cpu_s"]) for trial in trials for stage in trial.row.get("stages", {}).values())


def searched_grid(trials: Trials, budget_s: float, report: Callable[[str], object]) -> tuple[Trial, int, float]:
    """Try a grid until it has cost the budget [CPU s]; return its best trial, the number of trials, and their cost."""
    tried: list[Trial] = []
    for settings in grid(GRID):
        if tried and cost_s(tried) >= budget_s:
            break
        tried.append(trials.get(settings, "choose", UNLIMITED_S))
        report(f"grid, {len(tried)}, {tried[-1].told()}: {text(settings)}")
    return max(tried, key=lambda trial: trial.score), len(tried), cost_s(tried)


def unseen(record: RunRecord, split: Mapping[str, Part], few: int) -> Part:
    """Return scenes that tuning does not use; if they are too few, the half that it reports on."""
    used = {str(item) for some, _ in split.values() for item in some}
    rest = spread([item for item in record.found.scenes if str(item) not in used], few)
    return (rest, "all") if largest_tile(rest) >= _FEWEST else split["report"]


def compare(wanted: Wanted, out: Path, report: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    """Tune, try the grid, and yield a record per contender, measured on unseen scenes."""
    tuned = tune(wanted, out / "tuned", report)
    record = plan(Job(wanted.base, wanted.scenes, wanted.regions, "."))
    split = split_scenes(record, wanted.few)
    last = unseen(record, split, wanted.few)
    with trials_of(wanted, split, record, out / "tuned", report) as own:
        searched = own.known("choose")
    with trials_of(wanted, {"choose": split["choose"], "unseen": last}, record, out / "grid", report) as trials:
        best, number, cost = searched_grid(trials, cost_s(searched), report)
        contenders = [
            ("defaults", {}, 1, cost_s(searched[:1])),
            ("tune", tuned.settings, len(searched), cost_s(searched)),
            ("grid", best.settings, number, cost),
        ]
        found = {name: trials.get(settings, "unseen", UNLIMITED_S) for name, settings, _, _ in contenders}
    which = "the half reported on" if last is split["report"] else f"{len(last[0])} unseen scenes"
    for name, settings, tried, spent in contenders:
        trial = found[name]
        row: dict[str, Any] = {
            "name": name, "settings": text(settings), "trials": tried, "search_cpu_s": round(spent, 1), "on": which,
            "found": trial.told(), "points": round(trial.score, 2), "run_cpu_s": trial.cpu_s,
        }  # fmt: skip
        for other in ("defaults", "grid"):
            if name != other and not trial.flaw and not found[other].flaw:
                gain, low, high = difference(trial.outcome, found[other].outcome)
                row[f"over_{other}"] = f"{gain:+.2f} ({low:+.2f} to {high:+.2f})"
        yield row


def hazy(cache: Path) -> Path:
    """Return the folder of the synthetic archive with haze, generated once."""
    clear = ensure_archive(cache / "tune-clear", size=768, tiles=["36UXA"], dates=24, seed=5)
    folder = cache / "tune-haze"
    if not folder.exists():
        partial = folder.with_name("tune-haze.partial")
        partial.mkdir(exist_ok=True)
        for path, share in zip(
            paths := sorted(clear.rglob("*_TCI.jp2")), np.linspace(0.3, 0.8, len(paths)), strict=True
        ):
            with rasterio.open(path) as source:
                pixels = source.read()
                veiled = np.where(pixels > 0, np.rint(pixels * (1 - share) + 255 * share), 0).astype(np.uint8)
                profile = {"driver": "GTiff", "count": source.count, "dtype": "uint8", "width": source.width,
                           "height": source.height, "crs": source.crs, "transform": source.transform,
                           "tiled": True, "compress": "deflate"}  # fmt: skip
            with rasterio.open(partial / f"{path.stem}.tif", "w", **profile) as target:
                target.write(veiled)
        partial.rename(folder)
    return folder


def scenes_of(archive: str, cache: Path) -> list[str]:
    """Return the folders of an archive."""
    if archive == "haze":
        return [str(hazy(cache))]
    return [str(REAL)] if archive == "ukraine" else [str(REAL.with_name(name)) for name in ("lebanon", "arosics")]


def main(argv: Sequence[str]) -> int:
    """Print a line per contender."""
    parser = option_parser("tune", __doc__)
    parser.add_argument("--archive", choices=("ukraine", "lebanon", "haze"), default="ukraine")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--few", type=int, default=8, help="scenes per half")
    parser.add_argument("--out", type=Path, help="folder for trials and copies; default: in the cache")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder for the synthetic archive")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    try:
        # One of the real scenes is stored as reflectances, without a stretch to grey.
        base = load_config(None, {"ingest.stretch": "auto"} if options.archive == "lebanon" else ())
        wanted = Wanted(base, scenes_of(options.archive, options.cache), None, options.minutes, options.few)
        out = options.out or options.cache / f"tune-{options.archive}-out"
        for row in compare(wanted, out, lambda told: print(told, file=sys.stderr, flush=True)):
            emit({"archive": options.archive, **row}, as_json=options.json)
    except S2FastError as error:
        print(f"tune: {error}", file=sys.stderr)
        return 2
    return 0
