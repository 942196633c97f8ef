"""The Python interface to a finished run: its tables, matches, features and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from s2fast.archive.fragments import scene_named
from s2fast.arguments import NUMBER, PLACE, TEXT, WHOLE_NUMBER, as_list, check_type, wrong_type
from s2fast.errors import InputError, RunFolderError
from s2fast.files.arrow_memory import arrow_file
from s2fast.files.legible import counted, legible
from s2fast.files.parquet import read_table
from s2fast.files.source import Source
from s2fast.files.wkb import is_nested_deeply
from s2fast.folder.record import RUN_JSON, RunRecord, load_record, with_sources, with_trust
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Features, Window

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    from s2fast.pictures.pair import Layout, View
    from s2fast.report.displacement_raster import Displacement
    from s2fast.work.progress import Progress

_MOST_SHOWN = 12
"""Maximum number of scenes that a notebook shows."""


class Run:
    """A finished run.

    Parameters
    ----------
    out
        The run folder.
    places
        Scenes of the run that are held in memory, which the folder cannot open; others are ignored.
    trust
        Folders and addresses that the folder may lead to, see `s2fast.open_run`.

    Raises
    ------
    RunFolderError
        The folder holds no run.
    """

    def __init__(
        self, out: Path | str, places: Sequence[Source | Path | str] = (), trust: Iterable[Path | str] = ()
    ) -> None:
        self._held = {place.name: place for place in places if isinstance(place, Source)}
        self.folder = RunFolder(out, tuple(Source.of(place).absolute().address for place in trust))
        self.record = self._load()

    def _load(self) -> RunRecord:
        record = load_record(self.folder)
        if record is None:
            raise RunFolderError(
                f"{self.folder} holds no run: {RUN_JSON} is missing; name the folder of an earlier run"
            )
        record = with_trust(record, self.folder.trusted)
        return with_sources(record, self._held) if self._held else record

    def __dir__(self) -> list[str]:
        """Return what a user needs; `folder` and `record` are for s2fast itself."""
        return [name for name in vars(type(self)) if not name.startswith("_")]

    def __repr__(self) -> str:
        return f"<s2fast run {self.folder}: {self._described()}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the counts, the warnings, and the table of scenes."""
        rows = "".join(
            f"<tr><td>{escape(item.scene.scene_id)}</td><td>{escape(item.scene.tile)}</td></tr>"
            for item in self.record.usable[:_MOST_SHOWN]
        )
        more = len(self.scene_ids) - _MOST_SHOWN
        below = f"<div>and {counted(more, 'scene')} more</div>" if more > 0 else ""
        warnings = "".join(f"<div>Warning: {escape(legible(text))}</div>" for text in self.record.history.warnings)
        return (
            f"<div><b>s2fast run</b> {escape(legible(str(self.folder)))}: {escape(self._described())}</div>{warnings}"
            f"<table><tr><th>scene</th><th>tile</th></tr>{rows}</table>{below}"
        )

    def _described(self) -> str:
        """Return the numbers of scenes and pairs, as text."""
        history, text = self.record.history, counted(len(self.scene_ids), "scene")
        if history.tables_key:
            text += f", {counted(history.counts['pairs'], 'pair')}, {history.counts['verified']} verified"
        else:
            text += ", not finished"
        if history.problems:
            text += f", {counted(len(history.problems), 'scene')} left out"
        return text

    @property
    def scene_ids(self) -> list[str]:
        """Ids of the run's scenes, in the run's order."""
        return [item.scene.scene_id for item in self.record.usable]

    def pairs(self) -> pd.DataFrame:
        """Return one row per pair; the columns are those of pairs.parquet."""
        pairs: pd.DataFrame = self._parquet("pairs.parquet").to_pandas()
        return pairs

    def similarity(self) -> pd.DataFrame:
        """Return the matrix of similarities [%]: a row per query, a column per train, NaN where not computed."""
        return pd.read_csv(io.BytesIO(self._table("similarity.csv")), index_col=0)

    def scenes(self) -> pd.DataFrame:
        """Return one row per scene, as a GeoDataFrame of footprints."""
        import geopandas

        shapes = self._parquet("scenes.parquet")["geometry"].to_pylist()
        if any(is_nested_deeply(shape) for shape in shapes if shape):
            raise self.folder.damaged("scenes.parquet", "a footprint is no polygon", "scenes.parquet")
        scenes: pd.DataFrame = geopandas.read_parquet(arrow_file(self._table("scenes.parquet")))
        return scenes

    def matches(self, first: str, second: str) -> pd.DataFrame:
        """Return the good matches of a pair; the scene that is first in the run's order is always the query.

        Parameters
        ----------
        first, second
            Ids of the scenes, or fragments of them.

        Returns
        -------
        DataFrame
            One row per match: ``query``, ``train``; ``query_row``, ``train_row``, rows of the scenes' `features`;
            ``distance`` [bits]; ``inlier``, missing if not verified; and of both ends

            - ``query_x_px``, ``query_y_px``, ``train_x_px``, ``train_y_px``: column and row in the full-resolution
              scene, pixel centres at integers [px];
            - ``query_map_x``, ``query_map_y``, ``train_map_x``, ``train_map_y``: position in the scene's own CRS, as
              `scenes` names it;
            - ``dx_m``, ``dy_m``: train minus query position on the ground, east and north [m].

            Without a CRS, the positions on the map and ``dx_m``, ``dy_m`` are NaN.
        """
        from s2fast.report.displacements import with_positions

        query, train = self._pair(first, second)[["query", "train"]]
        return with_positions(self.folder.verified.matches(query, train), self.folder, query, train)

    def features(self, scene_id: str) -> Features:
        """Return a scene's features."""
        return self.folder.features(self._known("scene_id", scene_id))

    def show(
        self,
        first: str,
        second: str,
        *,
        layout: Layout | None = None,
        matches: int = 20,
        inliers_only: bool = False,
        view: View = "all",
        crop: Window | None = None,
        dpi: float = 200.0,
    ) -> Figure:
        """Draw a pair: both scenes, both masked scenes, the best matches, and the displacements.

        For the options see `s2fast.pictures.pair.pair_picture`; ``show(a, b).savefig("pair.pdf")`` writes a file.
        """
        from s2fast.pictures.pair import pair_picture
        from s2fast.pictures.titles import pair_title

        check_type(WHOLE_NUMBER, matches=matches)
        check_type(NUMBER, dpi=dpi)
        if crop is not None and not isinstance(crop, Window):
            raise InputError(wrong_type("crop", crop, "a s2fast.model.Window(row, col, height, width)"))
        row = self._pair(first, second)
        return pair_picture(
            self.folder, row["query"], row["train"], pair_title(row), layout=layout, matches=matches,
            inliers_only=inliers_only, view=view, crop=crop, dpi=dpi,
            masked=self.record.uses_regions,
        )  # fmt: skip

    def displacement(self, first: str, second: str, cell_m: float = 1000.0) -> Displacement:
        """Return a pair's local shifts on a grid of cells; ``.save("shift.tif")`` writes them as a GeoTIFF."""
        from s2fast.report.displacement_raster import displacement_raster

        check_type(NUMBER, cell_m=cell_m)
        query, train = self._pair(first, second)[["query", "train"]]
        return displacement_raster(self.folder, query, train, cell_m)

    def align(
        self,
        to: Path | str,
        *,
        form: str = "vrt",
        reference: str | None = None,
        bands: Sequence[str] = (),
        resampling: str = "bilinear",
        max_error_m: float | None = None,
        check: bool = False,
        model: str = "shift",
        progress: bool | Callable[[str, int, int], object] | Progress = True,
    ) -> pd.DataFrame:
        """Write corrected rasters of every scene whose offset can be relied on; see docs/align.md.

        Parameters
        ----------
        to
            Output folder on disk.
        form
            ``vrt``: corrected georeferencing, pixels stay in the source; ``cog``: the same as a Cloud-Optimised
            GeoTIFF; ``resampled``: one resampling onto the grid of the reference.
        reference
            What stays where it is: ``median``, that of the scenes that pairs connect; the id or the file of a scene of
            the run, or the file of the run's reference; None: the run's reference if it has one, else the median.
        bands
            Other rasters of the product, such as ``["B04", "SCL"]`` or ``["all"]``; empty: the raster that was matched.
        resampling
            ``bilinear``, ``cubic`` or ``lanczos``; masks take the nearest pixel.
        max_error_m
            Largest error of an offset [m]; None: a tenth of a pixel.
        check
            Compare the written files with each other by phase correlation, and withdraw scenes that got worse.
        model
            ``shift``: move scenes as a whole; ``similarity``, ``affine`` or ``grid``: correct displacements within a
            scene as well, if that predicts held-out matches better than a shift; ``auto``: by the simplest of these
            that no other beats.
        progress
            As for `s2fast.run`: True: show progress on a terminal and in a notebook; False: nowhere; or a function that
            is called with the step, the number of scenes done and their total.

        Returns
        -------
        GeoDataFrame
            One row per scene, see `s2fast.align.aligned.align`.
        """
        from s2fast.align.aligned import align
        from s2fast.align.settings import Settings
        from s2fast.work.progress import progress_of

        check_type(PLACE, to=to)
        check_type(TEXT, optional=True, reference=reference)
        check_type(NUMBER, optional=True, max_error_m=max_error_m)
        bands = as_list(TEXT, "bands", bands)
        settings = Settings.of(form, reference, bands, resampling, max_error_m, check, model)
        scenes, pairs = self.scenes(), self.pairs()
        aligned: pd.DataFrame = align(self.folder, self.record, scenes, pairs, to, settings, progress_of(progress))
        return aligned

    def offsets(self) -> xarray.Dataset:
        """Return the offset of every scene in the network of shifts, as an `xarray.Dataset` along ``scene``.

        Returns
        -------
        xarray.Dataset
            ``offset_x_m``, ``offset_y_m`` and ``offset_error_m`` [m], east and north of where the scene should be, NaN
            if unknown; ``verdict``; with the coordinates ``scene``, the ids, ``time``, UTC, NaT if unknown, ``tile``
            and ``platform``. The attribute ``datum`` says to what the offsets are relative.
        """
        try:
            import xarray
        except ImportError as error:
            raise InputError("offsets() needs xarray: pip install 's2fast[xarray]'") from error

        table = self.scenes()
        times = pd.to_datetime(table["sensing_time"], utc=True).dt.tz_localize(None).astype("datetime64[ns]")
        metres = {"offset_x_m": "offset east", "offset_y_m": "offset north", "offset_error_m": "standard error"}
        found = {
            name: ("scene", table[name].to_numpy(float), {"units": "m", "long_name": text})
            for name, text in metres.items()
        }
        return xarray.Dataset(
            {**found, "verdict": ("scene", table["verdict"].to_numpy(str))},
            {
                "scene": table["scene_id"].to_numpy(str),
                "time": ("scene", times.to_numpy()),
                **{name: ("scene", table[name].to_numpy(str)) for name in ("tile", "platform")},
            },
            {"datum": self.record.reference or "median of the scenes that pairs connect"},
        )

    def stac(self, to: Path | str, aligned: Path | str | None = None) -> Path:
        """Write the run as a STAC Collection with one Item per scene; see `s2fast.align.stac.write_stac`."""
        from s2fast.align.stac import write_stac

        check_type(PLACE, to=to)
        check_type(PLACE, optional=True, aligned=aligned)
        return write_stac(self.record, self.scenes(), to, aligned)

    def ordered(self, first: str, second: str) -> tuple[str, str]:
        """Return the scenes that two fragments name, in the run's order: query, train."""
        names = self._known("first", first), self._known("second", second)
        if names[0] == names[1]:
            raise InputError(f"a pair needs two scenes, got {names[0]} twice")
        query, train = sorted(names, key=self.scene_ids.index)
        return query, train

    def _pair(self, first: str, second: str) -> Any:
        """Return a pair's row; raise InputError if the run did not compare the pair."""
        query, train = self.ordered(first, second)
        pairs = self.pairs()
        found = pairs[(pairs["query"] == query) & (pairs["train"] == train)]
        if found.empty:
            raise InputError(f"{self.folder}: {query} and {train} were not compared: see matching.pairs")
        return found.iloc[0]

    def _known(self, name: str, typed: str) -> str:
        """Return the scene that an id, or a fragment of one, names; it is the argument `name`."""
        if not isinstance(typed, str):
            raise InputError(wrong_type(name, typed, "the id of a scene or a fragment of it"))
        return scene_named(typed, self.scene_ids, self.record.history.problems)

    def _parquet(self, name: str) -> pa.Table:
        content = self._table(name)
        try:
            return read_table(arrow_file(content))
        except (LookupError, ValueError, pa.ArrowException) as error:
            raise self.folder.damaged(name, str(error), name) from error

    def _table(self, name: str) -> bytes:
        # Another run may have finished since this one was opened.
        self.record = self._load()
        if not self.record.history.tables_key:
            raise RunFolderError(
                f"{self.folder} holds no finished run: run again, or run report if only that stage is left"
            )
        return self.folder.read_checked(name, self.record.history.tables.get(name), name)
