"""Which pairs are compared."""

from pathlib import Path

import numpy as np
import pytest

from s2fast.config import Matching
from s2fast.errors import ConfigError
from s2fast.geometry.placement import Placement
from s2fast.stages.pairs import selected_pairs

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
        ("query,train\na,d\n", "names d, which is not a scene of this run"),
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
