"""The pieces an archive is made of: tiles and names against the real ones, noise, clear-cuts, clouds, seasons."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
import shapely

from s2fast.errors import ConfigError
from s2fast.synth.atmosphere import CLOUD, NO_DATA, Sky, cloud_noise, observe, threshold_for
from s2fast.synth.clearings import Clearing, ClearingMap, clearings_in, on_tile
from s2fast.synth.noise import cell, cut_line, fractal_noise, hashed, unit, value_noise
from s2fast.synth.plan import Acquisition, acquisitions_of, tiles_of
from s2fast.synth.season import CONIFER, MEADOW, palette
from s2fast.synth.terrain import river_distance


@pytest.mark.parametrize(
    ("name", "corner"),
    # Upper left corners of real products.
    [("36UXA", (600_000, 5_600_040)), ("36UYA", (699_960, 5_600_040)), ("36UXB", (600_000, 5_700_000))],
)
def test_full_tiles_lie_where_the_real_ones_do(name: str, corner: tuple[int, int]) -> None:
    (tile,) = tiles_of([name], 10980)
    assert (tile.left, tile.top) == corner
    assert tile.bounds == (corner[0], corner[1] - 109_800, corner[0] + 109_800, corner[1])


@pytest.mark.parametrize("size", [256, 257, 640, 1024, 10980])
def test_neighbours_share_nine_per_cent_of_their_width(size: int) -> None:
    west, east = tiles_of(["36UXA", "36UYA"], size)
    assert (west.bounds[2] - east.left) / (10 * size) == pytest.approx(9840 / 109_800, abs=1 / size)
    assert (east.left - west.left) % 10 == 0


def test_overpasses_carry_the_orbit_and_baseline_of_the_real_ones() -> None:
    # Granules of real products: L1C_T36UYA_A006210_20160830..., L1C_T36UXA_A016363_20180810...
    days = {day.day: day for day in acquisitions_of(8, seed=0)}
    assert (days[date(2016, 8, 30)].orbit, days[date(2016, 8, 30)].baseline) == (6210, "0204")
    assert (days[date(2018, 8, 10)].orbit, days[date(2018, 8, 10)].baseline) == (16363, "0206")
    assert (days[date(2019, 6, 6)].orbit, days[date(2019, 6, 6)].baseline) == (20653, "0207")


def test_overpasses_go_on_in_order_for_as_long_as_asked() -> None:
    days = [day.day for day in acquisitions_of(20, seed=0)]
    assert days == sorted(set(days))


def test_shifts_stay_below_a_pixel_and_differ() -> None:
    shifts = [(day.shift_x, day.shift_y) for day in acquisitions_of(20, seed=5)]
    assert shifts[0] == (0.0, 0.0)
    assert len(set(shifts)) == 20
    assert np.abs(shifts).max() <= 7.5


def test_a_tile_of_another_zone_is_unknown() -> None:
    with pytest.raises(ConfigError, match="35UXA"):
        tiles_of(["35UXA"], 512)


def test_hashes_are_uniform_and_independent_of_their_neighbours() -> None:
    values = np.array([[unit(hashed(i, j, 1)) for i in range(-40, 40)] for j in range(560_000, 560_080)])
    # 6400 uniform numbers: three standard errors.
    assert values.mean() == pytest.approx(0.5, abs=3 * 0.289 / 80)
    assert values.std() == pytest.approx(0.289, abs=0.01)
    for other in (np.roll(values, 1, 0), np.roll(values, 1, 1)):
        assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 3 / 80


def test_noise_is_smooth_bounded_and_zero_on_average() -> None:
    line = np.array([value_noise(x, -3.7, 9) for x in np.arange(-200.0, 200.0, 0.01)])
    assert np.abs(line).max() < 1
    assert abs(line.mean()) < 0.1
    # The steepest rise between corners -1 and 1 is 15/8 * 2 a unit.
    assert np.abs(np.diff(line)).max() <= 0.01 * 3.75 + 1e-12
    assert np.std([fractal_noise(x, 2.5, 5, 3) for x in np.arange(0.0, 500.0, 0.7)]) == pytest.approx(0.27, abs=0.05)


def test_a_cut_line_has_no_gaps() -> None:
    positions = np.arange(-3000.0, 3000.0, 1.0)
    pieces, cuts, distances = zip(*(cut_line(t, 200.0, 11) for t in positions), strict=True)
    steps = np.diff(pieces)
    assert set(steps) == {0, 1}
    assert min(distances) >= 0
    crossings = np.flatnonzero(steps)
    assert np.take(distances, crossings).max() <= 1.0
    np.testing.assert_array_equal(np.take(cuts, crossings), np.take(cuts, crossings + 1))
    lengths = np.diff(crossings)
    assert lengths.min() >= 0.3 * 200 - 1
    assert lengths.std() > 10


def test_a_cell_border_is_where_the_two_nearest_sites_tie() -> None:
    previous = cell(0.0, 40.0, 100.0, 0.7, 5)
    crossed = 0
    for x in np.arange(0.5, 2000.0, 0.5):
        current = cell(float(x), 40.0, 100.0, 0.7, 5)
        if current[0] != previous[0]:
            crossed += 1
            assert current[1] <= 0.5
            assert current[2] == previous[2]  # one border, the same from both sides
        previous = current
    assert crossed > 10


def test_rivers_are_continuous() -> None:
    courses = np.array([river_distance(600_000.0 + x, 5_590_000.0, 0) for x in np.arange(0.0, 31_000.0, 10.0)])
    to_bank = courses[:, 0] - 0.5 * courses[:, 1]
    near = (to_bank < 400) & (courses[:, 1] > 0.5)  # a stream of no width has run dry
    assert near.any()
    # Near the water, the way to the bank changes by at most a few metres a metre: meanders stretch it.
    assert np.abs(np.diff(to_bank))[near[1:] & near[:-1]].max() < 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_clearings_are_valid_apart_and_of_every_kind(seed: int) -> None:
    tiles = tiles_of(["36UXA", "36UYA"], 1024)
    clearings = clearings_in(tiles, 3, seed)
    shapes = [clearing.geometry for clearing in clearings]
    assert len(shapes) > 60
    assert all(shape.is_valid for shape in shapes)
    assert {clearing.seen_from for clearing in clearings} == {0, 1, 2}
    assert any(len(shape.geoms) > 1 for shape in shapes if shape.geom_type == "MultiPolygon")
    assert any(shape.interiors for shape in shapes if shape.geom_type == "Polygon")
    tree = shapely.STRtree(shapes)
    first, second = tree.query(shapes, predicate="intersects")
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_neighbouring_tiles_list_the_same_clearings_in_their_strip() -> None:
    west, east = tiles_of(["36UXA", "36UYA"], 2048)
    both = clearings_in([west, east], 3, 7)
    alone = {clearing.geometry.wkt for clearing in clearings_in([west], 3, 7)}
    assert alone >= {clearing.geometry.wkt for clearing in on_tile(both, west)}
    shared = {c.name for c in on_tile(both, west)} & {c.name for c in on_tile(both, east)}
    assert shared


def test_cover_is_the_area_of_the_outline_and_moves_with_the_shift() -> None:
    ring = [(100.0, 0.0), (240.0, 30.0), (200.0, 180.0), (90.0, 150.0)]
    hole = [(150.0, 60.0), (190.0, 60.0), (190.0, 110.0), (150.0, 110.0)]
    clearing = Clearing(0, shapely.Polygon(ring, [hole]), seen_from=0)
    (still,) = acquisitions_of(1, seed=0)
    moved = Acquisition(1, still.day, "", 10.0, -20.0, 0.0, 0.0, 0.0, 9.0)
    cover, growth = ClearingMap([clearing], [still], still).window(5.0, 295.0, 30, 30)
    # Soft edges: exact along straight sides, a little off at corners.
    assert cover.sum() * 100 == pytest.approx(clearing.geometry.area, rel=0.01)
    assert cover[30 - 9, 17] == 0  # inside the hole
    assert growth.max() == 0
    shifted, _ = ClearingMap([clearing], [still], moved).window(5.0, 295.0, 30, 30)
    np.testing.assert_allclose(shifted[2:, 1:], cover[:-2, :-1], atol=1e-6)


def test_a_clearing_is_not_seen_before_its_date() -> None:
    first, second, _ = days = acquisitions_of(3, seed=0)
    clearing = Clearing(0, shapely.box(50, 50, 150, 150), seen_from=1)
    assert ClearingMap([clearing], days, first).window(5.0, 195.0, 20, 20)[0].max() == 0
    assert ClearingMap([clearing], days, second).window(5.0, 195.0, 20, 20)[0].max() == 1


@pytest.mark.parametrize("share", [0.1, 0.22, 0.5, 0.65])
def test_as_much_of_the_sky_is_cloud_as_was_asked(share: float) -> None:
    places = np.random.default_rng(0).uniform(5e5, 6e6, (20_000, 2))
    noise = np.array([cloud_noise(x, y, 17) for x, y in places])
    assert np.mean(noise > threshold_for(share)) == pytest.approx(share, abs=0.03)


def test_without_haze_clouds_and_edge_only_blur_path_light_and_noise_are_added() -> None:
    ground = np.full((34, 34, 3), 0.1, np.float32)
    clear = Sky(0.0, threshold_for(0.0), 0.0, 0.0, 1e9, 0.0, 3)
    image, classes = observe(ground, 5.0, 95.0, clear)
    assert set(np.unique(classes)) == {1}
    wanted = 1 + (0.1 + np.array([0.022, 0.034, 0.058])) * 254 / 0.3558
    np.testing.assert_allclose(image.mean(axis=(1, 2)), wanted, atol=0.1)
    assert 0.5 < image[0].std() < 1.2


def test_nothing_is_seen_beyond_the_swath_and_only_clouds_through_clouds() -> None:
    ground = np.full((66, 66, 3), 0.05, np.float32)
    half, classes = observe(ground, 5.0, 635.0, Sky(0.0, threshold_for(0.0), 0.0, 0.0, 320.0, 320.0, 3))
    assert 0.4 < np.mean(classes == NO_DATA) < 0.6
    assert half[:, classes == NO_DATA].max() == 0
    assert half[:, classes != NO_DATA].min() > 0
    overcast, classes = observe(ground, 5.0, 635.0, Sky(0.0, -5.0, 0.0, 0.0, 1e9, 0.0, 3))
    assert (classes == CLOUD).all()
    assert overcast.min() > 200


def test_the_year_turns_and_snow_hides_meadows_more_than_conifers() -> None:
    winter, snowed = palette(date(2018, 2, 21), 0.0), palette(date(2018, 2, 21), 1.0)
    summer = palette(date(2018, 6, 10), 0.0)
    assert summer[MEADOW, 1] > summer[MEADOW, 0]
    assert winter[MEADOW, 0] / winter[MEADOW, 1] > 1.1 * summer[MEADOW, 0] / summer[MEADOW, 1]
    assert snowed[MEADOW].mean() - winter[MEADOW].mean() > 10 * (snowed[CONIFER].mean() - winter[CONIFER].mean())
    np.testing.assert_allclose(palette(date(2018, 12, 31), 0.0), palette(date(2019, 1, 1), 0.0), atol=0.003)
