"""The scale space as data: levels, their diffusion steps, and how far one pixel's influence reaches.

Every quantity is rounded to float32 where OpenCV rounds it, so that steps and levels are the same numbers.
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
"""Largest step of an explicit diffusion scheme that cannot oscillate."""

OCTAVE_CONTRAST = np.float32(0.75)
"""The contrast factor is multiplied by this at every octave."""

BASE_BLUR_REACH = 4
"""Radius of the Gauss filter that makes level 0: 9 taps [px]."""

BLUR_REACH = 2
"""Radius of the Gauss filter before every derivative: 5 taps [px]."""

FLOW_REACH = BLUR_REACH + 1
"""A conductivity looks this far: the blur and Scharr's 3 x 3 [px]."""

MIN_OCTAVE_WIDTH, MIN_OCTAVE_HEIGHT = 80, 40
"""OpenCV drops an octave (never the first) that is smaller than this [px]."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the scale space."""

    index: int
    """``octave * layers + layer``: what `Features.level` holds."""

    octave: int
    """The level's pixels are ``2 ** octave`` image pixels wide."""

    sigma: float
    """Scale [px of the image]."""

    radius: int
    """Half-width of the derivative stencils and of suppression, unit of the descriptor's lattice [px of the octave]."""

    border: int
    """No keypoint lies nearer than this to the image's border [px of the octave]."""

    steps: tuple[np.float32, ...]
    """Diffusion steps that lead from the level before to this one; none at level 0."""

    @property
    def size(self) -> float:
        """Diameter of a keypoint of this level [px of the image]."""
        return float(np.float32(self.sigma) * DERIVATIVE_FACTOR * np.float32(2))

    @property
    def sample_shift(self) -> float:
        """How far from its position a keypoint is described, in x and y [px of the octave].

        Reported positions are moved to the centre of the octave's pixel, but OpenCV divides them by the octave's ratio
        without moving them back.
        """
        return 0.5 - 0.5 / (1 << self.octave)

    @property
    def descriptor_reach(self) -> int:
        """How far from a keypoint's pixel its descriptor may sample [px of the octave].

        The lattice's corner is ``10 sqrt(2) radius`` away; the refined position adds up to 1 px, the sample shift up to
        0.5 px, rounding another 0.5 px.
        """
        return math.ceil(10 * math.sqrt(2) * self.radius + 2)


def levels(settings: AkazeSettings, shape: tuple[int, int]) -> list[list[Level]]:
    """List the levels of an image's scale space.

    Parameters
    ----------
    settings
        Number of octaves and of layers an octave.
    shape
        Rows and columns of the image [px].

    Returns
    -------
    list of list of Level
        One list an octave; octaves that OpenCV would drop for their size are left out.

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
    """Step sizes of one cycle of fast explicit diffusion that lasts `time`, halved as the stencil wants them.

    A cycle of n steps reaches the time of n * (n + 1) / 3 stable steps because single steps may be unstable; visiting
    them in kappa order keeps rounding from growing (Grewenig, Weickert and Bruhn 2010).
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
    order = [place - 1 for place in ((i * kappa) % prime for i in range(1, prime + 1)) if 0 < place <= n][:n]
    return tuple(np.float32(ascending[place] * np.float32(0.5)) for place in order)


def derivative_taps(radius: int) -> tuple[np.float32, np.float32]:
    """Centre and corner tap of the derivative stencil, float32 as OpenCV rounds them."""
    w = np.float32(10) / np.float32(3)
    corner = np.float32(1) / (np.float32(2 * radius) * (w + np.float32(2)))
    return w * corner, corner


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def diffusion_reach(octave: list[Level]) -> int:
    """How far a pixel of the octave's source may influence the octave's last level [px of the octave]."""
    base = BASE_BLUR_REACH if octave[0].octave == 0 else 0
    return base + sum(len(level.steps) + FLOW_REACH for level in octave if level.steps)


def response_reach(octave: list[Level]) -> int:
    """How far a pixel of the octave's source may influence a maximum, or the next octave's source [px of the octave].

    An even number, like `halo`.

    Examples
    --------
    >>> from s2fast_kernels.akaze.contract import AkazeSettings
    >>> [response_reach(octave) for octave in levels(AkazeSettings(), (10980, 10980))]
    [34, 46, 68, 114]
    """
    # The determinant is a derivative of derivatives, and a maximum is held against its eight neighbours.
    return -(-(diffusion_reach(octave) + BLUR_REACH + 2 * octave[-1].radius + 1) // 2) * 2


def halo(octave: list[Level], margin: int) -> int:
    """Halo that makes a window of an octave equal to the whole image, bit for bit [px of the octave].

    It is the true domain of dependence, not an estimate: a pixel beyond the halo enters no arithmetic that leads to the
    core's keypoints, their descriptors, or the core of the octave's last level.

    Parameters
    ----------
    octave
        The octave's levels.
    margin
        Candidates, but not their descriptors, are wanted this far outside the core as well [px of the octave].

    Returns
    -------
    int
        An even number: windows of an octave start at even pixels, so that halving them keeps the pixel grid.

    Examples
    --------
    >>> from s2fast_kernels.akaze.contract import AkazeSettings
    >>> [halo(octave, 16) for octave in levels(AkazeSettings(), (10980, 10980))]
    [82, 94, 116, 162]
    """
    reach = BASE_BLUR_REACH if octave[0].octave == 0 else 0
    widest = 0
    for level in octave:
        # Level 0 is smoothed once, by the base blur; later ones again before their derivatives.
        smooth = reach + (BLUR_REACH if level.steps else 0)
        reach += len(level.steps) + FLOW_REACH if level.steps else 0
        described = level.descriptor_reach + max(reach, smooth + level.radius)
        detected = margin + smooth + 2 * level.radius + 2
        widest = max(widest, described, detected, reach)
    return widest + widest % 2
