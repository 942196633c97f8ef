"""numba.njit with compiled code kept on disk, keyed by all that it depends on.

Numba notices a change of a function's own file, but not of a function or constant that it uses from another file. Here
the folder of the code is named by a hash of these sources, of the versions of numba and numpy, and of the processor, so
that code is never stale. Folders of other versions and processors stay until somebody deletes them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import caching, sigutils
from numba.core.registry import cpu_target
from numba.misc.appdirs import AppDirs

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent

_declared: dict[str, list[tuple[Any, tuple[Any, ...]]]] = {}
"""Functions with declared signatures, by module."""


def njit(*signatures: str | tuple[Any, ...], **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with `numba.njit` when it is first called; keep the code on disk if the folder is writable.

    Compiled code may depend on `s2fast_kernels` and on the files beside its own, and on nothing else.

    Parameters
    ----------
    *signatures
        Types of the arguments with which the default job calls the function, as text or as types of numba, for
        `compile_module`. Calls with other types are compiled when they occur.
    **options
        Options of `numba.njit` except ``cache``.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(no_cfunc_wrapper=True, **options)(function)
        dispatcher._cache = _Cache(function)
        if signatures:
            _declared.setdefault(function.__module__, []).append((dispatcher, signatures))
        return dispatcher

    return compiled


def compile_module(module: str) -> None:
    """Compile the functions of a module for their declared signatures, and record that this is done.

    Raises
    ------
    OSError
        The folder of the compiled code is not writable.
    """
    importlib.import_module(module)
    for dispatcher, signatures in _declared[module]:
        for signature in signatures:
            # A tuple of types, as in calls: numba would keep the code of other forms under other keys.
            dispatcher.compile(sigutils.normalize_signature(signature)[0])
    _mark(module).touch()


def is_compiled(module: str) -> bool:
    """Return whether `compile_module` has compiled a module in its present version, for this processor."""
    return _mark(module).exists()


@cache
def cache_folder() -> Path:
    """Return the folder of code compiled from these sources for this processor; it may be missing or not writable.

    It lies in the folder that NUMBA_CACHE_DIR names. Without this variable, it lies beside the package if that folder
    is writable or has the code already, otherwise in the user's folder for caches.
    """
    made_by = numba.__version__, np.__version__, sys.implementation.cache_tag
    processor = cpu_target.target_context.codegen().magic_tuple()
    name = f"compiled-{_hash_of(_PACKAGE.rglob('*.py'), (made_by, processor))}"
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR, name)
    beside, own = _PACKAGE / "__pycache__" / name, Path(AppDirs("s2fast", appauthor=False).user_cache_dir, name)
    return beside if beside.exists() or _is_writable(beside) else own


def is_kept() -> bool:
    """Return whether compiled code can be written to `cache_folder`."""
    return _is_writable(cache_folder())


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # access rights do not tell whether the file system is read-only
    except OSError:
        return False
    return True


@cache
def _folder_of(sources: Path) -> Path:
    """Return the folder of code compiled from the sources in a folder."""
    return cache_folder() / f"{sources.name}-{_hash_of(sources.glob('*.py'))}"


def _hash_of(files: Iterable[Path], *values: object) -> str:
    """Return a hash of files, by name and content, and of the representations of values."""
    digest = hashlib.blake2b(repr(values).encode(), digest_size=8)
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _mark(module: str) -> Path:
    """Return the file that exists once a module is compiled for its declared signatures."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return _folder_of(Path(spec.origin).parent) / f"{module}.done"


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Places a function's code in the folder of its sources; the folder's name is the only stamp of the sources."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file = file
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(_folder_of(Path(self._py_file).parent))

    def get_source_stamp(self) -> str:
        return ""

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> _Locator:
        return cls(function, file)


class _Kept(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, in which several processes may write at once, and which need not be writable."""

    _impl_class = _Kept

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # Numba numbers the files of a function: two processes could choose one number for different signatures.
        self._cache_file._data_name_pattern = f"{self._impl.filename_base}.{uuid.uuid4().hex[:8]}.{{number:d}}.nbc"

    def save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            super().save_overload(signature, compiled)
        except OSError as error:
            warn_unkept(error.strerror or str(error))


_warned = False
"""Whether `warn_unkept` has warned."""


def warn_unkept(reason: str) -> None:
    """Warn, once per process, that compiled code is not kept."""
    global _warned
    if _warned:
        return
    _warned = True
    log.warning(
        "compiled kernels cannot be kept in %s: %s; every process compiles them again, for up to half a minute: set "
        "NUMBA_CACHE_DIR to a writable folder",
        cache_folder(),
        reason,
    )
