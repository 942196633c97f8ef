"""The cost model recovers known rates, sums the cost of jobs, and meters the work of a run."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_costs import Point, blocks, computed_rows, jobs, metered
from benchmarks.cost_model import STAGE_UNITS, Fit, Workload, core_hours, fit, tile_pairs
from benchmarks.meter import alone
from s2fast.config import load_config
from s2fast.pipeline import STAGES, run_stages
from s2fast.planning import Job
from tests.archives import Archive

RUNS = [{"scenes": 40.0, "Mpx": 10.0}, {"scenes": 6.0, "Mpx": 25.0}, {"scenes": 2.0, "Mpx": 240.0}]


def test_rates_that_are_there_are_found() -> None:
    costs = [0.05 * run["scenes"] + 0.3 * run["Mpx"] for run in RUNS]
    found = fit(["scenes", "Mpx"], RUNS, costs)
    assert found.rates == pytest.approx({"scenes": 0.05, "Mpx": 0.3})
    assert found.residuals_pct == pytest.approx([0, 0, 0], abs=1e-6)
    assert found.cost({"scenes": 100, "Mpx": 1000}) == pytest.approx(305)


def test_no_rate_is_negative_and_the_misfit_is_reported() -> None:
    # Least squares alone would give scenes a negative rate.
    found = fit(["scenes", "Mpx"], RUNS, [2.0, 7.5, 80.0])
    assert found.rates["scenes"] == 0.0
    fitted = [found.cost(run) for run in RUNS]
    assert found.residuals_pct == pytest.approx(
        [100 * (f / m - 1) for f, m in zip(fitted, [2.0, 7.5, 80.0], strict=True)]
    )
    assert max(np.abs(found.residuals_pct)) > 5


def test_a_job_is_the_sum_of_its_parts() -> None:
    fits = {
        "ingest": Fit({"scenes": 0.0, "Mpx": 0.25}, []),
        "match": Fit({"blocks": 0.1, "pairs": 0.01, "1e9 comparisons": 2.0}, []),
        "windowed search": Fit({"searches": 0.02, "1e3 rows": 0.001, "1e6 candidates": 0.01}, []),
        "window preparation": Fit({"1e3 keypoints": 0.003}, []),
    }
    job = Workload("", scenes=10, pairs=45, blocks=15, mpx=100, keypoints=5000, candidates=20)
    exhaustive = core_hours(job, fits, windowed=False)
    assert exhaustive == pytest.approx({"ingest": 250 / 3600, "match": (1.5 + 0.45 + 45 * 0.025 * 2) / 3600})
    windowed = core_hours(job, fits, windowed=True)
    # 45 searches of 450,000 rows and 4.5 million candidates, both directions at once; 50,000 rows are prepared.
    assert windowed["match"] == pytest.approx((1.5 + 0.45 + 0.9 + 0.45 + 0.045 + 0.15) / 3600)
    twice = core_hours(Workload("", 10, 45, 15, mpx=100, keypoints=10_000, candidates=40), fits, windowed=False)
    assert twice["match"] - 1.95 / 3600 == pytest.approx(4 * (exhaustive["match"] - 1.95 / 3600))


def test_pairs_and_blocks_are_those_of_a_run() -> None:
    assert tile_pairs(3, 4) == 18
    assert [blocks(scenes) for scenes in (1, 2, 6)] == [0, 1, 3]
    assert blocks(73) < tile_pairs(1, 73)


def test_every_stage_has_its_units() -> None:
    assert set(STAGES) <= set(STAGE_UNITS)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
def test_a_metered_run_tells_what_it_worked_on(archive: Archive, tmp_path: Path) -> None:
    settings = {"features.max_per_scene": 300}
    point = alone(metered, "four scenes", [archive.scenes], archive.scenes, tmp_path / "metered", settings)
    record = run_stages(Job(load_config(overrides=settings), [archive.scenes], None, tmp_path / "alone"))
    assert point.units["scenes"] == record.history.counts["scenes"] == 4
    assert point.units["pairs"] == record.history.counts["pairs"] == 6
    assert point.units["1e3 keypoints"] == record.history.counts["keypoints"] / 1e3 == 1.2
    assert point.units["1e9 comparisons"] == pytest.approx(6 * 300 * 300 / 1e9)
    assert point.units["Mpx"] == pytest.approx(4 * 512 * 512 / 1e6)
    assert all(cost.cpu_s > 0 for cost in point.stages.values())
    run_stages(
        Job(load_config(overrides={**settings, "output.keep_pixels": False}), [archive.scenes], None, tmp_path / "bare")
    )
    bare = [
        path for path in tmp_path.glob("bare/store.zarr/scenes/*/*/c/*/*") if path.parts[-4] in ("valid", "thumbnail")
    ]
    kept = sum(path.stat().st_size for path in bare)
    assert kept < point.stored["tiles without pixels"] < kept + 4 * 4096
    tiles = tmp_path.glob("alone/store.zarr/scenes/*/*/c/*/*")
    whole = sum(path.stat().st_size for path in tiles if path.parts[-4] in ("grey", "valid"))
    # The files of pixels, and a little JSON that describes them.
    assert whole < point.stored["tiles"] < whole + 4 * 4096
    year = jobs([point])[1]
    assert (year.scenes, year.pairs, year.blocks) == (73, 2628, blocks(73))
    assert year.good == round(5000 * point.units["1e3 good matches"] / 6 / 0.3)


def test_what_is_computed_follows_from_the_rates() -> None:
    units = {"scenes": 2, "Mpx": 4.0, "1e3 keypoints": 10.0, "pairs": 1, "1e3 good matches": 2.0}
    stored = {"tiles": 4_000_000, "tiles without pixels": 50_000, "features": 800_000, "pairs": 20_000}
    point = Point("", units, {}, stored, 2_000_000, 250.0)
    fits = {"ingest": Fit({"Mpx": 0.36}, []), "match": Fit({"1e9 comparisons": 0.0}, [])}
    fits["windowed search"] = Fit({"1e3 rows": 0.0}, [])
    fits["window preparation"] = Fit({"1e3 keypoints": 0.0}, [])
    job = Workload("", scenes=1000, pairs=10, blocks=1, mpx=100)
    row, _ = computed_rows([job], [point], fits, efficiency=0.8)
    assert row["core_hours"] == pytest.approx(10)
    assert row["wall_hours, 64 cores"] == pytest.approx(10 / 64 / 0.8)
    assert row["read_gb"] == pytest.approx(50)
    assert row["stored_gb, tiles"] == pytest.approx(100)
    assert row["stored_gb, without pixels"] == pytest.approx(row["stored_gb"] - 100 + 1000 * 25_000 / 1e9)
    assert row["stored_gb"] == pytest.approx(100 + 5000 * 80e3 / 1e9 + row["stored_gb, pairs"])
    assert row["peak_mib a worker"] > 1000
