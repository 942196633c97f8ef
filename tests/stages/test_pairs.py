"""Which pairs are compared."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from s2fast.config import Matching, load_config
from s2fast.errors import ConfigError
from s2fast.geometry.placement import Placement
from s2fast.stages import pairs
from s2fast.stages.pairs import selected_pairs, wanted_pairs
from s2fast_kernels.device_memory import DeviceMemoryError, allowed_bytes

SCENES = ["a", "b", "c"]
CRS = "EPSG:32636"


def place_of(scene: str) -> Placement:
    """Three scenes side by side of which only neighbours meet; the second has a clear eastern half only."""
    number = SCENES.index(scene)
    clear = np.full((100, 100), 100, np.uint8)
    if scene == "b":
        clear[:, :50] = 0
    transform = (10.0, 0.0, 300_000.0 + 700 * number, 0.0, -10.0, 5_500_000.0)
    return Placement(CRS, transform, (100, 100), 1, clear)


def test_all_pairs_in_the_runs_order() -> None:
    assert selected_pairs(SCENES, Matching(), place_of) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_overlapping_pairs_share_clear_ground() -> None:
    assert selected_pairs(SCENES, Matching(pairs="overlapping"), place_of) == [("b", "c")]


def listed(path: Path, text: str) -> list[tuple[str, str]]:
    path.write_text(text)
    return selected_pairs(SCENES, Matching(pairs="file", pairs_file=str(path)), place_of)


def test_listed_pairs_come_in_the_runs_order_once(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    assert listed(path, "train,query,why\na,c,x\nc,a,y\nb,a,z\nb,b,z\n") == [("a", "b"), ("a", "c")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("query,train\na,d\n", "names d, which is not a scene of this run: write whole ids, such as a"),
        ("query,train\n", "lists no pair of two scenes"),
        ("query,train\nb,b\n", "lists no pair of two scenes"),
        ("one,two\na,b\n", "has the columns one, two; it must have query and train"),
        ("", "cannot read .* as CSV"),
    ],
)
def test_wrong_list_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"matching.pairs_file: .*{said}") as caught:
        listed(tmp_path / "pairs.csv", text)
    assert "\n" not in str(caught.value)


def test_missing_list_is_named(tmp_path: Path) -> None:
    settings = Matching(pairs="file", pairs_file=str(tmp_path / "none.csv"))
    with pytest.raises(ConfigError, match=r"none\.csv"):
        selected_pairs(SCENES, settings, place_of)


def test_similar_scenes_are_searched_within_the_memory_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: object) -> None:
        raise DeviceMemoryError(f"needs more than {allowed_bytes(None) >> 20} MiB")  # type: ignore[arg-type]

    monkeypatch.setattr(pairs, "features_keys", lambda _: {})
    monkeypatch.setattr(pairs, "similar_pairs", search)
    overrides: dict[str, Any] = {"matching.pairs": "similar", "compute.device_budget_mb": 300}
    record: Any = SimpleNamespace(config=load_config(overrides=overrides))
    with pytest.raises(ConfigError, match=r"^needs more than 300 MiB; compute\.device_budget_mb is 300: "):
        wanted_pairs(record, None, None)  # type: ignore[arg-type]
