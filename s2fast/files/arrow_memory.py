"""Parquet files read from memory that belongs to Arrow.

Arrow's threads release what they have read when they get to it, which may be when Python is ending. Memory of Python,
or one of its open files, is released under the interpreter's lock; before Python 3.14 a thread that waits for the lock
of an interpreter that has ended is unwound, and C++ then aborts the process (SIGABRT).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def arrow_file(content: bytes | bytearray) -> pa.BufferReader:
    """Return a file's content as a file for Arrow's readers, copied to memory of Arrow's own."""
    buffer = pa.allocate_buffer(len(content))
    np.frombuffer(buffer, np.uint8)[:] = np.frombuffer(content, np.uint8)
    return pa.BufferReader(buffer)
