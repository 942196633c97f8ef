"""Prepare a scene on the host, with OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from s2fast.config import Config
from s2fast.image.painted import flat
from s2fast.image.prepare import prepare, upscaled
from s2fast.image.scenes import PreparedScene


def prepared(
    grey: npt.NDArray[np.uint8],
    missing: npt.NDArray[np.bool_] | None,
    config: Config,
    factor: int,
    reflectance: tuple[float, float] | None = None,
) -> PreparedScene:
    """Prepare a masked tile.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The tile's pixels; may be modified.
    missing : (rows, cols) bool or None
        True where the file declares a pixel missing; None: it declares none.
    config
        The run's settings.
    factor
        1, or 2 to enlarge the image.
    reflectance
        See `s2fast.image.prepare.prepare`.
    """
    equal = flat(grey)
    found = prepare(
        grey,
        config.ingest,
        config.features.nodata_px,
        painted=config.regions.mode == "zero",
        missing=missing,
        reflectance=reflectance,
    )
    return PreparedScene(windows(found.image, factor), found.clear, lambda: grey, lambda: equal, found.clouds_judged)


def windows(image: npt.NDArray[np.uint8], factor: int) -> Callable[[slice, slice], npt.NDArray[np.uint8]]:
    """Return a function that returns windows of the enlarged image."""
    if factor == 1:
        return lambda rows, columns: image[rows, columns]
    return lambda rows, columns: upscaled(image, rows, columns)
