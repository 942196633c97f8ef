"""AKAZE keypoints and M-LDB descriptors of an image, or of a scene of any size in windows.

See ``README.md`` in this folder for the algorithm and its sources. Importing this package imports no backend.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

from s2fast_kernels.akaze.contract import AkazeSettings
from s2fast_kernels.backends import Backend, needs_package, needs_triton, resolve
from s2fast_kernels.features import Budget, Features

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    Source = Callable[[slice, slice], Pixels]
    MaskSource = npt.NDArray[np.bool_] | Callable[[slice, slice], npt.NDArray[np.bool_]]

__all__ = [
    "BACKENDS",
    "ENGINES",
    "AkazeSettings",
    "akaze",
    "akaze_windowed",
    "contrast_factor",
]


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


def _triton_missing() -> str | None:
    return needs_package("numba")() or needs_triton()


BACKENDS = (
    Backend("numba", f"{__name__}.numba_cpu", "akaze", "cpu", needs_package("numba")),
    Backend("triton", f"{__name__}.triton_gpu", "akaze", "gpu", _triton_missing),
    Backend("torch", f"{__name__}.torch_any", "akaze", "any", needs_package("torch", "numba")),
    Backend("opencv", f"{__name__}.opencv_cpu", "akaze", "cpu", _opencv_missing),
)
"""Fastest first, on a CPU; on a GPU, "auto" selects the rows that run there first."""

ENGINES = (
    Backend("numba", f"{__name__}.numba_cpu", "NumbaEngine", "cpu", needs_package("numba")),
    Backend("triton", f"{__name__}.triton_gpu", "TritonEngine", "gpu", _triton_missing),
    Backend("torch", f"{__name__}.torch_any", "TorchEngine", "any", needs_package("torch", "numba")),
)
"""The backends that support windows; OpenCV's does not."""


def akaze(
    image: Pixels,
    *,
    settings: AkazeSettings | None = None,
    contrast: float | None = None,
    core: tuple[int, int, int, int] | None = None,
    backend: str = "auto",
    device: str = "auto",
) -> Features:
    """Detect AKAZE keypoints on an image and describe them with M-LDB.

    Parameters
    ----------
    image : (h, w) uint8, or float32 in [0, 1]
        The grey image.
    settings
        The detector's parameters; None: OpenCV's defaults.
    contrast
        The contrast factor; None: computed from this image. For a window of a larger image, pass that of the larger
        image (`contrast_factor`). The ``opencv`` backend always computes its own.
    core
        Rows [top, bottom) and columns [left, right) as ``(top, bottom, left, right)`` [px]: only keypoints whose
        nearest pixel is in there are returned; the rest of the image is halo. None: the whole image.
    backend
        ``"auto"`` or a name from `BACKENDS`.
    device
        Where it runs, see `s2fast_kernels.backends.find_device`.

    Returns
    -------
    Features
        Sorted by (level, y, x); the ``opencv`` backend keeps OpenCV's order.

    Raises
    ------
    ValueError
        The image has the wrong shape, type or range; the contrast factor is not positive; the core is not inside the
        image; or a contrast factor was passed to the ``opencv`` backend.
    s2fast_kernels.backends.BackendError
        The backend or device is unknown or cannot run here.

    Examples
    --------
    >>> import numpy as np
    >>> len(akaze(np.zeros((100, 100), np.uint8)))
    0
    """
    from s2fast_kernels.akaze.contract import check_contrast, check_core, check_image

    check_image(image)
    check_contrast(contrast)
    check_core(core, image.shape)
    result: Features = resolve(BACKENDS, backend, device).load()(image, settings or AkazeSettings(), contrast, core)
    return result


def akaze_windowed(
    source: Source,
    shape: tuple[int, int],
    *,
    settings: AkazeSettings | None = None,
    contrast: float | None = None,
    valid: MaskSource | None = None,
    budget: Budget | None = None,
    core_px: int | None = None,
    threads: int | None = None,
    backend: str = "auto",
    device: str = "auto",
    device_bytes: int | None = None,
) -> Features:
    """Detect and describe a large image's keypoints in windows; the result is bit-equal to that of the whole image.

    Parameters
    ----------
    source
        ``source(rows, columns)`` takes two slices and returns that part of the image: (rows, columns) uint8, or float32
        in [0, 1]. It is called from several threads at once, for overlapping parts. For a backend of torch, it may
        return uint8 tensors on its device instead.
    shape
        Rows and columns of the image [px].
    settings
        The detector's parameters; None: OpenCV's defaults.
    contrast
        The contrast factor; None: computed from the image's valid pixels, see `contrast_factor`.
    valid
        (h, w) bool, or a function like `source`: True at the nearest pixels of valid keypoints. Windows that cannot
        affect a valid keypoint are not computed.
    budget
        Maximum number and distribution of the keypoints; None: keep all. Only the kept keypoints are described.
    core_px
        Side of a window without its halo; None: the engine's default. The result does not depend on it.
    threads
        Number of windows processed at once; None: one per core. The result does not depend on it.
    backend
        ``"auto"`` or a name from `ENGINES`.
    device
        Where it runs, see `s2fast_kernels.backends.find_device`.
    device_bytes
        Memory of a GPU that the windows may take: fewer or smaller ones are processed at once. None: no limit.

    Returns
    -------
    Features
        Sorted by (level, y, x).

    Raises
    ------
    ValueError
        A parameter, or an array returned by `source` or `valid`, has the wrong shape, type or range.
    s2fast_kernels.backends.BackendError
        The backend or device is unknown or cannot run here.
    """
    from s2fast_kernels.akaze.contract import check_contrast
    from s2fast_kernels.akaze.windowed import akaze_windowed as run

    check_contrast(contrast)
    engine = resolve(ENGINES, backend, device).load()(threads=threads)
    if device_bytes is not None:
        engine.budget_bytes = device_bytes
    return run(
        source, shape, engine, settings or AkazeSettings(),
        contrast=contrast, valid=valid, budget=budget, core_px=core_px,
    )  # fmt: skip


def contrast_factor(
    source: Source, shape: tuple[int, int], *, valid: MaskSource | None = None, threads: int | None = None
) -> float:
    """Compute the contrast factor of a large image, or of its valid pixels, in one pass over strips.

    Parameters
    ----------
    source, shape
        See `akaze_windowed`.
    valid
        (h, w) bool, or a function like `source`: only gradients at these pixels are counted. A gradient depends on
        pixels up to 3 px away, so erode the mask by 3 px if invalid pixels have no image data. None: all pixels are
        counted, as OpenCV does.
    threads
        Number of threads; None: one per core.

    Returns
    -------
    float
        The factor, bit-equal to OpenCV's for any number of threads.
    """
    from s2fast_kernels.akaze.contrast import contrast_factor as run
    from s2fast_kernels.akaze.masks import Mask

    return run(source, shape, valid=None if valid is None else Mask(valid, shape), threads=threads)
