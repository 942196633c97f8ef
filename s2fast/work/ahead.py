"""Run the first part of units of work in other threads, ahead of the second part."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Unit = TypeVar("Unit")
Result = TypeVar("Result")

THREAD = "s2fast-ahead"
"""Beginning of the threads' names."""


def ahead(
    units: Iterable[Unit], function: Callable[[Unit], Result], depth: int, threads: int = 1
) -> Iterator[tuple[Unit, Result]]:
    """Yield units with the results of a function, which is called in other threads for at most `depth` later units.

    An error of the function is raised when its unit is reached; the function is not called for later units.

    Examples
    --------
    >>> list(ahead("ab", str.upper, 3))
    [('a', 'A'), ('b', 'B')]
    """
    remaining = iter(units)
    waiting: deque[tuple[Unit, Future[Result]]] = deque()
    with ThreadPoolExecutor(threads, THREAD) as pool:
        try:
            while True:
                for unit in islice(remaining, depth + 1 - len(waiting)):
                    waiting.append((unit, pool.submit(function, unit)))
                if not waiting:
                    return
                unit, future = waiting.popleft()
                yield unit, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
