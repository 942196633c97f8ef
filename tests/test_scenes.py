import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from s2fast.errors import InputError
from s2fast.scenes import find_scenes, scene_from_name

COMPACT = (
    "S2B_MSIL1C_20180805T083559_N0206_R021_T36UXA_20180805T084554.SAFE/GRANULE/"
    "L1C_T36UXA_A007383_20180805T084554/IMG_DATA/T36UXA_20180805T083559_TCI.jp2"
)
L2A = (
    "S2C_MSIL2A_20250105T105339_N0511_R051_T31UDQ_20250105T130000.SAFE/GRANULE/"
    "L2A_T31UDQ_A044579_20250105T105410/IMG_DATA/R10m/T31UDQ_20250105T105339_TCI_10m.jp2"
)
OLD = (
    "S2A_OPER_PRD_MSIL1C_PDMC_20160318T145513_R008_V20151230T105153_20151230T105153.SAFE/GRANULE/"
    "S2A_OPER_MSI_L1C_TL_EPA__20160318T005240_A002734_T31TCJ_N02.01/IMG_DATA/"
    "S2A_OPER_MSI_L1C_TL_EPA__20160318T005240_A002734_T31TCJ_TCI.jp2"
)


@pytest.mark.parametrize(
    ("name", "scene_id", "tile", "time", "baseline"),
    [
        (COMPACT, "S2B_20180805T083559_T36UXA", "36UXA", datetime(2018, 8, 5, 8, 35, 59, tzinfo=UTC), 206),
        (L2A, "S2C_20250105T105339_T31UDQ", "31UDQ", datetime(2025, 1, 5, 10, 53, 39, tzinfo=UTC), 511),
        (OLD, "S2A_20151230T105153_T31TCJ", "31TCJ", datetime(2015, 12, 30, 10, 51, 53, tzinfo=UTC), 201),
        ("L2A_T31UDQ_20180101T105339_TCI_10m.jp2", "S2_20180101T105339_T31UDQ", "31UDQ",
         datetime(2018, 1, 1, 10, 53, 39, tzinfo=UTC), 0),
        ("ref_S2A_20160608T153121_T33UUU_sub.tif", "S2A_20160608T153121_T33UUU", "33UUU",
         datetime(2016, 6, 8, 15, 31, 21, tzinfo=UTC), 0),
        ("T36SYC_TCI_60m.jp2", "T36SYC_TCI_60m", "36SYC", None, 0),
        ("orthophoto.tif", "orthophoto", "", None, 0),
        ("T36UXA_20169930T083602_TCI.jp2", "T36UXA_20169930T083602_TCI", "", None, 0),
    ],
)  # fmt: skip
def test_names(name: str, scene_id: str, tile: str, time: datetime | None, baseline: int) -> None:
    scene = scene_from_name(Path(name))
    assert (scene.scene_id, scene.tile, scene.sensing_time, scene.baseline) == (scene_id, tile, time, baseline)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_order_is_tile_then_time(tmp_path: Path) -> None:
    later = COMPACT.replace("20180805", "20190427").replace("S2B", "S2A")
    other_tile = COMPACT.replace("36UXA", "35ABC")
    found = find_scenes([touch(tmp_path, later, COMPACT, other_tile)])
    assert [scene.scene_id for scene in found.scenes] == [
        "S2B_20180805T083559_T35ABC",
        "S2B_20180805T083559_T36UXA",
        "S2A_20190427T083559_T36UXA",
    ]


def test_newest_baseline_wins_and_the_other_is_told(tmp_path: Path) -> None:
    reprocessed = COMPACT.replace("N0206", "N0500").replace("T084554.SAFE", "T120000.SAFE")
    found = find_scenes([touch(tmp_path, COMPACT, reprocessed)])
    assert [scene.baseline for scene in found.scenes] == [500]
    assert [scene.path for scene in found.superseded] == [tmp_path / COMPACT]


def test_newest_product_of_one_baseline_wins(tmp_path: Path) -> None:
    again = COMPACT.replace("T084554.SAFE", "T120000.SAFE")
    found = find_scenes([touch(tmp_path, again, COMPACT)])
    assert [scene.product_time for scene in found.scenes] == ["20180805T120000"]


