"""All-pairs matching of Sentinel-2 images: masked AKAZE features, exact Hamming kNN on CPU and GPU.

>>> import s2fast
>>> run = s2fast.run("configs/default.toml", scenes="DIR", regions="FILE", out="OUT")  # doctest: +SKIP
>>> run.pairs()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2fast.config import Config
    from s2fast.results import Run

__all__ = ["open_run", "run"]
__version__ = "0.1.0"


def run(
    config: Config | Path | str | None = None,
    *,
    scenes: Path | str | Sequence[Path | str],
    out: Path | str,
    regions: Path | str | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    workers: int = 1,
    scheduler: str | None = None,
    strict: bool = False,
) -> Run:
    """Match every pair of scenes; see `s2fast.pipeline.run_stages`.

    Parameters
    ----------
    config
        A TOML file or a `s2fast.config.Config`; None: use the defaults.
    scenes
        Folders or files with scenes.
    out
        The run folder, local or ``s3://BUCKET/PREFIX``; results of the same job in it are reused.
    regions
        File of polygons; None: use whole scenes.
    overrides
        ``{"ingest.reduction": 2}`` or ``["ingest.reduction=2"]``; not allowed with a `Config`.
    workers
        Number of local processes; with more than one, a script must call this under ``if __name__ == "__main__":``.
    scheduler
        Address of a Dask scheduler.
    strict
        Stop at the first scene that cannot be used.

    Returns
    -------
    Run
        The finished run.
    """
    from s2fast.config import Config, load_config
    from s2fast.errors import ConfigError
    from s2fast.pipeline import Job, run_stages
    from s2fast.results import Run

    if isinstance(config, Config):
        if overrides:
            raise ConfigError("overrides go with a configuration file: change a Config with its model_copy method")
        settings = config
    else:
        settings = load_config(config, overrides)
    inputs = [scenes] if isinstance(scenes, str | Path) else list(scenes)
    run_stages(Job(settings, inputs, regions, out, strict), workers=workers, scheduler=scheduler)
    return Run(out)


def open_run(out: Path | str) -> Run:
    """Open an existing run folder."""
    from s2fast.results import Run

    return Run(out)
