"""Parquet files of strangers: a value that is stored once may stand in a million rows of a file of a few kilobytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_MAX_BYTES = 4 << 30
"""Largest table that is read, in memory."""

_WIDE_BYTES = 8
"""Bytes of the widest number."""


def read_table(file: Path | pa.NativeFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, or some of its columns.

    Texts and binary values are read as they are stored, each once, and counted before they are repeated.

    Raises
    ------
    ValueError
        The table would be larger than 4 GiB.
    pyarrow.ArrowException, OSError
        The file is damaged.
    """
    described = pq.ParquetFile(file)
    schema, metadata = described.schema_arrow, described.metadata
    wanted = schema.names if columns is None else list(columns)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    listed = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
    _check(_WIDE_BYTES * max(listed if columns is None else 0, len(wanted) * metadata.num_rows))
    repeated = [name for name in wanted if _is_text(schema.field(name).type)]
    if isinstance(file, pa.NativeFile):
        file.seek(0)
    table = pq.read_table(file, columns=wanted, read_dictionary=repeated, partitioning=None)
    _check(table.nbytes + sum(_whole_bytes(chunk) for name in repeated for chunk in table.column(name).chunks))
    return table.cast(pa.schema([schema.field(name) for name in wanted], schema.metadata))


def _check(size: int) -> None:
    if size > _MAX_BYTES:
        raise ValueError(f"it would take more than {_MAX_BYTES >> 20} MB of memory")


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
