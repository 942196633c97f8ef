"""The available keypoint detectors: one row each in `DETECTORS`.

A detector finds keypoints in a prepared scene and describes them with at most 512 bits. To add one, write a module that
implements `Implementation`, and add a row to `DETECTORS`. Importing this package imports no implementation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from s2fast.config import Config, FeatureSettings
from s2fast.errors import ConfigError
from s2fast_kernels import akaze
from s2fast_kernels.backends import Backend, Selected, needs_package, resolve
from s2fast_kernels.features import Budget, Features

MaskSource = Callable[[slice, slice], npt.NDArray[np.bool_]]
"""(rows, columns) -> that part of a bool image."""

PixelSource = Callable[[slice, slice], Any]
"""(rows, columns) -> that part of an image, uint8: an array or, for a detector on a device, a tensor there."""

COMMON_SETTINGS = frozenset({"detector", "backend", "upsample", "nodata_px", "max_per_scene", "cell_px", "coarser"})
"""Keys of ``[features]`` that apply to all detectors."""

_DEFAULT = FeatureSettings()


@dataclass(frozen=True, slots=True)
class DetectorInput:
    """A prepared, possibly upscaled scene, with the mask and the budget of its keypoints."""

    pixels: PixelSource
    """Returns windows of the scene's pixels; several threads may call it at once."""

    shape: tuple[int, int]
    """Rows and columns of the scene [px]."""

    valid: MaskSource | None = None
    """Returns windows of the mask of valid keypoint positions, looked up at the nearest pixel. None: all are valid."""

    budget: Budget | None = None
    """Number and distribution of the keypoints to keep; None: keep all."""

    painted: bool = False
    """Whether the area outside the polygons is painted black, so that large parts of the scene have no keypoints."""

    device_bytes: int | None = None
    """Memory that windows may take on a GPU; None: no limit."""

    @property
    def whole(self) -> tuple[slice, slice]:
        """Rows and columns of the whole scene."""
        return slice(0, self.shape[0]), slice(0, self.shape[1])

    def select(self, xy: npt.NDArray[np.float32], response: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
        """Return the row numbers of the keypoints inside the mask and within the budget, ascending."""
        rows = np.arange(len(xy))
        if self.valid is not None and len(xy):
            x, y = np.rint(xy).astype(np.intp).T
            rows = np.flatnonzero(self.valid(*self.whole)[y, x])
        if self.budget is not None:
            rows = rows[self.budget.select(xy[rows], response[rows], self.shape)]
        return rows


class Implementation(Protocol):
    """The interface of a detector's module."""

    def extract(
        self, scene: DetectorInput, settings: FeatureSettings, backend: str, threads: int, device: str = "auto"
    ) -> Features:
        """Detect the keypoints of a scene that its mask and budget select, and describe them.

        Parameters
        ----------
        scene
            The scene to search.
        settings
            ``[features]``; ``upright`` is True or False, not "auto".
        backend
            Name of one of the detector's backends.
        threads
            Number of threads; 0: one per core. The result does not depend on it.
        device
            ``compute.device``.

        Returns
        -------
        Features
            Features on the scene's grid, in an order that depends only on the scene and the settings.
        """
        ...

    def extract_bytes(self, shape: tuple[int, int], threads: int, *, backend: str, upsample: int, masked: bool) -> int:
        """Predict the peak memory of extracting one scene.

        Parameters
        ----------
        shape
            Rows and columns of the masked tile, before upscaling.
        threads
            Number of threads.
        backend
            Name of one of the detector's backends.
        upsample
            Factor by which the tile is upscaled for the detector.
        masked
            Whether the tile has a mask of missing pixels.

        Returns
        -------
        int
            Bytes, including the tile and its masks, without loaded libraries.
        """
        ...


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector: a row of `DETECTORS`."""

    name: str
    """Name in a configuration: ``"akaze"``."""

    module: str
    """Full name of the module that implements `Implementation`; imported on first use."""

    descriptor_bits: int
    """Width of a descriptor [bits]; the rest of the 512 packed bits is zero."""

    settings: frozenset[str]
    """Keys of ``[features]`` that apply to this detector, in addition to `COMMON_SETTINGS`."""

    backends: Sequence[Backend]
    """The backends, the preferred one first; only their names and their availability are used."""

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
"""All detectors, the default first."""


def detector_of(settings: FeatureSettings) -> Detector:
    """Return the detector that the settings select.

    Raises
    ------
    ConfigError
        There is no detector of that name.
    """
    for row in DETECTORS:
        if row.name == settings.detector:
            return row
    known = ", ".join(row.name for row in DETECTORS)
    raise ConfigError(f"features.detector = {settings.detector!r} is unknown; known: {known}")


def selected_backend(config: Config) -> Selected:
    """Return the backend to run and its device, see `s2fast_kernels.backends.resolve`."""
    settings = config.features
    return resolve(detector_of(settings).backends, settings.backend, config.compute.device)


def check(config: Config) -> None:
    """Check that the detector, the backend and the device exist, and that no setting without effect is changed.

    Settings that do not apply to the detector must have their default values, so that a file with all defaults is valid
    for every detector.

    Raises
    ------
    ConfigError
        The settings are inconsistent.
    s2fast_kernels.backends.BackendError
        The backend cannot run here, or there is no such device.
    """
    settings = config.features
    detector = detector_of(settings)
    known = ["auto", *(row.name for row in detector.backends)]
    if settings.backend not in known:
        raise ConfigError(
            f"features.backend = {settings.backend!r} is not a backend of features.detector = {detector.name!r}; "
            f"known: {', '.join(known)}"
        )
    for key in sorted(_without_effect(detector)):
        if getattr(settings, key) != getattr(_DEFAULT, key):
            supported = ", ".join(repr(row.name) for row in DETECTORS if key in row.settings)
            raise ConfigError(
                f"features.{key} = {getattr(settings, key)!r} has no effect with features.detector = "
                f"{detector.name!r}, only with {supported}: remove it, or choose another detector"
            )
    selected_backend(config)


def effective_settings(settings: FeatureSettings) -> dict[str, Any]:
    """Return the settings that the features depend on, for their content key.

    The default detector's name is omitted, so that its features keep the keys from before other detectors existed; so
    is ``coarser``, since a scene's levels have their own place in the key.
    """
    detector = detector_of(settings)
    unnamed = {"detector"} if detector.name == _DEFAULT.detector else set()
    return settings.model_dump(exclude={"backend", "coarser"} | unnamed | _without_effect(detector))


def _without_effect(detector: Detector) -> set[str]:
    return set(FeatureSettings.model_fields) - COMMON_SETTINGS - detector.settings
