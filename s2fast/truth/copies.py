"""Make the copies of a sweep's scenes, and list the pairs of which the answer is known."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely

from s2fast.errors import InputError, option
from s2fast.folder.content_key import content_key
from s2fast.folder.record import SceneInput
from s2fast.model import Raster, Window
from s2fast.truth.moves import Move
from s2fast.truth.settings import Injected
from s2fast.truth.spread import spread
from s2fast.truth.write import Copy, write_copy

_FORMAT = 2
"""Number of the way in which copies are written; copies of other numbers are not used."""

_LEAST_PX = 64
"""Shortest side of half a scene that is still worth matching [px]."""

_LEAST_SHARE = 0.1
"""Least share of the smaller scene that two scenes must have in common to be paired."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A moved copy."""

    path: str
    """Its file; its scene id is the file's stem."""
    scene_id: str
    """The scene that it copies."""
    move: Move
    """How its pixels have moved."""
    header_px: tuple[float, float] = (0.0, 0.0)
    """How its georeferencing moves them besides, right and down [px]."""


@dataclass(frozen=True, slots=True)
class Injection:
    """Copies of scenes, and the pairs of which the answer is known."""

    scenes: Sequence[str]
    """Files of the scenes that are copied."""
    moved: Sequence[Moved]
    """A moved copy of each."""
    elsewhere: Sequence[str]
    """Files of halves of the scenes, on the ground of the other halves or at their own place."""
    same: Sequence[tuple[str, str]]
    """Pairs of scenes with common ground."""
    unrelated: Sequence[tuple[str, str]]
    """Pairs of stems of `elsewhere`, whose georeferencing agrees and which show different ground."""

    @property
    def files(self) -> list[str]:
        """All files to match."""
        return [*self.scenes, *(copy.path for copy in self.moved), *self.elsewhere]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All pairs to match, by scene id: each pair, with each of its scenes moved, and the unrelated ones."""
        stems = {copy.scene_id: Path(copy.path).stem for copy in self.moved}
        both = [pair for one, other in self.same for pair in ((stems[one], other), (one, stems[other]))]
        return [*self.same, *both, *self.unrelated]

    def save(self, path: Path) -> None:
        """Write the injection as JSON."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Injection:
        """Read what `save` wrote."""
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))

        def move(of: dict[str, Any]) -> Move:
            one, other = of["turn"]
            return Move(tuple(of["by"]), tuple(of["centre"]), (tuple(one), tuple(other)))

        moved = [
            Moved(copy["path"], copy["scene_id"], move(copy["move"]), tuple(copy["header_px"]))
            for copy in content["moved"]
        ]
        pairs = {name: [tuple(pair) for pair in content[name]] for name in ("same", "unrelated")}
        return cls(content["scenes"], moved, content["elsewhere"], pairs["same"], pairs["unrelated"])


def copied_scenes(scenes: Sequence[SceneInput], settings: Injected) -> tuple[list[SceneInput], list[tuple[str, str]]]:
    """Return the scenes that are copied, and their pairs with common ground, by id.

    Raises
    ------
    InputError
        No two of them have common ground.
    """
    copied = spread(scenes, settings.scenes)
    ground = {str(item): _ground(item.raster, Window(0, 0, *item.raster.shape)) for item in copied}
    pairs = [
        (str(one), str(other))
        for one, other in itertools.combinations(copied, 2)
        if one.raster.crs_wkt == other.raster.crs_wkt and _share(ground[str(one)], ground[str(other)]) >= _LEAST_SHARE
    ]
    if not pairs:
        raise InputError(
            f"no two of the {len(copied)} scenes that would be copied have a tenth of their ground in common in one CRS"
            ": add scenes of the same ground, or copy more of them "
            f"(truth.scenes of a sweep, {option('few')} of s2fast tune)"
        )
    used = {name for pair in pairs for name in pair}
    return [item for item in copied if str(item) in used], pairs


