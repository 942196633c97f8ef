"""Tune: scenes are split in two, copied, searched, and the result is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from s2fast.config import Config
from s2fast.errors import ConfigError, InputError, option
from s2fast.files.legible import counted
from s2fast.files.storage import FREE_SPACE
from s2fast.folder.content_key import content_key
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.planning import Job, plan
from s2fast.sweeps.folders import scratch
from s2fast.sweeps.grid import Case
from s2fast.sweeps.limited_process import Limits, run_alone
from s2fast.sweeps.results import make_folder
from s2fast.sweeps.rows import only_writer
from s2fast.sweeps.runner import compile_kernels
from s2fast.sweeps.running import source_hash
from s2fast.truth.copies import copied_scenes, inject
from s2fast.truth.settings import Injected
from s2fast.truth.spread import halves, spread
from s2fast.tuning.search import Report, Tuned, load_optimiser, search
from s2fast.tuning.settings_file import toml
from s2fast.tuning.space import Settings, searched, value_of
from s2fast.tuning.trials import Answered, Runner, Trials
from s2fast.work.streams import print_line

CHILD = "s2fast.tuning.trial_process"

_FEWEST = 3
"""Scenes per half, below which the ground is split in place of the scenes: two scenes are a single pair."""

_HALVES = {"choose": "the half to choose on", "report": "the other half"}
"""How the halves are called in messages."""

Part = tuple[Sequence[SceneInput], Literal["all", "upper", "lower"]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be tuned."""

    base: Config
    """Where the search begins; what it does not search is kept."""
    scenes: Sequence[str]
    """Folders, files or addresses of scenes."""
    regions: str | None
    """File of polygons; None: whole scenes."""
    minutes: float
    """Budget of time, of all calls together."""
    few: int = 8
    """Scenes per half."""


def tune(wanted: Wanted, out: Path | str, report: Report, runner: Callable[..., Runner] | None = None) -> Tuned:
    """Search settings and write ``tuned.toml`` into a folder; a stopped search continues.

    Parameters
    ----------
    wanted
        What is to be tuned.
    out
        Local folder: trials.jsonl, copies of the scenes, tuned.toml.
    report
        Receives a line per trial.
    runner
        Makes what runs a trial; None: a process per trial.

    Raises
    ------
    S2FastError
        Something is wrong; the message is one line.
    """
    if not 0 < wanted.minutes <= 100_000:
        raise ConfigError(f"{option('minutes')} is {wanted.minutes:g}, must be above 0, and at most 100,000")
    if not 2 <= wanted.few <= 100:
        raise ConfigError(f"{option('few')} is {wanted.few}, must be between 2 and 100")
    if not wanted.base.verification.enabled:
        raise ConfigError("verification.enabled is false: tuning counts verified pairs, leave it out")
    load_optimiser()
    record = plan(Job(wanted.base, wanted.scenes, wanted.regions, "."))
    split = split_scenes(record, wanted.few)
    folder = Path(out)
    with trials_of(wanted, split, record, folder, report, runner) as trials:
        space = searched(wanted.base)
        defaults = {key: value_of(wanted.base, key) for key in space}
        report(f"{_minutes(wanted.minutes)}, {counted(len(trials.rows), 'trial')} done before")
        pairs = len(copied_scenes(split["report"][0], _copies(wanted))[1])
        used = {item.scene.scene_id for scenes, _ in split.values() for item in scenes}
        tuned = search(trials, space, defaults, pairs, report, uncopied=len(used) < len(record.found.scenes))
    about = _about(len(trials.known("choose")), split, ", ".join(record.asked.places[:3]), wanted.minutes)
    (folder / "tuned.toml").write_text(toml(tuned, wanted.base, about), "utf-8")
    return tuned


