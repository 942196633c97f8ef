"""Find scenes by a fragment of their id, and shorten ids to fragments that name one scene each."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from s2fast.errors import InputError

_MOST_NAMED = 4
"""Maximum number of scenes that a message lists."""

_ACQUISITION = re.compile(r"(?P<platform>[^_]+)_(?P<date>\d{8})T(?P<time>\d{6})_T(?P<tile>[0-9A-Z]{5})")

_FORMS = ("{date}", "{date} {square}", "{date} {tile}", "{platform} {date} {tile}", "{platform} {date} {time} {tile}")
"""Shortened ids, shortest first; the square is the tile without its zone, ``UXA`` of ``36UXA``."""


def scene_named(typed: str, scene_ids: Sequence[str], left_out: Mapping[str, str] | None = None) -> str:
    """Return the scene that a fragment of its id names.

    Parameters
    ----------
    typed
        A scene's id, or words that all occur in the id of only one scene, in capitals or not: ``20180810``,
        ``2018-08-10 UXA``.
    scene_ids
        Ids of the run's scenes.
    left_out
        Ids of scenes that the run has left out, and the reasons.

    Raises
    ------
    InputError
        No scene is named so, or several are; the message lists what was probably meant.

    Examples
    --------
    >>> scene_named("0830 uxa", ["S2A_20180810T083601_T36UXA", "S2A_20180830T083601_T36UXA"])
    'S2A_20180830T083601_T36UXA'
    """
    found = scenes_named(typed, scene_ids)
    if len(found) == 1:
        return found[0]
    if found:
        short = short_ids(scene_ids)
        raise InputError(
            f"{typed!r} fits {len(found)} scenes, {_listed([repr(short[scene_id]) for scene_id in found])}: "
            "add a part of the id that only one has"
        )
    for scene_id in scenes_named(typed, list(left_out or {})):
        raise InputError(f"{scene_id} was left out of the run: {(left_out or {})[scene_id]}")
    raise InputError(f"no scene {typed!r}; the nearest: {', '.join(nearest(typed, scene_ids))}")


def scenes_named(typed: str, scene_ids: Sequence[str]) -> list[str]:
    """Return all scenes that a fragment fits, in the given order; a whole id fits only its scene."""
    if typed in scene_ids:
        return [typed]
    for text in (typed.lower().strip(), _without_hyphens(typed)):
        for parts in ([text], text.split()):
            if text and (found := [name for name in scene_ids if _holds(name.lower(), parts)]):
                return found
    return []


def nearest(typed: str, scene_ids: Sequence[str], most: int = 3) -> list[str]:
    """Return the ids most similar to what was typed, most similar first: each word counts with its most similar part.

    Examples
    --------
    >>> nearest("20180811", ["S2A_20180810T083601_T36UXA", "S2B_20190427T083601_T36UXA"], 1)
    ['S2A_20180810T083601_T36UXA']
    """
    words = _without_hyphens(typed).split() or [""]
    known: dict[tuple[str, str], float] = {}

    def likeness(word: str, part: str) -> float:
        if (word, part) not in known:
            known[word, part] = difflib.SequenceMatcher(None, word, part, autojunk=False).ratio()
        return known[word, part]

    def score(scene_id: str) -> float:
        parts = _parts(scene_id.lower())
        return sum(max(likeness(word, part) for part in parts) for word in words)

    return sorted(scene_ids, key=score, reverse=True)[:most]


def short_ids(scene_ids: Sequence[str]) -> dict[str, str]:
    """Return the shortest names by which `scene_named` finds the scenes, all of one form, by id.

    Ids that are no acquisitions, and those that no shorter form distinguishes, stay whole.

    Examples
    --------
    >>> short_ids(["S2A_20180810T083601_T36UXA", "S2A_20180810T083601_T36UYA", "mosaic"])["mosaic"]
    'mosaic'
    >>> list(short_ids(["S2A_20180810T083601_T36UXA", "S2A_20180810T083601_T36UYA"]).values())
    ['20180810 UXA', '20180810 UYA']
    """
    parsed = {name: found for name in scene_ids if (found := _ACQUISITION.fullmatch(name))}
    others = [name.lower() for name in scene_ids if name not in parsed]
    for form in _FORMS:
        short = {name: _shortened(form, found) for name, found in parsed.items()}
        count = Counter(short.values())
        if all(n == 1 for n in count.values()) and not any(
            _holds(other, text.lower().split()) for other in others for text in count
        ):
            break
    else:
        short = {}
    return {name: short.get(name, name) for name in scene_ids}


def _shortened(form: str, found: re.Match[str]) -> str:
    return form.format(**found.groupdict(), square=found["tile"][2:])


def _without_hyphens(typed: str) -> str:
    """Return what was typed in small letters, dates as in ids: 2018-08-10 as 20180810."""
    return re.sub(r"(?<=\d)-(?=\d)", "", typed.lower()).strip()


def _holds(name: str, parts: Iterable[str]) -> bool:
    return all(part in name for part in parts)


def _parts(name: str) -> list[str]:
    """Return the parts of an id that a person may have meant: 20180810t083601 also as 20180810, t36uxa as uxa."""
    parts = [name, *re.split(r"[_\s]+", name)]
    for part in parts[1:]:
        if re.fullmatch(r"\d{8}t\d{6}", part):
            parts.append(part[:8])
        elif re.fullmatch(r"t\d\d[a-z]{3}", part):
            parts += [part[1:], part[3:]]
    return parts


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
