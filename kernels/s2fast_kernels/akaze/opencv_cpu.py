"""`akaze` with OpenCV: the reference for the other backends, and their fallback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from s2fast_kernels.akaze.contract import AkazeSettings, in_core
from s2fast_kernels.features import Features, pack

if TYPE_CHECKING:
    import numpy.typing as npt

_LEAST_SIDE_PX = 59
"""Minimum side of an image: keypoints are at least 29 px from every border, and on images of a few pixels OpenCV writes
outside its buffers."""


def akaze(
    image: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    settings: AkazeSettings,
    contrast: float | None = None,
    core: tuple[int, int, int, int] | None = None,
) -> Features:
    """Run ``cv2.AKAZE`` on the whole image; keypoints keep OpenCV's order. See the package for the contract."""
    if contrast is not None:
        raise ValueError("cv2.AKAZE computes its contrast factor itself; use another backend, or contrast=None")
    if min(image.shape) < _LEAST_SIDE_PX:
        return Features.none()
    detector = cv2.AKAZE.create(
        descriptor_type=cv2.AKAZE_DESCRIPTOR_MLDB_UPRIGHT if settings.upright else cv2.AKAZE_DESCRIPTOR_MLDB,
        descriptor_size=settings.descriptor_size,
        threshold=settings.threshold,
        nOctaves=settings.octaves,
        nOctaveLayers=settings.layers,
    )
    keypoints, descriptors = detector.detectAndCompute(image, None)
    if not keypoints:
        return Features.none()
    degrees = np.array([keypoint.angle for keypoint in keypoints], np.float32)
    features = Features(
        xy=np.array([keypoint.pt for keypoint in keypoints], np.float32),
        size=np.array([keypoint.size for keypoint in keypoints], np.float32),
        angle=np.zeros_like(degrees) if settings.upright else np.deg2rad(degrees),
        response=np.array([keypoint.response for keypoint in keypoints], np.float32),
        level=np.array([keypoint.class_id for keypoint in keypoints], np.int16),
        descriptors=pack(descriptors),
    )
    return features if core is None else features.take(in_core(features.xy, core))
