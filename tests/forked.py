"""Processes forked from one that has imported the pipeline, for tests that start or kill many.

To import the pipeline takes longer than to run it on the tests' archive.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

_CONTEXT = multiprocessing.get_context("forkserver")

_IMPORTED = (
    "s2fast.cli", "s2fast.pipeline", "s2fast.detectors.akaze", "s2fast.image.host_scene",
    "s2fast.image.compiled_outlines", "s2fast_kernels.akaze.opencv_cpu", "s2fast_kernels.akaze.numba_cpu",
    "s2fast_kernels.hamming_top2.opencv_cpu", "distributed.cli.dask_scheduler", "distributed.cli.dask_worker",
)  # fmt: skip


def _import_once() -> None:
    """Start the process that imports, unless it runs already."""
    _CONTEXT.set_forkserver_preload(list(_IMPORTED))
    with pytest.MonkeyPatch.context() as patch:
        # Like the command line it lets OpenBLAS start no threads.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        forkserver.ensure_running()


def forked(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start a process that calls a function of a module; its exit code is -9 if it was killed, 1 if it raised."""
    _import_once()
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def forked_pool(workers: int) -> Executor:
    """Open a pool of local workers as `s2fast.work.executors.LocalPool` does, but for what they import."""
    _import_once()
    started = _CONTEXT.Value("i", 0)
    arguments = (dict(os.environ), started, workers)
    return ProcessPoolExecutor(workers, mp_context=_CONTEXT, initializer=_begin_worker, initargs=arguments)


def _begin_worker(environment: dict[str, str], started: Any, workers: int) -> None:
    """Prepare a worker process; one that is forked has the environment of the process that imported."""
    from s2fast.work import executors

    os.environ.clear()
    os.environ.update(environment)
    executors._begin_worker(started, workers)


def forked_command(errors: Path, *arguments: object, before: Callable[[], object] | None = None) -> BaseProcess:
    """Start the command line in a process of its own, which first calls a function if told; its exit code is s2fast's.

    What it prints is written to the file `errors`.
    """
    return forked(_command, errors, list(map(str, arguments)), before)


def _command(errors: Path, arguments: list[str], before: Callable[[], object] | None) -> None:
    from s2fast import cli

    with errors.open("wb", 0) as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
    if before:
        before()
    sys.argv = ["s2fast", *arguments]
    cli.main()
