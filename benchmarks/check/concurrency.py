"""Facts of what happens at the same time: counted by letting threads wait for each other, not by times.

Where two threads should overlap, the first waits for the second. If both are there, the wait ends at once; if a lock or
a lost thread keeps them apart, it ends after `PATIENCE_S`, and the fact is lower.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.check.facts import Fact
from benchmarks.counts import replaced

PATIENCE_S = 10.0
"""Longest wait for another thread [s]; it ends a wait only where the threads cannot overlap."""


class Meeting:
    """Counts the greatest number of threads that are in a function at the same time."""

    def __init__(self, wanted: int = 2) -> None:
        self.most = 0
        self._wanted, self._inside = wanted, 0
        self._changed = threading.Condition()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, whose first calls wait until the wanted number of threads has entered."""

        def entered(*arguments: Any, **options: Any) -> Any:
            with self._changed:
                self._inside += 1
                self.most = max(self.most, self._inside)
                self._changed.notify_all()
                self._wanted = self._wanted if self._changed.wait_for(self._met, PATIENCE_S) else 0
            try:
                return function(*arguments, **options)
            finally:
                with self._changed:
                    self._inside -= 1

        return entered

    def _met(self) -> bool:
        return self.most >= self._wanted


def of_waits(scratch: Path, archive: str) -> Iterator[Fact]:
    """Count what overlaps: reads and writes of ingest, windows of the extraction, reads of blocks of pairs."""
    yield Fact("ingest: windows read while another is written", _read_ahead(scratch, archive), "not less")
    yield Fact("ingest: tiles decoded at the same time", _tiles(scratch, archive), "not less")
    yield Fact("akaze: windows at the same time", _windows(), "not less")
    yield Fact("blocks of pairs: reads at the same time", _blocks(scratch), "not less")


def _read_ahead(scratch: Path, archive: str) -> int:
    """Count the windows whose reading ends before the window before them is written."""
    from s2fast.config import load_config
    from s2fast.folder.run_folder import TileWriter
    from s2fast.pipeline import Job, run_stages
    from s2fast.raster.reader import LumaReader, RasterioReader

    write = TileWriter.write
    changed, reads, writes, found = threading.Condition(), Counter[int](), Counter[int](), 0
    wanted: list[int] = []
    patience_s = PATIENCE_S

    def counted_read(read: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any) -> Any:
            pixels = read(self, *arguments)
            with changed:
                reads[scene] += 1
                changed.notify_all()
            return pixels

        return call

    def counted_write(self: Any, *arguments: Any) -> None:
        nonlocal found, patience_s
        with changed:
            writes[scene] += 1
            if wanted and writes[scene] < wanted[scene]:
                ahead = changed.wait_for(lambda: reads[scene] > writes[scene], patience_s)
                found += ahead
                # One wait in vain shows the fault.
                patience_s = patience_s if ahead else 0.0
        write(self, *arguments)

    scene = 0
    finish = TileWriter.finish

    def counted_finish(self: Any, *arguments: Any) -> None:
        nonlocal scene
        scene += 1
        finish(self, *arguments)

    config = load_config(overrides={"compute.threads": 1})
    with (
        replaced(RasterioReader, "read", counted_read),
        replaced(LumaReader, "read", counted_read),
        replaced(TileWriter, "write", lambda _: counted_write),
        replaced(TileWriter, "finish", lambda _: counted_finish),
    ):
        for number in range(2):
            job = Job(config, [Path(archive)], Path(archive) / "regions.geojson", scratch / f"ahead-{number}")
            run_stages(job, stages=["ingest"])
            # The first run counts the windows of each scene.
            wanted = wanted or [writes[at] for at in range(scene)]
            scene = 0
            reads.clear()
            writes.clear()
    return found


def _tiles(scratch: Path, archive: str) -> int:
    """Count the tiles whose luma two threads decode at the same time."""
    from s2fast.config import load_config
    from s2fast.pipeline import Job, run_stages
    from s2fast.raster import luma

    config, meeting = load_config(overrides={"compute.threads": 2}), Meeting()
    with replaced(luma, "decode_luma", meeting.around):
        run_stages(
            Job(config, [Path(archive)], Path(archive) / "regions.geojson", scratch / "tiles"), stages=["ingest"]
        )
    return min(meeting.most, 2)


def _windows() -> int:
    from s2fast_kernels.akaze import AkazeSettings, akaze_windowed
    from s2fast_kernels.akaze.cases import synthetic_image
    from s2fast_kernels.akaze.numba_cpu import NumbaEngine

    image, meeting = synthetic_image((512, 512)), Meeting()
    with replaced(NumbaEngine, "run", meeting.around):
        akaze_windowed(
            lambda rows, columns: image[rows, columns], image.shape,
            settings=AkazeSettings(threshold=0.0003), core_px=128, threads=2, backend="numba",
        )  # fmt: skip
    return meeting.most


def _blocks(scratch: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from s2fast.folder.run_folder import RunFolder

    folder, meeting = RunFolder(scratch / "blocks"), Meeting()
    for key in ("a", "b", "c"):
        folder.matched.write([key], pa.table({"query": [key], "train": [key], "key": [key]}), None)
    with replaced(pq, "read_table", meeting.around):
        folder.matched.rows()
    return min(meeting.most, 2)
