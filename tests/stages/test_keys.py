"""Each key depends on exactly the inputs of its result."""

from pathlib import Path

import pytest

from s2fast.config import Matching, load_config
from s2fast.errors import ConfigError
from s2fast.stages import keys


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
