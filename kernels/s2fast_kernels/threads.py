"""Call a function for many items in threads, where most of the time is spent in code that releases Python's GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the function's results in the order of the items, computed in as many threads as numba may use.

    Parameters
    ----------
    function
        Called in several threads at once.
    items
        Each is one call.
    """
    every, threads = list(items), int(numba.get_num_threads())
    if threads == 1 or len(every) < 2:
        return [function(item) for item in every]
    # Threads of this call alone: a fork of this process would have a pool that is kept, but none of its threads.
    with ThreadPoolExecutor(threads, thread_name_prefix="s2fast-kernels") as pool:
        return list(pool.map(function, every))
