"""Products of one acquisition: which product replaces which, on constructed inputs and on files."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.windows

from s2fast.archive.find import find_scenes
from s2fast.archive.products import Preview, preview
from s2fast.config import load_config
from s2fast.files.source import Source
from s2fast.planning import Job, plan
from tests.archives import ORIGINS, textured, write_scene

ALL = np.s_[:, :]
WEST, EAST = np.s_[:, :50], np.s_[:, 50:]


def safe(made: str, baseline: str = "0207", level: str = "L1C", time: str = "20190427T083601") -> str:
    product = f"S2A_MSI{level}_{time}_N{baseline}_R021_T36UYA_{made}T101112.SAFE"
    image = f"R10m/T36UYA_{time}_TCI_10m.jp2" if level == "L2A" else f"T36UYA_{time}_TCI.jp2"
    return f"{product}/GRANULE/{level}_T36UYA_A020081_{made}T101112/IMG_DATA/{image}"


def look(part: tuple[slice, slice], seed: int) -> Preview:
    """A look at 100 x 100 pixels, of which a part has data."""
    has_data = np.zeros((100, 100), bool)
    has_data[part] = True
    pixels = np.random.default_rng(seed).integers(1, 255, (3, 100, 100), np.uint8) * has_data
    return Preview(pixels, has_data, (100.0, 0.0, 0.0, 0.0, -100.0, 0.0), "")


def found(tmp_path: Path, *products: tuple[str, tuple[slice, slice] | None, int]) -> tuple[list[str], list[str]]:
    """Give the ids of the scenes used, and what is told of the products that are not."""
    looks = {}
    for name, part, seed in products:
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
        looks[Source.local(path)] = None if part is None else look(part, seed)
    result = find_scenes([tmp_path], lambda source: looks[source])
    return [scene.scene_id for scene in result.scenes], [
        str(one).replace(f"{tmp_path}/", "") for one in result.replaced
    ]


SCENE = "S2A_20190427T083601_T36UYA"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (safe("20190427"), safe("20230101", "0500"), "has a newer processing baseline"),
        (safe("20230101"), safe("20190427", "0500"), "has a newer processing baseline"),
        (safe("20190427"), safe("20190428"), "was made later"),
        (safe("20240101", "9999"), safe("20230601", "0510"), "has an official processing baseline"),
    ],
)
def test_a_newer_product_of_the_same_ground_replaces(tmp_path: Path, old: str, new: str, reason: str) -> None:
    ids, told = found(tmp_path, (old, ALL, 1), (new, ALL, 2))
    assert ids == [SCENE]
    assert told == [f"{old}: not used; {new} shows the same ground and {reason}"]


def test_the_swaths_edge_may_move(tmp_path: Path) -> None:
    _, told = found(tmp_path, (safe("20190427"), np.s_[:, 1:], 1), (safe("20190428"), np.s_[1:, 2:], 2))
    assert told == []
    _, told = found(tmp_path / "less", (safe("20190427"), ALL, 1), (safe("20190428"), np.s_[1:, :], 2))
    assert len(told) == 1


def test_halves_of_a_tile_are_two_scenes(tmp_path: Path) -> None:
    ids, told = found(tmp_path, (safe("20190427"), WEST, 1), (safe("20190428"), EAST, 2))
    assert ids == [f"{SCENE}_20190427T101112", f"{SCENE}_20190428T101112"]
    assert told == []


def test_halves_together_replace_a_whole_and_a_whole_its_halves(tmp_path: Path) -> None:
    ids, told = found(
        tmp_path / "a", (safe("20190427"), WEST, 1), (safe("20190428"), EAST, 2), (safe("20180101", "0206"), ALL, 3)
    )
    assert len(ids) == 2
    assert [text.partition(":")[0] for text in told] == [safe("20180101", "0206")]
    ids, told = found(
        tmp_path / "b", (safe("20190427"), WEST, 1), (safe("20190428"), EAST, 2), (safe("20230101", "0500"), ALL, 3)
    )
    assert (ids, len(told)) == ([SCENE], 2)


def test_a_newer_half_does_not_replace_a_whole(tmp_path: Path) -> None:
    ids, told = found(tmp_path, (safe("20190427"), ALL, 1), (safe("20230101", "0500"), WEST, 2))
    assert ids == [f"{SCENE}_N0207", f"{SCENE}_N0500"]
    assert told == []


def test_levels_are_told_apart(tmp_path: Path) -> None:
    ids, told = found(tmp_path, (safe("20190427"), ALL, 1), (safe("20230101", "0500", "L2A"), ALL, 2))
    assert (ids, told) == ([f"{SCENE}_L1C", f"{SCENE}_L2A"], [])


def test_a_copy_is_used_once_and_is_not_older(tmp_path: Path) -> None:
    name = safe("20190427")
    ids, told = found(tmp_path, (f"a/{name}", ALL, 1), (f"b/{name}", ALL, 1))
    assert ids == [SCENE]
    assert told == [f"b/{name}: not used; a/{name} shows the same pixels"]


def test_products_of_one_name_and_other_pixels_stay(tmp_path: Path) -> None:
    name = safe("20190427")
    ids, told = found(tmp_path, (f"a/{name}", ALL, 1), (f"b/{name}", ALL, 2))
    assert (ids, told) == ([f"{SCENE}_a", f"{SCENE}_b"], [])


@pytest.mark.parametrize("name", ["S2A_20190427T083601_T36UYA_TCI.jp2", "S2A_T36UYA_20190427T083601_L2A/TCI.tif"])
def test_what_names_no_product_is_not_older(tmp_path: Path, name: str) -> None:
    ids, told = found(tmp_path, (f"a/{name}", ALL, 1), (f"b/{safe('20190427', level='L2A')}", ALL, 2))
    assert (len(ids), told) == (2, [])


def test_a_broken_product_replaces_nothing(tmp_path: Path) -> None:
    ids, told = found(tmp_path, (safe("20190427"), ALL, 1), (safe("20230101", "0500"), None, 2))
    assert (len(ids), told) == (2, [])


def test_nothing_is_looked_at_where_an_acquisition_has_one_product(tmp_path: Path) -> None:
    write_scene(tmp_path / safe("20190427"), np.ones((8, 8), np.uint8))
    write_scene(tmp_path / safe("20190427", time="20190606T083601"), np.ones((8, 8), np.uint8))
    write_scene(tmp_path / "a/clip.tif", np.ones((8, 8), np.uint8))
    write_scene(tmp_path / "b/clip.tif", np.ones((8, 8), np.uint8))

    def never(source: Source) -> Preview | None:
        raise AssertionError(source)

    assert len(find_scenes([tmp_path], never).scenes) == 4


@pytest.mark.slow
def test_files_are_compared_on_the_ground(tmp_path: Path) -> None:
    grey = textured(np.random.default_rng(3), (600, 1200))
    west, north = ORIGINS["36UYA"]
    paths = [tmp_path / safe(f"2019042{day}") for day in (6, 7, 8)]
    write_scene(paths[0], grey, (west, north))
    # Newer products on smaller grids: the left half, and the right one.
    write_scene(paths[1], grey[:, :604] // 2, (west, north))
    write_scene(paths[2], grey[:, 596:] // 2, (west + 5960, north))
    result = find_scenes([tmp_path])
    assert [one.scene.source.path for one in result.replaced] == paths[:1]
    paths[2].unlink()
    assert find_scenes([tmp_path]).replaced == []


@pytest.mark.slow
def test_a_look_is_coarse_and_heeds_nodata(tmp_path: Path) -> None:
    pixels = textured(np.random.default_rng(3), (1030, 2060))
    pixels[:, :515] = 0
    path = write_scene(tmp_path / "a.tif", pixels, ORIGINS["36UXA"])
    seen = preview(Source.local(path))
    assert seen is not None
    assert seen.pixels.shape == (1, 258, 515)
    assert seen.transform[0] == pytest.approx(40.0)
    assert 0.24 < 1 - seen.has_data.mean() < 0.26
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 7
        dataset.write(np.full((1, 1030, 1030), 7, np.uint8), window=rasterio.windows.Window(1030, 0, 1030, 1030))
    seen = preview(Source.local(path))
    assert seen is not None
    assert 0.74 < 1 - seen.has_data.mean() < 0.76
    path.write_bytes(b"")
    assert preview(Source.local(path)) is None


def test_the_run_names_what_it_does_not_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grey = textured(np.random.default_rng(3), (64, 64))
    old = write_scene(tmp_path / safe("20190427"), grey)
    new = write_scene(tmp_path / safe("20230101", "0500"), grey // 2)
    broken = tmp_path / safe("20240101", "0511")
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no raster")
    record = plan(Job(load_config(), [tmp_path], None, "", strict=False))
    told = f"{old}: not used; {new} shows the same ground and has a newer processing baseline"
    assert told in caplog.text
    assert record.found.superseded == {record.usable[0].scene.scene_id: [told]}
    assert len(record.usable) == len(record.history.problems) == 1
