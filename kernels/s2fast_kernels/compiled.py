"""numba.njit with an on-disk cache of compiled kernels, if a folder for the cache is writable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

log = logging.getLogger(__name__)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with `numba.njit`, cached on disk, or only in memory if no folder for the cache is writable.

    Parameters
    ----------
    **options
        Options of `numba.njit` except ``cache``.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba finds no writable folder
            _warn_uncached()
            return numba.njit(**options)(function)

    return compiled


@cache
def _warn_uncached() -> None:
    log.warning(
        "numba finds no writable folder to cache compiled kernels: every process compiles them again, which takes up "
        "to a minute; set NUMBA_CACHE_DIR to a writable folder"
    )