@contextmanager
def trials_of(
    wanted: Wanted,
    parts: Mapping[str, Part],
    record: RunRecord,
    out: Path,
    report: Report,
    runner: Callable[..., Runner] | None = None,
) -> Iterator[Trials]:
    """Copy scenes, and yield the trials of a folder, to which only this process may add more.

    Parameters
    ----------
    wanted, out, report, runner
        See `tune`.
    parts
        Scenes to run trials on, by name.
    record
        The plan of a run of all scenes.

    Raises
    ------
    InputError
        The scenes of a part have no ground in common.
    """
    settings = _copies(wanted)
    for some, _ in parts.values():
        copied_scenes(some, settings)
    folder = make_folder(out)
    with only_writer(folder / "trials.jsonl"), scratch(folder / "trials.work") as work:
        compile_kernels(report)
        begun = time.monotonic()
        injected = {
            name: str(inject(scenes, settings, folder / "copies", _half(report, name), part))
            for name, (scenes, part) in parts.items()
        }
        identity = [
            source_hash(), injected, wanted.base.model_dump(mode="json"),
            record.regions.content if record.regions else None,
        ]  # fmt: skip
        run = (runner or _processes)(wanted, injected, work)
        trials = Trials(folder / "trials.jsonl", run, 60 * wanted.minutes, content_key(*identity))
        trials.spend(time.monotonic() - begun)
        yield trials


def _half(report: Report, name: str) -> Callable[[str], object]:
    """Return what reports the making of the copies of a half."""
    return lambda text: report(f"{_HALVES.get(name, name)}: {text}")


def print_tuned(wanted: Wanted, out: Path | str, state: list[str]) -> None:
    """Tune, and print what was found.

    Parameters
    ----------
    wanted, out
        See `tune`.
    state
        Receives a text that tells where finished trials are.
    """

    def report(text: str) -> None:
        if not state:
            state.append(f"the finished trials are kept in {Path(out) / 'trials.jsonl'}")
        # A closed pipe or a full disk must not stop the search.
        print_line(text, err=True)

    tuned = tune(wanted, out, report)
    print_line(tuned.why, str(Path(out) / "tuned.toml"))


def split_scenes(record: RunRecord, few: int) -> dict[str, Part]:
    """Return the scenes to choose on and those to report on, spread over tiles and seasons.

    With few scenes both are the same scenes, and the ground is split.

    Raises
    ------
    InputError
        There are fewer than two scenes.
    """
    scenes, where = record.found.scenes, ", ".join(record.asked.places[:3])
    if len(scenes) < 2:
        left_out = "".join(f"; left out: {name}: {why}" for name, why in list(record.history.problems.items())[:1])
        raise InputError(f"{where}: tuning compares pairs and needs two scenes or more, got {len(scenes)}{left_out}")
    first, second = halves(scenes)
    if min(largest_tile(first), largest_tile(second)) >= _FEWEST:
        return {"choose": (spread(first, few), "all"), "report": (spread(second, few), "all")}
    some = spread(scenes, few)
    return {"choose": (some, "upper"), "report": (some, "lower")}


def largest_tile(scenes: Sequence[SceneInput]) -> int:
    """Return the number of scenes of the tile with the most."""
    tiles = [item.scene.tile for item in scenes]
    return max((tiles.count(tile) for tile in tiles), default=0)


def _copies(wanted: Wanted) -> Injected:
    """Return which copies are made of each half."""
    return Injected(scenes=wanted.few)


def _about(tried: int, split: dict[str, Part], where: str, minutes: float) -> str:
    (some, part), (others, _) = split["choose"], split["report"]
    if part == "all":
        ground = f"{len(some)} scenes of {where}, result on {len(others)} others"
    else:
        ground = f"the upper half of {len(some)} scenes of {where}, result on their lower half"
    return f"{counted(tried, 'setting')} tried on {ground}, {_minutes(minutes)}"


def _minutes(number: float) -> str:
    return f"{number:g} {'minute' if number == 1 else 'minutes'}"


def _processes(wanted: Wanted, injected: dict[str, str], work: Path) -> Runner:
    """Return what runs trials in processes, each half in a run folder of its own."""

    def run(settings: Settings, half: str, limit_s: float) -> Answered:
        content = wanted.base.model_dump(mode="json")
        for key, value in settings.items():
            section, _, name = key.partition(".")
            content[section][name] = value
        config, out = Config.model_validate(content), work / half / "run"
        job: dict[str, Any] = {
            "config": config.model_dump(mode="json"), "injected": injected[half], "regions": wanted.regions,
            "out": str(out),
        }  # fmt: skip
        answer, reason = run_alone(CHILD, job, Limits(limit_s))
        if FREE_SPACE in reason:  # says nothing about the settings
            raise InputError(reason)
        if not reason:
            read = Case({}, config, {}).stages
            names = ("ingest", "extract", "match")
            answer["keys"] = {stage: content_key(*read[: at + 1]) for at, stage in enumerate(names)}
        return answer, reason

    return run
