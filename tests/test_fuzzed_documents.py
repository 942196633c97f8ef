"""Documents that a stranger has changed end in a result or in one line: configurations, sweeps, STAC, indexes, runs.

Each test changes one or two places of a valid document. S2FAST_EXAMPLES sets how many are tried:
`S2FAST_EXAMPLES=20000 pytest tests/test_fuzzed_documents.py` hunts.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import s2fast
from s2fast.archive.find import find_scenes
from s2fast.config import Regions, load_config
from s2fast.errors import S2FastError
from s2fast.folder.checksums import sealed, unsealed
from s2fast.raster.reader import open_raster
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import load_regions
from s2fast.retrieval.finder import Finder
from s2fast.retrieval.index import INDEX_JSON, Index, Keypoints
from s2fast.retrieval.picture import Image
from s2fast.sweeps.comparison import load_earlier
from s2fast.sweeps.grid import SweepFile
from s2fast.sweeps.page_data import Finished, payload
from s2fast.sweeps.results import load_all
from s2fast.sweeps.rows import columns
from tests.archives import Archive, textured, write_scene
from tests.indexed import Indexed, index_archive
from tests.stac_server import item

EXAMPLES = int(os.environ.get("S2FAST_EXAMPLES", "60"))

_LONGEST = 2000
"""Characters of a message."""

Path_ = tuple[Any, ...]

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=20),
    st.sampled_from(["\x1b]0;a\x07", "\udcff", "../../etc", "a" * 5000, "EPSG:1", "$x_{", "\0", "/dev/zero", "1e999"]),
    st.lists(st.one_of(st.integers(-9, 9), st.floats(), st.text(max_size=3)), max_size=7),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2), st.just([[[[]]]]), st.just([]), st.just({}),
)  # fmt: skip
"""Values that take the place of another."""


def places(document: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the paths of all values of a document."""
    yield path
    parts = (
        document.items() if isinstance(document, Mapping) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in parts:
        yield from places(value, (*path, key))


def changed(document: Any, path: Path_, value: Any) -> Any:
    """Return a copy of a document with another value; `...` removes it."""
    if not path:
        return None if value is ... else value
    made = copy.deepcopy(document)
    above = made
    for key in path[:-1]:
        above = above[key]
    if value is ...:
        del above[path[-1]]
    else:
        above[path[-1]] = value
    return made


@st.composite
def changes(draw: st.DrawFn, document: Any) -> Any:
    """Draw a document with one or two changes."""
    for _ in range(draw(st.integers(1, 2))):
        known = list(places(document))
        path = known[draw(st.integers(0, len(known) - 1))]
        document = changed(document, path, draw(st.one_of(st.just(...), VALUES)))
    return document


def one_line(act: Callable[[], object]) -> None:
    """Call a function, which may raise an error of one line, of no extraordinary length."""
    with suppress(S2FastError):
        try:
            act()
        except S2FastError as error:
            if not 0 < len(str(error)) <= _LONGEST:
                raise ValueError(f"a message of {len(str(error))} characters") from error
            raise


def fuzzed(test: Any) -> Any:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=checks, database=None)(test)


CONFIG = tomllib.loads(s2fast.config.profile_text("default"))

TOML = (
    b"x = " + b"[" * 100_000, b"x = " + b"9" * 5000, b"[a", b"\xff", b"", b"[ingest]\nreduction = 2\n" * 2,
    b"\xef\xbb\xbf",
    b"a.b.c = 1\na.b = 2", b"x = 1979-05-27T07:32:00-99:00", b"[matching]\nratio = nan", b"ingest = 1", b"[[ingest]]",
    b"[ingest]\ntrust = [[1]]", b"[ingest]\nreduction = '" + b"a" * 100_000 + b"'",
)  # fmt: skip
"""Texts of configurations and of sweeps."""


