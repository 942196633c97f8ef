"""Results of pairs in files: one part a block of pairs, its rows beside its matches, each row with its content key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from s2fast.keys import content_key

if TYPE_CHECKING:
    from s2fast.store import RunFolder

_READERS = 16
"""Parts read at once: an object store answers each after a while, but many together."""


class Parts:
    """What one stage found for pairs, in two folders.

    Parameters
    ----------
    folder
        The run folder.
    rows
        Its folder of tables with one row a pair, among them ``query``, ``train`` and ``key``.
    matches
        Its folder of tables with one row a match, under the same names.
    """

    def __init__(self, folder: RunFolder, rows: str, matches: str) -> None:
        self._folder, self._rows, self._matches = folder, rows, matches

    def write(self, part: str, rows: pa.Table, matches: pa.Table | None) -> None:
        """Write one block of pairs: its matches, then the rows that say it is whole."""
        if matches is not None:
            self._folder.write_table(f"{self._matches}/{part}.parquet", matches)
        self._folder.write_table(f"{self._rows}/{part}.parquet", rows)

    def rows(self) -> pd.DataFrame:
        """Read the rows of all blocks of pairs, with the block's name as column ``part``."""
        names = self._folder.names(self._rows)
        with ThreadPoolExecutor(_READERS) as readers:
            tables = readers.map(lambda name: self._folder.read_table(f"{self._rows}/{name}"), names)
            frames = [table.to_pandas().assign(part=_stem(name)) for name, table in zip(names, tables, strict=True)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"key": [], "part": []}, dtype=str)

    def whole(self, *, with_matches: bool) -> pd.DataFrame:
        """Read the rows of the blocks of pairs that are whole: `rows`, less those whose matches are missing."""
        found = self.rows()
        if not with_matches:
            return found
        return found[found["part"].isin([_stem(name) for name in self._folder.names(self._matches)])]

    def read(self, parts: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Read the rows, and the matches, of some blocks one after another."""
        rows = [self._folder.read_table(f"{self._rows}/{part}.parquet") for part in parts]
        matches = [self._folder.read_table(f"{self._matches}/{part}.parquet") for part in parts]
        return pa.concat_tables(rows), pa.concat_tables(matches).unify_dictionaries()

    def match_tables(self) -> Iterator[pd.DataFrame]:
        """Read the matches of one block of pairs after another."""
        for name in self._folder.names(self._matches):
            yield self._folder.read_table(f"{self._matches}/{name}").to_pandas()

    def matches(self, query: str, train: str) -> pd.DataFrame:
        """Read the matches of one pair."""
        rows = self.rows()
        holding = rows["part"][(rows["query"] == query) & (rows["train"] == train)].tolist() if len(rows) else []
        try:
            table = self._folder.read_table(f"{self._matches}/{holding[0]}.parquet").to_pandas()
        except (FileNotFoundError, IndexError):
            return pd.DataFrame({"query": [], "train": []}, dtype=str)
        of_pair: pd.DataFrame = table[(table["query"] == query) & (table["train"] == train)]
        return of_pair.astype({"query": str, "train": str}).reset_index(drop=True)

    def settle(self, wanted: set[str], *, with_matches: bool) -> None:
        """Leave every wanted pair in one block, and nothing else: not other settings' pairs, nor a dead run's matches.

        Parameters
        ----------
        wanted
            Keys of the run's pairs; all of them are there.
        with_matches
            Whether they have matches.
        """
        blocks = {
            str(part): rows["key"].tolist() for part, rows in self.whole(with_matches=with_matches).groupby("part")
        }
        kept: set[str] = set()
        held: set[str] = set()
        mixed = []
        for part, keys in blocks.items():
            if wanted.issuperset(keys) and held.isdisjoint(keys):
                kept.add(part)
                held.update(keys)
            else:
                mixed.append(part)
        for part in mixed:
            keys = [key for key in blocks[part] if key in wanted and key not in held]
            if keys:
                kept.add(self._copy(part, keys, with_matches=with_matches))
                held.update(keys)
        # Rows before matches: rows whose matches are gone must not be found.
        for kind in (self._rows, self._matches):
            for name in self._folder.names(kind):
                if _stem(name) not in kept or (kind == self._matches and not with_matches):
                    self._folder.remove(f"{kind}/{name}")

    def _copy(self, part: str, keys: list[str], *, with_matches: bool) -> str:
        """Write a block of some of another's pairs; return its name."""
        rows = self._folder.read_table(f"{self._rows}/{part}.parquet")
        rows = rows.filter(pc.is_in(rows["key"], pa.array(keys, pa.string())))
        matches = None
        if with_matches:
            names = set(zip(rows["query"].to_pylist(), rows["train"].to_pylist(), strict=True))
            matches = self._folder.read_table(f"{self._matches}/{part}.parquet")
            of_pair = zip(matches["query"].to_pylist(), matches["train"].to_pylist(), strict=True)
            matches = matches.filter(pa.array([pair in names for pair in of_pair], pa.bool_()))
        copy = part_name(keys)
        self.write(copy, rows, matches)
        return copy


def part_name(keys: list[str]) -> str:
    """Name a block of pairs by what is in it: the same pairs are the same file, other pairs overwrite nothing."""
    return content_key("part", keys)


def _stem(name: str) -> str:
    return name.removesuffix(".parquet")
