"""Reflectances of scenes stretched by percentiles, by the names of their products."""

from __future__ import annotations

from dataclasses import replace

import pytest

from s2fast.archive.names import naming
from s2fast.archive.reflectance import NOT_VISIBLE, UNKNOWN, reflectances
from s2fast.files.source import Source
from s2fast.model import Scene

OLD = "S2A_MSIL1C_20160830T083602_N0204_R064_T36UYA_20160830T083600.SAFE/IMG_DATA/T36UYA_20160830T083602"
NEW = "S2A_MSIL2A_20220830T083602_N0400_R064_T36UYA_20220830T083600.SAFE/IMG_DATA/R10m/T36UYA_20220830T083602"
LANDSAT_1 = "LC08_L1TP_224077_20200518_20200518_01_RT"
LANDSAT_2 = "LC09_L2SP_224077_20220518_20220518_02_T1"
PLANET = "20190611_083601_1008_3B"


def scene(name: str, *others: str) -> Scene:
    source = Source.of(f"/a/{name}")
    return replace(Scene.of(source, naming(source)), others=tuple(Source.of(f"/a/{other}") for other in others))


@pytest.mark.parametrize(
    ("name", "stretch", "wanted"),
    [
        (f"{OLD}_B04.jp2", (600, 2000), (0.06, 0.2)),
        (f"{OLD}_B08.jp2", (600, 2000), NOT_VISIBLE),
        (f"{NEW}_B04_10m.jp2", (1600, 3000), (0.06, 0.2)),
        # A catalogue has removed the offset: dark ground would be below 0.
        (f"{NEW}_B04_10m.jp2", (200, 3000), (0.02, 0.3)),
        # No baseline: with or without an offset, and without one.
        ("T36UYA_20220830T083602_B04.jp2", (1200, 3000), UNKNOWN),
        ("T36UYA_20220830T083602_B04.jp2", (300, 3000), (0.03, 0.3)),
        (f"{LANDSAT_1}_B2.TIF", (7459, 8511), (0.04918, 0.07022)),
        (f"{LANDSAT_1}_B5.TIF", (7459, 8511), NOT_VISIBLE),
        (f"{LANDSAT_1}_B8.TIF", (7459, 8511), (0.04918, 0.07022)),
        (f"{LANDSAT_2}_SR_B4.TIF", (8000, 16000), (0.02, 0.24)),
        (f"{LANDSAT_2}_SR_B5.TIF", (8000, 16000), NOT_VISIBLE),
        # Surface reflectances of such values would be negative: they have been converted.
        (f"{LANDSAT_2}_SR_B4.TIF", (74, 634), UNKNOWN),
        ("LE07_L2SP_225078_20110306_20110306_02_T1_SR_B3.tif", (9000, 13000), (0.0475, 0.1575)),
        ("LE07_L2SP_225078_20110306_20110306_02_T1_SR_B4.tif", (9000, 13000), NOT_VISIBLE),
        ("HLS.S30.T36UYA.2016243T083602.v2.0.B04.tif", (300, 2000), (0.03, 0.2)),
        ("HLS.S30.T36UYA.2016243T083602.v2.0.B8A.tif", (300, 2000), NOT_VISIBLE),
        ("HLS.L30.T36UYA.2016243T083602.v2.0.B05.tif", (300, 2000), NOT_VISIBLE),
        ("ref_S2A_20160608T153121_T33UUU_sub.jp2", (699, 1515), UNKNOWN),
        ("field.tif", (300, 2000), UNKNOWN),
    ],
)
def test_one_band(name: str, stretch: tuple[float, float], wanted: tuple[float, float] | str) -> None:
    found = reflectances(scene(name), [stretch], (), colour=False, whole_numbers=True)
    assert found == (pytest.approx(wanted) if isinstance(wanted, tuple) else wanted)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"{PLANET}_AnalyticMS_SR.tif", (0.03, 0.2)),
        (f"{PLANET}_AnalyticMS.tif", UNKNOWN),
        ("20160830T083602_20160830T084116_T36UYA.tif", (0.03, 0.2)),
        ("field.tif", UNKNOWN),
    ],
)
def test_three_bands_of_one_file(name: str, wanted: tuple[float, float] | str) -> None:
    assert reflectances(scene(name), [(300, 2000)], (), colour=True, whole_numbers=True) == wanted


def test_several_bands_are_weighted() -> None:
    both = scene(f"{NEW}_B02_10m.jp2", f"{NEW}_B03_10m.jp2")
    stretches = [(1200, 3000), (1600, 4000)]
    assert reflectances(both, stretches, (), colour=False, whole_numbers=True) == pytest.approx((0.04, 0.25))
    assert reflectances(both, stretches, (3, 1), colour=False, whole_numbers=True) == pytest.approx((0.03, 0.225))
    mixed = scene(f"{NEW}_B02_10m.jp2", f"{NEW}_B08_10m.jp2")
    assert reflectances(mixed, stretches, (), colour=False, whole_numbers=True) == NOT_VISIBLE


def test_decimal_values_are_reflectances_already() -> None:
    band = scene(f"{NEW}_B04_10m.jp2")
    assert reflectances(band, [(0.03, 0.2)], (), colour=False, whole_numbers=False) == (0.03, 0.2)
    assert reflectances(band, [(300.0, 2000.0)], (), colour=False, whole_numbers=False) == UNKNOWN
