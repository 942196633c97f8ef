import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from s2fast.archive.find import find_scenes
from s2fast.archive.names import naming
from s2fast.errors import InputError
from s2fast.files.source import Source
from s2fast.files.zips import zip_files
from s2fast.model import Scene

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
        (L2A.replace("GRANULE", "S2A_MSIL1C_20160608T153121_N0202_R111_T33UUU_20160608T153121.SAFE/GRANULE"),
         "S2C_20250105T105339_T31UDQ", "31UDQ", datetime(2025, 1, 5, 10, 53, 39, tzinfo=UTC), 511),
        (f"S2A_MSIL1C_20160608T153121_N0202_R111_T33UUU_20160608T153121.SAFE/{L2A}", "S2C_20250105T105339_T31UDQ",
         "31UDQ", datetime(2025, 1, 5, 10, 53, 39, tzinfo=UTC), 511),
        (OLD.replace("OPER", "USER").replace("L1C", "L2A").replace("_TCI", "_TCI_10m"), "S2A_20151230T105153_T31TCJ",
         "31TCJ", datetime(2015, 12, 30, 10, 51, 53, tzinfo=UTC), 201),
        ("in/tiles/36/U/YA/2019/6/6/0/TCI.jp2", "S2_20190606_T36UYA", "36UYA", datetime(2019, 6, 6, tzinfo=UTC), 0),
        ("tiles/5/u/pq/2019/12/16/1/R10m/TCI.jp2", "S2_20191216_T05UPQ", "05UPQ",
         datetime(2019, 12, 16, tzinfo=UTC), 0),
        ("in/36/U/YA/2019/6/S2A_36UYA_20190606_0_L2A/TCI.tif", "S2A_20190606_T36UYA", "36UYA",
         datetime(2019, 6, 6, tzinfo=UTC), 0),
        ("S2B_5UPQ_20190606_0_L2A/TCI.tif", "S2B_20190606_T05UPQ", "05UPQ", datetime(2019, 6, 6, tzinfo=UTC), 0),
        ("S2B_T36UYA_20190606T083601_L2A/TCI.tif", "S2B_20190606T083601_T36UYA", "36UYA",
         datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 0),
        ("S2A_MSIL2A_20190606T083601_R064_T36UYA_20201005T101112/visual.tif", "S2A_20190606T083601_T36UYA", "36UYA",
         datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 0),
        ("S2A_MSIL1C_20190606T083601_N0207_R064_T36UYA_20190606T101112.tif", "S2A_20190606T083601_T36UYA", "36UYA",
         datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 207),
        ("t36uya_20190606t083601_tci.JP2", "S2_20190606T083601_T36UYA", "36UYA",
         datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 0),
        ("S2A_20190606T083601_T36UYA/clip 1.jp2", "S2A_20190606T083601_T36UYA", "36UYA",
         datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 0),
        ("20190606T083601_20190606T084116_T36UYA.tif", "S2_20190606T083601_T36UYA", "36UYA",
         datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 0),
        ("HLS.S30.T36UYA.2019157T083601.v2.0.B04.tif", "HLS.S30_20190606T083601_T36UYA", "36UYA",
         datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 0),
        ("/vsicurl/https:/h/o/S2A_MSIL1C_20190606T083601_N0207_R064_T36UYA_20190606T101112.SAFE%2Fa%20b.tif",
         "S2A_20190606T083601_T36UYA", "36UYA", datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 207),
        ("/vsicurl/https:/h/o/2019%2Fa%20b.tif", "a b", "", None, 0),
        ("2019-06-06/ü [1]*?%20.tif", "ü [1]__%20", "", None, 0),
        ("SENTINEL2B_20190606-083601-123_L2A_T36UYA_C_V3-0/SENTINEL2B_20190606-083601-123_L2A_T36UYA_C_V3-0_FRE_B4.tif",
         "S2B_20190606T083601_T36UYA", "36UYA", datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 0),
        ("openEO_2019-06-06Z.tif", "openEO_2019-06-06Z", "", datetime(2019, 6, 6, tzinfo=UTC), 0),
        ("2019_06_06.tif", "2019_06_06", "", datetime(2019, 6, 6, tzinfo=UTC), 0),
        ("X0069_Y0043/20190606_LEVEL2_SEN2A_BOA.tif", "20190606_LEVEL2_SEN2A_BOA", "",
         datetime(2019, 6, 6, tzinfo=UTC), 0),
        ("2019-06-06-00_00_2019-06-06-23_59_Sentinel-2_L2A_True_color.tiff",
         "2019-06-06-00_00_2019-06-06-23_59_Sentinel-2_L2A_True_color", "", datetime(2019, 6, 6, tzinfo=UTC), 0),
        ("clip_20190606T083601.tif", "clip_20190606T083601", "", datetime(2019, 6, 6, 8, 36, 1, tzinfo=UTC), 0),
        ("clip_20190606T993601.tif", "clip_20190606T993601", "", datetime(2019, 6, 6, tzinfo=UTC), 0),
        ("median_2019-06-01_2019-06-30.tif", "median_2019-06-01_2019-06-30", "", None, 0),
        ("20190611_083601_1008.tif", "20190611_083601_1008", "", datetime(2019, 6, 11, 8, 36, 1, tzinfo=UTC), 0),
        ("20191311_20190619.tif", "20191311_20190619", "", None, 0),
        ("2019-02-30.tif", "2019-02-30", "", None, 0),
        ("120190606.tif", "120190606", "", None, 0),
        ("06.06.2019.tif", "06.06.2019", "", None, 0),
        ("T36SYC_TCI_60m.jp2", "T36SYC_TCI_60m", "36SYC", None, 0),
        ("orthophoto.tif", "orthophoto", "", None, 0),
        ("T36UXA_20169930T083602_TCI.jp2", "T36UXA_20169930T083602_TCI", "", None, 0),
    ],
)  # fmt: skip
def test_names(name: str, scene_id: str, tile: str, time: datetime | None, baseline: int) -> None:
    named = naming(Source.of(name))
    assert (named.scene_id, named.tile, named.sensing_time, named.baseline) == (scene_id, tile, time, baseline)
    again = naming(Source.of(f"ALIGNED/{scene_id}.vrt"))  # the name of an aligned scene, which may be matched again
    if time:
        assert (again.scene_id, again.tile, again.sensing_time) == (scene_id, tile, time)


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


