"""AKAZE of an image of any size, in windows, equal to the whole image bit for bit.

Octaves are done one after another. Each is cut into windows with a halo as wide as the arithmetic really looks; the
windows' last levels, halved, are stitched into the plane that the next octave starts from. What must not be decided in
a window is not: maxima of all windows are collected first, and suppression runs over the whole image's sorted lists.
Descriptors are made in passing for maxima that will survive as far as a window can tell; the few cases where that
forecast misses are described afterwards, from the same planes.
"""

from __future__ import annotations

import numpy as np

from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.akaze.contrast import contrast_factor
from s2fast_kernels.akaze.jobs import Engine, Pixels, Source
from s2fast_kernels.akaze.masks import Mask, MaskSource
from s2fast_kernels.akaze.octaves import Run
from s2fast_kernels.akaze.scales import levels
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
        Reads a part of the image, uint8 or float32 in [0, 1]. Windows overlap by their halos, so an image that is
        costly to decode should be read through a cache or an array.
    shape
        Rows and columns of the image [px].
    engine
        What computes windows: `NumbaEngine` or `TorchEngine`.
    settings
        The detector's parameters.
    contrast
        The contrast factor; None: computed from the image's valid pixels.
    valid
        True: a keypoint may lie here, by its position rounded to the nearest pixel. Windows that cannot hold a wanted
        keypoint, nor feed one that can, are not computed.
    budget
        Limit of the number of keypoints; only chosen keypoints are described.
    core_px
        Side of a window's core [px of the octave]; None: the engine's. The result does not depend on it.

    Returns
    -------
    Features
        Sorted by (level, y, x).

    Notes
    -----
    Sides that are no multiple of ``2 ** (octaves - 1)`` are continued with the image's last row or column, so that an
    octave's pixel is always two pixels of the octave before. OpenCV stretches the octave instead.

    Memory: the planes between octaves (4 / 3 bytes a pixel of the image, all octaves together), six planes of a window
    a thread, the candidates and the descriptors.
    """
    core_px = engine.core_px if core_px is None else core_px
    if core_px < 2:
        raise ValueError(f"core_px must be at least 2, got {core_px}")
    octaves = levels(settings, shape)
    if not octaves or min(shape) <= 2 * octaves[0][0].border:
        return Features.none()
    mask = None if valid is None else Mask(valid, shape)
    if mask is not None and not mask.any(0, shape[0], 0, shape[1]):
        return Features.none()
    if contrast is None:
        contrast = contrast_factor(source, shape, valid=mask, threads=engine.threads)
    return Run(source, shape, engine, settings, np.float32(contrast), octaves, mask, budget, core_px).features()


def akaze_array(
    image: Pixels,
    engine: Engine,
    settings: AkazeSettings,
    contrast: float | None,
    core: tuple[int, int, int, int] | None,
) -> Features:
    """Run `akaze_windowed` on an array; `core` limits where keypoints are wanted, not where contrast is measured."""

    def source(rows: slice, columns: slice) -> Pixels:
        return image[rows, columns]

    if core is None:
        return akaze_windowed(source, image.shape, engine, settings, contrast=contrast)
    wanted = np.zeros(image.shape, np.bool_)
    wanted[core[0] : core[1], core[2] : core[3]] = True
    if contrast is None:
        contrast = contrast_factor(source, image.shape, threads=engine.threads)
    return akaze_windowed(source, image.shape, engine, settings, contrast=contrast, valid=wanted)
