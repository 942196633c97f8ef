"""Which polygons contain the centre of a pixel, against rasterising each of them alone."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from rasterio import Affine
from rasterio.features import rasterize

from s2fast.model import Raster
from s2fast.regions.mask import covers, meets
from tests.archives import UTM36

TRANSFORMS = {
    "north up": (10.0, 0.0, 300_000.0, 0.0, -10.0, 5_600_000.0),
    "turned": (8.0, 6.0, 300_000.0, 6.0, -8.0, 5_600_000.0),
}


def polygons_of_all_sizes(rng: np.random.Generator, raster: Raster, count: int) -> np.ndarray:
    """Return boxes and needles from a hundredth of a pixel to larger than the raster, some with edges on centres."""
    centres = rng.uniform(-4, np.array(raster.shape[::-1]) + 4, (count, 2))
    halves = np.exp(rng.uniform(np.log(0.01), np.log(40), (count, 2)))
    on_centres = rng.random(count) < 0.3
    centres[on_centres] = np.floor(centres[on_centres]) + 0.5
    halves[on_centres & (rng.random(count) < 0.5)] = 1.0
    corners = np.stack([centres + halves * sign for sign in ((-1, -1), (1, -1), (1, 1), (-1, 1))], axis=1)
    corners[rng.random(count) < 0.3, 2] = corners[0, 0]
    a, b, c, d, e, f = raster.transform
    ground = corners @ np.array([[a, d], [b, e]]) + [c, f]
    return shapely.convex_hull(shapely.polygons(ground))


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMS)
def test_as_rasterising_each_alone(name: str) -> None:
    raster = Raster((70, 90), (64, 64), UTM36, TRANSFORMS[name])
    polygons = polygons_of_all_sizes(np.random.default_rng(5), raster, 3_000)
    polygons = polygons[meets(polygons, raster)]
    affine = Affine(*raster.transform)
    wanted = np.array([rasterize([shape], out_shape=raster.shape, transform=affine).any() for shape in polygons])
    found = covers(polygons, raster)
    rows, columns = np.mgrid[0.5:70, 0.5:90].reshape(2, -1)
    centres = shapely.multipoints(shapely.points(*raster.at(columns, rows)))
    on_edge = shapely.dwithin(shapely.boundary(polygons), centres, 1e-6)
    # A centre on an edge belongs to one of two neighbours, which depends on rounding.
    assert np.array_equal(found[~on_edge], wanted[~on_edge])
    assert (found != wanted).mean() < 0.02
    assert 0.2 < wanted[~on_edge].mean() < 0.95
    assert on_edge.sum() > 100