@pytest.mark.slow
@fuzzed
@given(changes(CONFIG))
def test_configurations(config: Any) -> None:
    if isinstance(config, Mapping):
        one_line(lambda: load_config(config))
        one_line(lambda: load_config(overrides=config))
        one_line(lambda: load_config(overrides=[f"{key}={value}" for key, value in config.items()]))


@pytest.mark.parametrize("text", TOML, ids=range(len(TOML)))
def test_texts_of_settings(text: bytes, tmp_path: Path) -> None:
    (file := tmp_path / "a.toml").write_bytes(text)
    one_line(lambda: load_config(file))
    one_line(lambda: load_all([file]))
    one_line(lambda: load_config(overrides=[f"ingest.reduction={text.decode(errors='replace').partition('= ')[2]}"]))


SWEEP = {
    "name": "a", "data": {"folder": "scenes"}, "base": {"features.threshold": 0.001}, "repeats": 1, "limit_s": 9.0,
    "grid": [{"matching.ratio": [0.7, 0.8], "ingest.reduction": [1, 2]}], "case": [{"matching.ratio": 0.9}],
    "plot": [{"x": "seconds", "y": "found.verified_pairs"}],
}  # fmt: skip


@fuzzed
@given(changes(SWEEP))
def test_sweeps(sweep: Any) -> None:
    one_line(lambda: load_all([sweep]) if isinstance(sweep, Mapping) else None)


ROWS = [
    {
        "case": f"case{number}", "status": "ok", "reason": "", "label": "contrast none", "settings": {"a.b": "none"},
        "config": {"features": {"threshold": 0.001}}, "seconds": 5.0, "cpu_s": 7.0, "peak_mb": 500.0, "took_s": 6.0,
        "stages": {"match": {"seconds": 5.0, "cpu_s": 7.0}}, "environment": {"machine": "processor", "time": "2026"},
        "counts": {"keypoints": 10_000, "scenes": 3}, "version": "0.1", "source": "a", "round": number,
        "found": {
            "good_matches": 1000, "verified_pairs": 30, "pairs_with_ground": 45, "verified_pct": 66.7,
            "null_trials": 45, "null_verified": 0, "null_pct": 0.0, "null_low_pct": 0.0, "null_high_pct": 7.9,
            "stated_error_m": 2.0, "closure_m": 3.0, "closure_95_m": 9.0, "triples": 10, "agreeing_pct": 50.0,
        },
        "quality": {"true_matches": 3, "mine": 1.0}, "data": {"scenes": []},
    }
    for number in (1, 2, 3)
]  # fmt: skip
"""Rows of a sweep: of three cases, or of one that ran three times."""


