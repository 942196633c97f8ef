"""A full disk is blamed on standard output only if standard output may be full."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from s2fast.work import streams

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_only_files_and_devices_may_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as pipe, (tmp_path / "out").open("w") as file:
        for stream, told in ((pipe, None), (file, "No space left on device"), (io.StringIO(), None)):
            monkeypatch.setattr(streams.sys, "stdout", stream)
            assert streams.stream_failure(FULL) == told
            assert streams.stream_failure(OSError(errno.ENOSPC, "full", "a")) is None
            assert streams.stream_failure(OSError(errno.EIO, "hung up")) == "hung up"
