"""Each key depends on exactly the inputs of its result."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import s2fast
from s2fast.config import Matching, load_config
from s2fast.errors import ConfigError
from s2fast.stages import keys
from tests.archives import write_scene


def test_features_key_depends_on_settings_tile_and_backend() -> None:
    base = keys.features_key("tile", load_config(), "opencv")
    assert keys.features_key("other", load_config(), "opencv") != base
    assert keys.features_key("tile", load_config(), "numba") != base
    for override in (
        {"features.threshold": 0.002}, {"features.upsample": 2}, {"ingest.contrast": "none"}, {"ingest.clouds": False},
    ):  # fmt: skip
        assert keys.features_key("tile", load_config(overrides=override), "opencv") != base
    for override in ({"features.backend": "opencv"}, {"ingest.halo_px": 7}, {"matching.ratio": 0.5}):
        assert keys.features_key("tile", load_config(overrides=override), "opencv") == base


def test_pair_key_depends_on_features_and_rule() -> None:
    base = keys.pair_key("a", "b", load_config())
    assert keys.pair_key("b", "a", load_config()) != base
    for override in (
        {"matching.ratio": 0.7},
        {"matching.mutual": False},
        {"matching.radius_m": 9},
        {"matching.max_distance_bits": 9},
    ):
        assert keys.pair_key("a", "b", load_config(overrides=override)) != base
    for override in (
        {"matching.backend": "faiss"}, {"compute.budget_mb": 512}, {"features.threshold": 0.1},
        {"matching.pairs": "overlapping"}, {"verification.nulls": 3}, {"output.keep_matches": "none"},
    ):  # fmt: skip
        assert keys.pair_key("a", "b", load_config(overrides=override)) == base
    far = {"matching.mode": "exhaustive"}
    assert keys.pair_key("a", "b", load_config(overrides=far)) == keys.pair_key(
        "a", "b", load_config(overrides=far | {"matching.radius_m": 9})
    )


def test_verdict_key_depends_on_matches_and_verification() -> None:
    base = keys.verdict_key("a", "b", load_config())
    for override in (
        {"matching.ratio": 0.7}, {"verification.nulls": 3}, {"output.keep_matches": "none"},
        {"verification.enabled": False},
    ):  # fmt: skip
        assert keys.verdict_key("a", "b", load_config(overrides=override)) != base
    assert keys.verdict_key("a", "b", load_config(overrides={"compute.threads": 2})) == base
    far = {"matching.mode": "exhaustive"}
    assert keys.verdict_key("a", "b", load_config(overrides=far)) != keys.verdict_key(
        "a", "b", load_config(overrides=far | {"matching.radius_m": 9})
    )


def test_listed_pairs_count_by_the_content_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    settings = Matching(pairs="file", pairs_file=str(path))
    with pytest.raises(ConfigError, match=r"pairs\.csv"):
        keys.pair_selection(settings)
    path.write_text("query,train\na,b\n")
    assert keys.pair_selection(settings) == path.read_text()
    assert keys.pair_selection(Matching()) == "all"


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [False, True])
def test_files_of_one_name_size_and_time_are_different_scenes(tmp_path: Path, zipped: bool) -> None:
    random = np.random.default_rng(0)
    names = [f"2019-08-{day}/clip.tif" for day in ("05", "15", "25")]
    for name in names:
        path = write_scene(tmp_path / "in" / name, random.integers(1, 255, (64, 64), np.uint8), block=64)
        path.write_bytes(path.read_bytes().ljust(9_000, b"\0"))
        os.utime(path, (1e9, 1e9))
    place = tmp_path / "in"
    if zipped:
        place = tmp_path / "in.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for name in names:
                archive.write(tmp_path / "in" / name, name)
    run = s2fast.run(scenes=place, out=tmp_path / "out")
    pairs = run.pairs()
    assert len(pairs) == 3
    assert len(set(keys.features_keys(run.record).values())) == 3