def test_finest_resolution_of_a_granule_wins(tmp_path: Path) -> None:
    coarse = [L2A.replace("10m", resolution) for resolution in ("20m", "60m")]
    found = find_scenes([touch(tmp_path, L2A, *coarse)])
    assert [scene.source.path for scene in found.scenes] == [tmp_path / L2A]
    assert found.replaced == []


def test_finest_resolution_in_one_folder_and_in_folders(tmp_path: Path) -> None:
    names = [
        "T31UDQ_20240105T105339_TCI_R60m.jp2",
        "T31UDQ_20240105T105339_TCI_R20m.jp2",
        "0/R20m/TCI.jp2",
        "0/R60m/TCI.jp2",
    ]
    found = find_scenes([touch(tmp_path, *names)])
    assert sorted(scene.source.posix.relative_to(tmp_path).as_posix() for scene in found.scenes) == [names[2], names[1]]


def test_what_is_not_the_image_is_no_scene(tmp_path: Path) -> None:
    product = "S2B_MSIL2A_20190805T082601_N0213_R121_T36SYC_20190805T101112.SAFE"
    beside = [
        f"{product}/R10m/T36SYC_20190805T082601_B03_10m.tif", f"{product}/R20m/T36SYC_20190805T082601_SCL_20m.tif",
        f"{product}/QI_DATA/MSK_CLDPRB_20m.jp2", f"{product}/QI_DATA/T36SYC_20190805T082601_PVI.jp2",
        f"{product}/R20m/T36SYC_20190805T082601_TCI_20m.tif", f"{product}/R60m/._T36SYC_20190805T082601_TCI_60m.tif",
        "S2A_36SYC_20190815_0_L2A/SCL.tif", "S2A_36SYC_20190815_0_L2A/B04.tif",
        "S2A_36SYC_20190815_0_L2A/thumbnail.tif",
        "S2A_USER_SCL_L2A_TL_SGS__20151230T162543_A002734_T31TCJ_20m.jp2",
        "HLS.S30.T36UYA.2019157T083601.v2.0.Fmask.tif",
    ]  # fmt: skip
    images = [f"{product}/R10m/T36SYC_20190805T082601_TCI_10m.tif", "S2A_36SYC_20190815_0_L2A/TCI.tif"]
    found = find_scenes([touch(tmp_path, *beside, *images)])
    assert [scene.source.posix.relative_to(tmp_path).as_posix() for scene in found.scenes] == images
    # Bands are pictures where there is no other.
    found = find_scenes(
        [touch(tmp_path / "bands", *(f"T36SYC_20190805T082601_B{n:02}.tif" for n in (3, 4)), "plain.jp2")]
    )
    assert [scene.scene_id for scene in found.scenes] == [
        "plain", "S2_20190805T082601_T36SYC_B03", "S2_20190805T082601_T36SYC_B04"
    ]  # fmt: skip
    # What is named counts.
    assert len(find_scenes([tmp_path / beside[0], tmp_path / beside[1]]).scenes) == 2


