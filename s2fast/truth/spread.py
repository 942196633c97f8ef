"""Select a few scenes that are spread over tiles and seasons."""

from __future__ import annotations

from collections.abc import Sequence

from s2fast.folder.record import SceneInput


def spread(scenes: Sequence[SceneInput], count: int) -> list[SceneInput]:
    """Return up to `count` scenes, tile after tile in turn, of each tile evenly over the days of the year.

    Scenes without a time are spread over their order. At least two scenes of a tile are taken, where it has two.

    Returns
    -------
    list[SceneInput]
        In the given order.
    """
    tiles: dict[str, list[SceneInput]] = {}
    for item in sorted(scenes, key=_day):
        tiles.setdefault(item.scene.tile, []).append(item)
    # Pairs need two scenes of a tile: with few scenes wanted, take fewer tiles.
    largest = sorted(tiles.values(), key=len, reverse=True)
    taken_tiles = max(1, count // 2)
    while taken_tiles < len(largest) and sum(map(len, largest[:taken_tiles])) < count:
        taken_tiles += 1
    largest = largest[:taken_tiles]
    shares = [0] * len(largest)
    for turn in range(count * len(largest)):
        at = turn % len(largest)
        if sum(shares) < count and shares[at] < len(largest[at]):
            shares[at] += 1
    taken = {
        id(items[round(step * (len(items) - 1) / max(1, share - 1))])
        for items, share in zip(largest, shares, strict=True)
        for step in range(share)
    }
    return [item for item in scenes if id(item) in taken]


def halves(scenes: Sequence[SceneInput]) -> tuple[list[SceneInput], list[SceneInput]]:
    """Split scenes into two halves that share none, each with every second scene of each tile over the year."""
    tiles: dict[str, list[SceneInput]] = {}
    for item in sorted(scenes, key=_day):
        tiles.setdefault(item.scene.tile, []).append(item)
    first = {id(item) for items in tiles.values() for item in items[::2]}
    return [item for item in scenes if id(item) in first], [item for item in scenes if id(item) not in first]


def _day(item: SceneInput) -> tuple[int, str]:
    time = item.scene.sensing_time
    return (time.timetuple().tm_yday, time.isoformat()) if time else (0, "")
