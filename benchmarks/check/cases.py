"""What is counted: every operation that a run calls, every stage, and the commands, each at sizes that show its growth.

Everything runs in the default's own configuration on one thread, so that equal code gives equal counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


def _linear(size: int) -> float:
    return size


def _pairs(size: int) -> float:
    return size * (size - 1) / 2


def _square(size: int) -> float:
    return size * size


@dataclass(frozen=True, slots=True)
class Case:
    """One counted call."""

    kind: Literal["operation", "stage", "command"]
    """What runs it: an operation of `benchmarks.calls`, a stage after the stages before it, or a command."""
    unit: str = ""
    """What its sizes count."""
    sizes: tuple[int, ...] = (1,)
    """Sizes, ascending: the first is counted always, all of them to see the growth."""
    work: Callable[[int], float] = _linear
    """Takes a size and returns the work that the count may grow in proportion to."""
    most_exponent: float = 1.1
    """The model's limit of the growth exponent, over the work."""

    def labels(self, name: str) -> dict[int, str]:
        """Return the label of every size, given the case's name."""
        return {size: f"{name}, {size} {self.unit}" if self.unit else name for size in self.sizes}


_SCENES = (4, 8, 16)

CASES: Mapping[str, Case] = {
    # Two sizes do not tell the fixed cost from the rest.
    "akaze": Case("operation", "windows", (1, 4), most_exponent=1.2),
    "window_matches": Case("operation", "keypoints", (1_000, 4_000, 16_000)),
    "hamming_top2_both": Case("operation", "keypoints", (250, 500, 1_000), _square),
    "hamming_top2": Case("operation", "keypoints", (250, 500, 1_000), _square),
    "ingest": Case("stage", "scenes", _SCENES),
    # The scenes differ: later ones have more keypoints.
    "extract": Case("stage", "scenes", _SCENES, most_exponent=1.2),
    "match": Case("stage", "scenes", _SCENES, _pairs),
    "verify": Case("stage", "scenes", _SCENES, _pairs),
    "report": Case("stage", "scenes", _SCENES, _pairs),
    "s2fast pairs": Case("stage", "scenes", _SCENES, _pairs),
    "import s2fast": Case("command"),
    "s2fast --help": Case("command"),
}
"""Counted cases by name, stages in the order in which they run."""


def stage_arguments(scenes: Path, number: int, folder: Path) -> list[str]:
    """Return the arguments of a stage's command, in the default configuration on one thread.

    Parameters
    ----------
    scenes
        Folder of small scenes of two tiles, see `benchmarks.check.gather.small_scenes`.
    number
        How many of them to use, half of each tile.
    folder
        Folder for the configuration file, which is written, and the run folder, ``out``.
    """
    settings = folder / "settings.toml"
    settings.write_text("[compute]\nthreads = 1\n", "utf-8")
    tiles: dict[str, list[Path]] = {}
    for path in sorted(scenes.glob("*_TCI.jp2")):
        tiles.setdefault(path.name.partition("_")[0], []).append(path)
    chosen = [path for paths in tiles.values() for path in paths[: number // len(tiles)]]
    inputs = [*(f"--scenes={path}" for path in chosen), f"--regions={scenes / 'regions.geojson'}"]
    return [str(settings), *inputs, f"--out={folder / 'out'}"]