@fuzzed
@given(st.data())
def test_rows_of_another_sweep(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """What is wrong in another sweep is told before the first case, and not once all have run."""
    rows = data.draw(changes([{**row, "case": "a"} for row in ROWS] if data.draw(st.booleans()) else ROWS))
    path = tmp_path_factory.getbasetemp() / "other.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) if isinstance(rows, list) else json.dumps(rows))

    def read() -> None:
        earlier = load_earlier(path)
        sweep = SweepFile.model_validate({"name": "test"})
        held = payload(Finished(sweep, columns([{**row, "round": 1} for row in ROWS]), None, earlier))
        json.dumps(held, allow_nan=False)

    one_line(read)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene."""
    folder = tmp_path_factory.mktemp("documents")
    write_scene(folder / "scene.tif", np.stack([textured(np.random.default_rng(0), (96, 96))] * 3))
    return folder


ITEM = item("a", "scene.tif")
STAC = {
    "item": ITEM,
    "items": {"type": "FeatureCollection", "features": [ITEM, ITEM | {"id": "b"}]},
    "catalogue": {
        "type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "",
        "links": [{"rel": "item", "href": "item.json"}, {"rel": "child", "href": "items.json"}],
    },
}  # fmt: skip
PROJECTION = {
    "proj:code": "EPSG:32636", "proj:transform": [10, 0, 600000, 0, -10, 5600040, 0, 0, 1], "eo:cloud_cover": 9,
    "grid:code": "MGRS-36UYA", "s2:processing_baseline": "05.00", "start_datetime": "2019-06-06T00:00:00Z",
}  # fmt: skip
STAC["item"]["properties"] |= PROJECTION


@pytest.mark.slow
@fuzzed
@given(st.data())
def test_stac_documents(folder: Path, data: st.DataObject) -> None:
    for name, document in STAC.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    name = data.draw(st.sampled_from(sorted(STAC)))
    (folder / f"{name}.json").write_text(json.dumps(data.draw(changes(STAC[name]))))

    def read() -> None:
        for scene in find_scenes([folder / f"{name}.json"]).scenes:
            assert scene.source.path is None or scene.source.path.resolve().is_relative_to(folder)
            with open_raster(scene.source):
                pass

    one_line(read)


@pytest.fixture(scope="module")
def indexed(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    return index_archive(archive, tmp_path_factory.mktemp("index"))


@pytest.mark.slow
@fuzzed
@given(st.data())
def test_indexes(indexed: Indexed, folder: Path, data: st.DataObject) -> None:
    index = folder / "index"
    if not index.exists():
        shutil.copytree(indexed.index, index)
    contents = unsealed(json.loads((indexed.index / INDEX_JSON).read_text("utf-8")))
    made = data.draw(changes(contents))
    if isinstance(made, dict):
        (index / INDEX_JSON).write_text(json.dumps(sealed(made)))
    else:
        (index / INDEX_JSON).write_text(json.dumps(made))

    def read() -> None:
        opened = Index(index)
        for number in range(len(opened.entries)):
            opened.scene(number)
        finder = Finder(opened)
        query = opened.scene(0).take(np.arange(200))
        image = Image("a.png", np.zeros((256, 256), np.uint8), np.zeros((256, 256), np.bool_), (512, 512))
        found = finder.judge(
            image, Keypoints(query.xy, query.size, query.angle, query.descriptors), finder.votes(query)
        )
        json.dumps(found.feature())

    one_line(read)


@pytest.mark.slow
@fuzzed
@given(st.data())
def test_records_of_runs(indexed: Indexed, folder: Path, data: st.DataObject) -> None:
    out = folder / "out"
    if not out.exists():
        shutil.copytree(indexed.out, out)
    made = data.draw(changes(unsealed(json.loads((indexed.out / "run.json").read_text("utf-8")))))
    (out / "run.json").write_text(json.dumps(sealed(made) if isinstance(made, dict) else made))

    def read() -> None:
        run = s2fast.open_run(out)
        repr(run)
        run._repr_html_()
        for scene_id in run.scene_ids:
            run.features(scene_id)
        for act in (run.pairs, run.scenes, run.similarity, lambda: run.show("UXA", "UYA"), run.offsets):
            one_line(act)

    one_line(read)


POLYGONS = {
    "type": "FeatureCollection", "name": "a",
    "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
    "features": [
        {"type": "Feature", "properties": {"id": 1}, "geometry": {
            "type": "Polygon", "coordinates": [[[34.4, 50.5], [34.5, 50.5], [34.5, 50.6], [34.4, 50.5]]]}},
        {"type": "Feature", "properties": {"id": 2}, "geometry": {
            "type": "MultiPolygon", "coordinates": [[[[34.4, 50.5], [34.5, 50.5], [34.5, 50.6], [34.4, 50.5]]]]}},
    ],
}  # fmt: skip


@pytest.mark.slow
@fuzzed
@given(changes(POLYGONS))
def test_polygons(folder: Path, polygons: Any) -> None:
    (file := folder / "polygons.geojson").write_text(json.dumps(polygons))
    one_line(lambda: load_regions(RegionFile.at(file), Regions()))
