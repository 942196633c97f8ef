"""Errors of a GPU whose memory does not suffice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from s2fast.config import LEAST_DEVICE_MB, Compute
from s2fast.errors import ConfigError, option


@contextmanager
def named_device_memory(work: str, settings: Compute | None = None) -> Iterator[None]:
    """Convert torch's error about a GPU's memory to one line.

    Parameters
    ----------
    work
        What was computed: ``"extracting S2A_20160830T083602_T36UYA"``.
    settings
        The section ``compute``; None: the caller has no settings, but an option ``device``.

    Raises
    ------
    ConfigError
        The GPU was out of memory.
    """
    try:
        yield
    except RuntimeError as error:
        # Torch is not imported to find out what cannot have happened without it.
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(error, torch.OutOfMemoryError):
            raise
        if settings is None:
            raise ConfigError(
                f"{work}: the GPU is out of memory: end other programs there, or use {option('device')} cpu"
            ) from error
        given = settings.device_budget_mb
        now = '"auto"' if given == "auto" else f"{given} MiB"
        raise ConfigError(
            f"{work}: the GPU is out of memory with compute.device_budget_mb = {now}: set it to a "
            f'smaller number, {LEAST_DEVICE_MB} at least, use fewer --workers, or set compute.device = "cpu"'
        ) from error