def test_finest_resolution_of_a_granule_wins(tmp_path: Path) -> None:
    coarse = [L2A.replace("10m", resolution) for resolution in ("20m", "60m")]
    found = find_scenes([touch(tmp_path, L2A, *coarse)])
    assert [scene.path for scene in found.scenes] == [tmp_path / L2A]
    assert found.superseded == []


def test_bands_and_previews_are_no_scenes(tmp_path: Path) -> None:
    band = COMPACT.replace("_TCI.jp2", "_B02.jp2")
    found = find_scenes([touch(tmp_path, COMPACT, band, "PVI.jp2", "notes.txt", "crop.TIF")])
    assert sorted(scene.scene_id for scene in found.scenes) == ["S2B_20180805T083559_T36UXA", "crop"]


def test_a_place_named_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, COMPACT)
    found = find_scenes([tmp_path, tmp_path / COMPACT, tmp_path])
    assert len(found.scenes) == 1
    assert found.superseded == []


def test_linked_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    real = touch(tmp_path / "disk", COMPACT)
    place = tmp_path / "archive"
    place.mkdir()
    (place / "products").symlink_to(real)
    (real / "circle").symlink_to(place)
    found = find_scenes([place])
    assert [scene.scene_id for scene in found.scenes] == ["S2B_20180805T083559_T36UXA"]
    assert found.superseded == []


@pytest.mark.parametrize("empty", [True, False])
def test_nothing_found(tmp_path: Path, empty: bool) -> None:
    place = tmp_path if empty else tmp_path / "nowhere"
    with pytest.raises(InputError, match=str(place)):
        find_scenes([place])


def test_two_files_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="both named crop"):
        find_scenes([touch(tmp_path, "a/crop.tif", "b/crop.tif")])


def zipped(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def test_products_are_found_inside_zips(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "product.zip", COMPACT, COMPACT.replace("_TCI.jp2", "_B02.jp2"), "notes.txt")
    zipped(tmp_path / "polygons.zip", "polygons.shp")
    wanted = [scene_from_name(Path(f"/vsizip/{{{archive}}}/{COMPACT}"))]
    assert (wanted[0].scene_id, wanted[0].baseline) == ("S2B_20180805T083559_T36UXA", 206)
    product = COMPACT.partition("/")[0]
    for place in (tmp_path, archive, f"zip://{archive}", f"/vsizip/{archive}", f"zip://{archive}!/{product}"):
        assert find_scenes([place]).scenes == wanted, place
    assert find_scenes([f"zip://{archive}!{COMPACT}", archive, tmp_path]).scenes == wanted
    # Named in full, a member counts whatever it is called.
    assert [scene.scene_id for scene in find_scenes([f"zip://{archive}!notes.txt"]).scenes] == ["notes"]


@pytest.mark.parametrize("place", ["zip://{0}/nowhere.zip", "{0}/polygons.zip", "zip://{0}/polygons.zip!more"])
def test_zips_without_scenes_are_told(tmp_path: Path, place: str) -> None:
    zipped(tmp_path / "polygons.zip", "polygons.shp")
    with pytest.raises(InputError, match="zip"):
        find_scenes([place.format(tmp_path)])


def test_a_folder_in_a_zip_is_not_its_namesakes(tmp_path: Path) -> None:
    names = [f"{folder}/T36UXA_2018080{day}T083559_TCI.jp2" for day, folder in enumerate(("a", "ab", "b"), 1)]
    archive = zipped(tmp_path / "all.zip", *names)
    assert [scene.path.name for scene in find_scenes([f"zip://{archive}!a"]).scenes] == [Path(names[0]).name]


def test_half_a_zip_is_a_scene_that_cannot_be_opened(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "S2A_20180805T083559_T36UXA.zip", COMPACT).read_bytes()
    broken = tmp_path / "S2A_20180805T083559_T36UXA.zip"
    broken.write_bytes(whole[: len(whole) // 2])
    assert [scene.path for scene in find_scenes([tmp_path]).scenes] == [broken]


@pytest.mark.shared
def test_real_archive(shared_data: Path) -> None:
    found = find_scenes([shared_data / "ukraine"])
    assert len(found.scenes) == 48
    assert [scene.tile for scene in found.scenes].count("36UXA") == 10
    by_name = sorted(found.scenes, key=lambda scene: scene.path.name)
    assert found.scenes == by_name
    assert "S2A_20160830T083602_T36UYA" in [scene.scene_id for scene in found.scenes]
