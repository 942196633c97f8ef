"""The kinds of traps: each yields judged trials and their truth."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from benchmarks.traps.artefacts import ARTEFACTS
from benchmarks.traps.grounds import GROUNDS, LATTICES, SIDE_PX
from benchmarks.traps.scenes import (
    ANY_ANGLE,
    AUTO,
    NO_PRIOR,
    PIXEL_M,
    PRIOR,
    Crop,
    Grey,
    at,
    crops,
    judged,
    scene,
)
from benchmarks.traps.shapes import NOISY_AREAS, NOISY_LAKES, OVERLAYS, SHAPES, TEXTURES, Paint, Shape, pixels
from s2fast.config import Config
from s2fast.geometry.evidence import Judgement
from s2fast.stages.matched_scene import MatchedScene

CLEAR = ("20160621", "20160830", "20190427", "20190606", "20190611", "20190825", "20190904")
"""Clear dates of tile 36UYA, which show the same ground."""

OTHER_SITES = ("arosics ref", "lebanon T36", "paris T31")
"""Photographs of other sites, which were not used to choose constants."""

RIGHT_PX = 1.0
"""A verified shift is right if its error is at most this, or at most three stated errors [px]."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One pair, judged."""

    name: str
    """Description of the trial."""
    judgement: Judgement
    """Result of verification."""
    truth_px: tuple[float, float] | None
    """The true shift, right and down [px]; None: different ground, no shift is true."""

    @property
    def off_xy_px(self) -> tuple[float, float]:
        """Shift minus the truth, right and down [px]; NaN if there is none."""
        right, down = self.truth_px or (np.nan, np.nan)
        return self.judgement.dx / PIXEL_M - right, -self.judgement.dy / PIXEL_M - down

    @property
    def off_px(self) -> float | None:
        """Distance of a verified shift from the truth [px]; None if not verified, or no shift is true."""
        if not self.judgement.verified or self.truth_px is None:
            return None
        return float(np.hypot(*self.off_xy_px))

    @property
    def wrong(self) -> bool:
        """Whether the trial was verified wrongly."""
        off = self.off_px
        if off is None:
            return self.judgement.verified
        return off > max(RIGHT_PX, 3 * self.judgement.error / PIXEL_M)


Pictures = Mapping[str, Grey]
Kind = Callable[[Pictures, np.random.Generator, float], Iterator[Trial]]


def _dates(pictures: Pictures, size: int, rng: np.random.Generator, count: int) -> Iterator[tuple[str, Grey, Grey]]:
    """Yield `count` pairs of pictures of one ground on two dates, at random positions."""
    dates = [f"36UYA {date}" for date in CLEAR]
    for number in range(count):
        one, other = rng.choice(dates, 2, replace=False)
        while True:
            row, col = (int(rng.integers(0, length - size + 1)) for length in pictures[one].shape)
            both = [pictures[name][row : row + size, col : col + size] for name in (one, other)]
            if all(np.count_nonzero(part) > 0.95 * part.size for part in both):
                break
        yield f"{number}: {one}, {other} at {row}, {col}", both[0], both[1]


