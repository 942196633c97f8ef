"""Georeferencing in a file or beside it; without any, an error."""

import functools
import http.server
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rasterio.transform import Affine

from s2fast.archive.identity import identity
from s2fast.config import load_config
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.raster.reader import open_raster
from tests.archives import UTM36

HERE = Affine(10, 0, 600000, 0, -10, 5600040)
PIXELS = np.random.default_rng(3).integers(1, 255, (3, 64, 64), np.uint8)

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def write(path: Path, driver: str = "GTiff", **told: Any) -> Path:
    """Write a small picture that says of its place only what it is told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gcps, rpcs = told.pop("gcps", None), told.pop("rpcs", None)
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=64, height=64, count=3, dtype="uint8", **told) as sink:
            sink.write(PIXELS)
            if gcps:
                sink.gcps = gcps
            if rpcs:
                sink.rpcs = rpcs
        with memory.open() as source:
            rasterio.shutil.copy(source, str(path), driver=driver)
    # What GDAL writes beside a PNG to say nothing is in the way of what we write.
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    return path


def world_file(path: Path, there: Affine = HERE) -> None:
    x, y = there @ (0.5, 0.5)
    path.write_text("\n".join(map(str, (there.a, there.d, there.b, there.e, x, y))) + "\n")


def aux_xml(path: Path, there: Affine | None = None, crs: str = UTM36) -> None:
    placed = f"<GeoTransform>{', '.join(map(str, there.to_gdal()))}</GeoTransform>" if there else ""
    path.write_text(f"<PAMDataset><SRS>{pyproj.CRS(crs).to_wkt('WKT1_GDAL')}</SRS>{placed}</PAMDataset>")


@pytest.mark.parametrize(
    ("name", "driver", "world"),
    [
        ("a.tif", "GTiff", "a.tfw"),
        ("a.tif", "GTiff", "a.TFW"),
        ("a.tif", "GTiff", "a.tifw"),
        ("a.tiff", "GTiff", "a.tiffw"),
        ("a.tif", "GTiff", "a.wld"),
        ("a.jp2", "JP2OpenJPEG", "a.j2w"),
        ("a.jp2", "JP2OpenJPEG", "a.wld"),
        ("a.png", "PNG", "a.pgw"),
        ("a.png", "PNG", "a.wld"),
        ("a.jpg", "JPEG", "a.jgw"),
        ("a.jpg", "JPEG", "a.jpgw"),
    ],
)
def test_a_world_file_is_read_as_rasterio_reads_it(tmp_path: Path, name: str, driver: str, world: str) -> None:
    path = write(tmp_path / name, driver)
    aux_xml(tmp_path / f"{name}.aux.xml")
    world_file(tmp_path / world)
    with rasterio.open(path) as wanted, open_raster(path) as got:
        assert got.raster.transform == tuple(wanted.transform)[:6] == tuple(HERE)[:6]
        assert CRS.from_wkt(got.raster.crs_wkt) == wanted.crs == CRS.from_string(UTM36)


@pytest.mark.parametrize(("name", "driver"), [("a.tif", "GTiff"), ("a.jp2", "JP2OpenJPEG"), ("a.png", "PNG")])
def test_aux_xml_alone_is_enough(tmp_path: Path, name: str, driver: str) -> None:
    path = write(tmp_path / name, driver)
    aux_xml(tmp_path / f"{name}.aux.xml", HERE)
    with open_raster(path) as got:
        assert got.raster.transform == tuple(HERE)[:6]


def test_aux_xml_goes_before_what_the_file_says(tmp_path: Path) -> None:
    """gdal_edit.py corrects a JP2 so."""
    path = write(tmp_path / "a.jp2", "JP2OpenJPEG", crs=UTM36, transform=HERE)
    aux_xml(tmp_path / "a.jp2.aux.xml", HERE @ Affine.translation(3, 2))
    with open_raster(path) as got:
        assert got.raster.transform[2] == HERE.c + 30


def test_a_tab_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    corners = "".join(
        f'  ({x:.0f},{y:.0f}) ({col},{row}) Label "Pt",\n'
        for col, row in ((0, 0), (64, 0), (64, 64), (0, 64))
        for x, y in [HERE @ (col, row)]
    ).rstrip(",\n")
    (tmp_path / "a.tab").write_text(
        '!table\n!version 300\n!charset WindowsLatin1\n\nDefinition Table\n  File "a.tif"\n  Type "RASTER"\n'
        f'{corners}\n  CoordSys Earth Projection 8, 104, "m", 33, 0, 0.9996, 500000, 0\n  Units "m"\n'
    )
    with open_raster(path) as got:
        np.testing.assert_allclose(got.raster.transform, tuple(HERE)[:6], atol=1e-6)
        assert pyproj.CRS(got.raster.crs_wkt).utm_zone == "36N"


def test_another_world_file_is_another_version_of_the_scene(tmp_path: Path) -> None:
    path = write(tmp_path / "in/a.tif", crs=UTM36)
    world_file(tmp_path / "in/a.tfw")
    before = identity(Source.local(path))
    first = run_stages(Job(load_config(), [tmp_path / "in"], None, tmp_path / "out"), stages=["ingest"])
    world_file(tmp_path / "in/a.tfw", HERE @ Affine.translation(1000, 0))
    assert identity(Source.local(path)) != before
    second = run_stages(Job(load_config(), [tmp_path / "in"], None, tmp_path / "out"), stages=["ingest"])
    assert (first.history.stages["ingest"].done, second.history.stages["ingest"].done) == (1, 1)
    assert second.found.scenes[0].raster.transform[2] == HERE.c + 10_000


RAW = [GroundControlPoint(row, col, *(HERE @ (col, row))) for row in (0, 64) for col in (0, 64)]
RATIONAL = RPC(
    height_off=0, height_scale=500, lat_off=50, lat_scale=1, line_off=32, line_scale=32, long_off=34, long_scale=1,
    samp_off=32, samp_scale=32, line_num_coeff=[0, 0, -1, *[0] * 17], line_den_coeff=[1, *[0] * 19],
    samp_num_coeff=[0, 1, *[0] * 18], samp_den_coeff=[1, *[0] * 19],
)  # fmt: skip
ENGINEERING = 'LOCAL_CS["site grid",UNIT["metre",1]]'
MARS = 'GEOGCS["Mars",DATUM["Mars",SPHEROID["Mars",3396190,169.8944]],PRIMEM["0",0],UNIT["degree",0.0174532925199433]]'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"crs": UTM36}, "has a CRS but no geotransform.*world file"),
        ({"transform": HERE}, "has no CRS.*gdal_edit"),
        ({"crs": ENGINEERING, "transform": HERE}, "has no CRS"),
        ({}, "has no CRS"),
        ({"gcps": (RAW, CRS.from_string(UTM36))}, r"ground control points.*gdalwarp -t_srs EPSG:32636 .*a\.tif"),
        ({"rpcs": RATIONAL}, r"\(RPC\).*gdalwarp -rpc"),
        ({"crs": UTM36, "transform": Affine(10, 10, 600000, 10, 10, 5600040)}, "gives pixels no size"),
        ({"crs": UTM36, "transform": Affine(10, 0, 6e9, 0, -10, 5600040)}, "do not place it on Earth"),
        ({"crs": "EPSG:4326", "transform": Affine(10, 0, 600000, 0, -10, 5600040)}, "do not place it on Earth"),
        ({"crs": MARS, "transform": Affine(0.001, 0, 34, 0, -0.001, 50)}, "do not place it on Earth"),
        # Pixels that cannot be told apart there, in both directions or in one.
        ({"crs": UTM36, "transform": Affine(10, 0, 600000, 0, -10, -1e300)}, "do not place it on Earth"),
        ({"crs": UTM36, "transform": Affine(1e-12, 0, 600000, 0, -1e-12, 5600040)}, "do not place it on Earth"),
        ({"crs": UTM36, "transform": Affine(10, 0, 600000, 0, -1e-9, 5600040)}, "a thousandth of a millimetre"),
        ({"crs": UTM36, "transform": Affine(10, 10, 600000, 10, 10 + 1e-8, 5600040)}, "a thousandth of a millimetre"),
    ],
)
def test_a_scene_without_a_place_is_left_out_by_name(tmp_path: Path, told: dict[str, Any], words: str) -> None:
    write(tmp_path / "in/a.tif", **told)
    write(tmp_path / "in/good.tif", crs=UTM36, transform=HERE)
    record = run_stages(Job(load_config(), [tmp_path / "in"], None, tmp_path / "out"), stages=["ingest"])
    assert list(record.history.problems) == ["a"]
    assert "\n" not in record.history.problems["a"]
    with pytest.raises(SceneError, match=words), open_raster(tmp_path / "in/a.tif"):
        pass


def test_a_missing_place_is_no_warning_of_python(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(SceneError, match="has no CRS"), open_raster(path):
            pass
    assert [one for one in told if issubclass(one.category, NotGeoreferencedWarning)] == []


@pytest.mark.parametrize(
    "there", [Affine(10, 0, 600000, 0, 10, 5590000), HERE @ Affine.rotation(30)], ids=["south-up", "rotated"]
)
def test_any_geotransform_that_has_an_area_is_a_place(tmp_path: Path, there: Affine) -> None:
    with open_raster(write(tmp_path / "a.tif", crs=UTM36, transform=there)) as got:
        np.testing.assert_allclose(got.raster.transform, tuple(there)[:6])


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves byte ranges and notes what is asked for."""

    asked: list[str]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        """Answer with the whole file, or the part asked for."""
        type(self).asked.append(self.path)
        wanted, file = self.headers.get("Range"), Path(self.translate_path(self.path))
        if wanted is None or not file.is_file():
            super().do_GET()
            return
        data = file.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last or len(data)) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def do_HEAD(self) -> None:
        """Answer with the file's size."""
        type(self).asked.append(self.path)
        super().do_HEAD()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "5")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    Server.asked = []
    handler = functools.partial(Server, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_nothing_beside_a_file_on_a_server_is_asked_for(server: str, tmp_path: Path) -> None:
    path = write(tmp_path / "served/a.tif", crs=UTM36, transform=HERE)
    world_file(tmp_path / "served/a.tfw")
    with open_raster(Source.of(f"{server}/served/a.tif")):
        pass
    virtual = tmp_path / "a.vrt"
    rasterio.shutil.copy(str(path), str(virtual), driver="VRT")
    virtual.write_text(
        virtual.read_text().replace('relativeToVRT="1">served/', f'relativeToVRT="0">/vsicurl/{server}/served/')
    )
    trusting = Source.local(virtual).trusting((f"{server}/served",))
    with open_raster(trusting) as reader, rasterio.open(path) as wanted:
        np.testing.assert_array_equal(reader._dataset.read(), wanted.read())
    assert set(Server.asked) == {"/served/a.tif"}
