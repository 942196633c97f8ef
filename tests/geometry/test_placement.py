"""Positions on the map and common clear ground."""

from dataclasses import replace

import numpy as np
import pyproj
import pytest

from s2fast.geometry.pixel_grid import to_ground
from s2fast.geometry.placement import Placement, common_centre, overlap_pct, radii_m
from s2fast.image.prepare import clear_cells

UTM36, UTM37 = (pyproj.CRS.from_epsg(code).to_wkt() for code in (32636, 32637))
LONLAT = pyproj.CRS.from_epsg(4326).to_wkt()


def north_up(
    corner: tuple[float, float] = (600_000.0, 5_600_000.0),
    pixel: float = 10.0,
    side: int = 256,
    clear: np.ndarray | None = None,
    crs: str = UTM36,
    reduction: int = 1,
) -> Placement:
    transform = (pixel, 0.0, corner[0], 0.0, -pixel, corner[1])
    shape = (side // reduction, side // reduction)
    cells = clear_cells(np.ones(shape, bool) if clear is None else clear)
    return Placement(crs, transform, (side, side), reduction, cells)


def test_positions_of_several_grids_are_those_of_each() -> None:
    transforms = np.array([(10.0, 0.0, 500.0, 0.0, -10.0, 900.0), (0.0, 3.0, 7.0, 4.0, 0.0, 8.0)])
    xy = np.array([[0, 0], [2, 3]], np.float32)
    wanted = [to_ground(xy[[row]], tuple(transform))[0].tolist() for row, transform in enumerate(transforms)]
    assert to_ground(xy, transforms.T).tolist() == wanted == [[505.0, 895.0], [17.5, 18.0]]


def test_pixel_centres_are_at_integers() -> None:
    place = north_up()
    np.testing.assert_array_equal(
        place.on_map(np.array([[0, 0], [1, 2]])), [[600_005, 5_599_995], [600_015, 5_599_975]]
    )
    np.testing.assert_allclose(place.px_m, [[10, 0], [0, -10]], atol=1e-6)
    assert place.grid_m == pytest.approx(10)
    assert north_up(reduction=4).grid_m == pytest.approx(40)


def test_another_zone_is_pyprojs() -> None:
    place = north_up()
    xy = np.array([[0.0, 0.0], [200.0, 100.0]])
    wanted = pyproj.Transformer.from_crs(32636, 32637, always_xy=True).transform(*place.on_map(xy).T)
    np.testing.assert_array_equal(place.on_map(xy, UTM37).T, wanted)


def test_degrees_become_metres_of_the_zone() -> None:
    place = north_up((36.4, 50.5), 1e-4, crs=LONLAT)
    assert pyproj.CRS(place.metric).to_epsg() == 32637
    assert north_up((-70.2, -33.0), 1e-4, crs=LONLAT).metric == pyproj.CRS.from_epsg(32719).to_wkt()
    # A ten-thousandth of a degree: 11.1 m along a meridian, less along a parallel by the cosine of the latitude.
    east, north = np.hypot(*place.px_m)
    assert north == pytest.approx(11.13, abs=0.02)
    assert east == pytest.approx(11.13 * np.cos(np.deg2rad(50.5)), abs=0.03)


@pytest.mark.parametrize(
    ("crs", "lonlat", "own"),
    [
        ("EPSG:5514", (14.5, 50.0), False),  # Krovak: its grid is turned by 7.7 degrees in Prague
        ("EPSG:3413", (-38.0, 70.0), False),  # polar stereographic, 7 degrees from its axis
        ("EPSG:2154", (3.5, 46.5), True),  # Lambert, near its axis
        ("EPSG:32633", (21.0, 78.0), True),  # Svalbard's wide zone: 5.9 degrees
        ("EPSG:7405", (1.7, 52.5), True),  # British grid with heights: 2.9 degrees
        ("+proj=utm +zone=36 +ellps=krass +towgs84=24,-123,-94,0.02,-0.25,-0.13,1.1 +type=crs", (36.0, 60.0), True),
    ],
)
def test_a_grid_that_is_turned_is_not_taken_for_east_and_north(
    crs: str, lonlat: tuple[float, float], own: bool
) -> None:
    corner = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(*lonlat)
    place = north_up(corner, crs=pyproj.CRS(crs).to_wkt())
    assert (place.metric == place.crs_wkt) is own


@pytest.mark.parametrize(
    ("crs", "corner", "pixel"),
    [
        ("EPSG:3857", (4_000_000, 8_400_000), 120),  # at 60 degrees its metre is half a metre
        ("EPSG:2263", (960_000, 240_000), 200),  # US survey feet
        ("EPSG:3413", (-300_000, -900_000), 60),  # polar stereographic, turned by 63 degrees
        ("EPSG:3031", (1_500_000, 900_000), 60),
        ("EPSG:2053", (-30_000, 3_000_000), 60),  # x to the west, y to the south
        ("+proj=tmerc +lon_0=29 +ellps=WGS84 +axis=wnu +type=crs", (-30_000, 3_000_000), 60),  # x to the west alone
        ("EPSG:4326", (20.0, 88.9), 0.0005),
        ("EPSG:4326", (180.01, -16.5), 0.0005),
        ("EPSG:32633", (250_000, 8_900_000), 60),
        ("EPSG:2154", (200_000, 6_800_000), 60),
    ],
)
def test_metres_are_metres_of_the_ground(crs: str, corner: tuple[float, float], pixel: float) -> None:
    place = north_up(corner, pixel, crs=pyproj.CRS(crs).to_wkt())
    ends = np.array([[100.0, 100], [140, 100], [100, 140], [130, 70]])
    moved = place.on_map(ends)[1:] - place.on_map(ends)[0]
    lon, lat = place.on_map(ends, "EPSG:4326").T
    azimuth, _, length = pyproj.Geod(ellps="WGS84").inv(*np.broadcast_arrays(lon[0], lat[0], lon[1:], lat[1:]))
    np.testing.assert_allclose(np.hypot(*moved.T), length, rtol=0.003)
    turned = (np.degrees(np.arctan2(*moved.T)) - azimuth + 180) % 360 - 180
    assert (np.abs(turned) < 10).all()


@pytest.mark.slow
def test_maps_in_metres_stay_as_they_are() -> None:
    # Sentinel-2's tiles reach out of their zone: a tile of zone 33 at 80 degrees north lies over zone 32 or 34.
    corners = ((166_000, 100_000), (790_000, 100_000), (600_000.0, 5_600_000.0), (400_000, 9_200_000))
    for crs, corner in [(UTM36, corner) for corner in corners] + [
        (pyproj.CRS(2154).to_wkt(), (600_000, 6_800_000)),
        (pyproj.CRS(2056).to_wkt(), (2_600_000, 1_200_000)),
    ]:
        place = north_up(corner, 10.0, side=10_980, crs=crs)
        assert place.metric == crs


def test_overlap_does_not_end_at_the_180th_meridian() -> None:
    utm60 = north_up((632_000, 7_200_000), 60.0, crs=pyproj.CRS(32660).to_wkt())
    lon, lat = utm60.on_map(np.array([[-0.5, -0.5]]), "EPSG:4326")[0]
    for turn in (0, -360):
        assert overlap_pct(utm60, north_up((lon + turn, lat), 0.0015, crs=LONLAT)) > 80
    xy = np.array([[3.0, 4.0], [250.0, 250.0]])
    degrees = north_up((lon - 360, lat), 0.0015, crs=LONLAT)
    np.testing.assert_allclose(degrees.from_map(degrees.on_map(xy, utm60.crs_wkt), utm60.crs_wkt), xy, atol=1e-4)


def test_radius_is_five_pixels_of_the_coarser_grid_by_default() -> None:
    assert radii_m(north_up(), north_up(pixel=20.0), 0.0) == pytest.approx([100])
    assert radii_m(north_up(), north_up(reduction=2), 0.0) == pytest.approx([100])
    assert radii_m(north_up(), north_up(pixel=20.0), 7.0) == [7.0]
    assert radii_m(north_up(), north_up(), "auto")[:2] == pytest.approx([50, 150])
    small, large = north_up(), north_up(pixel=30.0)
    for pair in ((small, large), (large, small)):
        assert radii_m(*pair, 1e9) == pytest.approx([0.3 * np.sqrt(small.area_m2)])


def test_overlap_of_shifted_scenes_is_the_rectangle_they_share() -> None:
    one = north_up()
    assert overlap_pct(one, one) == 100
    for dx, dy in ((0, 0), (640, 0), (-1280, 320), (2000, 2000)):
        other = north_up((600_000.0 + dx, 5_600_000.0 + dy))
        wanted = 100 * (2560 - abs(dx)) * (2560 - abs(dy)) / 2560**2
        # Cells of 20 m: half a cell along each of two sides.
        assert overlap_pct(one, other) == pytest.approx(wanted, abs=1.6)
        assert overlap_pct(other, one) == pytest.approx(wanted, abs=1.6)
    assert overlap_pct(one, north_up((603_000.0, 5_600_000.0))) == 0


def test_overlap_counts_what_is_clear_in_both() -> None:
    left, top = np.zeros((256, 256), bool), np.zeros((256, 256), bool)
    left[:, :64], top[:128] = True, True
    assert overlap_pct(north_up(clear=left), north_up(clear=top)) == 12.5
    assert overlap_pct(north_up(clear=left), north_up(clear=~left)) == 0
    assert overlap_pct(north_up(clear=np.zeros((256, 256), bool)), north_up()) == 0


def test_overlap_is_a_share_of_the_smaller_scene_in_any_grid_and_zone() -> None:
    small = north_up((600_640.0, 5_599_360.0), side=128)
    assert overlap_pct(north_up(), small) == overlap_pct(small, north_up()) == 100
    assert overlap_pct(north_up(pixel=20.0, side=128), north_up()) == 100
    corner = pyproj.Transformer.from_crs(32636, 32637, always_xy=True).transform(600_000.0, 5_600_000.0)
    # Zones are turned against each other by some degrees: what lies in both is a little less than all.
    assert 90 < overlap_pct(north_up(), north_up((corner[0], corner[1]), crs=UTM37)) < 100
    assert overlap_pct(north_up(crs=LONLAT, corner=(100.0, 10.0), pixel=1e-4), north_up()) == 0


def test_clear_ground_is_an_area() -> None:
    half = np.zeros((256, 256), bool)
    half[:128] = True
    assert north_up(clear=half).clear_m2 == pytest.approx(2560 * 1280, rel=1e-6)


def test_centre_of_the_common_ground_is_that_of_what_both_cover() -> None:
    query = north_up()
    assert common_centre(query, query) == pytest.approx([601_280, 5_598_720])
    moved = north_up(corner=(600_000.0 + 1280, 5_600_000.0))
    assert common_centre(query, moved) == pytest.approx([601_920, 5_598_720])
    far = north_up(corner=(700_000.0, 5_600_000.0))
    assert common_centre(query, far) == pytest.approx([601_280, 5_598_720])


def test_overlap_on_one_grid_is_that_of_two_equal_grids() -> None:
    rng = np.random.default_rng(6)
    for transform in ((10.0, 0.0, 399_960.0, 0.0, -10.0, 5_500_020.0), (-20.0, 0.0, 5e5, 0.0, 20.0, 5e6)):
        clear = rng.integers(0, 101, (2, 100, 128)).astype(np.uint8) * (rng.random((2, 100, 128)) < 0.7)
        one, other = (Placement(UTM36, transform, (7813, 9999), 1, part) for part in clear)
        # Written differently, the same grid is not recognised, and compared cell by cell.
        written_again = replace(other, crs_wkt=other.crs_wkt + " ")
        assert overlap_pct(one, other) == overlap_pct(one, written_again) > 0
        assert overlap_pct(one, one) > overlap_pct(one, other)
