"""ORB keypoints and descriptors of a scene, computed by OpenCV: 256 bits instead of AKAZE's 486.

``features.octaves`` and ``features.layers`` determine the image pyramid: each level is smaller than the previous one by
the factor ``2 ** (1 / layers)``, and levels too small for a keypoint are omitted. With ``features.upright`` descriptors
are not rotated to the keypoint's orientation.

References
----------
Rublee, Rabaud, Konolige, Bradski: ORB: an efficient alternative to SIFT or SURF. ICCV, 2011.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from s2fast.config import FeatureSettings
from s2fast.detectors import DetectorInput
from s2fast_kernels.features import Features, pack

BORDER_PX = 31
"""Minimum distance of keypoints from the border of their level [px of the level]: OpenCV's ``edgeThreshold``."""

DIAMETER_PX = 3.7
"""Diameter of a keypoint of the lowest level [px]: as with AKAZE, a tenth of the width of the area that its descriptor
samples. That area is the patch of 31 px with 3 px of smoothing on either side."""

PATCH_PX = 31
"""The size that OpenCV reports for a keypoint of the lowest level [px]."""

CANDIDATES_PER_PX = 0.03
"""Maximum number of keypoints that compete for the budget, per pixel; the strongest of each level are kept: OpenCV's
``nfeatures``."""

_CANDIDATE_BYTES = 150
"""Memory per keypoint, in OpenCV's lists and as a Python object."""

_BYTES_PER_PX = 10
"""Memory per pixel: the image, up to seven times as many pixels in its pyramid, the mask of valid keypoint positions,
and working memory to compute that mask."""


def detector(shape: tuple[int, int], settings: FeatureSettings) -> cv2.ORB | None:
    """Return OpenCV's detector for a scene of this shape [px]; None if the scene is too small for a keypoint."""
    smallest = min(shape)
    if smallest <= 2 * BORDER_PX:
        return None
    fitting = 1 + math.floor(settings.layers * math.log2(smallest / (2 * BORDER_PX)))
    return cv2.ORB.create(
        nfeatures=max(1, int(CANDIDATES_PER_PX * shape[0] * shape[1])),
        scaleFactor=2 ** (1 / settings.layers),
        nlevels=min(fitting, settings.octaves * settings.layers),
        edgeThreshold=BORDER_PX,
        patchSize=PATCH_PX,
    )


def extract(
    scene: DetectorInput, settings: FeatureSettings, backend: str, threads: int, device: str = "auto"
) -> Features:
    """Detect and describe keypoints; see `s2fast.detectors.Implementation`. Features are sorted by (level, y, x)."""
    del backend, threads, device  # there is only one backend, and OpenCV manages its own threads
    orb = detector(scene.shape, settings)
    if orb is None:
        return Features.none()
    image = np.ascontiguousarray(scene.pixels(*scene.whole))
    found = orb.detect(image, None)
    xy = np.array([point.pt for point in found], np.float32).reshape(-1, 2)
    response = np.array([point.response for point in found], np.float32)
    level = np.array([point.octave for point in found], np.int16)
    # The budget breaks ties by the lower row number, so sort first.
    order = np.lexsort((xy[:, 0], xy[:, 1], level))
    rows = order[scene.select(xy[order], response[order])]
    if not len(rows):
        return Features.none()
    wanted = [found[row] for row in rows]
    for row, point in enumerate(wanted):
        point.class_id = row
        if settings.upright:
            point.angle = 0.0
    described, descriptors = orb.compute(image, wanted)
    back = np.empty(len(rows), np.intp)
    back[[point.class_id for point in described]] = np.arange(len(described))
    return Features(
        xy=xy[rows],
        size=np.array([point.size for point in wanted], np.float32) * np.float32(DIAMETER_PX / PATCH_PX),
        angle=np.deg2rad(np.array([point.angle for point in wanted], np.float32)),
        response=response[rows],
        level=level[rows],
        descriptors=pack(descriptors[back]),
    )


def extract_bytes(
    shape: tuple[int, int], threads: int, *, backend: str = "opencv", upsample: int = 1, masked: bool = False
) -> int:
    """Predict the peak memory of extracting one scene; see `s2fast.detectors.Implementation`."""
    del threads, backend
    tile = (2 + masked) * shape[0] * shape[1]
    pixels = upsample**2 * shape[0] * shape[1]
    return tile + tile // 16 + pixels * _BYTES_PER_PX + int(CANDIDATES_PER_PX * pixels) * _CANDIDATE_BYTES
