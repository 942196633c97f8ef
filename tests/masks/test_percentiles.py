"""Clouds in scenes that are stretched by percentiles: judged by reflectances where they are known, else not judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import s2fast
from tests.archives import textured, write_scene
from tests.masks.products import SIDE

pytestmark = pytest.mark.slow

LANDSAT = "LC08_L1TP_177025_20190611_20190619_01_T1"
SETTINGS = {"ingest.stretch": "auto", "features.upsample": 1, "features.upright": True, "features.threshold": 0.001}


def values(reflectance: np.ndarray) -> np.ndarray:
    """Landsat's numbers."""
    return np.rint((reflectance + 0.1) / 2e-5).astype(np.uint16)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> s2fast.Run:
    """One ground without clouds in a visible band, an infrared one and a file without a name; and one with clouds."""
    folder = tmp_path_factory.mktemp("in")
    ground = 0.03 + 0.08 * (textured(np.random.default_rng(2), (SIDE, SIDE)) / 255.0)
    write_scene(folder / f"{LANDSAT}_B3.TIF", values(ground))
    write_scene(folder / f"{LANDSAT}_B5.TIF", values(ground * 3))
    write_scene(folder / "field.tif", values(ground))
    cloudy = ground.copy()
    cloudy[:, : SIDE // 4] += 0.4
    write_scene(folder / f"{LANDSAT.replace('20190611', '20190713')}_B3.TIF", values(cloudy))
    return s2fast.run(scenes=folder, out=tmp_path_factory.mktemp("out") / "run", overrides=SETTINGS)


def test_reflectances_say_what_is_a_cloud(run: s2fast.Run) -> None:
    scenes = run.scenes().set_index("scene_id")
    clear, cloudy = "LC08_20190611_T177025_B3", "LC08_20190713_T177025"
    unknown, infrared = "field", "LC08_20190611_T177025_B5"
    assert dict(scenes["mask"]) == {
        clear: "brightness", cloudy: "brightness", unknown: "not judged: unknown reflectances",
        infrared: "not judged: not a visible band",
    }  # fmt: skip
    assert scenes["clear_pct"][clear] == 100
    assert 100 * (0.75 - 12 / SIDE) < scenes["clear_pct"][cloudy] < 75
    assert scenes["clear_pct"][[unknown, infrared]].isna().all()
    folder = run.folder
    assert folder.features(cloudy).xy[:, 0].min() > SIDE // 4
    assert folder.features(clear).xy[:, 0].min() < SIDE // 4
    assert folder.tile(clear).reflectance == pytest.approx((0.042, 0.094), abs=0.01)
    assert folder.tile(unknown).reflectance is None


def test_the_warning_names_those_that_were_not_judged(run: s2fast.Run) -> None:
    [warning] = run.record.history.warnings
    assert warning.startswith(
        "clouds were not judged in 2 scenes, stretched by percentiles of a band that is not visible"
    )
    assert "field" in warning
    assert "LC08_20190611_T177025_B5" in warning


def test_a_stretch_of_ones_own_is_judged_as_a_tci(run: s2fast.Run, tmp_path: Path) -> None:
    low, high = (int(number) for number in values(np.array([0.0, 0.3558])))
    source = Path(run.scenes().set_index("scene_id")["source"]["field"])
    own = s2fast.run(scenes=source, out=tmp_path / "run", overrides={**SETTINGS, "ingest.stretch": [low, high]})
    [scene] = own.scenes().to_dict("records")
    assert (scene["mask"], scene["clear_pct"]) == ("brightness", 100)
