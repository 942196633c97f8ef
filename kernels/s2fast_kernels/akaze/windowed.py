"""AKAZE of an image of any size in windows, bit-equal to the whole image.

Octaves are processed one after another. Each is split into windows whose halo is the domain of dependence of the
arithmetic. The windows' last levels are halved and stitched to the plane from which the next octave starts. Maxima of
all windows are collected first, and suppression runs over the sorted lists of the whole image, since a window does not
have enough information for it. A window describes the maxima that it expects to survive; the few keypoints for which
that prediction is wrong are described afterwards, from the same planes.
"""

from __future__ import annotations

import numpy as np

from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.jobs import Engine, Pixels, Source
from s2fast_kernels.akaze.masks import Mask, MaskSource
from s2fast_kernels.akaze.octaves import MARGIN_PX, WindowedRun
from s2fast_kernels.akaze.scales import halo, levels
from s2fast_kernels.features import Budget, Features


def akaze_windowed(
    source: Source,
    shape: tuple[int, int],
    engine: Engine,
    settings: AkazeSettings,
    *,
    contrast: float | None = None,
    valid: MaskSource | None = None,
    budget: Budget | None = None,
    core_px: int | None = None,
) -> Features:
    """Detect and describe an image's keypoints, window by window.

    Parameters
    ----------
    source
        Returns a part of the image, uint8 or float32 in [0, 1]. Windows overlap by their halos, so cache an image that
        is expensive to decode.
    shape
        Rows and columns of the image [px].
    engine
        Computes the windows: `NumbaEngine` or `TorchEngine`.
    settings
        The detector's parameters.
    contrast
        The contrast factor; None: computed from the image's valid pixels.
    valid
        True at the nearest pixels of valid keypoints. Windows that cannot affect a valid keypoint are not computed.
    budget
        Limit of the number of keypoints; only the kept keypoints are described.
    core_px
        Side of a window's core [px of the octave]; None: the engine's. The result does not depend on it.

    Returns
    -------
    Features
        Sorted by (level, y, x).

    Notes
    -----
    Sides that are not multiples of ``2 ** (octaves - 1)`` are padded by repeating the image's last row or column, so
    that a pixel of an octave is always two pixels wide in the previous octave. OpenCV stretches the octave instead.

    Memory: the planes between octaves (4 / 3 bytes per pixel of the image, all octaves together), six planes of a
    window per thread, the candidates and the descriptors.
    """
    if core_px is not None and core_px < 2:
        raise ValueError(f"core_px must be at least 2, got {core_px}")
    octaves = levels(settings, shape)
    engine.fit(max((halo(octave, MARGIN_PX) for octave in octaves), default=0), settings.layers, shape)
    core_px = engine.core_px if core_px is None else core_px
    if not octaves or min(shape) <= 2 * octaves[0][0].border:
        return Features.none()
    mask = None if valid is None else Mask(valid, shape)
    if mask is not None and not mask.any(0, shape[0], 0, shape[1]):
        return Features.none()
    if contrast is None:
        contrast = engine.contrast(source, shape, mask)
    return WindowedRun(source, shape, engine, settings, np.float32(contrast), octaves, mask, budget, core_px).features()


def akaze_array(
    image: Pixels,
    engine: Engine,
    settings: AkazeSettings,
    contrast: float | None,
    core: tuple[int, int, int, int] | None,
) -> Features:
    """Run `akaze_windowed` on an array; `core` restricts the keypoints, but not the pixels for the contrast factor."""

    def source(rows: slice, columns: slice) -> Pixels:
        return image[rows, columns]

    if core is None:
        return akaze_windowed(source, image.shape, engine, settings, contrast=contrast)
    wanted = np.zeros(image.shape, np.bool_)
    wanted[core[0] : core[1], core[2] : core[3]] = True
    if contrast is None:
        contrast = engine.contrast(source, image.shape, None)
    return akaze_windowed(source, image.shape, engine, settings, contrast=contrast, valid=wanted)
