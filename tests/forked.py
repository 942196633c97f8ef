"""Processes forked from one that has imported the pipeline, for tests that start or kill many.

To import the pipeline takes longer than to run it on the tests' archive.
"""

from __future__ import annotations

import importlib
import io
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from s2fast.sweeps.limited_process import Children, Limits

_CONTEXT = multiprocessing.get_context("forkserver")

_IMPORTED = (
    "s2fast.cli", "s2fast.pipeline", "s2fast.detectors.akaze", "s2fast.image.host_scene",
    "s2fast.image.compiled_outlines", "s2fast_kernels.akaze.opencv_cpu", "s2fast_kernels.akaze.numba_cpu",
    "s2fast_kernels.hamming_top2.opencv_cpu", "s2fast.sweeps.case_process", "distributed.cli.dask_scheduler",
    "distributed.cli.dask_worker",
    # What a run would import and load when it first needs it.
    "pyarrow.dataset", "scipy.fft", "scipy.ndimage", "tests.loaded_kernels",
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


def run_in_a_fork(
    module: str, job: Mapping[str, Any], limits: Limits, _children: Children | None = None
) -> tuple[dict[str, Any], str]:
    """Run a job as `s2fast.sweeps.limited_process.run_alone` does, but in a fork, and within no limits of memory."""
    with tempfile.TemporaryDirectory() as folder:
        given, told, errors = (Path(folder, name) for name in ("given", "told", "errors"))
        given.write_text(json.dumps({**job, "threads": limits.threads}), "utf-8")
        process = forked(_main, module, given, told, errors)
        process.join(limits.seconds)
        process.kill()
        process.join()
        if process.exitcode == 0:
            answer: dict[str, Any] = json.loads(told.read_text("utf-8").splitlines()[-1])
            return answer, ""
        return {}, errors.read_text("utf-8").strip().splitlines()[-1]


def _main(module: str, given: Path, told: Path, errors: Path) -> None:
    """Call the function `main` of a module that reads a job from standard input and prints its answer."""
    os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    # Its own end of a pipe, which the other end outlives: the fork is killed by its parent alone.
    job = {**json.loads(given.read_text("utf-8")), "lifeline": os.pipe()[0]}
    sys.stdin = io.StringIO(json.dumps(job))
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    importlib.import_module(module).main()
