"""Neither files nor servers that a stranger's file leads to are read."""

import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil

from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.folder.run_folder import RunFolder
from s2fast.raster.allowed import stored_tags
from s2fast.raster.dataset import gdal_settings, open_dataset
from s2fast.raster.reader import open_raster
from s2fast.report.imagery import recorded_source
from tests.forked import forked_command

SIDE = 64
SECRET = "top secret"


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server inside one's network, and what was asked of it."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


def virtual(source: str, *, attributes: str = "", band: str = "", relative: int = 0, more: str = "") -> str:
    """Return a virtual raster over one file."""
    return (
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"{attributes}><SRS>EPSG:32636</SRS>'
        "<GeoTransform>600000, 10, 0, 5600040, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1"{band}><SimpleSource>'
        f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        f"{more}</VRTRasterBand></VRTDataset>"
    )


def raw(secret: Path) -> str:
    """Return a virtual raster that reads a text as pixels."""
    return (
        f'<VRTDataset rasterXSize="{len(SECRET)}" rasterYSize="1"><SRS>EPSG:32636</SRS>'
        "<GeoTransform>600000, 10, 0, 5600040, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        f'<SourceFilename relativeToVRT="0">{secret}</SourceFilename><ImageOffset>0</ImageOffset>'
        f"<PixelOffset>1</PixelOffset><LineOffset>{len(SECRET)}</LineOffset></VRTRasterBand></VRTDataset>"
    )


@pytest.mark.parametrize("name", ["T36UYA_20190805T083601_TCI.jp2", "b.tif", "c.png", "d.jpg"])
def test_a_virtual_raster_under_another_name_is_not_opened(folder: Path, elsewhere: Path, name: str) -> None:
    path = folder / name
    path.write_text(virtual(str(elsewhere)))
    with pytest.raises(SceneError, match=r"must be named \.vrt"), open_raster(path):
        pass


