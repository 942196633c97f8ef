"""Parameters of the scale space: levels, their diffusion steps, and the reach of a pixel's influence.

Every quantity is rounded to float32 where OpenCV rounds it, so that steps and levels are identical.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from s2fast_kernels.akaze.contract import AkazeSettings

BASE_SIGMA = np.float32(1.6)
"""Scale of level 0 [px of the image]."""

DERIVATIVE_FACTOR = np.float32(1.5)
"""Size of the derivative stencils and of keypoints, in units of the level's scale."""

STABILITY_LIMIT = np.float32(0.25)
"""Largest step of an explicit diffusion scheme that is stable."""

OCTAVE_CONTRAST = np.float32(0.75)
"""Factor by which the contrast factor changes from octave to octave."""

BASE_BLUR_REACH = 4
"""Radius of the Gaussian filter of level 0: 9 taps [px]."""

BLUR_REACH = 2
"""Radius of the Gaussian filter before every derivative: 5 taps [px]."""

FLOW_REACH = BLUR_REACH + 1
"""Reach of a conductivity: the blur and Scharr's 3 x 3 taps [px]."""

MIN_OCTAVE_WIDTH, MIN_OCTAVE_HEIGHT = 80, 40
"""OpenCV drops octaves smaller than this, except the first [px]."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the scale space."""

    index: int
    """``octave * layers + layer``, the value of `Features.level`."""

    octave: int
    """Octave of the level, whose pixels are ``2 ** octave`` image pixels wide."""

    sigma: float
    """Scale [px of the image]."""

    radius: int
    """Radius of the derivative stencils and of suppression, spacing of the descriptor's lattice [px of the octave]."""

    border: int
    """Minimum distance of keypoints from the image's border [px of the octave]."""

    steps: tuple[np.float32, ...]
    """Diffusion steps from the previous level to this one; empty for level 0."""

    @property
    def size(self) -> float:
        """Diameter of a keypoint of this level [px of the image]."""
        return float(np.float32(self.sigma) * DERIVATIVE_FACTOR * np.float32(2))

    @property
    def sample_shift(self) -> float:
        """Offset of a keypoint's descriptor from its position, in x and y [px of the octave].

        Reported positions are shifted to the centre of the octave's pixel, but OpenCV divides them by the octave's
        ratio without shifting them back.
        """
        return 0.5 - 0.5 / (1 << self.octave)

    @property
    def descriptor_reach(self) -> int:
        """Maximum distance of a descriptor's samples from its keypoint's pixel [px of the octave].

        The lattice's corner is ``10 sqrt(2) radius`` away. The refinement adds up to 1 px, the sample shift up to
        0.5 px, and rounding up to 0.5 px.
        """
        return math.ceil(10 * math.sqrt(2) * self.radius + 2)


def levels(settings: AkazeSettings, shape: tuple[int, int]) -> list[list[Level]]:
    """Return the levels of an image's scale space.

    Parameters
    ----------
    settings
        Number of octaves, and of layers per octave.
    shape
        Rows and columns of the image [px].

    Returns
    -------
    list of list of Level
        One list per octave, without the octaves that OpenCV drops because of their size.

    Examples
    --------
    >>> from s2fast_kernels.akaze.contract import AkazeSettings
    >>> octaves = levels(AkazeSettings(), (1024, 1024))
    >>> [[len(level.steps) for level in octave] for octave in octaves]
    [[0, 3, 3, 4], [4, 5, 6, 7], [8, 10, 12, 14], [17, 20, 24, 29]]
    >>> [(level.radius, level.border) for level in octaves[0]]
    [(2, 29), (3, 43), (3, 43), (4, 58)]
    >>> len(levels(AkazeSettings(), (400, 310)))
    2
    """
    octaves: list[list[Level]] = []
    time_before = np.float32(0)
    for octave in range(settings.octaves):
        height, width = shape[0] >> octave, shape[1] >> octave
        if octave and (width < MIN_OCTAVE_WIDTH or height < MIN_OCTAVE_HEIGHT):
            break
        octaves.append([])
        for layer in range(settings.layers):
            index = octave * settings.layers + layer
            exponent = np.float32(layer) / np.float32(settings.layers) + np.float32(octave)
            sigma = BASE_SIGMA * np.float32(2) ** exponent
            time = np.float32(0.5) * (sigma * sigma)
            radius = round(float(sigma * DERIVATIVE_FACTOR / np.float32(1 << octave)))
            border = round(float(np.float32(10) * np.sqrt(np.float32(2)) * np.float32(radius))) + 1
            steps = diffusion_steps(time - time_before) if index else ()
            octaves[-1].append(Level(index, octave, float(sigma), radius, border, steps))
            time_before = time
    return octaves


