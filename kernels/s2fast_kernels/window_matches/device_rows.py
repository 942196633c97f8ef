"""Scenes and trials of `window_matches` on a torch device, for the torch and the Triton backend.

A call joins the scenes of its pairs in one `Pool`, in which rows and strips have one numbering, and searches its trials
in a few blocks. The search of a block leaves one match or none per query row, from which the columns of matches are
collected on the device; only these are copied back. Scenes stay on the device between calls: see
`s2fast_kernels.window_matches.resident`, which also splits what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from s2fast_kernels.hamming_window_top2_both import WindowRows
from s2fast_kernels.transfers import Download, upload
from s2fast_kernels.window_matches.contract import Columns, MatchTest

NO_MATCH = -1
"""Train row of a query row without a match."""

COLLECT_BYTES = 52
"""Memory per query row of a block to collect its matches, if every row has one: rows and trials as int64, and the
columns before and after they get the types of the result."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows of one or several scenes on a device, sorted as in `WindowRows`, and their strips."""

    words: torch.Tensor
    """(n, 16) int32 halves of the descriptors' words."""
    x: torch.Tensor
    """(n,) float64."""
    y: torch.Tensor
    """(n,) float64."""
    row: torch.Tensor
    """(n,) int64 row numbers of the caller, within the scene."""
    group: torch.Tensor
    """(n,) int64."""
    strip_group: torch.Tensor
    """(k,) int64."""
    strip_first: torch.Tensor
    """(k,) int64 first row of every strip, within the pool."""
    strip_stop: torch.Tensor
    """(k,) int64 row after the last of every strip, within the pool."""
    strip_low: torch.Tensor
    """(k,) float64 lowest y of every strip."""
    strip_high: torch.Tensor
    """(k,) float64 highest y of every strip."""

    @classmethod
    def of(cls, rows: WindowRows, device: torch.device) -> Pool:
        """Copy one scene to the device."""
        arrays = (
            rows.descriptors.view(np.int32),
            rows.x,
            rows.y,
            rows.row,
            rows.group,
            rows.strip_group,
            rows.strip_start[:-1],
            rows.strip_start[1:],
            *rows.strip_y.T,
        )
        return cls(*(upload(np.ascontiguousarray(array), device) for array in arrays))

    @classmethod
    def joined(cls, pools: Sequence[Pool], first_rows: Sequence[int]) -> Pool:
        """Join pools; `first_rows` is where the rows of each begin."""
        if len(pools) == 1:
            return pools[0]
        shifted = ("strip_first", "strip_stop")
        return cls(
            *(
                torch.cat(
                    [
                        getattr(pool, field.name) + (first if field.name in shifted else 0)
                        for pool, first in zip(pools, first_rows, strict=True)
                    ]
                )
                for field in fields(cls)
            )
        )


@dataclass(frozen=True, slots=True)
class Side:
    """Where the query's or the train's rows and strips of every trial are in the pool; all (t,) int64."""

    first_row: torch.Tensor
    """First row."""
    rows: torch.Tensor
    """Number of rows."""
    first_strip: torch.Tensor
    """First strip."""
    strips: torch.Tensor
    """Number of strips."""


@dataclass(frozen=True, slots=True)
class Trials:
    """A block of t trials on a device."""

    query: Side
    """The query's rows and strips."""
    train: Side
    """The train's rows and strips."""
    away: torch.Tensor
    """(t, 2) float64 offset of the search area, in x and y."""
    limit: torch.Tensor
    """(t,) float64 square of the radius."""
    ratio: torch.Tensor
    """(1,) float64 `MatchTest.ratio`."""
    start: torch.Tensor
    """(t,) int64 first of the trial's query rows in the result of a search, which has all query rows of the block."""
    count: int
    """Number of all query rows of the block."""
    most_rows: int
    """Largest number of rows of a strip of the pool."""
    most_strips: int
    """Largest number of strips of a scene."""
    most_queries: int
    """Largest number of query rows of a trial."""


