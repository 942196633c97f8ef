"""Faults in the stages."""

# ruff: noqa: E501  # replaced text is quoted line by line

from __future__ import annotations

from benchmarks.check.inject import Edit, Injection
from benchmarks.check.limits import counted

_READER = "s2fast/raster/reader.py"
_INGEST = "s2fast/stages/ingest.py"
_EXTRACT = "s2fast/stages/extract.py"
_MATCH = "s2fast/stages/match.py"
_VERIFY = "s2fast/stages/verify.py"
_REPORT = "s2fast/stages/report.py"
_RULE = "s2fast/stages/matching_rule.py"
_TABLES = "s2fast/report/tables.py"
_PAYLOAD = "s2fast/report/payload.py"
_PAIRS = "s2fast/stages/pairs.py"
_SEARCH = (
    "        found = window_matches.window_matches(prepared, away_m, test, backend=self.backend, device=self.device)\n"
)


def _stage(stage: str, file: str, old: str, new: str, calls: int) -> Injection:
    """Return a fault that executes 2 % more instructions in a stage on four scenes.

    Parameters
    ----------
    stage, file, old, new
        The stage, and the edit; ``{count}`` in `new` is replaced.
    calls
        How often the edited line is executed.
    """
    count = round(0.02 * counted(stage) / (calls * _A_COUNT))
    return Injection(
        f"+2 % in {stage}",
        (Edit(file, old, new.format(count=count)),),
        shows=(f"{stage}, *: instructions",),
        kinds=("counts",),
        cases=(stage,),
    )


_A_COUNT = 178
"""About how many instructions ``sum(range(n))`` executes per count."""

STAGES = (
    _stage(
        "ingest",
        _INGEST,
        "    if left < LEAST_LEFT * ground",
        "    sum(range({count}))\n    if left < LEAST_LEFT * ground",
        calls=4,
    ),
    _stage(
        "extract",
        _EXTRACT,
        "    tile = folder.tile(scene_id)\n",
        "    tile = folder.tile(scene_id)\n    sum(range({count}))\n",
        calls=4,
    ),
    _stage(
        "match",
        _MATCH,
        "    n_good = len(matches.query_row)\n",
        "    n_good = len(matches.query_row)\n    sum(range({count}))\n",
        calls=6,
    ),
    _stage(
        "verify",
        _VERIFY,
        "    found, counts = held.found, held.counts\n",
        "    for _ in matched:\n        sum(range({count}))\n    found, counts = held.found, held.counts\n",
        calls=6,
    ),
    _stage(
        "report", _REPORT, "        written = {}\n", "        sum(range({count}))\n        written = {{}}\n", calls=1
    ),
)
"""More work in the Python part of each stage."""

_COPY = Injection(
    "a copy of descriptors for each pair",
    (
        Edit(
            _RULE,
            "                train.prepared(SEARCHED_RADII * radius, query, parts[1]),\n",
            "                replace(\n"
            "                    found := train.prepared(SEARCHED_RADII * radius, query, parts[1]),\n"
            "                    descriptors=found.descriptors.copy(),\n"
            "                ),\n",
        ),
    ),
    shows=("match * keypoints: peak of arrays *",),
    kinds=("memory",),
)

_LOOP = Injection(
    "a loop over pairs in place of columns",
    (
        Edit(
            _TABLES,
            '    square[names.get_indexer(pd.Index(pairs["query"])), names.get_indexer(pd.Index(pairs["train"]))] = pairs[\n'
            '        "similarity_pct"\n    ]\n',
            "    for _, pair in pairs.iterrows():\n"
            '        square[names.get_loc(pair["query"]), names.get_loc(pair["train"])] = pair["similarity_pct"]\n',
        ),
        Edit(
            _PAYLOAD,
            '    numbers = pairs["query"].map(number_of), pairs["train"].map(number_of)\n',
            "    numbers = tuple(\n"
            "        pd.Series([number_of[pair[side]] for _, pair in pairs.iterrows()], pairs.index)\n"
            '        for side in ("query", "train")\n'
            "    )\n",
        ),
    ),
    shows=("report, 16 scenes: instructions", "report: growth exponent"),
    kinds=("counts", "growth"),
    cases=("report",),
)

_CELLS = Injection(
    "a look-up for each cell of a list",
    (
        Edit(
            "s2fast/report/listing.py",
            "    columns = [[name, *_cells(rows[name])] for name in shown]\n",
            "    places = range(len(rows))\n"
            "    columns = [[name, *(_cells(rows[name].iloc[[at]])[0] for at in places)] for name in shown]\n",
        ),
    ),
    shows=("s2fast pairs, *: instructions",),
    kinds=("counts",),
    cases=("s2fast pairs",),
)