def inject(
    scenes: Sequence[SceneInput],
    settings: Injected,
    folder: Path,
    report: Callable[[str], object] = lambda _: None,
    part: Literal["all", "upper", "lower"] = "all",
) -> Path:
    """Make the copies that are not there yet; return the file that describes them.

    Parameters
    ----------
    scenes
        All scenes.
    settings
        Which copies are made.
    folder
        Where they lie, named by all that they depend on; created. Nothing is written elsewhere.
    report
        Receives a message if there is work to do.
    part
        The rows of the scenes that are used: all, or the upper or lower half; then the scenes themselves are copied, as
        are scenes whose address holds a secret.
    """
    copied, pairs = copied_scenes(scenes, settings)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    todo: list[tuple[SceneInput, Copy, Path]] = []

    def place(item: SceneInput, kind: str, copy: Copy) -> str:
        made = item.identity, item.scene.source.name, asdict(copy), settings.model_dump()
        key = content_key("injected", _FORMAT, *made)
        path = folder / f"{kind}_{key[:12]}.tif"
        if not path.exists():
            todo.append((item, copy, path))
        return str(path)

    moved: list[Moved] = []
    elsewhere: list[str] = []
    shown: dict[str, list[tuple[str, shapely.Polygon, shapely.Polygon]]] = {}
    unmoved: dict[str, str] = {}

    def id_of(name: str) -> str:
        return Path(unmoved[name]).stem if name in unmoved else name

    for number, item in enumerate(copied):
        raster = item.raster
        whole = _part(raster, part)
        middle = whole.col + (whole.width - 1) / 2, whole.row + (whole.height - 1) / 2
        at_home = _shifted(raster, whole.col, whole.row)
        if part != "all" or item.scene.source.secret:  # which is kept in no file
            copy = Copy(whole, at_home, Move((0.0, 0.0)), altered=False)
            unmoved[str(item)] = place(item, "still", copy)
        name = id_of(str(item))
        by = _amount(settings, number)
        if settings.by == "pixels":
            move = Move.of(by, middle, settings.rotate_deg, settings.scale)
            copy = Copy(whole, at_home, move, altered=True, number=number)
            moved.append(Moved(place(item, "moved", copy), name, move.within(whole)))
        else:
            # The same pixels further right are those of a header further right.
            there = _shifted(raster, whole.col + by[0], whole.row + by[1])
            copy = Copy(whole, there, Move((0.0, 0.0)), altered=True, number=number)
            moved.append(Moved(place(item, "moved", copy), name, Move((0.0, 0.0)), by))
        if min(whole.height, whole.width // 2) >= _LEAST_PX:
            half = raster.shape[1] // 2
            east, west = (Window(whole.row, col, whole.height, half) for col in (half, 0))
            copies = {
                side: Copy(shows, _shifted(raster, half, whole.row), Move((0.0, 0.0)), altered=False)
                for side, shows in (("east", east), ("west", west))
            }
            files = {side: place(item, side, copy) for side, copy in copies.items()}
            elsewhere += files.values()
            shown[str(item)] = [(Path(files[side]).stem, _ground(raster, shows), _ground(raster, east))
                                for side, shows in (("east", east), ("west", west))]  # fmt: skip
    unrelated = [
        (east[0], west[0])
        for one, other in pairs
        for first, second in ((one, other), (other, one))
        if first in shown and second in shown
        for east, west in [(shown[first][0], shown[second][1])]
        if not east[1].intersects(west[1].buffer(-1e-6)) and _share(east[2], west[2]) >= _LEAST_SHARE
    ]
    # Halves without a partner are not needed.
    paired = {stem for pair in unrelated for stem in pair}
    unused = {file for file in elsewhere if Path(file).stem not in paired}
    elsewhere = [file for file in elsewhere if file not in unused]
    todo = [work for work in todo if str(work[2]) not in unused]
    if todo:
        report(f"making {len(todo)} copies of {len(copied)} scenes in {folder}")
    for item, copy, path in todo:
        write_copy(item.scene.source, copy, settings, path)
    names = [unmoved.get(str(item), item.scene.source.absolute().address) for item in copied]
    pairs = [(id_of(one), id_of(other)) for one, other in pairs]
    found = Injection(names, moved, elsewhere, pairs, unrelated)
    described = folder / f"{content_key(asdict(found))[:12]}.json"
    found.save(described)
    return described


def _part(raster: Raster, part: str) -> Window:
    rows, cols = raster.shape
    upper = rows // 2
    return {
        "all": Window(0, 0, rows, cols),
        "upper": Window(0, 0, upper, cols),
        "lower": Window(upper, 0, rows - upper, cols),
    }[part]


def _amount(settings: Injected, number: int) -> tuple[float, float]:
    draw = np.random.default_rng([settings.seed, number])
    size = draw.uniform(0.1 * settings.move_px, settings.move_px, 2) * draw.choice([-1.0, 1.0], 2)
    return round(float(size[0]), 4), round(float(size[1]), 4)


def _shifted(raster: Raster, right: float, down: float) -> tuple[float, ...]:
    a, b, _, d, e, _ = raster.transform
    x, y = raster.at(right, down)
    return a, b, x, d, e, y


def _ground(raster: Raster, part: Window) -> shapely.Polygon:
    return shapely.Polygon(raster.outline(part))


def _share(one: shapely.Polygon, other: shapely.Polygon) -> float:
    return float(one.intersection(other).area / min(one.area, other.area))
