"""The measurement of AKAZE's passes over memory covers every pass, with equal work at both sizes."""

import numpy as np
import pytest

from benchmarks import akaze_passes


@pytest.mark.slow
def test_every_pass_is_measured() -> None:
    found = list(akaze_passes.passes(rounds=1, height=96, width=64))
    assert [(record["pass"], record["planes"]) for record in found] == list(akaze_passes.PLANES.items())
    for record in found:
        assert record["ns_per_pixel"] > 0
        assert record["in_cache_ns_per_pixel"] > 0
        assert record["full_tile_s"] == pytest.approx(
            record["ns_per_pixel"] * akaze_passes.LEVEL_PIXELS / 1e9, abs=0.01
        )


def test_the_passes_compute_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = []
    real = akaze_passes.numba_cpu._Workspace.planes

    def kept(*arguments: object) -> object:
        planes.append(real(*arguments))  # type: ignore[arg-type]
        return planes[-1]

    monkeypatch.setattr(akaze_passes.numba_cpu._Workspace, "planes", kept)
    calls = akaze_passes._passes(40, 48)
    (image, free, dx, dy, *_), *_ = planes[0]
    assert list(calls) == list(akaze_passes.PLANES)
    calls["smooth"]()
    assert np.ptp(free[8:-8, 8:-8]) < np.ptp(image[8:-8, 8:-8])
    calls["gradient"]()
    assert dx.any()
    assert dy.any()
    assert calls["detect"]() == 0
    smoothed = free.copy()
    calls["diffuse"]()
    assert not np.array_equal(free, smoothed)
