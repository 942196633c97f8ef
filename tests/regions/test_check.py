import json
import logging
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from rasterio.features import rasterize
from rasterio.transform import from_origin

from s2fast.config import Regions
from s2fast.errors import ConfigError, InputError
from s2fast.model import Raster, Window
from s2fast.raster.windows import grid, with_halo
from s2fast.regions.check import check_regions, crs_shift_m
from s2fast.regions.file import RegionFile
from s2fast.regions.mask import place_regions, polygons_on
from s2fast.regions.rows import load_regions
from tests.archives import ORIGINS, UTM36, Archive, write_regions

WEST, NORTH = ORIGINS["36UXA"]
RASTER = Raster((500, 600), (128, 128), pyproj.CRS(UTM36).to_wkt(), (10.0, 0.0, WEST, 0.0, -10.0, NORTH))


def whole_mask(path: Path, settings: Regions) -> np.ndarray:
    """The mask as the notebook makes it: every polygon, whole raster, one call."""
    frame = geopandas.read_file(path, where=settings.where or None).to_crs(UTM36).geometry
    if settings.buffer_m:
        frame = frame.buffer(settings.buffer_m)
    parts = [part for row in frame for part in getattr(row, "geoms", [row])]
    if not settings.holes:
        parts = [shapely.Polygon(part.exterior) for part in parts]
    return rasterize(parts, RASTER.shape, transform=from_origin(WEST, NORTH, 10, 10)).astype(bool)


@pytest.mark.slow
@pytest.mark.parametrize("buffer_m", [0.0, 137.5])
@pytest.mark.parametrize("holes", [True, False])
def test_window_masks_are_cut_from_the_whole(archive: Archive, buffer_m: float, holes: bool) -> None:
    settings = Regions(buffer_m=buffer_m, holes=holes)
    placed = place_regions(RegionFile.at(archive.regions), settings, RASTER)
    whole = whole_mask(archive.regions, settings)
    assert 0.02 < whole.mean() < 0.5
    for window in [*grid(RASTER.shape, (128, 128)), *grid(RASTER.shape, (37, 211))]:
        np.testing.assert_array_equal(placed.mask(window), whole[window.slices])
        np.testing.assert_array_equal(placed.mask(window), whole[window.slices], err_msg="kept mask")


@pytest.mark.slow
def test_holes_matter(archive: Archive) -> None:
    with_holes, without = (
        place_regions(RegionFile.at(archive.regions), Regions(holes=holes), RASTER).mask(Window(0, 0, 500, 600))
        for holes in (True, False)
    )
    assert with_holes.sum() < without.sum()
    assert not (with_holes & ~without).any()


@pytest.mark.parametrize("halo_px", [0, 20])
def test_meets_is_shapelys_intersects(archive: Archive, halo_px: int) -> None:
    placed = place_regions(RegionFile.at(archive.regions), Regions(), RASTER)
    union = geopandas.read_file(archive.regions).to_crs(UTM36).union_all()
    answers = []
    for window in grid(RASTER.shape, (64, 64)):
        wanted = union.intersects(shapely.Polygon(RASTER.outline(with_halo(window, halo_px, RASTER.shape))))
        assert placed.meets(window, halo_px) == wanted
        answers.append(wanted)
    assert 0 < sum(answers) < len(answers)


def test_where_selects_rows(archive: Archive) -> None:
    assert len(load_regions(RegionFile.at(archive.regions), Regions(where="id = 1")).shapes) == 1


