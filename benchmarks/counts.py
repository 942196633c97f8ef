"""Count the work of a run from its plan and its results: pixels, blocks, keypoints, comparisons, matches."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from typing import Any

import pyarrow.parquet
import rasterio.io
import zarr

import s2fast.raster.luma
import s2fast.raster.reader
from s2fast.files.storage import LOCK
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Window
from s2fast.raster.windows import chunk_shape
from s2fast.regions.mask import place_regions
from s2fast.results import Run
from s2fast.stages.used_pixels import needed_windows
from s2fast_kernels.backends import Backend
from s2fast_kernels.operations import operation_of


def blocks_of(window: Window, block: tuple[int, int]) -> int:
    """Count the blocks of a file that a window touches."""
    rows = (window.row + window.height - 1) // block[0] - window.row // block[0] + 1
    cols = (window.col + window.width - 1) // block[1] - window.col // block[1] + 1
    return rows * cols


def planned_reads(record: RunRecord) -> dict[str, int]:
    """Count what ingest must read, each window once: pixels of the full grid and decoded blocks of all scenes."""
    config, pixels, blocks = record.config, 0, 0
    mode = config.regions.mode if record.regions else "none"
    halo_px = config.ingest.halo_px * config.ingest.reduction if mode == "keep" else 0
    for item in record.usable:
        placed = (
            place_regions(record.regions, config.regions, item.raster) if record.regions and mode != "none" else None
        )
        for window in needed_windows(item, chunk_shape(item.raster.block, config.ingest.reduction), placed, halo_px):
            pixels += window.height * window.width
            blocks += blocks_of(window, item.raster.block)
    return {"pixels_read": pixels, "blocks_decoded": blocks}


def run_counts(run: Run) -> dict[str, int | None]:
    """Count a finished run's work and results.

    ``comparisons`` counts those of the exhaustive search, one per pair of descriptors, since one pass serves both
    directions; None for windowed search, whose comparisons a run does not count.
    """
    pairs = run.pairs()
    exhaustive = getattr(run.record.config.matching, "mode", "exhaustive") == "exhaustive"
    comparisons = int((pairs["n_query"] * pairs["n_train"]).sum())
    return {
        **planned_reads(run.record),
        **run.record.history.counts,
        "comparisons": comparisons if exhaustive else None,
    }


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the actual work of this process: reads, decoded blocks, files, and kernel calls by operation.

    In the run folder, reads of Zarr arrays (``arrays read``) and of Parquet files (``tables read``) and all written
    files except Zarr's and the lock are counted.

    For a backend that is a class (an engine), the windows passed to it are counted. A backend that is not in the table
    of operations is counted under its module's name.
    """
    done: Counter[str] = Counter()
    lock = Lock()

    def counted(name: str) -> Callable[[Any], Any]:
        def around(function: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                with lock:
                    done[name] += 1
                return function(*arguments, **options)

            return call

        return around

    def counted_read(read: Any) -> Any:
        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            region = options.get("window")
            window = Window(0, 0, *self.shape)
            if region is not None:
                window = Window(int(region.row_off), int(region.col_off), int(region.height), int(region.width))
            with lock:
                done["reads"] += 1
                done["blocks"] += blocks_of(window, self.block_shapes[0])
            return read(self, *arguments, **options)

        return call

    def counted_decoder(decode: Any) -> Any:
        return counted("reads")(counted("blocks")(decode))

    def counted_write(write: Any) -> Any:
        count = counted("files written")(write)

        def call(self: RunFolder, name: str, data: bytes) -> Any:
            # The lock is renewed by the clock.
            return (write if name == LOCK else count)(self, name, data)

        return call

    def counted_load(load: Any) -> Any:
        def call(self: Backend) -> Any:
            implementation = load(self)
            operation = operation_of(self)
            name = operation.name if operation else f"{self.module}.{self.function}"
            if isinstance(implementation, type):
                return _counted_engine(implementation, name, done)
            return counted(name)(implementation)

        return call

    with ExitStack() as stack:
        for owner, name, around in (
            (rasterio.io.DatasetReader, "read", counted_read),
            (s2fast.raster.reader, "read_part", counted_decoder),
            (s2fast.raster.luma, "decode_luma", counted_decoder),
            (Backend, "load", counted_load),
            (zarr.Array, "__getitem__", counted("arrays read")),
            (pyarrow.parquet, "read_table", counted("tables read")),
            (RunFolder, "write", counted_write),
        ):
            stack.enter_context(replaced(owner, name, around))
        # The base of a comparison may read arrays elsewhere, or all through zarr.
        for name in ("sealed_groups", "run_folder"):
            with suppress(ImportError):
                module = importlib.import_module(f"s2fast.folder.{name}")
                if hasattr(module, "read_array"):
                    stack.enter_context(replaced(module, "read_array", counted("arrays read")))
        yield done


@contextmanager
def replaced(owner: Any, name: str, around: Callable[[Any], Any]) -> Iterator[None]:
    """Replace an attribute temporarily by what `around` makes of it."""
    original = getattr(owner, name)
    setattr(owner, name, around(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _counted_engine(engine: Any, name: str, done: Counter[str]) -> Any:
    class Counted(engine):  # type: ignore[misc]
        def run(self, jobs: Any, *arguments: Any, **options: Any) -> Any:
            done[name] += len(jobs)
            return super().run(jobs, *arguments, **options)

    return Counted
