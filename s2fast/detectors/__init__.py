"""Keypoint detectors that a run can choose from: one row each, in `DETECTORS`.

A detector finds keypoints on a prepared scene and describes them with at most 512 bits. To add one, write a module that
implements `Implementation` and add its row to `DETECTORS`. Importing this package imports no implementation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from s2fast.config import FeatureSettings
from s2fast.errors import ConfigError
from s2fast_kernels import akaze
from s2fast_kernels.backends import Backend, needs_package, resolve
from s2fast_kernels.features import Budget, Features

MaskSource = Callable[[slice, slice], npt.NDArray[np.bool_]]
"""(rows, columns) -> that part of a bool image."""

PixelSource = Callable[[slice, slice], npt.NDArray[np.uint8]]
"""(rows, columns) -> that part of an image."""

COMMON_SETTINGS = frozenset({"detector", "backend", "upsample", "nodata_px", "max_per_scene", "cell_px"})
"""Keys of ``[features]`` that act whatever the detector is."""

_DEFAULT = FeatureSettings()


@dataclass(frozen=True, slots=True)
class DetectorInput:
    """A prepared scene, perhaps enlarged, and which of its keypoints are wanted."""

    pixels: PixelSource
    """Returns windows of the scene's pixels; several threads may call it at once."""

    shape: tuple[int, int]
    """Rows and columns of the scene [px]."""

    valid: MaskSource | None = None
    """Returns windows of the mask: True where a keypoint may lie, by its nearest pixel. None: everywhere."""

    budget: Budget | None = None
    """How many keypoints to keep, and how they are spread; None: all."""

    painted: bool = False
    """Whether the outside of polygons is painted black, so that large parts of the scene hold no keypoint."""

    @property
    def whole(self) -> tuple[slice, slice]:
        """Rows and columns of the whole scene."""
        return slice(0, self.shape[0]), slice(0, self.shape[1])

    def chosen(self, xy: npt.NDArray[np.float32], response: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
        """Return the rows of the keypoints that lie in the mask and within the budget, ascending."""
        rows = np.arange(len(xy))
        if self.valid is not None and len(xy):
            x, y = np.rint(xy).astype(np.intp).T
            rows = np.flatnonzero(self.valid(*self.whole)[y, x])
        if self.budget is not None:
            rows = rows[self.budget.select(xy[rows], response[rows], self.shape)]
        return rows


class Implementation(Protocol):
    """What the module of a detector defines."""

    def extract(self, scene: DetectorInput, settings: FeatureSettings, backend: str, threads: int) -> Features:
        """Detect the wanted keypoints of a scene and describe them.

        Parameters
        ----------
        scene
            What to search.
        settings
            ``[features]``, with ``upright`` settled: True or False.
        backend
            Name of one of the detector's backends.
        threads
            Threads to use; 0: one per core. The result does not depend on it.

        Returns
        -------
        Features
            On the scene's grid, in an order that depends on the scene and the settings alone.
        """
        ...

    def extract_bytes(self, shape: tuple[int, int], threads: int, *, backend: str, upsample: int, masked: bool) -> int:
        """Predict the peak of extracting one scene.

        Parameters
        ----------
        shape
            Rows and columns of the masked tile, before it is enlarged.
        threads
            Threads used.
        backend
            Name of one of the detector's backends.
        upsample
            Factor by which the tile is enlarged for the detector.
        masked
            Whether the tile comes with a mask of the pixels that its file says are missing.

        Returns
        -------
        int
            Bytes beyond what is loaded, the tile and its masks included.
        """
        ...


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector: a row of `DETECTORS`."""

    name: str
    """What a user writes in a configuration: ``"akaze"``."""

    module: str
    """Full name of the module that is its `Implementation`; imported when it is used."""

    descriptor_bits: int
    """Width of a descriptor [bits]; the rest of the 512 packed bits is zero."""

    settings: frozenset[str]
    """Keys of ``[features]`` that act on this detector, beside `COMMON_SETTINGS`."""

    backends: Sequence[Backend]
    """Its backends, the one to prefer first; only their names and whether they can run are used."""

    def load(self) -> Implementation:
        """Import the implementation and return it."""
        implementation: Any = importlib.import_module(self.module)
        loaded: Implementation = implementation
        return loaded


DETECTORS = (
    Detector(
        "akaze",
        f"{__name__}.akaze",
        descriptor_bits=486,
        settings=frozenset({"threshold", "octaves", "layers", "upright"}),
        backends=akaze.BACKENDS,
    ),
    Detector(
        "orb",
        f"{__name__}.orb",
        descriptor_bits=256,
        settings=frozenset({"octaves", "layers", "upright"}),
        backends=(Backend("opencv", f"{__name__}.orb", "extract", "cpu", needs_package("cv2")),),
    ),
)
"""The default first."""


def named(name: str) -> Detector:
    """Return the detector of a name.

    Raises
    ------
    ConfigError
        There is none.
    """
    for row in DETECTORS:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in DETECTORS)
    raise ConfigError(f"features.detector = {name!r} is unknown; known: {known}")


def backend_name(settings: FeatureSettings) -> str:
    """Return the name of the backend that runs, see `s2fast_kernels.backends.resolve`."""
    return resolve(named(settings.detector).backends, settings.backend).name


def check(settings: FeatureSettings) -> None:
    """Refuse settings that name no detector, no backend of it, or change what does not act on it.

    A setting that does not act must have its default value: a file that lists all defaults serves every detector.

    Raises
    ------
    ConfigError
        The settings do not fit together.
    s2fast_kernels.backends.BackendError
        The backend cannot run here.
    """
    detector = named(settings.detector)
    known = ["auto", *(row.name for row in detector.backends)]
    if settings.backend not in known:
        raise ConfigError(
            f"features.backend = {settings.backend!r} is no backend of features.detector = {detector.name!r}; "
            f"known: {', '.join(known)}"
        )
    for key in sorted(_without_effect(detector)):
        if getattr(settings, key) != getattr(_DEFAULT, key):
            having = ", ".join(repr(row.name) for row in DETECTORS if key in row.settings)
            raise ConfigError(
                f"features.{key} = {getattr(settings, key)!r} has no effect with features.detector = "
                f"{detector.name!r}, only with {having}: remove it, or choose another detector"
            )
    resolve(detector.backends, settings.backend)


def acting(settings: FeatureSettings) -> dict[str, Any]:
    """Return the settings that the features depend on, for their content key.

    The default detector is not named, so that its features keep the keys they had before there were others.
    """
    detector = named(settings.detector)
    unnamed = {"detector"} if detector.name == _DEFAULT.detector else set()
    return settings.model_dump(exclude={"backend"} | unnamed | _without_effect(detector))


def _without_effect(detector: Detector) -> set[str]:
    return set(FeatureSettings.model_fields) - COMMON_SETTINGS - detector.settings
