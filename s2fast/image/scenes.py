"""Scenes that are prepared for the detector, by the host or on a device: one row each in `PREPARATIONS`.

Both compute the same; an enlarged pixel may differ by one grey level. Importing this module imports no implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.image.painted import RowSource
from s2fast_kernels.backends import Backend, Selected, needs_package, resolve

PREPARATIONS = (
    Backend("opencv", "s2fast.image.host_scene", "prepared", "cpu", needs_package("cv2")),
    Backend("torch", "s2fast.image.torch_scene", "prepared", "gpu", needs_package("torch")),
)
"""The host's first; on a GPU the other is selected. An implementation takes the arguments of `host_scene.prepared`."""

HOST = PREPARATIONS[0].name
"""Name of the host's preparation."""


@dataclass(frozen=True, slots=True)
class PreparedScene:
    """A masked tile, prepared for the detector."""

    pixels: Callable[[slice, slice], Any]
    """Returns windows of the enlarged image, uint8: arrays, or tensors on the device."""
    clear: npt.NDArray[np.bool_]
    """(rows, cols) True where the ground is visible, see `s2fast.image.prepare.Prepared`."""
    filled: Callable[[], npt.NDArray[np.uint8]]
    """Returns the (rows, cols) pixels before the change of contrast; it may wait for the device."""
    flat: Callable[[], RowSource]
    """Returns the areas and lines of equal pixels, see `s2fast.image.painted.flat`; it may wait for the device."""
    clouds_judged: bool
    """See `s2fast.image.prepare.Prepared`."""
    device_bytes: int | None = None
    """Memory of the device that is left for the detector; None: no limit."""


def selected_preparation(device: str) -> Selected:
    """Return the preparation for a detector that runs on a device, see `s2fast_kernels.backends.resolve`."""
    return resolve(PREPARATIONS, device=device)
