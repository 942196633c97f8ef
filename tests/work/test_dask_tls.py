"""Dask's own settings hold the certificates of a `tls://` scheduler."""

import pytest

from s2fast.errors import ConfigError
from s2fast.work.executors import open_workplace


def test_a_scheduler_with_tls_needs_certificates() -> None:
    with (
        pytest.raises(ConfigError, match=r"tls://127\.0\.0\.1:9: Dask's settings name no certificates"),
        open_workplace(1, "tls://127.0.0.1:9"),
    ):
        pass
