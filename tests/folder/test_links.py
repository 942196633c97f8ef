"""Links in a run folder, in one's own too: what a link leads to is never read, whatever a command needs of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import s2fast
from s2fast.errors import S2FastError
from s2fast.folder.check import find_damage
from s2fast.results import Run
from tests.judged import Judged

READERS: Mapping[str, Callable[[Run, str, str], Any]] = {
    "pairs": lambda run, *_: run.pairs().to_csv(),
    "scenes": lambda run, *_: run.scenes().to_csv(),
    "similarity": lambda run, *_: run.similarity().to_csv(),
    "matches": lambda run, a, b: run.matches(a, b).to_csv(),
    "features": lambda run, a, _: run.features(a).xy.tobytes(),
    "displacement": lambda run, a, b: run.displacement(a, b).count.tobytes(),
    "grey": lambda run, a, _: run.folder.grey(a)[:].tobytes(),
    "valid": lambda run, a, _: run.folder.valid(a)[:].tobytes(),
    "check": lambda run, *_: [str(damage) for damage in find_damage(run.folder, quick=False)],
}


def answer(out: Path, name: str, first: str, second: str) -> Any:
    """Return what a reader answers, or its error."""
    try:
        return READERS[name](s2fast.open_run(out), first, second)
    except S2FastError as error:
        return error


def kinds(out: Path, scene_ids: list[str]) -> dict[str, Path]:
    """Return one file of each kind of a run folder, by its name without scenes and numbers."""
    found: dict[str, Path] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = str(path.relative_to(out))
        for scene in scene_ids[1:]:
            if scene in name:
                break
        else:
            kind = re.sub(r"(?<=features/)\w+/|[0-9a-f]{8,}|\d+", "#", name.replace(scene_ids[0], "SCENE"))
            found.setdefault(kind, path)
    return found


@pytest.mark.slow
def test_what_a_link_leads_to_is_not_read(judged: Judged, tmp_path: Path) -> None:
    out, target = tmp_path / "out", tmp_path / "elsewhere"
    shutil.copytree(judged.out, out)
    run = s2fast.open_run(out)
    first, second = run.pairs()[["query", "train"]].iloc[0]
    whole = {name: answer(out, name, first, second) for name in READERS}
    refused = set()
    for kind, path in kinds(out, run.scene_ids).items():
        path.rename(target)
        path.symlink_to(tmp_path / "nowhere")
        needing = [name for name in READERS if answer(out, name, first, second) != whole[name]]
        path.unlink()
        path.symlink_to(target)
        for name in needing:
            told = str(answer(out, name, first, second))
            # Of a folder's files, links are not listed.
            assert re.search("is a link|are missing|has no result", told), (kind, name, told)
        path.unlink()
        target.rename(path)
        refused.update(needing)
    assert refused == set(READERS)
