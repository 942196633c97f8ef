"""Faults that only wait: times alone show them."""

# replaced text is quoted line by line

from __future__ import annotations

from benchmarks.check.inject import Edit, Injection

_MATCH = "s2fast/stages/match.py"

_UNIT = """    folder = RunFolder(out)
    names = {scene for pair in block for scene in (pair.query, pair.train)}
"""

_BEGIN = _UNIT.replace("    folder", "    begin = time.perf_counter()\n    folder", 1)

_LAST = "    folder.matched.write([pair.key for pair in block], rows, pa.concat_tables(tables).unify_dictionaries())\n"

_IMPORTS = Edit(_MATCH, "import threading\n", "import threading\nimport time\n")

SLEEP = Injection(
    "+15 % of waiting: a sleep",
    (
        _IMPORTS,
        Edit(_MATCH, _UNIT, _BEGIN),
        Edit(_MATCH, _LAST, _LAST + "    time.sleep(0.15 * (time.perf_counter() - begin))\n"),
    ),
    shows=("match",),
    timed=("match",),
)

LOCK = Injection(
    "+15 % of waiting: a lock",
    (
        _IMPORTS,
        Edit(_MATCH, _UNIT, _BEGIN),
        Edit(
            _MATCH,
            _LAST,
            _LAST + "    held = threading.Lock()\n    held.acquire()\n"
            "    threading.Timer(0.15 * (time.perf_counter() - begin), held.release).start()\n"
            "    with held:\n        pass\n",
        ),
    ),
    shows=("match",),
    timed=("match",),
)

WAITING_FAULTS = (SLEEP, LOCK)
"""15 % of a stage's own time, whatever the machine."""
