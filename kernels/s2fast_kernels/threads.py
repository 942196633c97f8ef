"""Call a function for many items in threads, where most of the time is spent in code that releases Python's GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the function's results in the order of the items, computed in as many threads as numba may use.

    Parameters
    ----------
    function
        Called in several threads at once, this one among them.
    items
        Each is one call.
    """
    every = list(items)
    # Numba is not asked for nothing: a search within a thread has a single item.
    threads = min(threads_here(), len(every)) if len(every) > 1 else 1
    if threads == 1:
        return [function(item) for item in every]
    results: list[Any] = [None] * len(every)
    numbers = iter(range(len(every)))  # each thread takes the next number: a future per item would take longer

    def work() -> None:
        try:
            for number in numbers:
                results[number] = function(every[number])
        except BaseException:
            for _ in numbers:  # the other threads end too
                pass
            raise

    # Threads of this call alone: a fork of this process would have a pool that is kept, but none of its threads.
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="s2fast-kernels") as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()
    return results


def threads_here() -> int:
    """Return the number of threads that calls from this thread use; a new thread begins with all."""
    import numba  # when used: who only reads a run folder needs no compiler

    return int(numba.get_num_threads())


@contextmanager
def at_most_threads(threads: int) -> Iterator[None]:
    """Limit the threads that calls from this thread use."""
    import numba

    before = threads_here()
    if before <= threads:
        yield
        return
    numba.set_num_threads(threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)
