"""AKAZE keypoints and M-LDB descriptors of one grey image.

See ``README.md`` in this folder for the algorithm and its sources.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from s2fast_kernels.akaze.contract import AkazeSettings, Features
from s2fast_kernels.backends import Backend, resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["BACKENDS", "AkazeSettings", "Features", "akaze"]


def _opencv_missing() -> str | None:
    if importlib.util.find_spec("cv2") is None:
        return "not installed: opencv-python-headless>=4.10,<5"
    import cv2

    if hasattr(cv2, "AKAZE"):
        return None
    return (
        f"cv2 {cv2.__version__} has no AKAZE: OpenCV 5 dropped it; "
        "run: pip uninstall -y opencv-python opencv-contrib-python opencv-python-headless && "
        "pip install 'opencv-python-headless>=4.10,<5'"
    )


BACKENDS = (Backend("opencv", f"{__name__}.opencv_cpu", "akaze", _opencv_missing),)
"""Fastest first."""


def akaze(
    image: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    *,
    settings: AkazeSettings | None = None,
    backend: str = "auto",
) -> Features:
    """Detect AKAZE keypoints on an image and describe them with M-LDB.

    Parameters
    ----------
    image : (h, w) uint8, or float32 in [0, 1]
        The grey image.
    settings
        The detector's parameters; None: OpenCV's defaults.
    backend
        ``"auto"`` or a name from `BACKENDS`.

    Returns
    -------
    Features
        In the backend's own order: the ``opencv`` backend keeps OpenCV's.

    Raises
    ------
    ValueError
        The image has the wrong shape or type, or is out of range.
    s2fast_kernels.backends.BackendError
        The backend is unknown or cannot run here.
    """
    from s2fast_kernels.akaze.contract import check_image

    check_image(image)
    result: Features = resolve(BACKENDS, backend).load()(image, settings or AkazeSettings())
    return result