Search = Callable[[Pool, Trials, MatchTest], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Returns the train row (`NO_MATCH`: none), the distance and the second distance of every query row of a block, in the
caller's order; the distances are undefined without a match."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All t trials of a call, of which blocks are searched."""

    query: npt.NDArray[np.int64]
    """(4, t) fields of `Side`."""
    train: npt.NDArray[np.int64]
    """(4, t) fields of `Side`."""
    away: npt.NDArray[np.float64]
    """(t, 2)."""
    limit: npt.NDArray[np.float64]
    """(t,)."""
    most_rows: int
    """Largest number of rows of a strip."""

    @classmethod
    def of(
        cls,
        pairs: Sequence[tuple[WindowRows, WindowRows]],
        away: npt.NDArray[np.float64],
        scenes: Sequence[WindowRows],
        first_rows: npt.NDArray[np.int64],
    ) -> Layout:
        """Arrange the trials of pairs of scenes, whose rows begin at `first_rows` in the pool."""
        strips = np.array([len(rows.strip_group) for rows in scenes])
        sides = np.stack([first_rows, [len(rows) for rows in scenes], np.cumsum(strips) - strips, strips])
        index, places = {id(rows): number for number, rows in enumerate(scenes)}, away.shape[1]
        numbers = np.repeat([[index[id(rows)] for rows in pair] for pair in pairs], places, axis=0).T
        return cls(
            sides[:, numbers[0]],
            sides[:, numbers[1]],
            away.reshape(-1, 2),
            np.repeat([query.radius * query.radius for query, _ in pairs], places),
            max(int(np.diff(rows.strip_start).max(initial=0)) for rows in scenes),
        )

    def blocks(self, most: int) -> Iterator[slice]:
        """Yield slices of trials with at most `most` query rows together, or of one trial."""
        first, held = 0, 0
        for trial, rows in enumerate(self.query[1].tolist()):
            if trial > first and held + rows > most:
                yield slice(first, trial)
                first, held = trial, 0
            held += rows
        yield slice(first, self.query.shape[1])

    def on(self, device: torch.device, at: slice, ratio: float) -> Trials:
        """Copy a block of trials to the device, in two copies."""
        query, train, trials = self.query[:, at], self.train[:, at], len(self.limit[at])
        stop = np.cumsum(query[1])
        sides = upload(np.vstack([query, train, stop - query[1]]), device)
        numbers = upload(np.concatenate([self.away[at].ravel(), self.limit[at], [ratio]]), device)
        return Trials(
            Side(*sides[:4]),
            Side(*sides[4:8]),
            numbers[: 2 * trials].view(trials, 2),
            numbers[2 * trials : 3 * trials],
            numbers[3 * trials :],
            sides[8],
            int(stop[-1]),
            self.most_rows,
            int(max(query[3].max(), train[3].max())),
            int(query[1].max()),
        )


@torch.inference_mode()
def found_in_block(
    pool: Pool, trials: Trials, test: MatchTest, search: Search
) -> tuple[npt.NDArray[np.int64], Columns]:
    """Search a block; return the number of matches of every trial, and the columns of all."""
    train_row, distance, second = search(pool, trials, test)
    at = torch.nonzero(train_row != NO_MATCH)[:, 0]
    # The last trial that begins at or before a row; trials without rows begin there too, before it.
    trial = torch.searchsorted(trials.start, at, right=True) - 1
    counts = torch.bincount(trial, minlength=len(trials.start))
    query_row = (at - trials.start[trial]).to(torch.int32)
    # The low 16 bits: 65535 becomes -1 and back.
    bits = (column[at].to(torch.int16) for column in (distance, second))
    copied = Download([counts, query_row, train_row[at].to(torch.int32), *bits])
    numbers, here, there, first, runner_up = copied.arrays()
    return numbers.astype(np.int64, copy=False), (
        here.astype(np.int32, copy=False),
        there.astype(np.int32, copy=False),
        first.view(np.uint16),
        runner_up.view(np.uint16),
    )
