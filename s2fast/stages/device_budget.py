"""The memory of a GPU that a run may use for matching."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from s2fast.config import Config
from s2fast.errors import ConfigError
from s2fast_kernels.device_memory import DeviceMemoryError, at_most_bytes
from s2fast_kernels.machine import MIB, PLACE


@contextmanager
def within_device_budget(config: Config | None) -> Iterator[None]:
    """Search within ``compute.device_budget_mb``; without settings, within "auto".

    Raises
    ------
    ConfigError
        The budget is too small for a single pair, or the device has less memory; one line that names the setting.
    """
    budget_mb = config.compute.device_budget_mb if config else "auto"
    workers = PLACE.sharing(config.compute.device) if config else 1
    try:
        with at_most_bytes(0 if budget_mb == "auto" else budget_mb * MIB, workers):
            yield
    except DeviceMemoryError as error:
        raise ConfigError(
            f"{error}; compute.device_budget_mb is {budget_mb}: set it to what is free there, or set "
            "features.max_per_scene"
        ) from error
