"""What every stage returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from s2fast.errors import SceneError
from s2fast.report.findings import Summary


@dataclass(slots=True)
class StageResult:
    """How a stage went."""

    kept: int = 0
    """Units that were there already under the same key."""

    done: int = 0
    """Units computed."""

    problems: dict[str, str] = field(default_factory=dict)
    """Scenes that could not be used, and why."""

    backend: str = ""
    """The backend that ran, where the stage has several."""

    summary: Summary | None = None
    """What the finished run comes to; only of the report stage, where it wrote anything."""

    strict: bool = False
    """Whether `count` raises what is wrong with a scene."""

    def count(self, scene_id: str, problem: SceneError | None) -> None:
        """Count a scene as done, or as a problem; a strict run raises instead."""
        if problem is None:
            self.done += 1
        elif self.strict:
            raise problem
        else:
            self.problems[scene_id] = str(problem)
