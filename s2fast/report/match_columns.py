"""Stored matches of many pairs by column, read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from s2fast.folder.run_folder import RunFolder
from s2fast.work.ahead import ahead
from s2fast_kernels.row_order import row_order

UNKNOWN, OUTLIER, INLIER = 2, 0, 1
"""Kinds of matches; unknown: verification did not run."""


@dataclass(frozen=True, slots=True)
class MatchColumns:
    """Matches of many pairs. Pairs are numbered by the rows of the table of pairs, scenes by the run's order."""

    pair: npt.NDArray[np.intp]
    """(n,) pairs."""
    query: npt.NDArray[np.intp]
    """(n,) query scenes."""
    train: npt.NDArray[np.intp]
    """(n,) train scenes."""
    query_row: npt.NDArray[np.int32]
    """(n,) rows of the query's features."""
    train_row: npt.NDArray[np.int32]
    """(n,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(n,) Hamming distances [bits]."""
    kind: npt.NDArray[np.uint8]
    """(n,) `UNKNOWN`, `OUTLIER` or `INLIER`."""

    def __len__(self) -> int:
        return len(self.pair)

    def __getitem__(self, rows: npt.NDArray[Any]) -> MatchColumns:
        """Return some matches, selected by a mask or by their rows."""
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return MatchColumns(*(getattr(self, field.name).take(numbers) for field in fields(self)))

    @classmethod
    def of_table(cls, table: pa.Table, number_of: Mapping[str, int]) -> MatchColumns:
        """Return the rows of a table of matches; all belong to pair 0.

        Parameters
        ----------
        table
            Columns as in `s2fast.stages.good_matches.MATCH_SCHEMA`.
        number_of
            Numbers of the scenes, by id; scenes without number get -1.
        """
        return cls(
            np.zeros(len(table), np.intp),
            _numbers(table["query"], number_of),
            _numbers(table["train"], number_of),
            table["query_row"].to_numpy(),
            table["train_row"].to_numpy(),
            table["distance"].to_numpy(),
            pc.fill_null(table["inlier"].cast(pa.uint8()), UNKNOWN).to_numpy(),
        )

    @classmethod
    def joined(cls, parts: Sequence[MatchColumns]) -> MatchColumns:
        """Return the matches of all parts in ascending order of pair; those of one pair keep their order."""
        none = cls.of_table(_NO_MATCHES, {})
        whole = cls(*(np.concatenate([getattr(part, field.name) for part in (none, *parts)]) for field in fields(cls)))
        return whole[np.argsort(whole.pair, kind="stable")]


_NO_MATCHES = pa.table(
    {
        "query": pa.array([], pa.string()),
        "train": pa.array([], pa.string()),
        "query_row": pa.array([], pa.int32()),
        "train_row": pa.array([], pa.int32()),
        "distance": pa.array([], pa.uint16()),
        "inlier": pa.array([], pa.bool_()),
    }
)


def stored_matches(
    folder: RunFolder, pairs: pd.DataFrame, blocks: Sequence[str], scene_ids: Sequence[str]
) -> Iterator[MatchColumns]:
    """Yield the matches of each block of pairs, in ascending order of pair, then query row; read each block once.

    Parameters
    ----------
    folder
        The run folder.
    pairs
        The table of pairs, with the columns ``query`` and ``train``.
    blocks
        Names of the blocks of `RunFolder.verified` that hold the pairs. Other pairs in them are stale, and left out.
    scene_ids
        Ids of the run's scenes.
    """
    number_of = {scene_id: number for number, scene_id in enumerate(scene_ids)}
    codes = pairs["query"].map(number_of).to_numpy() * len(scene_ids) + pairs["train"].map(number_of).to_numpy()
    block_of, names = pd.factorize(np.asarray(blocks, object))
    order = np.argsort(codes)
    for block, (_, table) in enumerate(ahead(names, folder.verified.match_table, 1)):
        if table is None:
            continue
        found = MatchColumns.of_table(table, number_of)
        wanted = np.where(np.minimum(found.query, found.train) < 0, -1, found.query * len(scene_ids) + found.train)
        pair = order[np.minimum(np.searchsorted(codes, wanted, sorter=order), len(order) - 1)]
        found.pair[:] = pair
        current = np.flatnonzero((codes[pair] == wanted) & (block_of[pair] == block))
        yield found[current[np.argsort(pair[current], kind="stable")]]


def rank_within(*keys: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the rank of each row among the rows with equal keys, in the given order: 0 for the first.

    Keys are those of `s2fast_kernels.row_order.row_order`.

    Examples
    --------
    >>> rank_within(np.array([5, 3, 5, 5, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = row_order(*keys)
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    place = np.arange(len(order))
    rank = np.empty(len(order), np.intp)
    rank[order] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    return rank


def inliers(matches: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which matches are inliers; all False if verification did not run."""
    return matches["inlier"].fillna(False).to_numpy(dtype=np.bool_)


def _numbers(column: pa.ChunkedArray, number_of: Mapping[str, int]) -> npt.NDArray[np.intp]:
    """Return the numbers of the scenes that a column names."""
    ids = column.combine_chunks().dictionary_encode()
    numbers = np.array([number_of.get(scene_id, -1) for scene_id in ids.dictionary.to_pylist()], np.intp)
    return numbers[ids.indices.to_numpy()] if len(ids) else np.zeros(0, np.intp)
