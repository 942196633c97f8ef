"""Injected truth against the real one: ``python -m benchmarks injected [--quick] [--out DIR] [--json]``.

Runs 12 settings on clear real scenes of two tiles, whose files say that their displacement is 0, with copies moved by
known amounts. Of each setting's verified pairs of one tile, in pixels, medians:

``real``: distance of the shift from 0. ``datum``: the part of it that is one vector per scene, the same for all pairs
of a scene: the scenes' own misregistration. It is fitted to the shifts of all *other* settings. ``rest``: distance of
the shift from the datum. ``injected``: the injected error. ``low`` and ``high`` are the ends of a median's 95 %
interval. The order of the settings by either truth follows: Spearman's coefficients, the number of pairs of settings
that two truths order by medians whose intervals do not overlap, and how many of these they order in opposite ways. The
real scenes lie beside the checkout. The same command continues a stopped one.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.check.command import default_cache
from benchmarks.datasets import REAL
from benchmarks.harness import emit, option_parser
from s2fast.errors import S2FastError
from s2fast.sweeps.kept import read_pairs
from s2fast.sweeps.results import How, load_all, make_folder, run_checked
from s2fast.truth.intervals import FEWEST, median_interval
from s2fast.verdicts import is_verified

PIXEL_M = 107.2265625

CLEAR = {
    "36UXA": ("20180810", "20180825", "20180830", "20180919", "20190427", "20190606"),
    "36UYA": ("20160621", "20160830", "20190427", "20190606", "20190611", "20190825", "20190904"),
}
"""Dates without clouds, by tile."""

SETTINGS: dict[str, Any] = {
    "name": "injected",
    "limit_s": 3600,
    "truth": {"scenes": 13},
    "base": {"regions.mode": "none"},
    "grid": [
        {
            "ingest.contrast": ["none", "clahe"],
            "features.threshold": [0.001, 0.0003],
            "features.max_per_scene": [2000, 20000],
        },
        {"ingest.reduction": [2], "ingest.contrast": ["none", "clahe"]},
        {"features.upsample": [1], "matching.ratio": [0.8, 0.9]},
    ],
}
"""The sweep."""


def fitted(pairs: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """Return the vectors of scenes [m], east and north, whose differences fit the shifts of pairs best.

    Shifts are from the query to the train scene; scenes that no pair links have vectors of which only differences
    within their own group mean anything.

    Examples
    --------
    >>> table = pd.DataFrame({"query": ["a", "b"], "train": ["b", "c"], "dx_m": [3.0, 0.0], "dy_m": [0.0, 3.0]})
    >>> found = fitted(table)
    >>> (found["c"] - found["a"]).round(6).tolist()
    [3.0, 3.0]
    """
    names = sorted({*pairs["query"], *pairs["train"]})
    at = {name: column for column, name in enumerate(names)}
    rows = np.zeros((len(pairs), len(names)))
    rows[np.arange(len(pairs)), pairs["query"].map(at)] = -1.0
    rows[np.arange(len(pairs)), pairs["train"].map(at)] = 1.0
    vectors = np.linalg.lstsq(rows, pairs[["dx_m", "dy_m"]].to_numpy(np.float64), rcond=None)[0]
    return dict(zip(names, vectors, strict=True))


def parts(
    pairs: pd.DataFrame, others: pd.DataFrame
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the lengths of shift, datum and the rest [px]; the datum is that of other settings' pairs."""
    datum = fitted(others)
    known = pairs[pairs["query"].isin(datum) & pairs["train"].isin(datum)]
    shift_m = known[["dx_m", "dy_m"]].to_numpy(np.float64)
    both = zip(known["query"].astype(str), known["train"].astype(str), strict=True)
    datum_m = np.array([datum[train] - datum[query] for query, train in both]).reshape(-1, 2)
    real, own, rest = (np.hypot(*part.T) / PIXEL_M for part in (shift_m, datum_m, shift_m - datum_m))
    return real, own, rest