def test_bands_and_previews_are_no_scenes(tmp_path: Path) -> None:
    band = COMPACT.replace("_TCI.jp2", "_B02.jp2")
    found = find_scenes([touch(tmp_path, COMPACT, band, "PVI.jp2", "notes.txt", "crop.TIF", "a_displacement.tif")])
    assert sorted(scene.scene_id for scene in found.scenes) == ["S2B_20180805T083559_T36UXA", "crop"]


@pytest.mark.parametrize("folder", [".Trash-1000/files", ".Trashes", "$RECYCLE.BIN/S-1", "#recycle", "@eaDir"])
def test_deleted_scenes_are_not_found(folder: str, tmp_path: Path) -> None:
    touch(tmp_path, "in/a.tif", f"in/{folder}/b.tif")
    assert [scene.scene_id for scene in find_scenes([tmp_path / "in"]).scenes] == ["a"]
    assert [scene.scene_id for scene in find_scenes([tmp_path / "in" / folder]).scenes] == ["b"]


def test_a_place_named_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, COMPACT)
    found = find_scenes([tmp_path, tmp_path / COMPACT, tmp_path])
    assert len(found.scenes) == 1
    assert found.replaced == []


def test_linked_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    real = touch(tmp_path / "disk", COMPACT)
    place = tmp_path / "archive"
    place.mkdir()
    (place / "products").symlink_to(real)
    (real / "circle").symlink_to(place)
    found = find_scenes([place])
    assert [scene.scene_id for scene in found.scenes] == ["S2B_20180805T083559_T36UXA"]
    assert found.replaced == []


@pytest.mark.parametrize("empty", [True, False])
def test_nothing_found(tmp_path: Path, empty: bool) -> None:
    place = tmp_path if empty else tmp_path / "nowhere"
    with pytest.raises(InputError, match=str(place)):
        find_scenes([place])


def test_a_place_without_scenes_is_told_where_others_have_some(tmp_path: Path) -> None:
    (tmp_path / "unmounted").mkdir()
    touch(tmp_path, "in/a.tif")
    found = find_scenes([tmp_path / "in", tmp_path / "unmounted"])
    assert [scene.scene_id for scene in found.scenes] == ["a"]
    (reason,) = found.left_out.values()
    assert list(found.left_out) == [str(tmp_path / "unmounted")]
    assert reason.startswith("no scenes found: looked for images, *.jp2 and *.tif, at any depth; PNG, JPEG and")


@pytest.mark.parametrize("name", ["LC08_L1TP_174036_20190807_20200827_02_T1.tar", "a.tar.gz", "b.TGZ", "c.7z"])
def test_archives_other_than_zips_are_told(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "scene.tif", name)
    for places in ([tmp_path], [tmp_path / "scene.tif", tmp_path / name]):
        found = find_scenes(places)
        assert [scene.scene_id for scene in found.scenes] == ["scene"]
        assert found.left_out == {str(tmp_path / name): "it is an archive, but no zip, and is not read: unpack it"}