def test_declared_crs_moves_the_mask_as_measured(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    # Known for this ground: EPSG:4236 puts the polygons 89 m west and 420 m north of where WGS 84 does.
    kharkiv = geopandas.GeoSeries([shapely.box(34.37580, 49.43948, 37.00545, 50.58046)], crs="EPSG:4236")
    east_m, north_m = crs_shift_m(kharkiv, pyproj.CRS("EPSG:4326"), RASTER.crs_wkt)
    # The shift varies by some metres over the polygons' two degrees; this is their middle.
    assert (east_m, north_m) == pytest.approx((-89, 420), abs=3)
    with caplog.at_level(logging.WARNING):
        check_regions(RegionFile.at(archive.regions), Regions(crs="EPSG:4236"), [RASTER])
    told = caplog.messages[0]
    assert "EPSG:4236" in told
    assert "m west" in told
    assert "m north" in told


def test_agreeing_crs_is_silent(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    check_regions(RegionFile.at(archive.regions), Regions(crs="EPSG:4326"), [RASTER])
    assert caplog.messages == []


def test_scene_without_polygon_is_told(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    far = Raster(RASTER.shape, RASTER.block, RASTER.crs_wkt, (10.0, 0.0, WEST + 1e5, 0.0, -10.0, NORTH))
    check_regions(RegionFile.at(archive.regions), Regions(), [RASTER, far])
    assert "1 of 2 scenes meet no polygon" in caplog.text
    with pytest.raises(InputError, match="no polygon of .* meets a scene"):
        check_regions(RegionFile.at(archive.regions), Regions(), [far])


def test_swapped_axes_are_told(archive: Archive, tmp_path: Path) -> None:
    swapped = geopandas.read_file(archive.regions)
    swapped = swapped.set_geometry(swapped.transform(lambda xy: xy[:, ::-1]))
    swapped.to_file(tmp_path / "swapped.geojson")
    with pytest.raises(InputError, match="longitude and latitude are swapped"):
        check_regions(RegionFile.at(tmp_path / "swapped.geojson"), Regions(), [RASTER])


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", (0.0014, 0.0, 36.0, 0.0, -0.0009, 50.3)),
        ("EPSG:3857", (100.0, 0.0, 4_000_000.0, 0.0, -100.0, 6_500_000.0)),
        ("EPSG:2263", (300.0, 0.0, 960_000.0, 0.0, -300.0, 240_000.0)),
    ],
)
def test_a_buffer_is_metres_on_the_ground(
    tmp_path: Path, crs: str, transform: tuple[float, float, float, float, float, float]
) -> None:
    raster = Raster((300, 300), (300, 300), pyproj.CRS(crs).to_wkt(), transform)
    spot = geopandas.GeoSeries([shapely.Point(raster.at(150, 150))], crs=crs)
    spot.to_crs(4326).to_file(tmp_path / "spot.geojson", COORDINATE_PRECISION=9)
    file, settings = RegionFile.at(tmp_path / "spot.geojson"), Regions(buffer_m=3000.0)
    assert check_regions(file, settings, [raster]).used == 1
    (disc,), _ = polygons_on(file, settings, raster)
    edge = geopandas.GeoSeries([disc], crs=crs).to_crs(4326).get_coordinates().to_numpy()
    centre = spot.to_crs(4326).get_coordinates().to_numpy()
    _, _, length = pyproj.Geod(ellps="WGS84").inv(*np.repeat(centre, len(edge), axis=0).T, *edge.T)
    np.testing.assert_allclose(length, 3000, rtol=0.003)


@pytest.mark.parametrize("west", [179.9, -180.1])
def test_polygons_are_found_beyond_the_180th_meridian(tmp_path: Path, west: float) -> None:
    wkt = pyproj.CRS("EPSG:4326").to_wkt()
    raster = Raster((200, 200), (200, 200), wkt, (0.001, 0.0, west, 0.0, -0.001, -16.5))
    sides = [shapely.box(179.92, -16.6, 179.96, -16.55), shapely.box(-179.96, -16.6, -179.92, -16.55)]
    write_regions(tmp_path / "sides.geojson", sides, "EPSG:4326")
    file = RegionFile.at(tmp_path / "sides.geojson")
    assert check_regions(file, Regions(), [raster]).used == 2
    mask = place_regions(file, Regions(), raster).mask(Window(0, 0, 200, 200))
    assert (mask[:, :100].sum(), mask[:, 100:].sum()) == (2000, 2000)


def test_how_far_is_told_in_metres_of_the_ground(tmp_path: Path) -> None:
    degrees = Raster((90, 90), (90, 90), pyproj.CRS("EPSG:4326").to_wkt(), (0.001, 0.0, 179.8, 0.0, -0.001, 0.0))
    for west, words in ((179.891, "111 m "), (179.95, "6.7 km "), (-178.2, "213 km "), (35.8, "16019 km ")):
        write_regions(tmp_path / "there.geojson", [shapely.box(west, -0.05, west + 0.1, -0.04)], "EPSG:4326")
        with pytest.raises(InputError, match=f"they lie {words}from the first scene"):
            check_regions(RegionFile.at(tmp_path / "there.geojson"), Regions(), [degrees])


def test_content_counts_every_file_of_a_shapefile(tmp_path: Path) -> None:
    path = tmp_path / "regions.shp"
    geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=UTM36).to_file(path)
    before = RegionFile.at(path).content
    assert RegionFile.at(path).content == before
    path.with_suffix(".prj").write_text(pyproj.CRS("EPSG:32637").to_wkt("WKT1_ESRI"))
    assert RegionFile.at(path).content != before


