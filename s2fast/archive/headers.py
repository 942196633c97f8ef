"""Read the headers of many scenes at once: on a server, each waits for several answers, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urlsplit

from s2fast.errors import SceneError
from s2fast.files.web import supports_ranges
from s2fast.model import Scene
from s2fast.work.ahead import ahead
from s2fast.work.library_warnings import no_warnings_of_threads
from s2fast_kernels.machine import available_cores

_ON_SERVERS = 16
"""Number of scenes on servers whose headers are read at once."""

_ON_DISK = 4
"""Most scenes on disk whose headers are read at once: what more threads do needs Python's lock."""

Header = TypeVar("Header")


def headers_at_once(scenes: Sequence[Scene], read: Callable[[Scene], Header]) -> Iterator[tuple[Scene, Header]]:
    """Yield scenes, in their order, with the results of a function that reads a scene's header; it runs in threads.

    An error of the function is raised when its scene is reached.
    """
    threads = _at_once(scenes)
    with no_warnings_of_threads():
        yield from ahead(scenes, read, threads - 1, threads)


def _at_once(scenes: Sequence[Scene]) -> int:
    """Return how many headers to read at once: one if a web server has only whole files, which each thread copies."""
    sources = [scene.source.outermost for scene in scenes]
    for source in {urlsplit(source.url).netloc: source for source in sources if source.is_web}.values():
        with suppress(SceneError):  # reading its header says what is wrong
            if not supports_ranges(source):
                return 1
    if any(source.is_remote for source in sources):
        return _ON_SERVERS
    return min(_ON_DISK, available_cores())