@pytest.mark.parametrize("unpacked", ["LC08_T1/B4.tif", "LC08_T1_B4.tif", "LC08_T1.tif"])
def test_archives_beside_what_they_hold_are_no_loss(tmp_path: Path, unpacked: str) -> None:
    touch(tmp_path, unpacked, "LC08_T1.tar", "LC08_T10.tar")
    assert list(find_scenes([tmp_path]).left_out) == [str(tmp_path / "LC08_T10.tar")]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["2019-08-05/clip.tif", "2019-08-15/clip.tif"], ["clip_2019-08-05", "clip_2019-08-15"]),
        (["x/crop.tif", "x/crop.jp2"], ["crop_jp2", "crop_tif"]),
        (["a_1/in/crop.tif", "a_2/in/crop.tif", "a_2/crop.tif"], ["crop_a_2", "crop_in_a_1", "crop_in_a_2"]),
        (["a/crop.tif", "b/crop.tif", "crop_a.tif"], ["crop_a", "crop_a_2", "crop_b"]),
        (["tiles/5/U/PQ/2019/8/5/0/TCI.jp2", "tiles/5/U/PQ/2019/8/5/1/TCI.jp2"],
         ["S2_20190805_T05UPQ_0", "S2_20190805_T05UPQ_1"]),
        (["S2A_20190606T083601_T36UYA_left.tif", "S2A_20190606T083601_T36UYA_right.tif"],
         ["S2A_20190606T083601_T36UYA_left", "S2A_20190606T083601_T36UYA_right"]),
    ],
)  # fmt: skip
def test_ids_take_what_tells_files_of_one_name_apart(tmp_path: Path, names: list[str], ids: list[str]) -> None:
    found = find_scenes([touch(tmp_path, *names)])
    assert sorted(scene.scene_id for scene in found.scenes) == ids
    assert {scene.source.path for scene in found.scenes} == {tmp_path / name for name in names}


def test_addresses_that_only_secrets_tell_apart_are_refused() -> None:
    places = [
        "https://h/a.tif?sig=Zq7k",
        "https://h/b.tif?sig=Zq7k",
        "https://h/get?id=7&sig=Zq7k",
        "https://h/get?id=8",
    ]
    found = find_scenes([*places, places[0]])
    assert [scene.scene_id for scene in found.scenes] == ["a", "b", "get_id=7", "get_id=8"]
    assert "Zq7k" not in repr(found)
    with pytest.raises(InputError, match=r"https://h/a\.tif is named twice") as caught:
        find_scenes([places[0], "https://h/a.tif?sig=Xp5m"])
    assert "Zq7k" not in str(caught.value)


