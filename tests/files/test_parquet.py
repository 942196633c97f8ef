"""Parquet files of strangers: what their pages are decoded to is known before it is done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2fast.files import parquet
from s2fast.files.arrow_memory import arrow_file
from s2fast.files.parquet import check_size, read_table
from s2fast.files.parquet_pages import pages_of

ROWS = 5000
RNG = np.random.default_rng(0)
POINTS = pa.StructArray.from_arrays([pa.array(RNG.random(ROWS)), pa.array(RNG.random(ROWS))], ["x", "y"])
TABLE = pa.table(
    {
        "number": pa.array(RNG.integers(0, 9, ROWS)),
        "text": pa.array([f"text {value}" * (value % 9) for value in RNG.integers(0, 999, ROWS)]),
        "kind": pa.array(["a", None] * (ROWS // 2)).dictionary_encode(),
        "truth": pa.array(RNG.random(ROWS) < 0.5),
        "fixed": pa.array([bytes(7)] * ROWS, pa.binary(7)),
        "rings": pa.ListArray.from_arrays(pa.array(np.arange(0, ROWS + 1)), POINTS),
        "time": pa.array(np.arange(ROWS), pa.timestamp("us", "UTC")),
    }
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"compression": "zstd"},
    {"compression": "brotli", "use_dictionary": False},
    {"compression": "lz4", "data_page_version": "2.0", "data_page_size": 2000},
    {"compression": "gzip", "row_group_size": 700, "write_page_checksum": True},
    {"compression": "none", "write_page_index": True, "use_dictionary": False},
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pages_are_those_that_arrow_has_written(tmp_path: Path, options: dict[str, Any]) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet", **options)
    data, metadata = memoryview((tmp_path / "a.parquet").read_bytes()), pq.read_metadata(tmp_path / "a.parquet")
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            pages = list(pages_of(data, column))
            of_dictionary = pages.pop(0) if column.has_dictionary_page else None
            assert sum(page.values for page in pages) == column.num_values
            pages += [of_dictionary] if of_dictionary else []
            headers = column.total_uncompressed_size - sum(page.decoded_bytes for page in pages)
            assert 0 < headers < 400 * len(pages)
    for file in (tmp_path / "a.parquet", arrow_file(bytes(data))):
        assert read_table(file, ["number", "text", "fixed"]).equals(
            pq.read_table(tmp_path / "a.parquet", columns=["number", "text", "fixed"])
        )
        check_size(file)


BIG = 1 << 20


def rings() -> pa.Array:
    """Return a polygon of a million corners twice."""
    numbers = pa.array(np.zeros(BIG))
    polygons = pa.ListArray.from_arrays([0, BIG], pa.StructArray.from_arrays([numbers, numbers], ["x", "y"]))
    return pa.concat_arrays([polygons] * 2)


BOMBS: dict[str, Callable[[], pa.Table]] = {
    "one value of fixed size": lambda: pa.table({"a": pa.array([bytes(BIG)] * 20, pa.binary(BIG))}),
    "values that differ": lambda: pa.table({"a": pa.array([bytes([value]) * BIG for value in range(20)])}),
    "lists of numbers": lambda: pa.table({"a": rings()}),
}
"""Tables that take 20 MB in memory, and a few kB as files."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_what_is_decoded_to_too_much_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, table = tmp_path / "a.parquet", BOMBS[name]()
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=2 * BIG)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(parquet, "_MAX_BYTES", 16 << 20)
    for file in (path, arrow_file(path.read_bytes())):
        with pytest.raises(ValueError, match="it would take more than 16 MiB of memory"):
            read_table(file)
    monkeypatch.setattr(parquet, "_MAX_BYTES", 64 << 20)
    assert read_table(path).equals(table)


@pytest.mark.parametrize(
    "column",
    [pa.array([["a"]]), pa.array([{"x": "a"}]), pa.array(["a"], pa.string_view())],
    ids=lambda column: str(column.type),
)
def test_texts_that_could_not_be_counted_are_refused(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"a": column, "b": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="its column a.* has texts of a kind that is not read"):
        read_table(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", ["b"]).num_rows == 1


def test_damaged_headers_of_pages_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path)
    data, metadata = path.read_bytes(), pq.read_metadata(path)
    column = metadata.row_group(0).column(1)
    at = column.dictionary_page_offset
    with pytest.raises(ValueError, match="outside the file"):
        list(pages_of(memoryview(data[:at]), column))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(data)
        for place in rng.integers(at, at + 40, rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        with suppress(ValueError):  # of no other kind
            assert all(page.decoded_bytes >= 0 and page.values >= 0 for page in pages_of(memoryview(damaged), column))