@pytest.mark.parametrize("suffix", [".jp2", ".tif", ".vrt"])
def test_no_text_is_read_as_pixels(folder: Path, tmp_path: Path, suffix: str) -> None:
    (secret := tmp_path / "secret").write_text(SECRET)
    path = folder / f"a{suffix}"
    path.write_text(raw(secret))
    with (
        pytest.raises(SceneError, match=r"must be named \.vrt|only virtual rasters that copy pixels"),
        open_raster(path),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.tif", b"", "it is empty: get it again"),
        ("T36UYA_20190805T083601_TCI.jp2", b"<html>403 Forbidden</html>", "none of JPEG 2000, TIFF, PNG and JPEG: get"),
        ("b.tif", bytes(300), "none of JPEG 2000, TIFF, PNG and JPEG: get it again"),
        ("c.zip", b"PK\x03\x04 and no end", "it is no zip, or only a part of one: get it again"),
    ],
)
def test_what_is_no_raster_is_told_with_what_to_do(folder: Path, name: str, content: bytes, told: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(SceneError, match=told), open_raster(folder / name):
        pass


@pytest.mark.parametrize("suffix", [".tif", ".vrt"])
@pytest.mark.parametrize("form", ["/vsicurl/{}/a.tif", "{}/a.tif", "/vsicurl_streaming/{}/a.tif", "WMS:{}"])
def test_no_server_is_asked(folder: Path, asked: tuple[str, list[str]], form: str, suffix: str) -> None:
    address, paths = asked
    path = folder / f"c{suffix}"
    path.write_text(virtual(form.format(address)))
    with pytest.raises(SceneError), open_raster(path):
        pass
    assert not paths


def test_other_formats_are_not_opened(folder: Path, elsewhere: Path) -> None:
    path = folder / "a.tif"
    path.write_text(
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/{elsewhere}</ServerUrl></Service></GDAL_WMS>'
    )
    with pytest.raises(SceneError, match="cannot be opened as a raster"), open_raster(path):
        pass
    rasterio.shutil.copy(elsewhere, folder / "b.img", driver="HFA")
    with pytest.raises(SceneError, match="cannot be opened as a raster"), open_raster(folder / "b.img"):
        pass


def test_a_virtual_raster_reads_its_folder_and_those_it_trusts(
    folder: Path, elsewhere: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    (folder / "below").mkdir()
    rasterio.shutil.copy(elsewhere, folder / "below" / "mine.tif", driver="GTiff")
    (folder / "near.vrt").write_text(virtual("below/mine.tif", relative=1))
    (folder / "far.vrt").write_text(virtual(str(elsewhere)))
    with open_raster(folder / "near.vrt") as reader:
        assert reader.raster.shape == (SIDE, SIDE)
    with pytest.raises(SceneError, match=r"theirs\.tif, which is not in its folder"), open_raster(folder / "far.vrt"):
        pass
    with open_raster(Source.local(folder / "far.vrt").trusting((str(elsewhere.parent),))) as reader:
        np.testing.assert_array_equal(reader._dataset.read(1), pixels[0])


@pytest.mark.parametrize(
    "name", ["../other/theirs.tif", "below/../../other/theirs.tif", "link.tif", "linked/theirs.tif"]
)
def test_no_way_leads_out_of_the_folder(folder: Path, elsewhere: Path, name: str) -> None:
    (folder / "below").mkdir()
    (folder / "link.tif").symlink_to(elsewhere)
    (folder / "linked").symlink_to(elsewhere.parent)
    (folder / "a.vrt").write_text(virtual(name, relative=1))
    with pytest.raises(SceneError, match="which is not in its folder"), open_raster(folder / "a.vrt"):
        pass


def test_a_virtual_raster_names_what_it_reads_and_is_not_there(folder: Path) -> None:
    path = folder / "a.vrt"
    path.write_text(virtual("gone.tif", relative=1))
    with pytest.raises(SceneError, match=r"a\.vrt: it reads .*gone\.tif, which is missing"), open_raster(path):
        pass


def test_no_way_leads_out_through_another_file(folder: Path, elsewhere: Path) -> None:
    (folder / "inner.tif").write_text(virtual(str(elsewhere)))
    (folder / "inner.vrt").write_text(virtual(str(elsewhere)))
    (folder / "a.vrt").write_text(virtual("inner.tif", relative=1))
    (folder / "b.vrt").write_text(virtual("inner.vrt", relative=1))
    (folder / "c.vrt").write_text(virtual("c.vrt", relative=1))
    for name, told in {
        "a.vrt": "none of JPEG 2000, TIFF, PNG and JPEG",
        "b.vrt": "which is not in its folder",
        "c.vrt": "followed 4 deep",
    }.items():
        with pytest.raises(SceneError, match=told), open_raster(folder / name):
            pass


@pytest.mark.parametrize(
    "text",
    [
        virtual("mine.tif", relative=1, attributes=' subClass="VRTWarpedDataset"'),
        virtual("mine.tif", relative=1, attributes=' subClass="VRTPansharpenedDataset"'),
        virtual("mine.tif", relative=1, band=' subClass="VRTDerivedRasterBand"'),
        virtual("mine.tif", relative=1, more="<PixelFunctionCode>1</PixelFunctionCode>"),
        virtual("mine.tif", relative=1).replace("SourceFilename", "sourcefilename"),
        virtual("mine.tif", relative=1, more="<!-- -->"),
        virtual("<![CDATA[/etc/passwd]]>"),
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + virtual("&b;"),
        virtual("GTIFF_DIR:1:mine.tif"),
        virtual(""),
        virtual("mine.tif", relative=1)[:-20],
    ],
)
def test_only_virtual_rasters_that_copy_pixels_are_opened(folder: Path, elsewhere: Path, text: str) -> None:
    rasterio.shutil.copy(elsewhere, folder / "mine.tif", driver="GTiff")
    (folder / "a.vrt").write_text(text)
    with pytest.raises(SceneError, match=r"a\.vrt: it"), open_raster(folder / "a.vrt"):
        pass


def test_names_that_are_too_long_are_one_line(folder: Path) -> None:
    for place in (folder / ("a" * 300), folder.joinpath(*["a" * 250] * 17, "a.tif")):
        with pytest.raises(SceneError, match="File name too long"), open_raster(place):
            pass


def test_scenes_beyond_the_limit_are_not_begun(folder: Path, elsewhere: Path) -> None:
    path = folder / "huge.tif"
    with rasterio.open(elsewhere) as small:
        profile = small.profile | {
            "width": 30_000,
            "height": 30_000,
            "sparse_ok": True,
            "tiled": True,
            "blockxsize": 256,
        }
    with rasterio.open(path, "w", **(profile | {"blockysize": 256, "compress": "deflate"})):
        pass
    with pytest.raises(SceneError, match=r"30000 x 30000 px .* 900 MB .* more than ingest\.max_px"), open_raster(path):
        pass


@pytest.mark.parametrize(("interleave", "megabytes"), [("pixel", 1024), ("band", 256)])
def test_blocks_beyond_the_limit_are_not_decoded(
    folder: Path, elsewhere: Path, interleave: str, megabytes: int
) -> None:
    path = folder / "one block.tif"
    blocks = {"tiled": True, "blockxsize": 16384, "blockysize": 16384, "interleave": interleave, "sparse_ok": True}
    with rasterio.open(elsewhere) as small:
        profile = small.profile | {"count": 4, "photometric": "RGB", "compress": "deflate"} | blocks
    with rasterio.open(path, "w", **profile):
        pass
    match = (
        rf"blocks of 16384 x 16384 px of 4 bands, {megabytes} MiB each.*ingest\.max_block_mb is {megabytes - 1}: raise"
    )
    with pytest.raises(SceneError, match=match), open_raster(path, Ingest(max_block_mb=megabytes - 1)):
        pass
    with open_raster(path, Ingest(max_block_mb=megabytes)) as reader:
        assert reader.raster.shape == (SIDE, SIDE)


@pytest.mark.slow
def test_a_run_ends_in_one_line_and_trusts_what_the_user_named(folder: Path, elsewhere: Path) -> None:
    (folder / "far.vrt").write_text(virtual(str(elsewhere)))
    (settings := folder / "settings.toml").touch()
    command = ["ingest", settings, "--scenes", folder / "far.vrt"]
    for more, code in (([], 2), (["--scenes", elsewhere.parent], 0)):
        out, told = folder.parent / f"out-{code}", folder.parent / f"told-{code}"
        ended = forked_command(told, *command, *more, "--out", out)
        ended.join()
        printed = told.read_text("utf-8")
        assert "Traceback" not in printed
        assert ("which is not in its folder" in printed) == bool(code)
        assert ended.exitcode == code, printed
    folder_of_run, scene = RunFolder(out), "far"
    with gdal_settings(), open_dataset(recorded_source(folder_of_run, scene)) as drawn:
        assert drawn.driver == "VRT"
    elsewhere.touch()
    with pytest.raises(SceneError, match="has changed since the run read it"):
        recorded_source(folder_of_run, scene)


@pytest.mark.parametrize("suffix", [".tif", ".vrt"])
def test_metadata_are_read_without_what_a_file_leads_to(
    folder: Path, elsewhere: Path, asked: tuple[str, list[str]], suffix: str
) -> None:
    address, paths = asked
    service = folder / f"service{suffix}"
    service.write_text(f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/</ServerUrl></Service></GDAL_WMS>')
    assert stored_tags(service) is None
    assert paths == []
    plain = folder / f"plain{suffix}"
    with rasterio.open(elsewhere) as dataset:
        rasterio.shutil.copy(dataset, plain, driver="VRT" if suffix == ".vrt" else "GTiff")
    with rasterio.open(plain, "r+") as dataset:
        dataset.update_tags(KEPT="a & b")
    elsewhere.unlink()
    tags = stored_tags(plain)
    assert tags is not None
    assert tags["KEPT"] == "a & b"


@pytest.mark.parametrize("suffix", ["", ".aux.xml", ".ovr"])
def test_pipes_are_not_waited_for(folder: Path, elsewhere: Path, suffix: str) -> None:
    path = folder / "a.tif"
    shutil.copy(elsewhere, path)
    Path(f"{path}{suffix}").unlink(missing_ok=True)
    os.mkfifo(f"{path}{suffix}")
    with pytest.raises(SceneError, match="it is a pipe or a device"), open_raster(path):
        pass


@pytest.mark.parametrize(
    "crs",
    [
        "+proj=utm +zone=36 +ellps=WGS84 +nadgrids={} +type=crs",
        'PARAMETERFILE["Latitude and longitude difference file","{}"]',
        'EXTENSION["PROJ4_GRIDS", "{}"]',
        "+init={}:1",
    ],
)
def test_a_crs_names_no_file(folder: Path, elsewhere: Path, crs: str) -> None:
    path = folder / "a.tif"
    shutil.copy(elsewhere, path)
    side = Path(f"{path}.aux.xml")
    side.write_text(f"<PAMDataset><SRS>{escape(crs.format(elsewhere))}</SRS></PAMDataset>")
    with pytest.raises(SceneError, match="names a file"), open_raster(path):
        pass
    text = virtual("a.tif", relative=1).replace("EPSG:32636", escape(crs.format("&#47;home/a")))
    (folder / "b.vrt").write_text(text.replace("&amp;#", "&#"))
    with pytest.raises(SceneError, match="names a file"), open_raster(folder / "b.vrt"):
        pass


def test_a_grid_of_proj_itself_serves(folder: Path, elsewhere: Path) -> None:
    path = folder / "a.tif"
    shutil.copy(elsewhere, path)
    side = Path(f"{path}.aux.xml")
    side.write_text("<PAMDataset><SRS>+proj=utm +zone=36 +ellps=WGS84 +nadgrids=@null +type=crs</SRS></PAMDataset>")
    with open_raster(path) as reader:
        assert "@null" in reader.raster.crs_wkt
    side.write_text("<PAMDataset><SRS>+init=nothing:1</SRS></PAMDataset>")
    with pytest.raises(SceneError, match="its metadata cannot be read"), open_raster(path):
        pass
