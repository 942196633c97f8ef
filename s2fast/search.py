"""Index an archive and find pictures in it, from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from s2fast.arguments import PLACE, TEXT, WHOLE_NUMBER, Kind, as_list, check_type
from s2fast.results import Run
from s2fast.retrieval.build import PER_SCENE, build
from s2fast.retrieval.clusters import make_clusters
from s2fast.retrieval.finder import BUDGET_MB, Finder
from s2fast.retrieval.finding import Finding
from s2fast.retrieval.index import Index
from s2fast.retrieval.picture import KEYPOINTS
from s2fast.work.progress import progress_of

_RUN = Kind((Run, *PLACE.types), f"a Run, {PLACE.wanted}")
"""What may be indexed."""

_PICTURE = Kind((np.ndarray, *PLACE.types), f"{PLACE.wanted}, or an array")
"""What may be looked for."""


def index(
    runs: Run | Path | str | Sequence[Run | Path | str],
    *,
    to: Path | str,
    per_scene: int = PER_SCENE,
    lists: bool = False,
    progress: bool | Callable[[str, int, int], object] = True,
) -> Index:
    """Make an index of the keypoints of runs, in which `find` finds pictures, or add runs to one.

    The runs' keypoints need orientations: ``overrides={"features.upright": False}``.

    Parameters
    ----------
    runs
        Runs, or their folders.
    to
        Folder of the index, local or ``s3://BUCKET/PREFIX``; scenes that it holds already are not read again.
    per_scene
        Most keypoints of a scene, spread over it; 0: all.
    lists
        Also make inverted lists (FAISS), for ``find(..., lists=True)`` in a large index.
    progress
        See `run`.

    Returns
    -------
    Index
        The index, opened: ``scene_ids``, ``keypoint_count``, ``recall`` of the lists.

    Raises
    ------
    S2FastError
        A run has no features, or others than the index holds.

    Examples
    --------
    >>> made = s2fast.index("OUT", to="INDEX")  # doctest: +SKIP
    """
    check_type(PLACE, to=to)
    check_type(WHOLE_NUMBER, per_scene=per_scene)
    given = as_list(_RUN, "runs", runs)
    shown = progress_of(progress)
    build(str(to), [run.folder.address if isinstance(run, Run) else run for run in given], per_scene, shown)
    if lists:
        make_clusters(str(to), shown)
    return Index(to)


@overload
def find(  # type: ignore[overload-overlap]  # a str is a sequence too, and is one picture
    index: Index | Path | str, picture: Path | str | npt.NDArray[Any], *,
    keypoints: int = ..., lists: bool = ..., device: str = ..., budget_mb: int = ..., trust: Sequence[Path | str] = ...,
) -> Finding: ...  # fmt: skip


@overload
def find(
    index: Index | Path | str, picture: Sequence[Path | str | npt.NDArray[Any]], *,
    keypoints: int = ..., lists: bool = ..., device: str = ..., budget_mb: int = ..., trust: Sequence[Path | str] = ...,
) -> list[Finding]: ...  # fmt: skip


def find(
    index: Index | Path | str,
    picture: Path | str | npt.NDArray[Any] | Sequence[Path | str | npt.NDArray[Any]],
    *,
    keypoints: int = KEYPOINTS,
    lists: bool = False,
    device: str = "auto",
    budget_mb: int = BUDGET_MB,
    trust: Sequence[Path | str] = (),
) -> Finding | list[Finding]:
    """Find where in an archive a picture without georeferencing lies, or that it is not there.

    Parameters
    ----------
    index
        An index, see `index`, or its folder.
    picture
        File, address, or array (rows, columns) or (rows, columns, 3); or a sequence of these.
    keypoints
        Most keypoints of a picture, spread over it.
    lists
        Search by the inverted lists of the index, not exactly: much faster.
    device
        "auto", "cpu" or "cuda", as ``compute.device``.
    budget_mb
        Memory, as ``compute.budget_mb`` [MiB].
    trust
        See `open_run`; also buckets of the indexed runs, if the index lies elsewhere.

    Returns
    -------
    Finding, or list[Finding] of a sequence
        ``verdict``; ``entry``, the scene; ``place``, where in it; ``grid``, where on Earth; ``save(FILE)``, ``show()``.

    Raises
    ------
    S2FastError
        The index cannot serve, or the picture cannot be used. One of a sequence has the verdict "unusable" instead.

    Examples
    --------
    >>> found = s2fast.find("INDEX", "scan.png")  # doctest: +SKIP
    >>> if found.found:  # doctest: +SKIP
    ...     found.save("located.tif")
    """
    if not isinstance(index, Index):
        check_type(PLACE, index=index)
    check_type(WHOLE_NUMBER, keypoints=keypoints, budget_mb=budget_mb)
    check_type(TEXT, device=device)
    opened = index if isinstance(index, Index) else Index(index)
    finder = Finder(
        opened,
        keypoints=keypoints,
        device=device,
        by_lists=lists,
        budget_mb=budget_mb,
        trusted=[str(place) for place in as_list(PLACE, "trust", trust)],
    )
    pictures = as_list(_PICTURE, "picture", picture)
    return finder.find(pictures[0]) if _PICTURE.fits(picture) else list(finder.find_all(pictures))
