"""The result that every stage returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from s2fast.errors import SceneError
from s2fast.report.findings import Summary


@dataclass(slots=True)
class StageResult:
    """Counts and problems of a stage."""

    kept: int = 0
    """Number of units already stored under their keys."""

    done: int = 0
    """Number of units computed."""

    ahead: int = 0
    """Number of units of the next stage computed by this one, while their input was in memory."""

    ahead_s: float = 0.0
    """Part of this stage's wall time that they took, if it was measured [s]."""

    problems: dict[str, str] = field(default_factory=dict)
    """Error messages by scene id, for scenes that cannot be used."""

    backend: str = ""
    """Name of the backend used; empty if the stage has no backends."""

    device: str = ""
    """Where it ran, "cpu" or "cuda:0"; empty if the stage has no backends."""

    prepared: str = ""
    """How pixels were prepared, a name of `s2fast.image.scenes.PREPARATIONS`; empty for other stages."""

    summary: Summary | None = None
    """Summary of the finished run; set only by the report stage, if it wrote the outputs."""

    strict: bool = False
    """Whether `count` raises problems instead of recording them."""

    def count(self, scene_id: str, problem: SceneError | None) -> None:
        """Count a scene as done or record its problem; raise the problem if `strict`."""
        if problem is None:
            self.done += 1
        elif self.strict:
            raise problem
        else:
            self.problems[scene_id] = str(problem)
