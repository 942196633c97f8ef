"""What a file of polygons says once and means many times: rows of an index, arcs of a topology, views of a database.

GDAL reads each as often as it is named: a file of a megabyte may fill the memory.
"""

from __future__ import annotations

import glob
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_BYTES = 4 << 30
"""Most bytes of all values of a layer of a database."""

_MOST_ROWS = 50_000_000
"""Most rows of a view."""

_MOST_VALUE_BYTES = 256 << 20
"""Largest value of a view."""

_MOST_VERTICES = 1 << 26
"""Most vertices of the shapes of a topology."""

_INDEX = "its index takes the same part of it for several rows: convert it, for example with ogr2ogr"

_SHX_HEADER_BYTES, _TABLX_HEADER_BYTES, _TABLX_ROWS, _TABLX_MOST_WIDTH = 100, 16, 1024, 6
"""Sizes of headers, rows of a block of the index of a geodatabase, and most bytes of where a row begins."""

_SHX_WORDS_AT = 6
"""Where the index of a shapefile says its size, both in words: of 4 bytes, and of 2."""

_TOPOLOGY = re.compile(rb'"type"\s*:\s*"Topology"')

_COMPUTED = re.compile(r"\b(AS\s*\(|DEFAULT\b)", re.IGNORECASE)
"""In the definition of a table: columns of which the file need not hold the values."""


@dataclass(frozen=True, slots=True)
class _Row:
    """How a row of a file says its size."""

    at: int
    """Where it stands, from the row's beginning [bytes]."""
    dtype: str
    """NumPy's name of its type."""
    unit: int
    """[bytes]"""


_SHP_ROW, _GDB_ROW = _Row(4, ">u4", 2), _Row(0, "<u4", 1)


def problem_of_shapefile(path: Path) -> str:
    """Return what is wrong with the index of a shapefile; empty: nothing."""
    for beside in path.parent.glob(f"{glob.escape(path.stem)}.[sS][hH][xX]"):
        words = np.fromfile(beside, ">u4", beside.stat().st_size // 4).astype(np.int64)
        declared = int(words[_SHX_WORDS_AT]) // 2 if len(words) > _SHX_WORDS_AT else 0  # the size of the file
        rows = words[_SHX_HEADER_BYTES // 4 : declared]
        begins, sizes = 2 * rows[: len(rows) // 2 * 2].reshape(-1, 2).T
        if _repeats(path, begins, sizes, _SHP_ROW):
            return _INDEX
    return ""


def problem_of_geodatabase(path: Path) -> str:
    """Return what is wrong with the indexes of a file geodatabase; empty: nothing.

    References
    ----------
    Rouault: FGDB specification, https://github.com/rouault/dump_gdbtable/wiki/FGDB-Spec
    """
    for index in path.glob("*.[gG][dD][bB][tT][aA][bB][lL][xX]"):
        table = next(path.glob(f"{glob.escape(index.stem)}.[gG][dD][bB][tT][aA][bB][lL][eE]"), None)
        data = np.fromfile(index, np.uint8)
        if table is None or len(data) < _TABLX_HEADER_BYTES:
            continue
        blocks, width = int(data[4:8].view("<u4")[0]), int(data[12])
        if not 1 <= width <= _TABLX_MOST_WIDTH:
            continue
        stored = data[_TABLX_HEADER_BYTES:][: blocks * _TABLX_ROWS * width]
        digits = stored[: len(stored) // width * width].reshape(-1, width)
        begins = np.zeros(len(digits), np.int64)
        begins.view(np.uint8).reshape(-1, 8)[:, :width] = digits
        if _repeats(table, begins[begins > 0], 0, _GDB_ROW):
            return _INDEX
    return ""


def _repeats(path: Path, begins: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64] | int, row: _Row) -> bool:
    """Return whether the rows of an index are larger together than the file that holds them.

    Parameters
    ----------
    path
        The file.
    begins
        (rows,) where each begins [bytes].
    sizes
        (rows,) the sizes that the index gives [bytes]; 0: it gives none.
    row
        How a row says its own.
    """
    held = path.stat().st_size
    if held < 4 or not len(begins):
        return False
    content = np.memmap(path, np.uint8, "r")
    at = np.clip(begins + row.at, 0, held - 4)
    own = content[at[:, None] + np.arange(4)].view(row.dtype)[:, 0].astype(np.int64) * row.unit
    return int(np.minimum(np.maximum(own, sizes), held).sum()) > held


def problem_of_topology(text: bytes) -> str:
    """Return what is wrong with a TopoJSON file, whose shapes are made of arcs; empty: nothing, or it is none."""
    if not _TOPOLOGY.search(text):
        return ""
    try:
        topology = json.loads(text)
        sizes = [len(arc) for arc in topology["arcs"]]
        number = 0
        for arc in _arcs(list(topology["objects"].values())):
            number += sizes[arc if arc >= 0 else ~arc]
            if number > _MOST_VERTICES:
                return f"its shapes have more than {_MOST_VERTICES} vertices: convert it, for example with ogr2ogr"
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        return ""  # GDAL says what is wrong
    return ""


def _arcs(shapes: Any) -> Iterator[int]:
    """Yield the numbers of the arcs of shapes, and of shapes in collections."""
    for shape in shapes:
        yield from _arcs(shape.get("geometries", ()))
        waiting = [shape.get("arcs", [])]
        while waiting:
            for one in waiting.pop():
                if isinstance(one, list):
                    waiting.append(one)
                else:
                    yield one


def problem_of_database(base: sqlite3.Connection) -> str:
    """Return which view of a database, or table with computed columns, is too large; empty: none.

    Raises
    ------
    sqlite3.Error
        One cannot be read.
    """
    made = base.execute("SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_VALUE_BYTES)
    for kind, name, sql in made:
        if name.startswith(("gpkg_", "rtree_", "sqlite_")) or (kind == "table" and not _COMPUTED.search(str(sql))):
            continue
        columns = [row[1] for row in base.execute(f"PRAGMA table_xinfo({_quoted(name)})")]
        sizes = " + ".join(f"TOTAL(LENGTH({_quoted(column)}))" for column in columns)
        try:
            rows, size = base.execute(
                f"SELECT COUNT(*), {sizes or 0} FROM (SELECT * FROM {_quoted(name)} LIMIT {_MOST_ROWS + 1})"  # noqa: S608  names are quoted
            ).fetchone()
        except sqlite3.Error as error:
            return f"its {kind} {name[:80]} cannot be counted ({error}): store its rows as a table"
        if rows > _MOST_ROWS or size > _MOST_BYTES:
            return f"its {kind} {name[:80]} has more than {_MOST_ROWS} rows or {_MOST_BYTES >> 20} MiB: store less"
    return ""


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
