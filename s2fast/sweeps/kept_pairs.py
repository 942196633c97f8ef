"""What a sweep keeps of each case's pairs: verdicts, a few matches to draw, and small pictures of the scenes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.files.arrow_memory import arrow_file
from s2fast.files.replacing import remove_abandoned, replacing
from s2fast.files.writing import room_in
from s2fast.report.thumbnails import keep_thumbnails, shrunk_url
from s2fast.results import Run
from s2fast.verdicts import is_verified

MOST_LINES = 20
"""Matches of a pair that are kept to be drawn."""

_MOST_DRAWN = 5000
"""Verified pairs beyond which no matches are kept: to go through all of them would take too long."""

_COLUMNS = ("query", "train", "verified", "verdict", "n_good", "n_inliers", "dx_m", "dy_m", "shift_error_m")

_SCENES = "scenes.parquet"

_PICTURE_PX = 256
"""Longest side of a scene's picture."""


def kept_file(rows_path: Path, case: str) -> Path:
    """Return the file of a case's pairs."""
    return rows_path.with_name(f"{rows_path.stem}.pairs") / f"{case}.parquet"


def keep_pairs(run: Run, path: Path) -> None:
    """Write what is kept of a finished run's pairs; and of the scenes, those that are not known from other cases."""
    with room_in(path.parent):
        _keep(run, path)


def _keep(run: Run, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    pairs = run.pairs()
    table = pairs[[name for name in _COLUMNS if name in pairs]].copy()
    lines = dict(_lines(run, pairs))
    table["lines"] = [lines.get(pair, b"") for pair in zip(pairs["query"], pairs["train"], strict=True)]
    _write(table, path)
    scenes = path.with_name(_SCENES)
    known = [pd.read_parquet(arrow_file(scenes.read_bytes()))] if scenes.exists() else []
    new = set(run.scene_ids).difference(*(table["scene_id"] for table in known))
    if new:
        _write(pd.concat([*known, pd.DataFrame(_pictures(run, new))], ignore_index=True), scenes)


def remove_partial(rows_path: Path) -> None:
    """Remove the files that a killed sweep has not finished."""
    remove_abandoned(kept_file(rows_path, "").parent)


def _write(table: pd.DataFrame, path: Path) -> None:
    # Cases that run side by side may write the same file.
    with replacing(path) as partial:
        table.to_parquet(partial)


def _lines(run: Run, pairs: pd.DataFrame) -> Iterator[tuple[tuple[str, str], bytes]]:
    """Yield the ends of the nearest inliers of each verified pair, as `_packed` returns them."""
    verified = pairs[is_verified(pairs)]
    wanted = set(zip(verified["query"], verified["train"], strict=True))
    shapes = {item.scene.scene_id: item.raster.shape for item in run.record.usable}
    if not 0 < len(wanted) <= _MOST_DRAWN:
        return
    places: dict[str, npt.NDArray[np.float32]] = {}
    for table in run.folder.verified.match_tables():
        for names, rows in table[table["inlier"]].groupby(["query", "train"], observed=True):
            pair = (str(names[0]), str(names[1]))
            if pair in wanted:
                nearest = rows.nsmallest(MOST_LINES, "distance")
                for name in pair:
                    places.setdefault(name, run.folder.features(name).xy)
                query, train = (places[name] for name in pair)
                yield (
                    pair,
                    _packed(query[nearest["query_row"]], shapes[pair[0]], train[nearest["train_row"]], shapes[pair[1]]),
                )


def _packed(
    query: npt.NDArray[np.float32], query_shape: tuple[int, int], train: npt.NDArray[np.float32],
    train_shape: tuple[int, int],
) -> bytes:  # fmt: skip
    """Return positions as shares of the scenes' sides: (n, 4) uint16, query x, y, train x, y."""
    shares = [
        (xy.astype(np.float64) + 0.5) / (shape[1], shape[0])
        for xy, shape in ((query, query_shape), (train, train_shape))
    ]
    return np.clip(np.hstack(shares) * 65535, 0, 65535).astype("<u2").tobytes()


def _pictures(run: Run, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the pictures of scenes, as data URLs."""
    for item in run.record.usable:
        if item.scene.scene_id not in wanted:
            continue
        kept = keep_thumbnails(item, run.folder.address, masked=run.record.uses_regions, warns=False)
        url = shrunk_url(kept.scene, _PICTURE_PX)
        rows, cols = item.raster.shape
        yield {"scene_id": item.scene.scene_id, "rows": rows, "cols": cols, "picture": url}


def read_pairs(rows_path: Path, case: str) -> pd.DataFrame | None:
    """Read what is kept of a case's pairs; None if nothing is."""
    path = kept_file(rows_path, case)
    return pd.read_parquet(arrow_file(path.read_bytes())) if path.exists() else None


def read_pictures(rows_path: Path) -> dict[str, dict[str, Any]]:
    """Read the scenes' pictures: by scene id, ``rows``, ``cols`` and ``picture``."""
    path = kept_file(rows_path, "").with_name(_SCENES)
    if not path.exists():
        return {}
    table = pd.read_parquet(arrow_file(path.read_bytes())).set_index("scene_id")
    return {str(name): {str(key): value for key, value in row.items()} for name, row in table.to_dict("index").items()}


def text_of(lines: bytes) -> str:
    """Return lines as the page reads them."""
    return base64.b64encode(lines).decode()
