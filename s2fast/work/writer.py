"""Write results in a thread, while the next ones are computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock


class Writer:
    """Calls functions one after another in one thread; those after an error are not called."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="s2fast-writer")
        self._pending: deque[Future[object]] = deque()
        self._adding = Lock()

    def submit(self, function: Callable[[], object]) -> None:
        """Call a function after all earlier ones."""
        with self._adding:
            before = list(self._pending)

            def call() -> None:
                for earlier in before:
                    earlier.result()
                function()

            self._pending.append(self._pool.submit(call))

    def wait(self) -> None:
        """Return when all functions have been called; raise the first one's error.

        One thread waits; others may submit meanwhile.
        """
        while self._pending:
            self._pending[0].result()
            with self._adding:
                self._pending.popleft()

    def close(self) -> None:
        """Wait as `wait` does, and end the thread."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()
