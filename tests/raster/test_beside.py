"""What lies beside a raster, in a folder or in a zip, leads to no other file."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio
import rasterio.shutil

from s2fast.errors import SceneError
from s2fast.raster.reader import open_raster
from tests.raster.test_allowed import SIDE, virtual


@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".OVR", ".ovr.ovr"])
def test_rasters_beside_a_raster_are_tiffs(folder: Path, elsewhere: Path, suffix: str) -> None:
    path = folder / "a.tif"
    rasterio.shutil.copy(elsewhere, path, driver="GTiff")
    (folder / f"a.tif{suffix}").write_text(virtual(str(elsewhere)))
    with pytest.raises(SceneError, match="beside it is no TIFF"), open_raster(path):
        pass


def test_a_folder_of_many_scenes_is_listed_once_until_it_changes(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []
    listing = Path.iterdir

    def counted(path: Path) -> Iterator[Path]:
        listed.append(path)
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", counted)
    for number in range(3):
        rasterio.shutil.copy(elsewhere, folder / f"{number}.tif", driver="GTiff")
    for number in (0, 1, 2, 0):
        with open_raster(folder / f"{number}.tif"):
            pass
    assert listed == [folder]
    (folder / "1.tif.ovr").write_text(virtual(str(elsewhere)))
    with pytest.raises(SceneError, match="beside it is no TIFF"), open_raster(folder / "1.tif"):
        pass
    assert listed == [folder, folder]


def test_overviews_are_not_taken_from_another_file(folder: Path, elsewhere: Path) -> None:
    path = folder / "a.tif"
    rasterio.shutil.copy(elsewhere, path, driver="GTiff")
    (folder / "a.tif.aux.xml").write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{elsewhere}</MDI></Metadata></PAMDataset>'
    )
    with pytest.raises(SceneError, match="OVERVIEW_FILE"), open_raster(path):
        pass


def names_overviews(path: Path, elsewhere: Path, key: str = "OVERVIEW_FILE") -> Path:
    """Write a TIFF whose metadata name another file as its overviews."""
    with rasterio.open(elsewhere) as dataset:
        rasterio.shutil.copy(dataset, path.with_name("new.tif"), driver="GTiff")
    with rasterio.open(path.with_name("new.tif"), "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", **{key: str(elsewhere)})
    return path.with_name("new.tif").rename(path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", ".ovr", ".msk", ".ovr.ovr", ".msk.ovr", ".ovr.aux.xml", ".msk.aux.xml"])
@pytest.mark.parametrize("key", ["OVERVIEW_FILE", "overview_file"])
@pytest.mark.parametrize("zipped", [False, True])
def test_nothing_beside_a_raster_names_another_file(
    folder: Path, elsewhere: Path, suffix: str, key: str, zipped: bool
) -> None:
    path = folder / "a.tif"
    shutil.copy(elsewhere, path)
    beside = Path(f"{path}{suffix}")
    if suffix.endswith(".aux.xml"):
        shutil.copy(elsewhere, beside.with_name(beside.name.removesuffix(".aux.xml")))
        beside.write_text(
            f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="{key}">{elsewhere}</MDI></Metadata></PAMDataset>'
        )
    else:
        names_overviews(beside, elsewhere, key)
    place: Path | str = path
    if zipped:
        shutil.make_archive(str(folder.parent / "all"), "zip", folder)
        place = f"zip://{folder.parent}/all.zip!/a.tif"
    with pytest.raises(SceneError, match="OVERVIEW_FILE"), open_raster(place):
        pass


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".aux.xml", ".aux"])
def test_what_lies_beside_a_raster_in_a_zip_is_checked_too(
    folder: Path, elsewhere: Path, suffix: str, compression: int
) -> None:
    content = {
        ".aux.xml": f"<PAMDataset><SRS>+init={elsewhere}:1</SRS></PAMDataset>",
        ".aux": "EHFA_HEADER_TAG",
    }.get(suffix, virtual(str(elsewhere)))
    with zipfile.ZipFile(folder / "a.zip", "w", compression) as packed:
        packed.write(elsewhere, "in/a.tif")
        packed.write(elsewhere, "in/b.tif")
        packed.writestr(f"in/a.tif{suffix}", content)
    with pytest.raises(SceneError, match="beside it"), open_raster(f"zip://{folder}/a.zip!/in/a.tif"):
        pass
    with open_raster(f"zip://{folder}/a.zip!/in/b.tif") as reader:
        assert reader.raster.shape == (SIDE, SIDE)


def test_a_virtual_raster_names_no_other_overviews(folder: Path, elsewhere: Path) -> None:
    names_overviews(folder / "mine.tif", elsewhere)
    (folder / "a.vrt").write_text(virtual("mine.tif", relative=1))
    with (
        pytest.raises(SceneError, match=r"it reads .*mine\.tif, whose metadata name another file"),
        open_raster(folder / "a.vrt"),
    ):
        pass
    shutil.copy(elsewhere, folder / "mine.tif")
    named = f'<Metadata domain="overviews"><MDI key="OVERVIEW_FILE">{elsewhere}</MDI></Metadata>'
    (folder / "a.vrt").write_text(
        virtual("mine.tif", relative=1).replace("<VRTRasterBand", f"{named}<VRTRasterBand", 1)
    )
    with pytest.raises(SceneError, match="its metadata name another file"), open_raster(folder / "a.vrt"):
        pass