def diffusion_steps(time: np.float32) -> tuple[np.float32, ...]:
    """Return the step sizes of one cycle of fast explicit diffusion with duration `time`, halved for the stencil.

    A cycle of n steps reaches the time of n * (n + 1) / 3 stable steps, because single steps may be unstable. The kappa
    order of the steps limits the growth of rounding errors (Grewenig, Weickert and Bruhn 2010).
    """
    n = math.ceil(math.sqrt(3.0 * float(time) / float(STABILITY_LIMIT) + 0.25) - 0.5 - 1e-8)
    if n <= 0:
        return ()
    scale = np.float32(3) * time / (STABILITY_LIMIT * np.float32(n * (n + 1)))
    c = np.float32(1) / (np.float32(4) * np.float32(n) + np.float32(2))
    d = scale * STABILITY_LIMIT / np.float32(2)
    k = np.arange(n, dtype=np.float32)
    h = np.cos(np.float32(np.pi) * (np.float32(2) * k + np.float32(1)) * c).astype(np.float32)
    ascending = d / (h * h)
    kappa, prime = n // 2, n + 1
    while not _is_prime(prime):
        prime += 1
    order = [number - 1 for number in ((i * kappa) % prime for i in range(1, prime + 1)) if 0 < number <= n][:n]
    return tuple(np.float32(ascending[number] * np.float32(0.5)) for number in order)


def derivative_taps(radius: int) -> tuple[np.float32, np.float32]:
    """Return the centre and corner tap of the derivative stencil, rounded to float32 as in OpenCV."""
    w = np.float32(10) / np.float32(3)
    corner = np.float32(1) / (np.float32(2 * radius) * (w + np.float32(2)))
    return w * corner, corner


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def diffusion_reach(octave: list[Level]) -> int:
    """Return the reach of a pixel of the octave's source on the octave's last level [px of the octave]."""
    base = BASE_BLUR_REACH if octave[0].octave == 0 else 0
    return base + sum(len(level.steps) + FLOW_REACH for level in octave if level.steps)


def response_reach(octave: list[Level]) -> int:
    """Return the reach of a pixel of the octave's source on a maximum or the next octave's source [px of the octave].

    The result is even, as in `halo`.

    Examples
    --------
    >>> from s2fast_kernels.akaze.contract import AkazeSettings
    >>> [response_reach(octave) for octave in levels(AkazeSettings(), (10980, 10980))]
    [34, 46, 68, 114]
    """
    # The determinant depends on derivatives of derivatives, and a maximum on its eight neighbours.
    return -(-(diffusion_reach(octave) + BLUR_REACH + 2 * octave[-1].radius + 1) // 2) * 2


def halo(octave: list[Level], margin: int) -> int:
    """Return the halo with which a window of an octave is bit-equal to the whole image [px of the octave].

    The halo is the exact domain of dependence, not an estimate: the core's keypoints, their descriptors and the core of
    the octave's last level do not depend on any pixel beyond the halo.

    Parameters
    ----------
    octave
        The octave's levels.
    margin
        Candidates, without their descriptors, are needed this far outside the core [px of the octave].

    Returns
    -------
    int
        The halo, an even number: windows of an octave start at even pixels, so that halving them keeps the pixel grid.

    Examples
    --------
    >>> from s2fast_kernels.akaze.contract import AkazeSettings
    >>> [halo(octave, 16) for octave in levels(AkazeSettings(), (10980, 10980))]
    [82, 94, 116, 162]
    """
    reach = BASE_BLUR_REACH if octave[0].octave == 0 else 0
    widest = 0
    for level in octave:
        # Level 0 is smoothed only by the base blur; later levels are smoothed again before their derivatives.
        smooth = reach + (BLUR_REACH if level.steps else 0)
        reach += len(level.steps) + FLOW_REACH if level.steps else 0
        described = level.descriptor_reach + max(reach, smooth + level.radius)
        detected = margin + smooth + 2 * level.radius + 2
        widest = max(widest, described, detected, reach)
    return widest + widest % 2
