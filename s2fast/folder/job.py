"""Which job a run folder belongs to: its inputs, and how those of another command differ."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from s2fast.errors import option
from s2fast.files.legible import first_named


class JobInputs(BaseModel):
    """The inputs that identify a job; a run folder holds results of one job only."""

    model_config = ConfigDict(frozen=True)

    places: list[str]
    """The values of --scenes, as absolute paths or addresses, sorted."""
    regions: str | None
    """Path or address of the polygons' file; None: whole scenes are matched."""

    @classmethod
    def stored(cls, content: object) -> JobInputs | None:
        """Return the inputs that a folder has stored; None if it has stored none."""
        try:
            return cls.model_validate(content)
        except ValidationError:
            return None

    def continues(self, before: JobInputs) -> bool:
        """Return whether these inputs continue a job: the same polygons, and all its places, perhaps with others.

        Examples
        --------
        >>> old, new = (JobInputs(places=places, regions=None) for places in (["/2018"], ["/2018", "/2019"]))
        >>> new.continues(old), old.continues(new)
        (True, False)
        """
        return self.regions == before.regions and set(before.places) <= set(self.places)

    def unlike(self, before: JobInputs) -> str:
        """Return the inputs of a job that these do not continue, and in what these differ.

        Examples
        --------
        >>> whole = JobInputs(places=["/a"], regions=None)
        >>> JobInputs(places=["/a"], regions="/p.gpkg").unlike(whole)
        'with scenes /a and no regions; now with regions /p.gpkg'
        """
        differ = []
        gone = [place for place in before.places if place not in self.places]
        if len(gone) == len(before.places):
            differ.append(_scenes("with", self.places))
        elif gone:
            differ.append(_scenes("without", gone))
        if self.regions != before.regions:
            differ.append(f"with {_regions(self.regions)}")
        return f"{_scenes('with', before.places)} and {_regions(before.regions)}; now {' and '.join(differ)}"


def _scenes(word: str, places: Sequence[str]) -> str:
    return f"{word} {option('scenes')} {first_named(places)}"


def _regions(file: str | None) -> str:
    return f"{option('regions')} {file}" if file else f"no {option('regions')}"