def test_bad_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.geojson"):
        RegionFile.at(tmp_path / "nowhere.geojson")
    text = tmp_path / "text.geojson"
    text.write_text("no polygons here")
    with pytest.raises(InputError, match="cannot read polygons"):
        load_regions(RegionFile.at(text), Regions())
    empty = tmp_path / "empty.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(InputError, match="holds no polygons"):
        load_regions(RegionFile.at(empty), Regions())
    points = write_regions(tmp_path / "points.geojson", [shapely.Point(WEST, NORTH)])
    with pytest.raises(InputError, match="set regions.buffer_m"):
        load_regions(RegionFile.at(points), Regions())
    assert len(load_regions(RegionFile.at(points), Regions(buffer_m=5.0)).shapes) == 1


def test_unknown_crs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "plain.shp"
    frame = geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=UTM36)
    frame.to_file(path)
    path.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match="has no CRS"):
        load_regions(RegionFile.at(path), Regions())
    assert load_regions(RegionFile.at(path), Regions(crs="EPSG:4326")).shapes.crs == "EPSG:4326"
    with pytest.raises(ConfigError, match="regions.crs = 'EPSG:nothing' is no CRS"):
        load_regions(RegionFile.at(path), Regions(crs="EPSG:nothing"))


@pytest.mark.parametrize("code", ["EPSG:5773", "EPSG:4978"])
def test_heights_and_geocentric_coordinates_are_no_map(archive: Archive, code: str) -> None:
    # PROJ takes longitudes for heights without an error, and the message was that they are swapped.
    with pytest.raises(ConfigError, match=f"regions.crs = '{code}' is no CRS of a map"):
        load_regions(RegionFile.at(archive.regions), Regions(crs=code))


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"type": "no CRS"}, "PROJ does not know"),
        (5, "PROJ does not know"),
        ("garbage", "is no definition"),
        (pyproj.CRS('LOCAL_CS["site",UNIT["metre",1]]').to_json_dict(), "is no CRS of a map"),
    ],
)
def test_a_crs_that_is_none_is_told(tmp_path: Path, declared: object, told: str) -> None:
    path = tmp_path / "fields.parquet"
    geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=UTM36).to_parquet(path)
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"]["geometry"]["crs"] = declared
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo)}), path)
    with pytest.raises(InputError, match=rf"fields\.parquet has a CRS that {told}.*: declare it"):
        load_regions(RegionFile.at(path), Regions())
    assert load_regions(RegionFile.at(path), Regions(crs="EPSG:32636")).file_crs is None


def test_bad_condition_is_told(archive: Archive) -> None:
    with pytest.raises(ConfigError, match=r"regions\.where"):
        load_regions(RegionFile.at(archive.regions), Regions(where="no such column = 3"))
    with pytest.raises(InputError, match=r"that meet regions\.where"):
        load_regions(RegionFile.at(archive.regions), Regions(where="id = 99"))
