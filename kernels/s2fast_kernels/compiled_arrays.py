"""New arrays for compiled functions: numba compiles its own `np.empty` and `np.zeros` again in every function.

Each function here is compiled once per type. A count that is a constant must be an `np.int64`, because numba takes a
plain constant for a type of its own. The same holds for a constant argument of any compiled function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit


@njit(nogil=True)
def empty(count: int, dtype: Any) -> npt.NDArray[Any]:
    """Return an array of unknown values: (count,)."""
    return np.empty(count, dtype)


@njit(nogil=True)
def zeros(count: int, dtype: Any) -> npt.NDArray[Any]:
    """Return an array of zeros: (count,)."""
    made = np.empty(count, dtype)
    for i in range(count):
        made[i] = 0
    return made


@njit(nogil=True)
def filled(count: int, value: int, dtype: Any) -> npt.NDArray[Any]:
    """Return an array of one value: (count,)."""
    made = np.empty(count, dtype)
    for i in range(count):
        made[i] = value
    return made


@njit(nogil=True)
def empty_table(rows: int, columns: int, dtype: Any) -> npt.NDArray[Any]:
    """Return an array of unknown values: (rows, columns)."""
    return np.empty((rows, columns), dtype)


@njit(nogil=True)
def zeros_table(rows: int, columns: int, dtype: Any) -> npt.NDArray[Any]:
    """Return an array of zeros: (rows, columns)."""
    made = np.empty((rows, columns), dtype)
    for row in range(rows):
        for column in range(columns):
            made[row, column] = 0
    return made


@njit(nogil=True)
def octets_of(flags: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return bytes as words of eight: the same memory."""
    return flags.view(np.uint64)
