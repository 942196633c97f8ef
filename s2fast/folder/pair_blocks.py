"""Store pair results in blocks: each block has one file of rows, and one of matches if matches are kept.

A block's name contains the checksums of its files: first that of the rows, then that of the matches. Readers verify
them, so damage raises an error, and rows whose matches are missing are detected.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s2fast.errors import DamageError, RunFolderError
from s2fast.files.arrow_memory import arrow_file
from s2fast.files.parquet import read_table
from s2fast.files.storage import Stamp
from s2fast.folder.checksums import checksum
from s2fast.folder.content_key import content_key

_READERS = 16
"""Blocks read concurrently, to hide the latency of an object store."""


_REPEATED = ("query", "train", "distance", "second")
"""Columns of matches with few distinct values, stored with a dictionary."""

_ROWS = ("query_row", "train_row")
"""Columns of matches that ascend within a pair, or nearly do so, stored as differences."""


class CheckedFiles(Protocol):
    """Files with checksums; implemented by `s2fast.folder.run_folder.RunFolder`."""

    def write(self, name: str, data: bytes) -> int:
        """Write a file atomically; return its checksum."""

    def read_checked(self, name: str, recorded: int | None, seal: str) -> bytes:
        """Read a file; raise DamageError if its checksum differs from the recorded one."""

    def names(self, folder: str = "") -> list[str]:
        """List the files directly in a folder, sorted."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def damaged(self, name: str, why: str, seal: str) -> DamageError:
        """Return the error for a damaged file."""


