"""Images shared by tests and benchmarks: synthetic ones, and real ones if available."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

REAL = (
    "ukraine/*_T36UXA_20180830*/**/*_TCI.jp2",
    "ukraine/*_T36UYA_20190606*/**/*_TCI.jp2",
    "ukraine/*_T36UYA_20160212*/**/*_TCI.jp2",
    "arosics/ref_*.jp2",
    "arosics/tgt_*.jp2",
    "paris/*_TCI_10m.jp2",
    "lebanon/*_TCI_60m.jp2",
)
"""Patterns of the real images in their folder: forest, fields, snow, two dates of one 10 m scene, a town, hills."""


def synthetic_image(shape: tuple[int, int], seed: int = 0) -> Image:
    """Return ground-like texture: noise with a 1 / f spectrum, divided into fields of different brightness.

    Examples
    --------
    >>> image = synthetic_image((64, 96))
    >>> image.shape, image.dtype.name, bool(image.std() > 20)
    ((64, 96), 'uint8', True)
    """
    rng = np.random.default_rng(seed)
    rows, columns = shape
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf

    def noise(power: float) -> npt.NDArray[np.float64]:
        spectrum = np.fft.rfft2(rng.standard_normal(shape)) * frequency**-power
        field: npt.NDArray[np.float64] = np.fft.irfft2(spectrum, s=shape)
        return np.asarray(field / field.std())

    texture, fields = noise(1.0), noise(1.6)
    bright = np.digitize(fields, [-1.0, -0.3, 0.2, 0.9]) * 1.2
    image: Image = np.clip(128 + 22 * (texture + bright - bright.mean()), 0, 255).astype(np.uint8)
    return image


def real_images(folder: Path, multiple: int = 8) -> Iterator[tuple[str, Image]]:
    """Yield the real images as grey uint8, cropped to sides that are multiples of `multiple`.

    16-bit reflectances are stretched between two percentiles of the valid pixels of the whole image.
    """
    import cv2

    for pattern in REAL:
        path = next(iter(sorted(folder.glob(pattern))))
        raw: npt.NDArray[Any] = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        if raw.ndim == 3:
            raw = np.asarray(cv2.cvtColor(raw, cv2.COLOR_BGR2GRAY))
        image: Image = stretched(raw) if raw.dtype == np.uint16 else raw
        rows, columns = (side // multiple * multiple for side in image.shape)
        yield pattern.split("*")[0] + path.stem[-28:], np.ascontiguousarray(image[:rows, :columns])


def stretched(image: npt.NDArray[np.uint16]) -> Image:
    """Return 16-bit reflectances stretched to 8 bits between the 1st and 99th percentile of the nonzero values."""
    low, high = np.percentile(image[image > 0], (1, 99))
    scaled: Image = (np.clip((image.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return scaled
