"""Parquet files of strangers: a value that is stored once may stand in a million rows of a file of a few kilobytes."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s2fast.files.parquet_pages import pages_of

_MAX_BYTES = 4 << 30
"""Largest table that is read, in memory."""

_WIDE_BYTES = 8
"""Bytes of the widest number."""

_SHOWN = 40
"""Characters of a column's name in a message."""


def read_table(file: Path | pa.NativeFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, or some of its columns.

    Texts and binary values are read as they are stored, each once, and counted before they are repeated.

    Raises
    ------
    ValueError
        The table would be larger than 4 GiB; see `check_size`.
    pyarrow.ArrowException, OSError
        The file is damaged.
    """
    schema = check_size(file, columns)
    wanted = schema.names if columns is None else list(columns)
    repeated = [name for name in wanted if _is_text(schema.field(name).type)]
    table = pq.read_table(file, columns=wanted, read_dictionary=repeated, partitioning=None)
    _check(table.nbytes + sum(_whole_bytes(chunk) for name in repeated for chunk in table.column(name).chunks))
    return table.cast(pa.schema([schema.field(name) for name in wanted], schema.metadata))


def check_size(file: Path | pa.NativeFile, columns: Sequence[str] | None = None) -> pa.Schema:
    """Check what a Parquet file, or some of its columns, would be decoded to; return the schema.

    Of texts and binary values each is counted once: `read_table` counts how often they occur.

    Raises
    ------
    ValueError
        The table would be larger than 4 GiB, or has texts within lists or structures.
    pyarrow.ArrowException, OSError
        The file is damaged.
    """
    described = pq.ParquetFile(file)
    schema, metadata = described.schema_arrow, described.metadata
    wanted = schema.names if columns is None else list(columns)
    size = _WIDE_BYTES * len(wanted) * metadata.num_rows
    names = set(wanted)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    with _content(file) as data:
        for number in range(metadata.num_columns):
            column = metadata.schema.column(number)
            path, kind = column.path, column.physical_type
            name = path if path in names else next((name for name in wanted if path.startswith(f"{name}.")), None)
            if name is None:
                continue
            if kind == "BYTE_ARRAY" and not (path == name and _is_text(schema.field(name).type)):
                raise ValueError(f"its column {path[:_SHOWN]} has texts of a kind that is not read")
            width = max(_WIDE_BYTES, column.length) if kind == "FIXED_LEN_BYTE_ARRAY" else _WIDE_BYTES
            for group in groups:
                for page in pages_of(data, group.column(number)):
                    size += max(page.decoded_bytes, width * page.values)
                    _check(size)
    return schema


@contextmanager
def _content(file: Path | pa.NativeFile) -> Iterator[memoryview]:
    """Yield the content of a file, and return to its beginning."""
    if isinstance(file, pa.NativeFile):
        file.seek(0)
        yield memoryview(file.read_buffer()).cast("B")
        file.seek(0)
        return
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        yield data


def _check(size: int) -> None:
    if size > _MAX_BYTES:
        raise ValueError(f"it would take more than {_MAX_BYTES >> 20} MiB of memory")


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    kinds = types.is_string, types.is_binary, types.is_large_string, types.is_large_binary
    return any(is_kind(kind) for is_kind in kinds)


def _whole_bytes(chunk: pa.Array) -> int:
    """Return the bytes of a chunk's values when each is in memory as often as it occurs."""
    if not pa.types.is_dictionary(chunk.type):
        return int(chunk.nbytes)
    lengths = pc.binary_length(chunk.dictionary).to_numpy(zero_copy_only=False)
    return int(lengths[chunk.indices.drop_null().to_numpy(zero_copy_only=False)].sum(dtype=np.int64))
