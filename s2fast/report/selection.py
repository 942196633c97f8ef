"""Select, sort and cut the rows of a run's tables, as the options of `s2fast pairs` and `s2fast scenes` ask for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from s2fast.archive.fragments import scene_named, scenes_named
from s2fast.errors import InputError, option
from s2fast.geometry.scene_verdict import SceneVerdict
from s2fast.verdicts import Verdict, is_verified

SHIFT = "shift_m"
"""Length of a pair's shift [m]; not a column of the table, but one to sort by and to list."""

_UNIT = re.compile(r"_(m|px|pct|deg)$")
"""Unit at the end of a column's name, which need not be typed where one column has the name without it."""

_MOST_NAMES = 8
"""Maximum number of valid names that a message lists in full."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows are listed; rows must pass all filters."""

    scenes: Sequence[str] = ()
    """Fragments of ids: pairs with one of these scenes."""
    tile: str | None = None
    """Scenes of this MGRS tile; of pairs, both."""
    since: str | None = None
    """Scenes of this date or later, ``2018``, ``2018-08`` or ``2018-08-10``; of pairs, both."""
    until: str | None = None
    """Scenes of this date or earlier; of pairs, both."""
    verdicts: Sequence[str] = ()
    """Rows with one of these verdicts."""
    verified: bool = False
    """Verified pairs only."""
    min_similarity: float | None = None
    """Pairs of at least this similarity [%]."""
    max_similarity: float | None = None
    """Pairs below this similarity [%]. The same value as minimum and as maximum splits the table in two."""
    max_shift_m: float | None = None
    """Pairs with a shift of at most this length [m]."""
    sort: str | None = None
    """Column to sort by, smallest first; with a hyphen before it, largest first."""
    limit: int | None = None
    """Maximum number of rows, after sorting."""


def select_pairs(pairs: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Return the selected rows of a table of pairs, in descending order of similarity unless sorted otherwise."""
    sides = ("query", "train")
    kept = _of_scenes(pairs, selection, [(f"{side}_tile", f"{side}_time") for side in sides], Verdict)
    least, below = selection.min_similarity, selection.max_similarity
    if least is not None and below is not None and least >= below:
        names = option("min_similarity", "min-similarity"), option("max_similarity", "max-similarity")
        raise InputError(f"{names[0]} {least:g} is not below {names[1]} {below:g}: no pair is between them")
    if selection.scenes:
        known = list(dict.fromkeys([*pairs["query"], *pairs["train"]]))
        wanted = {
            name for typed in selection.scenes for name in scenes_named(typed, known) or [scene_named(typed, known)]
        }
        kept &= pairs["query"].isin(wanted) | pairs["train"].isin(wanted)
    if selection.min_similarity is not None:
        kept &= pairs["similarity_pct"] >= selection.min_similarity
    if selection.max_similarity is not None:
        kept &= pairs["similarity_pct"] < selection.max_similarity
    if selection.verified:
        kept &= is_verified(pairs)
    shift = pd.Series(np.hypot(pairs["dx_m"], pairs["dy_m"]), pairs.index)
    if selection.max_shift_m is not None:
        if pairs["dx_m"].isna().all() and pairs["dx_px"].notna().any():
            raise InputError("the scenes have no CRS, so their shifts are in pixels: sort by dx_px or dy_px instead")
        kept &= shift <= selection.max_shift_m
    return _sorted(pairs[kept].assign(**{SHIFT: shift[kept]}), selection, "-similarity_pct").drop(columns=SHIFT)


def select_scenes(scenes: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Return the selected rows of a table of scenes, in the run's order unless sorted otherwise."""
    kept = _of_scenes(scenes, selection, [("tile", "sensing_time")], dict.fromkeys([*SceneVerdict, *scenes["verdict"]]))
    return _sorted(scenes[kept], selection, None)


def with_shift(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return pairs with the column `SHIFT` after the others."""
    return pairs.assign(**{SHIFT: np.hypot(pairs["dx_m"], pairs["dy_m"])})


def named(typed: str, names: Iterable[str], what: str) -> str:
    """Return the name that was typed: in full, or by a fragment that only one of the names has.

    Raises
    ------
    InputError
        No name has this fragment, or several have; the message lists the names.

    Examples
    --------
    >>> named("suspect", Verdict, "verdict"), named("verified", Verdict, "verdict")
    ('prior suspect', 'verified')
    >>> named("shift", ["shift_error_m", "shift_m"], "column")
    'shift_m'
    """
    names = [str(name) for name in names]
    for fits in (
        [name for name in names if name.lower() == typed.lower()],
        [name for name in names if _UNIT.sub("", name.lower()) == typed.lower()],
        [name for name in names if name.lower().startswith(typed.lower())],
        [name for name in names if typed.lower() in name.lower()],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            *most, last = fits
            raise InputError(f"{what} {typed!r} may be {', '.join(most)} or {last}: write more of it")
    close = difflib.get_close_matches(typed, names, n=3, cutoff=0.5) if len(names) > _MOST_NAMES else []
    told = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names) or 'none'}"
    raise InputError(f"no {what} {typed!r}; {told}")


def period(text: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the begin of a year, month or day, and of the next.

    Examples
    --------
    >>> [moment.isoformat() for moment in period("2018-08")]
    ['2018-08-01T00:00:00+00:00', '2018-09-01T00:00:00+00:00']
    """
    found = re.fullmatch(r"(\d{4})(?:-?(\d\d)(?:-?(\d\d))?)?", text.strip())
    try:
        if not found:
            raise ValueError
        year, month, day = (int(part) if part else None for part in found.groups())
        begin = pd.Timestamp(year=year or 0, month=month or 1, day=day or 1, tz="UTC")
        step = pd.DateOffset(days=1) if day else pd.DateOffset(months=1) if month else pd.DateOffset(years=1)
        return begin, begin + step
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text!r} is no date: write 2018, 2018-08 or 2018-08-10") from error


def _of_scenes(
    rows: pd.DataFrame, selection: Selection, columns: Sequence[tuple[str, str]], verdicts: Iterable[str]
) -> pd.Series[bool]:
    """Return which rows have the tile, the dates and the verdict of a selection; `columns` hold tiles and times."""
    kept = pd.Series(True, index=rows.index)
    if selection.tile is not None:
        tiles = sorted({tile for of_tile, _ in columns for tile in rows[of_tile]} - {""})
        typed = re.sub(r"^[Tt](?=\d)", "", selection.tile)
        tile = named(typed, tiles, "tile")
        for of_tile, _ in columns:
            kept &= rows[of_tile] == tile
    begin = None if selection.since is None else period(selection.since)[0]
    end = None if selection.until is None else period(selection.until)[1]
    if begin is not None and end is not None and begin >= end:
        since, until = f"{option('since')} {selection.since}", f"{option('until')} {selection.until}"
        raise InputError(f"{since} is later than {until}: no scene is between them; swap the dates")
    for _, of_time in columns:
        if begin is not None:
            kept &= rows[of_time] >= begin
        if end is not None:
            kept &= rows[of_time] < end
    if selection.verdicts:
        kept &= rows["verdict"].isin([named(typed, verdicts, "verdict") for typed in selection.verdicts])
    return kept


def _sorted(rows: pd.DataFrame, selection: Selection, default: str | None) -> pd.DataFrame:
    asked = selection.sort or default
    if asked is not None:
        falling = asked.startswith("-")
        name = named(asked.removeprefix("-"), (str(name) for name in rows.columns if name != "geometry"), "column")
        rows = rows.sort_values(name, ascending=not falling, kind="stable", na_position="last")
    return rows if selection.limit is None else rows[: selection.limit]