def ends(name: str, lengths: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the median of lengths and its interval, by column."""
    low, high = median_interval(lengths.tolist()) if len(lengths) >= FEWEST else (0.0, np.inf)
    return {f"{name}_px": float(np.median(lengths)), f"{name}_low_px": low, f"{name}_high_px": high}


def out_of_order(frame: pd.DataFrame, one: str, other: str) -> tuple[int, int]:
    """Return how many pairs of settings both truths order, and of these how many in opposite ways.

    A truth orders two settings if the intervals of their medians do not overlap.

    Examples
    --------
    >>> first = {"a_low_px": [1, 3, 9], "a_high_px": [2, 4, 10]}
    >>> out_of_order(pd.DataFrame(first | {"b_low_px": [5, 1, 3], "b_high_px": [6, 2, 9]}), "a", "b")
    (2, 1)
    """
    ordered = opposite = 0
    for first, second in itertools.combinations(frame.to_dict("records"), 2):
        signs = [
            int(first[f"{truth}_low_px"] > second[f"{truth}_high_px"])
            - int(first[f"{truth}_high_px"] < second[f"{truth}_low_px"])
            for truth in (one, other)
        ]
        ordered += bool(signs[0] and signs[1])
        opposite += signs[0] * signs[1] < 0
    return ordered, opposite


def scenes(quick: bool) -> list[str]:
    """Return the files of the clear scenes; of quick runs, four of one tile."""
    wanted = [(tile, date) for tile, dates in CLEAR.items() for date in dates]
    files = {path.name: str(path) for path in REAL.rglob("*TCI*.jp2")}
    found = [file for name, file in sorted(files.items()) if any(f"T{tile}_{date}" in name for tile, date in wanted)]
    return found[:4] if quick else found


def measure(out: Path, quick: bool) -> list[dict[str, Any]]:
    """Run the sweep and return a record per setting."""
    file = SETTINGS | ({"grid": SETTINGS["grid"][1:2]} if quick else {})
    (checked,) = load_all([file], scenes(quick))
    results = run_checked(
        checked, make_folder(out), lambda text: print(text, file=sys.stderr, flush=True), How(retry=True)
    )
    frame = results.frame()
    tables: dict[str, pd.DataFrame] = {}
    for case in frame.loc[frame["status"] == "ok", "case"].astype(str):
        table = read_pairs(Path(f"{results.stem}.jsonl"), case)
        if table is not None:
            one_tile = table["query"].str[-6:] == table["train"].str[-6:]
            tables[case] = table[is_verified(table) & one_tile]
    found = []
    for row in frame.to_dict("records"):
        if (case := str(row["case"])) not in tables:
            continue
        others = pd.concat([table for name, table in tables.items() if name != case])
        real, datum, rest = parts(tables[case], others)
        found.append(
            {
                "setting": row["label"],
                "pairs": len(tables[case]),
                **ends("real", real),
                "datum_px": float(np.median(datum)),
                **ends("rest", rest),
                **{f"injected_{end}px": row[f"injected.error_{end}px"] for end in ("", "low_", "high_")},
                "injected_false": row["injected.false"],
            }
        )
    return found


def main(argv: Sequence[str]) -> int:
    """Print a line per setting, and how alike the orders are."""
    parser = option_parser("injected", __doc__)
    parser.add_argument("--quick", action="store_true", help="two settings on four scenes: does it work")
    parser.add_argument("--out", type=Path, help="folder for the sweep's results; default: in the cache")
    options = parser.parse_args(argv)
    try:
        found = measure(options.out or default_cache() / "injected", options.quick)
    except S2FastError as error:
        print(f"injected: {error}", file=sys.stderr)
        return 2
    for row in found:
        emit(row, as_json=options.json)
    frame = pd.DataFrame(found)
    orders = {f"spearman_{name}": float(frame[f"{name}_px"].rank().corr(frame["injected_px"].astype(float).rank()))
              for name in ("real", "rest")}  # fmt: skip
    for truth in ("real", "rest"):
        ordered, opposite = out_of_order(frame, truth, "injected")
        orders |= {f"ordered_by_{truth}": ordered, f"opposite_by_{truth}": opposite}
    emit({"settings": len(frame), **orders}, as_json=options.json)
    return 0
