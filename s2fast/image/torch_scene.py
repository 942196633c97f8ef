"""Prepare a scene on a device, and leave its pixels there for the detector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from s2fast.config import Config
from s2fast.image import painted, torch_prepare
from s2fast.image.prepare import prepare
from s2fast.image.scenes import PreparedScene
from s2fast_kernels.machine import PLACE, device_budget_bytes
from s2fast_kernels.transfers import Download

SCENE_BYTES = 6
"""Memory of the device per pixel of a tile: as read, filled and prepared, masks of clear and missing pixels, a copy."""

_WORKING_BYTES = 96 << 20
"""Memory of the device for strips of pixels, see `torch_prepare`."""

_LEAST_WINDOW_BYTES = 160 << 20
"""Memory to leave for the detector, whose windows shrink until they fit."""


def prepared(
    grey: npt.NDArray[np.uint8],
    missing: npt.NDArray[np.bool_] | None,
    config: Config,
    factor: int,
    reflectance: tuple[float, float] | None = None,
    *,
    device: str,
) -> PreparedScene:
    """Prepare a masked tile; see `s2fast.image.host_scene.prepared`.

    A tile that does not fit into ``compute.device_budget_mb`` beside the detector's windows is prepared on the host, in
    the same values. Its windows are enlarged on the device.
    """
    on = torch.device(device)
    workers = PLACE.sharing(config.compute.device)
    budget = device_budget_bytes(device, config.compute.device_budget_mb, workers)
    needed = SCENE_BYTES * grey.size + _WORKING_BYTES
    settings, nodata_px = config.ingest, config.features.nodata_px
    zeroed = config.regions.mode == "zero"
    if budget is not None and budget < needed + _LEAST_WINDOW_BYTES:
        equal = painted.flat(grey)
        found = prepare(grey, settings, nodata_px, painted=zeroed, missing=missing, reflectance=reflectance)
        windows = _windows(found.image, factor, on)
        return PreparedScene(windows, found.clear, lambda: grey, lambda: equal, found.clouds_judged, budget)
    tile = torch_prepare.on_device(grey, on)
    flat = torch_prepare.flat(tile)
    there = torch_prepare.prepare(
        tile, settings, nodata_px, painted=zeroed, missing=missing, reflectance=reflectance, device=on
    )
    [clear] = Download([there.clear]).arrays()
    filled = Download([there.filled])
    left = None if budget is None else budget - needed
    windows = _windows(there.image, factor, on)
    return PreparedScene(windows, clear, lambda: filled.arrays()[0], flat, there.clouds_judged, left)


def _windows(image: npt.NDArray[np.uint8] | torch.Tensor, factor: int, device: torch.device) -> torch_prepare.Windows:
    """Return a function that returns windows of an image, enlarged, as tensors on a device."""
    if factor == 1:
        return lambda rows, columns: torch_prepare.on_device(image[rows, columns], device)
    return lambda rows, columns: torch_prepare.upscaled(image, rows, columns, device)
