"""A typed client of the package: tests/test_python.py checks it with mypy, and never runs it."""

from pathlib import Path

import numpy as np

import s2fast
from s2fast import Config, Run, S2FastError, load_config


def similar(scenes: Path, out: Path) -> list[str]:
    """Use every part of the Python interface."""
    done: list[str] = []

    def show(stage: str, finished: int, total: int) -> None:
        done.append(f"{stage}: {finished} of {total}")

    settings: Config = load_config({"matching": {"ratio": 0.8}}, profile="fast")
    try:
        run: Run = s2fast.run(settings, scenes=scenes, out=out, progress=show)
    except S2FastError as error:
        return [str(error)]
    first, second = run.scene_ids[:2]
    figure = run.show(first, second, layout="displacement", dpi=300)
    figure.savefig(out / "pair.pdf")
    shift = run.displacement(first, second, cell_m=2000)
    shift.save(out / "shift.tif")
    size: tuple[int, ...] = shift.dx_m.shape
    x: float = run.matches(first, second)["query_x_px"].max()
    ratio: float = settings.matching.ratio
    return [*run.pairs()["query"], repr(run), f"{size} {x} {ratio}", *done]


def placed(runs: list[Run], scan: Path) -> list[str]:
    """Fetch an archive, index it, and find pictures in it."""
    fetched = s2fast.fetch(bbox=(34.2, 50.0, 34.8, 50.4), dates="2019-06", to="ARCHIVE", progress=False)
    told = [f"{fetched.items}", *fetched.scenes()["scene_id"], *fetched.left_out.values()]
    index = s2fast.index([*runs, "OUT"], to="INDEX", lists=True)
    found = s2fast.find(index, scan, lists=True)
    if found.found and found.grid is not None:
        longitude, latitude = found.grid.lonlat
        found.save("located.tif")
        found.show(dpi=100).savefig("where.pdf")
        told.append(f"{longitude} {latitude}")
    several = s2fast.find("INDEX", [scan, "other.png", np.zeros((64, 64), np.uint8)], budget_mb=512)
    return [*told, *(finding.problem or finding.verdict for finding in several), *index.scene_ids]