_IMPORT = Injection(
    "a heavy import at start",
    (
        Edit(
            "s2fast/__init__.py",
            "from typing import TYPE_CHECKING, Any\n",
            "from typing import TYPE_CHECKING, Any\n\nimport pandas\n",
        ),
    ),
    shows=(
        "import s2fast: modules loaded",
        "s2fast --help: modules loaded",
        "import s2fast: instructions*",
        "s2fast --help: instructions*",
    ),
    kinds=("stages", "counts"),
    cases=("import s2fast", "s2fast --help"),
)

_QUADRATIC = Injection(
    "a quadratic search of a list",
    (
        Edit(
            _PAIRS,
            "    return [Pair(query, train, key(features[query], features[train], record.config)) for query, train in pairs]\n",
            "    found: list[Pair] = []\n"
            "    for query, train in pairs:\n"
            "        pair = Pair(query, train, key(features[query], features[train], record.config))\n"
            "        if pair not in found:\n"
            "            found.append(pair)\n"
            "    return found\n",
        ),
    ),
    shows=("match, 16 scenes: instructions", "*: growth exponent"),
    kinds=("counts", "growth"),
    cases=("match", "verify", "report", "s2fast pairs"),
)

_SCENE_LIST = Injection(
    "every key computed for every scene",
    (
        Edit(
            _INGEST,
            "    result = StageResult(kept=len(record.usable) - len(todo), strict=record.asked.strict)\n",
            "    for _ in todo:\n"
            "        all(tile_key(item, record.config, record.regions) for item in record.usable)\n"
            "    result = StageResult(kept=len(record.usable) - len(todo), strict=record.asked.strict)\n",
        ),
        Edit(
            _EXTRACT,
            "    result = StageResult(kept=len(record.usable) - len(todo), backend=backend)\n",
            "    for _ in todo:\n        features_keys(record)\n"
            "    result = StageResult(kept=len(record.usable) - len(todo), backend=backend)\n",
        ),
    ),
    shows=("ingest: growth exponent", "extract: growth exponent"),
    kinds=("counts", "growth"),
    cases=("ingest", "extract"),
)

_PICTURES = Injection(
    "a picture and a window kept in float64",
    (
        Edit(
            "s2fast/report/thumbnails.py",
            "    scene = stored_grey(folder, scene_id, window, side_px) if pixels is None else stretched(pixels)\n",
            "    kept = None if pixels is None else pixels.astype(np.float64)\n"
            "    scene = stored_grey(folder, scene_id, window, side_px) if pixels is None else stretched(pixels)\n",
        ),
        Edit(
            _READER,
            "        left = self._settings.reduction // self.raster.level\n",
            "        kept = luma.astype(np.float64)\n        left = self._settings.reduction // self.raster.level\n",
        ),
    ),
    shows=("ingest: peak of arrays *", "report: peak of arrays *"),
    kinds=("memory",),
)

_MORE_CALLS = Injection(
    "a pair and a scene computed twice",
    (
        Edit(
            _RULE,
            _SEARCH,
            "        window_matches.window_matches(prepared, away_m, test, backend=self.backend)\n" + _SEARCH,
        ),
        Edit(
            _EXTRACT,
            "    features = detector_of(settings).load()",
            "    detector_of(settings).load().extract(scene, settings, backend, threads)\n"
            "    features = detector_of(settings).load()",
        ),
    ),
    shows=("match: calls of *", "verify: calls of *", "extract: calls of *"),
    kinds=("stages",),
)

_AROUND = Injection(
    "operations called around their table",
    (
        Edit(
            _RULE,
            _SEARCH,
            "        from s2fast_kernels.window_matches.numba_cpu import window_matches as search\n\n"
            "        found = search(prepared, away_m, test)\n",
        ),
        Edit(
            "kernels/s2fast_kernels/akaze/__init__.py",
            "    engine = resolve(ENGINES, backend, device).load()(threads=threads)\n",
            "    from s2fast_kernels.akaze.numba_cpu import NumbaEngine\n\n    engine = NumbaEngine(threads=threads)\n",
        ),
    ),
    shows=("*: operations that should be called and are not",),
    kinds=("stages",),
)

_OTHER_RESULTS = Injection(
    "another threshold of the detector",
    (
        Edit(
            "s2fast/detectors/akaze.py",
            "AkazeSettings(settings.threshold, ",
            "AkazeSettings(4 * settings.threshold, ",
        ),
    ),
    shows=("run: keypoints", "run: good_matches"),
    kinds=("stages",),
)

STAGE_FAULTS = (
    *STAGES,
    _COPY,
    _LOOP,
    _CELLS,
    _IMPORT,
    _QUADRATIC,
    _SCENE_LIST,
    _PICTURES,
    _MORE_CALLS,
    _AROUND,
    _OTHER_RESULTS,
)
"""Faults in the stages."""
