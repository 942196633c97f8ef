"""Results of pairs in files: one part a block of pairs, its rows beside its matches, each row with its content key.

A part's name carries the checksums of its files, first that of the rows, then that of the matches if it has any: what
is read is what was written, and rows whose matches are lost are known.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s2fast.errors import DamageError, RunFolderError
from s2fast.files.storage import Stamp
from s2fast.folder.checksums import checksum
from s2fast.folder.content_key import content_key

if TYPE_CHECKING:
    from s2fast.folder.run_folder import RunFolder

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

    def write(self, part: str, rows: pa.Table, matches: pa.Table | None) -> str:
        """Write one block of pairs: its matches, then the rows that say it is whole; return its full name."""
        data = [parquet(table) for table in (rows, matches) if table is not None]
        name = "-".join([part, *(f"{checksum(content):08x}" for content in data)])
        for kind, content in reversed([*zip(self._kinds, data, strict=False)]):
            self._folder.write(f"{kind}/{name}.parquet", content)
        return name

    def rows(self) -> pd.DataFrame:
        """Read the rows of all blocks of pairs, with the block's name as column ``part``."""
        parts = self._parts()
        with ThreadPoolExecutor(_READERS) as readers:
            tables = readers.map(lambda part: self._read(self._rows, part), parts)
            frames = [table.to_pandas().assign(part=part) for part, table in zip(parts, tables, strict=True)]
        none = pd.DataFrame({name: [] for name in ("query", "train", "key", "part")}, dtype=str)
        found: pd.DataFrame = pd.concat(frames, ignore_index=True) if frames else none
        return found

    def whole(self, *, with_matches: bool) -> pd.DataFrame:
        """Read the rows of the blocks of pairs that are whole: `rows`, less those whose matches are missing."""
        found = self.rows()
        if not with_matches:
            return found
        return found[found["part"].isin([_stem(name) for name in self._folder.names(self._matches)])]

    def read(self, parts: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Read the rows, and the matches, of some blocks one after another."""
        rows, matches = ([self._read(kind, part) for part in parts] for kind in self._kinds)
        return pa.concat_tables(rows), pa.concat_tables(matches).unify_dictionaries()

    def match_tables(self) -> Iterator[pd.DataFrame]:
        """Read the matches of one block of pairs after another."""
        for part in filter(_has_matches, self._parts()):
            yield self._read(self._matches, part).to_pandas()

    def matches(self, query: str, train: str) -> pd.DataFrame:
        """Read the matches of one pair; none where none are kept.

        Raises
        ------
        RunFolderError
            The pair has no result, or its matches are damaged.
        """
        rows = self.rows()
        holding = rows["part"][(rows["query"] == query) & (rows["train"] == train)].tolist()
        if not holding:
            raise RunFolderError(f"{self._folder} has no result of {query} and {train}: run it again")
        if not _has_matches(holding[0]):
            return pd.DataFrame({"query": [], "train": []}, dtype=str)
        table = self._read(self._matches, holding[0]).to_pandas()
        of_pair: pd.DataFrame = table[(table["query"] == query) & (table["train"] == train)]
        return of_pair.astype({"query": str, "train": str}).reset_index(drop=True)

    def damage(self, stamps: Mapping[str, Stamp], *, quick: bool) -> Iterator[DamageError]:
        """Read all parts and yield what is not as it was written; see `s2fast.folder.check.damage`."""
        for part in self._parts():
            rows, matches = (stamps.get(f"{kind}/{part}.parquet") for kind in self._kinds)
            # Matches are written before their rows.
            trusted = quick and rows and matches and matches.written <= rows.written
            for kind in self._kinds[: 1 if trusted or not _has_matches(part) else 2]:
                try:
                    self._content(kind, part)
                except DamageError as error:
                    yield error

    def missing(self, pairs: int) -> Iterator[DamageError]:
        """Yield an error if a finished run of so many pairs has lost the rows of some."""
        try:
            lost = pairs - len(self.rows())
        except DamageError:
            return  # told by `damage`
        if lost:
            yield self._folder.damaged(self._rows, f"{lost} of {pairs} pairs are missing", "")

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
        for kind in self._kinds:
            for name in self._folder.names(kind):
                if _stem(name) not in kept or (kind == self._matches and not with_matches):
                    self._folder.remove(f"{kind}/{name}")

    def _copy(self, part: str, keys: list[str], *, with_matches: bool) -> str:
        """Write a block of some of another's pairs; return its name."""
        rows = self._read(self._rows, part)
        rows = rows.filter(pc.is_in(rows["key"], pa.array(keys, pa.string())))
        matches = None
        if with_matches:
            names = set(zip(rows["query"].to_pylist(), rows["train"].to_pylist(), strict=True))
            matches = self._read(self._matches, part)
            of_pair = zip(matches["query"].to_pylist(), matches["train"].to_pylist(), strict=True)
            matches = matches.filter(pa.array([pair in names for pair in of_pair], pa.bool_()))
        return self.write(part_name(keys), rows, matches)

    @property
    def _kinds(self) -> tuple[str, str]:
        """Folders, in the order of the checksums in a part's name."""
        return self._rows, self._matches

    def _parts(self) -> list[str]:
        return [_stem(name) for name in self._folder.names(self._rows) if name.endswith(".parquet")]

    def _read(self, kind: str, part: str) -> pa.Table:
        return pq.read_table(pa.BufferReader(self._content(kind, part)))

    def _content(self, kind: str, part: str) -> bytes:
        noted = dict(zip(self._kinds, _sums(part), strict=False)).get(kind)
        return self._folder.read_checked(f"{kind}/{part}.parquet", noted, f"{self._rows}/{part}.parquet")


def parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def part_name(keys: list[str]) -> str:
    """Name a block of pairs by what is in it: the same pairs are the same file, other pairs overwrite nothing."""
    return content_key("part", keys)


def _stem(name: str) -> str:
    return name.removesuffix(".parquet")


def _sums(part: str) -> list[int]:
    """Return the checksums a part's name carries; none if it is no part's name."""
    try:
        return [int(text, 16) for text in part.split("-")[1:]]
    except ValueError:
        return []


def _has_matches(part: str) -> bool:
    return len(_sums(part)) > 1
