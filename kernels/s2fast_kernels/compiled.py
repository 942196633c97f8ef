"""numba.njit for kernels that keep their machine code, wherever there is a place to keep it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

log = logging.getLogger(__name__)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function as `numba.njit` does, cached on disk; only in memory where no cache can be written.

    Parameters
    ----------
    **options
        Those of `numba.njit`, without ``cache``.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba finds no folder to write
            _tell()
            return numba.njit(**options)(function)

    return compiled


@cache
def _tell() -> None:
    log.warning(
        "numba finds no folder to keep compiled kernels in: every process compiles them anew, which takes up to a "
        "minute; set NUMBA_CACHE_DIR to a folder that may be written"
    )
