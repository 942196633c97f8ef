"""Sweeps of the benchmarks: data sets with known truth, AKAZE's windows, and single calls of the Hamming search."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from benchmarks.datasets import DataSpec
from s2fast.config import Config
from s2fast.errors import ConfigError
from s2fast.sweeps.grid import Case, Plot, Settings, SweepFile

SEARCH: Settings = {"backend": "auto", "n": 1000, "m": 1000, "segments": 1}
"""Keys of a search, and their defaults: the backend, query rows, train rows, and the number of train scenes."""


class BenchmarkSweep(SweepFile):
    """Content of the TOML file."""

    RUN_KEYS: ClassVar[Settings] = {**SweepFile.RUN_KEYS, "kernel.core_px": 0}
    """Also the side of AKAZE's windows [px]; 0: its default."""

    CHILD: ClassVar[str] = "benchmarks.sweep.case_process"

    kind: Literal["run", "hamming"] = "run"
    """run: all stages on a data set. hamming: one call of the search on random descriptors."""
    data: DataSpec = DataSpec()
    plot: list[Plot] = Field([Plot(gain="quality.true_matches")])

    @property
    def shares_stages(self) -> bool:
        """See `SweepFile`."""
        return self.kind == "run"

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """See `SweepFile`."""
        if self.kind == "hamming":
            return ("quality.rate_1e9_per_s", "quality.times_opencv")
        return ("counts.pixels_read", "counts.blocks_decoded")

    def made(self, settings: Settings) -> Case:
        """See `SweepFile`."""
        if self.kind == "run":
            return super().made(settings)
        wanted = {**self.base, **settings}
        unknown = set(wanted) - set(SEARCH)
        if unknown:
            raise ConfigError(f"sweep {self.name}: unknown {', '.join(sorted(unknown))}; known: {', '.join(SEARCH)}")
        return Case(settings, Config(), {**SEARCH, **wanted})

    def job(self, case: Case) -> dict[str, Any]:
        """See `SweepFile`."""
        if self.kind == "hamming":
            return {"kind": "hamming", **case.run}
        return {"kind": "run", **super().job(case), "core_px": case.run["kernel.core_px"]}