def zipped(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def test_products_are_found_inside_zips(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "product.zip", COMPACT, COMPACT.replace("_TCI.jp2", "_B02.jp2"), "notes.txt")
    zipped(tmp_path / "polygons.zip", "polygons.shp")
    member = Source.local(archive).member(COMPACT)
    wanted = [Scene.of(member, naming(member))]
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
    assert [scene.source.posix.name for scene in find_scenes([f"zip://{archive}!a"]).scenes] == [Path(names[0]).name]


def test_half_a_zip_is_a_scene_that_cannot_be_opened(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "S2A_20180805T083559_T36UXA.zip", COMPACT).read_bytes()
    broken = tmp_path / "S2A_20180805T083559_T36UXA.zip"
    broken.write_bytes(whole[: len(whole) // 2])
    assert [scene.source.path for scene in find_scenes([tmp_path]).scenes] == [broken]


@pytest.mark.parametrize("how", ["encrypted", "lzma"])
def test_what_a_zip_holds_unreadably_is_named_with_the_reason(how: str, tmp_path: Path) -> None:
    place = tmp_path / "two.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("a.tif", "a")
        archive.writestr("b.tif", "b" * 99, zipfile.ZIP_LZMA if how == "lzma" else zipfile.ZIP_DEFLATED)
    if how == "encrypted":
        content = bytearray(place.read_bytes())
        content[content.rindex(b"PK\1\2") + 8] |= 1
        place.write_bytes(content)
    found = find_scenes([place])
    assert [scene.scene_id for scene in found.scenes] == ["a"]
    [(name, reason)] = found.left_out.items()
    assert name == f"zip://{place}!/b.tif"
    assert reason.startswith({"encrypted": "it is encrypted", "lzma": "it is compressed by LZMA"}[how])
    with pytest.raises(InputError, match=reason[:20]):
        find_scenes([f"zip://{place}!/b.tif"])


def test_zips_in_zips(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "aside" / "inner.zip", COMPACT.replace("/", "\\"))
    outer = tmp_path / "in" / "outer.zip"
    outer.parent.mkdir()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "b/inner.zip")
        archive.writestr("b/half.zip", inner.read_bytes()[:40])
        archive.writestr("__MACOSX/._a.tif", "")
    wanted = {f"/vsizip/{{/vsizip/{{{outer}}}/b/inner.zip}}/{COMPACT}", f"/vsizip/{{{outer}}}/b/half.zip"}
    for place in (tmp_path / "in", outer, f"zip://{outer}!b"):
        assert {scene.source.name for scene in find_scenes([place]).scenes} == wanted
    for place in (f"zip://{outer}!b/inner.zip", f"zip://zip://{outer}!b/inner.zip!/{COMPACT}"):
        assert len(find_scenes([place]).scenes) == 1, place


def test_a_zip_that_holds_itself_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "a.zip", COMPACT, "a.zip")
    monkeypatch.setattr("s2fast.archive.find.zip_files", lambda _: zip_files(Source.local(archive)))
    assert 1 < len(find_scenes([archive]).scenes) < 10


@pytest.mark.shared
def test_real_archive(shared_data: Path) -> None:
    found = find_scenes([shared_data / "ukraine"])
    assert len(found.scenes) == 48
    assert [scene.tile for scene in found.scenes].count("36UXA") == 10
    by_name = sorted(found.scenes, key=lambda scene: scene.source.posix.name)
    assert found.scenes == by_name
    assert "S2A_20160830T083602_T36UYA" in [scene.scene_id for scene in found.scenes]


def test_a_name_that_is_no_text_is_left_out_by_itself(tmp_path: Path) -> None:
    for name in (b"a.tif", b"sc\xe8ne.tif"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    found = find_scenes([tmp_path])
    assert [scene.scene_id for scene in found.scenes] == ["a"]
    assert list(found.left_out) == [f"{tmp_path}/sc\\xe8ne.tif"]
    (tmp_path / "a.tif").unlink()
    with pytest.raises(InputError, match=r"sc\\xe8ne.tif: its name is not UTF-8: rename it"):
        find_scenes([tmp_path])


def test_bands_named_without_their_product_belong_to_the_only_image_of_their_folder(tmp_path: Path) -> None:
    for name in ("S2A_36SYC_20190805_0_L2A_visual.tif", "red.tif", "nir.tif", "clip.tif"):
        (tmp_path / name).touch()
    found = {Path(scene.source.name).name for scene in find_scenes([tmp_path]).scenes}
    assert found == {"S2A_36SYC_20190805_0_L2A_visual.tif", "clip.tif"}


if hasattr(os, "mkfifo"):

    @pytest.mark.parametrize("suffix", ["tif", "zip"])
    def test_a_pipe_is_left_out_and_not_waited_for(tmp_path: Path, suffix: str) -> None:
        os.mkfifo(tmp_path / f"pipe.{suffix}")
        (tmp_path / "scene.tif").touch()
        (tmp_path / "dangling.tif").symlink_to(tmp_path / "nowhere.tif")
        found = find_scenes([tmp_path])
        assert [scene.scene_id for scene in found.scenes] == ["dangling", "scene"]
        assert "a pipe" in found.left_out[str(tmp_path / f"pipe.{suffix}")]


def test_what_cannot_be_read_is_named_and_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "loop.jp2").symlink_to("loop.jp2")
    (tmp_path / "around").symlink_to(".")
    (tmp_path / "folder.tif").mkdir()
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / COMPACT.rsplit("/", 1)[1]).touch()
    scandir = os.scandir

    def refused(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refused)  # whoever has all rights may list every folder
    found = find_scenes([tmp_path])
    assert [scene.source.posix.name for scene in found.scenes] == ["loop.jp2", COMPACT.rsplit("/", 1)[1]]
    assert {Path(name).name: reason for name, reason in found.left_out.items()} == {
        "closed": "the folder cannot be read: Permission denied",
        "pipe.tif": "it is a pipe or a device, not a file: copy its content to a file",
    }
