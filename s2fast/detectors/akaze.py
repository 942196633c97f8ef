"""AKAZE keypoints and M-LDB descriptors of a scene, through `s2fast_kernels.akaze`."""

from __future__ import annotations

from s2fast.config import FeatureSettings
from s2fast.detectors import DetectorInput
from s2fast_kernels.akaze import ENGINES, AkazeSettings, akaze, akaze_windowed
from s2fast_kernels.features import Features

WINDOWED = {engine.name for engine in ENGINES}
"""Names of the backends that process a scene in windows."""

_PAINTED_CORE_PX = 704
"""Side of a window's core in painted scenes: small windows skip more of the black area."""

DENSE_PER_PX = 0.015
"""Keypoints per pixel to provide memory for: real scenes have 0.001 to 0.0025, and up to 0.015 after CLAHE."""

_CANDIDATE_BYTES = 500
"""Memory per detector maximum while the lists of all windows are joined, sorted and described."""

_WINDOW_BYTES = 48 << 20
"""Memory per thread: six float32 planes of a 1024 px window with its halo, and the window's pixels."""

_MASK_STRIP_ROWS = 1024
"""Rows for which the mask of valid keypoint positions is computed at once."""

_OPENCV_BYTES_PER_PX = 105
"""Memory per pixel of cv2.AKAZE, which keeps every level of the whole image."""


def extract(
    scene: DetectorInput, settings: FeatureSettings, backend: str, threads: int, device: str = "auto"
) -> Features:
    """Detect and describe keypoints; see `s2fast.detectors.Implementation`.

    Windowed backends compute only windows that affect a valid keypoint, with one contrast factor computed from all
    valid pixels; OpenCV always processes the whole image. Features are sorted by (level, y, x); OpenCV's keep their own
    order.
    """
    akaze_settings = AkazeSettings(settings.threshold, settings.octaves, settings.layers, bool(settings.upright))
    if backend not in WINDOWED:
        features = akaze(scene.pixels(*scene.whole), settings=akaze_settings, backend=backend, device=device)
        return features.take(scene.select(features.xy, features.response))
    return akaze_windowed(
        scene.pixels,
        scene.shape,
        settings=akaze_settings,
        valid=scene.valid,
        budget=scene.budget,
        threads=threads or None,
        backend=backend,
        device=device,
        core_px=_PAINTED_CORE_PX if scene.painted else None,
        device_bytes=scene.device_bytes,
    )


def extract_bytes(
    shape: tuple[int, int], threads: int, *, backend: str = "numba", upsample: int = 1, masked: bool = False
) -> int:
    """Predict the peak memory of extracting one scene; see `s2fast.detectors.Implementation`.

    A windowed backend needs: the tile with its masks of clear and missing pixels; the masks of equal pixels and of
    valid keypoint positions (one bit per pixel each); the planes between octaves (float32, a quarter of the pixels each
    time); one strip of a mask under construction; the threads' windows; and candidates at the greatest density of real
    scenes. OpenCV processes the whole image.
    """
    tile = (2 + masked) * shape[0] * shape[1]
    shape = (upsample * shape[0], upsample * shape[1])
    pixels = shape[0] * shape[1]
    if backend not in WINDOWED:
        return tile + pixels * _OPENCV_BYTES_PER_PX
    planes = 4 * (pixels // 4 + pixels // 16 + pixels // 64)
    strip = 6 * min(_MASK_STRIP_ROWS, shape[0]) * shape[1]
    candidates = int(pixels * DENSE_PER_PX) * _CANDIDATE_BYTES
    return tile + tile // 16 + pixels // 8 + planes + strip + threads * min(_WINDOW_BYTES, 40 * pixels) + candidates
