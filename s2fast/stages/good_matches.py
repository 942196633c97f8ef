"""Good matches of a block of pairs as columns, in memory and in the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from s2fast.stages.matching_rule import Matches
from s2fast.stages.pairs import Pair

MATCH_SCHEMA = pa.schema(
    {
        "query": pa.dictionary(pa.int32(), pa.string()),
        "train": pa.dictionary(pa.int32(), pa.string()),
        "query_row": pa.int32(),
        "train_row": pa.int32(),
        "distance": pa.uint16(),
        "second": pa.uint16(),
        "inlier": pa.bool_(),
    }
)
"""Columns of matches: scene ids, feature rows, Hamming distances [bits], whether the match is an inlier."""

_COLUMNS = ("query_row", "train_row", "distance", "second")


@dataclass(frozen=True, slots=True)
class GoodMatches:
    """Good matches of a block of pairs, pair by pair."""

    pairs: Sequence[Pair]
    """The pairs."""
    matches: Sequence[Matches]
    """The matches of each."""

    @classmethod
    def of_tables(cls, pairs: Sequence[Pair], radius_m: Sequence[float], table: pa.Table) -> GoodMatches:
        """Return the matches of pairs from a table in which those of each pair are contiguous.

        Parameters
        ----------
        pairs
            The pairs.
        radius_m
            Search radius of each [m].
        table
            Columns as in `MATCH_SCHEMA`; may contain other pairs too.
        """
        slices = _rows_of_pairs(table)
        # Arrow's arrays are read-only, which is another type for compiled code: it would be compiled a second time.
        query_row, train_row, distance, second = (
            np.require(table[name].to_numpy(), requirements="W") for name in _COLUMNS
        )
        found = []
        for pair, radius in zip(pairs, radius_m, strict=True):
            at = slices.get((pair.query, pair.train), slice(0, 0))
            found.append(Matches(query_row[at], train_row[at], distance[at], second[at], radius))
        return cls(pairs, found)

    def table(self, inlier: Sequence[npt.NDArray[np.bool_]] | None = None, *, inliers_only: bool = False) -> pa.Table:
        """Return the matches as a table with `MATCH_SCHEMA`.

        Parameters
        ----------
        inlier
            For every pair, which matches are inliers; None: not known, the column is null.
        inliers_only
            Whether to leave out all other matches.
        """
        columns = [np.concatenate([getattr(part, name) for part in self.matches]) for name in _COLUMNS]
        counts = [len(part.query_row) for part in self.matches]
        names = [_repeated([getattr(pair, side) for pair in self.pairs], counts) for side in ("query", "train")]
        flags = pa.nulls(sum(counts), pa.bool_()) if inlier is None else pa.array(np.concatenate(inlier))
        table = pa.Table.from_arrays([*names, *map(pa.array, columns), flags], schema=MATCH_SCHEMA)
        if inliers_only:
            table = table.filter(table["inlier"])
        return table


def _repeated(names: Sequence[str], counts: Sequence[int]) -> pa.DictionaryArray:
    """Return a dictionary column with every name repeated."""
    distinct = {name: number for number, name in enumerate(dict.fromkeys(names))}
    codes = np.repeat(np.array([distinct[name] for name in names], np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(distinct), pa.string()))


def _rows_of_pairs(matches: pa.Table) -> dict[tuple[str, str], slice]:
    """Return the rows of each pair in a table of matches that is grouped by pair."""
    codes = [matches[side].combine_chunks().indices.to_numpy() for side in ("query", "train")]
    names = [matches[side].combine_chunks().dictionary.to_pylist() for side in ("query", "train")]
    if not len(matches):
        return {}
    starts = np.flatnonzero(np.r_[True, (np.diff(codes[0]) != 0) | (np.diff(codes[1]) != 0)])
    ends = np.r_[starts[1:], len(matches)]
    return {
        (names[0][codes[0][start]], names[1][codes[1][start]]): slice(int(start), int(end))
        for start, end in zip(starts, ends, strict=True)
    }