class PairBlocks:
    """The pair results of one stage, in two folders.

    Parameters
    ----------
    files
        The run folder.
    rows
        Subfolder of tables with one row per pair; their columns include ``query``, ``train`` and ``key``, the content
        key.
    matches
        Subfolder of tables with one row per match, under the same file names.
    """

    def __init__(self, files: CheckedFiles, rows: str, matches: str) -> None:
        self._files, self._rows, self._matches = files, rows, matches
        self._keys: dict[str, list[str]] = {}
        """Content keys of the pairs of blocks read or written before; a block's name implies its content."""
        self._listed: tuple[list[str], dict[tuple[str, str], str]] = [], {}
        """Blocks when they were listed, and the block of each pair."""

    def write(self, keys: Sequence[str], rows: pa.Table, matches: pa.Table | None) -> str:
        """Write one block of pairs, matches before rows; return the block's name.

        Parameters
        ----------
        keys
            Content keys of the pairs. The name is derived from them, so writing the same pairs again is idempotent.
        rows, matches
            The two tables; `matches` is None if no matches are kept.
        """
        data = [parquet(rows), *([] if matches is None else [_parquet_of_matches(matches)])]
        # "part" keeps the names equal to those in earlier run folders.
        name = "-".join([content_key("part", list(keys)), *(f"{checksum(content):08x}" for content in data)])
        for kind, content in reversed([*zip(self._kinds, data, strict=False)]):
            self._files.write(f"{kind}/{name}.parquet", content)
        self._keys[name] = list(keys)
        return name

    def rows(self) -> pd.DataFrame:
        """Read the rows of all blocks, with the block's name as column ``block``."""
        blocks = self._blocks()
        tables = self._read_all(blocks)
        if not tables:
            return pd.DataFrame({name: [] for name in ("query", "train", "key", "block")}, dtype=str)
        rows = pa.concat_tables(tables, promote_options="default")
        names = pa.DictionaryArray.from_arrays(np.repeat(np.arange(len(blocks)), list(map(len, tables))), blocks)
        found: pd.DataFrame = rows.append_column("block", names.cast(pa.string())).to_pandas()
        return found

    def complete_keys(self, *, with_matches: bool) -> dict[str, list[str]]:
        """Return the content keys of the pairs of each complete block, by the block's name.

        `with_matches`, a block is complete only if its matches exist. Blocks are read once.
        """
        blocks = self._blocks()
        unread = [block for block in blocks if block not in self._keys]
        for block, rows in zip(unread, self._read_all(unread, ["key"]), strict=True):
            self._keys[block] = rows["key"].to_pylist()
        stored = {_stem(name) for name in self._files.names(self._matches)} if with_matches else set(blocks)
        return {block: self._keys[block] for block in blocks if block in stored}

    def read(self, blocks: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Read the rows and the matches of blocks, concatenated in the given order."""
        rows, matches = ([self._read(kind, block) for block in blocks] for kind in self._kinds)
        return pa.concat_tables(rows), pa.concat_tables(matches).unify_dictionaries()

    def match_tables(self) -> Iterator[pd.DataFrame]:
        """Yield the matches of each block."""
        for block in filter(_has_matches, self._blocks()):
            yield self._read(self._matches, block).to_pandas()

    def match_table(self, block: str) -> pa.Table | None:
        """Read the matches of one block; None if no matches are kept."""
        return self._read(self._matches, block) if _has_matches(block) else None

    def matches(self, query: str, train: str) -> pd.DataFrame:
        """Read the matches of one pair; empty if no matches are kept.

        Raises
        ------
        RunFolderError
            The pair has no result, or its matches are damaged.
        """
        block = self._block_of(query, train)
        if block is None:
            raise RunFolderError(f"{self._files} has no result for {query} and {train}: run again")
        if not _has_matches(block):
            return pd.DataFrame({"query": [], "train": []}, dtype=str)
        table = self._read(self._matches, block)
        of_pair: pd.DataFrame = table.filter(
            (pc.field("query") == query) & (pc.field("train") == train)  # before pandas: a block has many pairs
        ).to_pandas()
        return of_pair.astype({"query": str, "train": str})

    def _block_of(self, query: str, train: str) -> str | None:
        """Return the name of the block that holds a pair; the rows of all blocks are read once."""
        blocks = self._blocks()
        if blocks != self._listed[0]:
            block_of: dict[tuple[str, str], str] = {}
            for block, rows in zip(blocks, self._read_all(blocks, ["query", "train"]), strict=True):
                for of_pair in zip(rows["query"].to_pylist(), rows["train"].to_pylist(), strict=True):
                    block_of.setdefault(of_pair, block)
            self._listed = blocks, block_of
        return self._listed[1].get((query, train))

    def find_damage(self, files: Mapping[str, Stamp], *, quick: bool) -> Iterator[DamageError]:
        """Read all blocks and yield an error per damaged file; see `s2fast.folder.check.find_damage`."""
        for block in self._blocks():
            rows, matches = (files.get(f"{kind}/{block}.parquet") for kind in self._kinds)
            # Matches are written before their rows: older matches have not changed since.
            trusted = quick and rows and matches and matches.written <= rows.written
            for kind in self._kinds[: 1 if trusted or not _has_matches(block) else 2]:
                try:
                    self._content(kind, block)
                except DamageError as error:
                    yield error

    def find_missing(self, pairs: int) -> Iterator[DamageError]:
        """Yield an error if a finished run has fewer rows than `pairs`."""
        try:
            lost = pairs - len(self.rows())
        except DamageError:
            return  # reported by `find_damage`
        if lost:
            yield self._files.damaged(self._rows, f"{lost} of {pairs} pairs are missing", "")

    def remove_stale(self, wanted: set[str], *, with_matches: bool) -> None:
        """Remove stale and duplicate rows; keep each wanted pair in exactly one block.

        Stale are pairs of other settings, and matches whose rows were never written because the run died.

        Parameters
        ----------
        wanted
            Content keys of the run's pairs, all of which are stored.
        with_matches
            Whether they have matches.
        """
        blocks = self.complete_keys(with_matches=with_matches)
        kept: set[str] = set()
        held: set[str] = set()
        mixed = []
        for block, keys in blocks.items():
            if wanted.issuperset(keys) and held.isdisjoint(keys):
                kept.add(block)
                held.update(keys)
            else:
                mixed.append(block)
        for block in mixed:
            keys = [key for key in blocks[block] if key in wanted and key not in held]
            if keys:
                kept.add(self._copy(block, keys, with_matches=with_matches))
                held.update(keys)
        # Rows are removed before matches, so that no reader finds rows without matches.
        for kind in self._kinds:
            for name in self._files.names(kind):
                if _stem(name) not in kept or (kind == self._matches and not with_matches):
                    self._files.remove(f"{kind}/{name}")

    def _copy(self, block: str, keys: list[str], *, with_matches: bool) -> str:
        """Copy the pairs with these keys into a new block; return its name."""
        rows = self._read(self._rows, block)
        rows = rows.filter(pc.is_in(rows["key"], pa.array(keys, pa.string())))
        matches = None
        if with_matches:
            names = set(zip(rows["query"].to_pylist(), rows["train"].to_pylist(), strict=True))
            matches = self._read(self._matches, block)
            of_pair = zip(matches["query"].to_pylist(), matches["train"].to_pylist(), strict=True)
            matches = matches.filter(pa.array([pair in names for pair in of_pair], pa.bool_()))
        return self.write(keys, rows, matches)

    @property
    def _kinds(self) -> tuple[str, str]:
        """The two subfolders, in the order of the checksums in a block's name."""
        return self._rows, self._matches

    def _blocks(self) -> list[str]:
        return [_stem(name) for name in self._files.names(self._rows) if name.endswith(".parquet")]

    def _read_all(self, blocks: Sequence[str], columns: list[str] | None = None) -> list[pa.Table]:
        """Read the rows of each of several blocks; `columns`: only these."""
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(lambda block: self._read(self._rows, block, columns), blocks))

    def _read(self, kind: str, block: str, columns: list[str] | None = None) -> pa.Table:
        content = self._content(kind, block)
        try:
            return read_table(arrow_file(content), columns)
        except (LookupError, ValueError, pa.ArrowException) as error:
            raise self._files.damaged(f"{kind}/{block}.parquet", str(error), f"{self._rows}/{block}.parquet") from error

    def _content(self, kind: str, block: str) -> bytes:
        recorded = dict(zip(self._kinds, _checksums(block), strict=False)).get(kind)
        return self._files.read_checked(f"{kind}/{block}.parquet", recorded, f"{self._rows}/{block}.parquet")


def parquet(table: pa.Table, **options: Any) -> bytes:
    """Return a table encoded as a Parquet file; `options` are those of `pyarrow.parquet.write_table`."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue()


def _parquet_of_matches(table: pa.Table) -> bytes:
    """Return matches encoded as a Parquet file: smaller, and faster to write, than with the defaults.

    It has no statistics, which take time and tell nothing of a single group of rows.
    """
    repeated, rows = ([name for name in names if name in table.column_names] for names in (_REPEATED, _ROWS))
    encoding = dict.fromkeys(rows, "DELTA_BINARY_PACKED")
    return parquet(table, use_dictionary=repeated, column_encoding=encoding, write_statistics=False)


def _stem(name: str) -> str:
    return name.removesuffix(".parquet")


def _checksums(block: str) -> list[int]:
    """Return the checksums in a block's name; empty if the name is malformed."""
    try:
        return [int(text, 16) for text in block.split("-")[1:]]
    except ValueError:
        return []


def _has_matches(block: str) -> bool:
    return len(_checksums(block)) > 1