def _moved(grey: Grey, right: float, down: float, turned_deg: float = 0.0, scale: float = 1.0) -> Grey:
    """Return the picture with its content moved, turned counter-clockwise and scaled about its middle."""
    middle = ((grey.shape[1] - 1) / 2, (grey.shape[0] - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, turned_deg, scale)
    matrix[:, 2] += (right, down)
    return np.asarray(cv2.warpAffine(grey, matrix, grey.shape[::-1], flags=cv2.INTER_CUBIC, borderValue=0))


def beyond_radius(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real pairs moved by 5.5 to 8 px, and farther, under a radius of 5 px."""
    for low, high in ((5.5, 8.0), (8.0, 12.0), (12.0, 20.0), (20.0, 100.0)):
        for name, one, other in _dates(pictures, 512, rng, round(40 * share)):
            length, angle = rng.uniform(low, high), rng.uniform(0, 2 * np.pi)
            move = (length * np.cos(angle), length * np.sin(angle))
            yield Trial(f"moved {length:.1f} px: {name}", judged(scene(one), at(scene(other), *move)), move)


def radius_auto(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real pairs moved by 7, 30 and 100 px, the radius found by itself."""
    for length in (7.0, 30.0, 100.0):
        for name, one, other in _dates(pictures, 512, rng, round(20 * share)):
            angle = rng.uniform(0, 2 * np.pi)
            move = (length * np.cos(angle), length * np.sin(angle))
            yield Trial(f"moved {length:.0f} px: {name}", judged(scene(one), at(scene(other), *move), AUTO), move)


def turned(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real pairs rotated by 1 to 5 degrees or scaled by 1 to 10 %, with the map as prior and without."""
    for config, prior in ((PRIOR, "map"), (NO_PRIOR, "none")):
        for name, one, other in _dates(pictures, 384, rng, round(60 * share)):
            degrees, scale = ((rng.uniform(1, 5) * rng.choice([-1, 1]), 1.0), (0.0, 1 + rng.uniform(0.01, 0.1)))[
                int(rng.integers(2))
            ]
            train = scene(_moved(other, 0, 0, degrees, scale), config)
            yield Trial(
                f"turned {degrees:.1f} deg, scaled {scale:.3f}, prior {prior}: {name}",
                judged(scene(one, config), train, config),
                (0.0, 0.0),
            )


def any_angle(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real pairs rotated by any angle, without a prior and with descriptors that turn with their keypoint."""
    for name, one, other in _dates(pictures, 384, rng, round(30 * share)):
        degrees = float(rng.uniform(-180, 180))
        train = scene(_moved(other, 0, 0, degrees), ANY_ANGLE)
        yield Trial(f"turned {degrees:.0f} deg: {name}", judged(scene(one, ANY_ANGLE), train, ANY_ANGLE), (0.0, 0.0))


def slightly_turned(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real pairs rotated by 0.05 to 0.8 degrees."""
    for name, one, other in _dates(pictures, 512, rng, round(40 * share)):
        degrees = rng.uniform(0.05, 0.8) * rng.choice([-1, 1])
        yield Trial(
            f"turned {degrees:.2f} deg: {name}", judged(scene(one), scene(_moved(other, 0, 0, degrees))), (0.0, 0.0)
        )


def _painted(shapes: Sequence[Shape]) -> Kind:
    def kind(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
        names = [*OTHER_SITES, *(f"36UYA {date}" for date in CLEAR[:3])]
        size = 400
        for shape, config, paint in shapes:
            for number in range(max(1, round(6 * share))):
                seed = int(rng.integers(1 << 30))
                one, other = _different(pictures, names, size, rng)
                query, train = (scene(paint(part, np.random.default_rng(seed)), config) for part in (one, other))
                yield Trial(f"{shape}, different ground {number}", judged(query, train, config), None)
            for name, one, other in _dates(pictures, size + 8, rng, max(1, round(3 * share))):
                seed = int(rng.integers(1 << 30))
                here, there = one[3 : 3 + size, 4 : 4 + size], other[:size, :size]
                query, train = (scene(paint(part, np.random.default_rng(seed)), config) for part in (here, there))
                yield Trial(f"{shape}, moved 4, 3 px: {name}", judged(query, train, config), (4.0, 3.0))

    kind.__doc__ = "Different ground, and the same ground moved, under one painted shape."
    return kind


def _areas(areas: Sequence[tuple[str, Paint]]) -> Kind:
    def kind(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
        names = [*OTHER_SITES, *(f"36UYA {date}" for date in CLEAR[:3])]
        for name, paint in areas:
            for number in range(max(1, round(20 * share))):
                seed, parts = int(rng.integers(1 << 30)), _different(pictures, names, 400, rng)
                query, train = (scene(paint(part, np.random.default_rng(seed))) for part in parts)
                yield Trial(f"{name}, different ground {number}", judged(query, train), None)
            for dates, *dated in _dates(pictures, 400, rng, max(1, round(6 * share))):
                seed = int(rng.integers(1 << 30))
                query, train = (scene(paint(part, np.random.default_rng(seed))) for part in dated)
                yield Trial(f"{name}: {dates}", judged(query, train), (0.0, 0.0))

    kind.__doc__ = (
        "Different ground, and one ground on two dates, with areas of one outline and a noise of each scene's own."
    )
    return kind


def _different(pictures: Pictures, names: list[str], size: int, rng: np.random.Generator) -> tuple[Grey, Grey]:
    """Return pictures of different ground."""
    while True:
        one, other = rng.choice(names, 2)
        found = []
        for name in (one, other):
            grey = pictures[name]
            row, col = (int(rng.integers(0, length - size + 1)) for length in grey.shape)
            found.append((name.split()[0], row, col, grey[row : row + size, col : col + size]))
        apart = found[0][0] != found[1][0] or max(abs(found[0][i] - found[1][i]) for i in (1, 2)) > size
        if apart and all(np.count_nonzero(part[3]) > 0.95 * part[3].size for part in found):
            return found[0][3], found[1][3]


def alike(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Synthetic ground of one kind at two places."""
    del pictures
    for name, ground in GROUNDS:
        for number in range(max(1, round(6 * share))):
            seed, *places = (int(value) for value in rng.integers(1 << 30, size=3))
            query, train = (
                scene(ground(np.random.default_rng(seed), np.random.default_rng(own))[:384, :384]) for own in places
            )
            yield Trial(f"{name} {number}", judged(query, train), None)


def by_a_period(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Synthetic ground on a lattice, moved by a period, or by several that exceed the search area."""
    del pictures
    size = 384
    margin = (SIDE_PX - size) // 2
    for lattice in LATTICES:
        for number in range(max(1, round(6 * share))):
            period, angle = rng.uniform(*lattice.period_px), rng.uniform(*lattice.turned_rad)
            length = period * np.ceil(11 / period)
            right, down = (int(part) for part in np.rint(length * np.array([np.cos(angle), np.sin(angle)])))
            ground = lattice.draw(period, angle, np.random.default_rng(int(rng.integers(1 << 30)))).astype(np.float64)
            query, train = (
                scene(pixels(part[:size, :size] + rng.normal(0, 3, (size, size))))
                for part in (ground[margin:, margin:], ground[margin + down :, margin + right :])
            )
            name = f"{lattice.name} {number}, period {period:.1f} px, moved {right}, {down} px"
            yield Trial(name, judged(query, train), (-right, -down))


def mirrored(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real ground on another date, mirrored, turned upside down or exchanged in its rows and columns."""
    changes: tuple[tuple[str, Callable[[Grey], Grey]], ...] = (
        ("left and right", np.fliplr),
        ("upside down", np.flipud),
        ("by 180 degrees", lambda grey: np.rot90(grey, 2)),
        ("by 90 degrees", np.rot90),
        ("rows and columns", np.transpose),
    )
    for what, change in changes:
        for name, one, other in _dates(pictures, 400, rng, max(1, round(6 * share))):
            changed = np.ascontiguousarray(change(other))
            yield Trial(f"{what}: {name}", judged(scene(one), scene(changed)), None)


def repeated(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Synthetic ground that repeats itself, moved by more than half a period."""
    del pictures
    for number in range(round(24 * share)):
        period = float(rng.uniform(5, 12))
        angle = rng.uniform(0, np.pi)
        y, x = np.mgrid[:384, :384]
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        waves = np.sin(2 * np.pi * along / period)
        if number % 2:
            waves = waves * np.sin(2 * np.pi * across / period)
        length = min(period * rng.uniform(0.55, 0.9), 4.9)
        move = (length * np.cos(angle), length * np.sin(angle))
        rough = [rng.normal(0, 6, x.shape) for _ in range(2)]
        ground = 110 + 50 * waves
        parts = [np.clip(ground + cv2.GaussianBlur(noise, (0, 0), 1), 1, 255).astype(np.uint8) for noise in rough]
        judgement = judged(scene(parts[0]), at(scene(parts[1]), *move))
        yield Trial(f"period {period:.1f} px, moved {length:.1f} px", judgement, move)


def _unrelated(size: int, each: int, config: Config) -> Kind:
    def kind(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
        # The two tiles share a strip, and so do the two scenes of arosics.
        chosen = {
            name: grey
            for name, grey in pictures.items()
            if name in OTHER_SITES or name in {f"36UYA {date}" for date in CLEAR[:4]}
        }
        found: list[tuple[Crop, MatchedScene]] = [
            (crop, scene(crop.grey, config)) for crop in crops(chosen, size, each, rng)
        ]
        pairs = [(a, b) for a, b in itertools.combinations(found, 2) if a[0].ground != b[0].ground]
        for number in rng.permutation(len(pairs))[: round(4500 * share)]:
            (one, query), (other, train) = pairs[number]
            yield Trial(f"{one.name} {one.corner}, {other.name} {other.corner}", judged(query, train, config), None)

    return kind


def real(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real pairs of one ground, moved by up to 4 px, at three sizes: how often the truth is within twice the error."""
    for size in (128, 256, 512):
        yield from _slightly_moved(pictures, rng, size, round(100 * share))


def finer_and_coarser(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real pairs enlarged and reduced to half: how often the truth is within twice the error at other resolutions."""
    for factor, size in ((2.0, 512), (0.5, 256)):
        scaled = {
            name: cv2.resize(
                grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
            )
            for name, grey in pictures.items()
            if name.removeprefix("36UYA ") in CLEAR
        }
        for trial in _slightly_moved(scaled, rng, size, round(60 * share)):
            yield replace(trial, name=f"{factor} x, {trial.name}")


def _slightly_moved(pictures: Pictures, rng: np.random.Generator, size: int, count: int) -> Iterator[Trial]:
    """Yield real pairs of one ground whose georeferencing is off by up to 4 px."""
    for name, one, other in _dates(pictures, size, rng, count):
        move = tuple(rng.uniform(-2.8, 2.8, 2))
        yield Trial(f"{size} px: {name}", judged(scene(one), at(scene(other), *move)), (move[0], move[1]))


def unlike(pictures: Pictures, rng: np.random.Generator, share: float) -> Iterator[Trial]:
    """Real pairs of one ground, one of them blurred, sharpened or under haze."""
    for what, change in CHANGES:
        for name, one, other in _dates(pictures, 512, rng, max(1, round(10 * share))):
            move = tuple(rng.uniform(-2.8, 2.8, 2))
            judgement = judged(scene(one), at(scene(change(other)), *move))
            yield Trial(f"{what}: {name}", judgement, (move[0], move[1]))


def _blurred(sigma_px: float) -> Callable[[Grey], Grey]:
    return lambda grey: np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma_px))


def _hazy(share: float) -> Callable[[Grey], Grey]:
    return lambda grey: np.clip(grey * (1 - share) + 200 * share, 1, 255).astype(np.uint8)


def _sharpened(grey: Grey) -> Grey:
    return np.asarray(cv2.addWeighted(grey, 2.5, cv2.GaussianBlur(grey, (0, 0), 1.5), -1.5, 0))


CHANGES: tuple[tuple[str, Callable[[Grey], Grey]], ...] = (
    ("blurred by 1 px", _blurred(1)),
    ("blurred by 2 px", _blurred(2)),
    ("blurred by 3 px", _blurred(3)),
    ("sharpened", _sharpened),
    ("haze of 50 %", _hazy(0.5)),
    ("haze of 90 %", _hazy(0.9)),
    ("haze of 95 %", _hazy(0.95)),
)
"""What is done to one scene of a pair."""


KINDS: Mapping[str, Kind] = {
    "beyond radius": beyond_radius,
    "radius auto": radius_auto,
    "turned": turned,
    "any angle": any_angle,
    "slightly turned": slightly_turned,
    "painted": _painted(SHAPES),
    "overlays": _painted(OVERLAYS),
    "textures": _painted(TEXTURES),
    "artefacts": _painted(ARTEFACTS),
    "noisy areas": _areas(NOISY_AREAS),
    "noisy lakes": _areas(NOISY_LAKES),
    "alike": alike,
    "mirrored": mirrored,
    "repeated": repeated,
    "by a period": by_a_period,
    "unrelated 128": _unrelated(128, 16, PRIOR),
    "unrelated 256": _unrelated(256, 12, PRIOR),
    "unrelated 512": _unrelated(512, 6, PRIOR),
    "unrelated 256, auto": _unrelated(256, 12, AUTO),
    "unrelated 128, no prior": _unrelated(128, 16, NO_PRIOR),
    "unrelated 256, no prior": _unrelated(256, 12, NO_PRIOR),
    "real": real,
    "finer and coarser": finer_and_coarser,
    "unlike": unlike,
}
"""Kinds of trials, in the order they are run."""

SYNTHETIC = ("alike", "repeated", "by a period")
"""Kinds that need no photographs."""
