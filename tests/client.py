"""A typed client of the package: tests/test_python.py checks it with mypy, and never runs it."""

from pathlib import Path

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
