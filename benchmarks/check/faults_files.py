"""Faults in reading and writing."""

# ruff: noqa: E501  # replaced text is quoted line by line

from __future__ import annotations

from benchmarks.check.inject import Edit, Injection

_PREFETCH = "s2fast/raster/prefetch.py"
_READER = "s2fast/raster/reader.py"
_FOLDER = "s2fast/folder/run_folder.py"
_GROUPS = "s2fast/folder/sealed_groups.py"
_BLOCKS = "s2fast/folder/pair_blocks.py"
_MATCH = "s2fast/stages/match.py"
_VERIFY = "s2fast/stages/verify.py"
_REPORT = "s2fast/stages/report.py"

_SECOND_READ = Injection(
    "a second read of features in verification",
    (
        Edit(
            _VERIFY,
            "    held = held or _read(shared, block)\n",
            "    held = held or _read(shared, block)\n"
            "    for name in sorted(held.scenes):\n        shared.folder.described(name)\n",
        ),
    ),
    shows=("verify: arrays read", "run: arrays read"),
    kinds=("stages",),
)

_READ_BACK = Injection(
    "matches written and read again to be verified",
    (Edit(_MATCH, "    if verifies:\n", "    if verifies and not pairs:\n"),),
    shows=("run: tables read",),
    kinds=("stages",),
)

_ARRAY_TWICE = Injection(
    "each array read twice",
    (
        Edit(
            _GROUPS,
            "                arrays[name] = read_array(partial(self._recorded, path, sums, name))\n",
            "                read_array(partial(self._recorded, path, sums, name))\n"
            "                arrays[name] = read_array(partial(self._recorded, path, sums, name))\n",
        ),
        Edit(
            _FOLDER,
            '        return np.asarray(self.groups.opened(_scene(scene_id))("grey")[...])\n',
            '        self.groups.opened(_scene(scene_id))("grey")[...]\n'
            '        return np.asarray(self.groups.opened(_scene(scene_id))("grey")[...])\n',
        ),
    ),
    shows=("extract: arrays read", "match: arrays read", "report: arrays read", "run: arrays read"),
    kinds=("stages",),
)

_TABLE_TWICE = Injection(
    "each Parquet file read twice",
    (
        Edit(
            _BLOCKS,
            "            return read_table(arrow_file(content), columns)\n",
            "            read_table(arrow_file(content), columns)\n"
            "            return read_table(arrow_file(content), columns)\n",
        ),
    ),
    shows=("*: tables read",),
    kinds=("stages",),
)

_FILE_TWICE = Injection(
    "a Parquet file written twice",
    (
        Edit(
            _BLOCKS,
            '            self._files.write(f"{kind}/{name}.parquet", content)\n',
            '            self._files.write(f"{kind}/{name}.parquet", content)\n'
            '            self._files.write(f"{kind}/{name}.parquet", content)\n',
        ),
    ),
    shows=("match: files written", "verify: files written", "run: files written"),
    kinds=("stages",),
)

_EVERY_FILE_TWICE = Injection(
    "a key and an output written twice",
    (
        Edit(
            _GROUPS,
            '        self._files.write(f"{self._path}/{SEAL}", group_file(finished))\n',
            '        self._files.write(f"{self._path}/{SEAL}", group_file(finished))\n'
            '        self._files.write(f"{self._path}/{SEAL}", group_file(finished))\n',
        ),
        Edit(
            _REPORT,
            "                checksum = folder.write(name, data)\n",
            "                folder.write(name, data)\n                checksum = folder.write(name, data)\n",
        ),
    ),
    shows=("ingest: files written", "extract: files written", "report: files written"),
    kinds=("stages",),
)

_DECODE = Injection(
    "decoding a tile twice",
    (
        Edit(
            _READER,
            "            luma = self.tiles.read(reduced(window, self.raster.level))\n",
            "            luma = self.tiles.read(reduced(window, self.raster.level))\n"
            "            if window.row == window.col == 0:\n"
            "                self.tiles.read(reduced(window, self.raster.level))\n",
        ),
    ),
    shows=("ingest: blocks decoded", "ingest: reads"),
    kinds=("stages",),
)

_READ_LOCK = Injection(
    "a lock held while reading",
    (
        Edit(
            _PREFETCH,
            "                    waiting.append(((window, wanted), self._threads.submit(self.reader.read, window, wanted)))\n",
            "                    waiting.append(((window, wanted), self._threads.submit(self._locked, window, wanted)))\n",
        ),
        Edit(
            _PREFETCH,
            "                yield request, pixels.result()\n",
            "                read = pixels.result()\n                with _LOCK:\n                    yield request, read\n",
        ),
        Edit(
            _PREFETCH,
            "        self._threads = threads\n",
            "        self._threads = threads\n\n"
            "    def _locked(self, window: Window, wanted: npt.NDArray[np.bool_] | None) -> Pixels:\n"
            "        with _LOCK:\n            return self.reader.read(window, wanted)\n",
        ),
        Edit(_PREFETCH, "DEPTH = 1\n", "_LOCK = threading.Lock()\n\nDEPTH = 1\n"),
        Edit(_PREFETCH, "from collections import deque\n", "import threading\nfrom collections import deque\n"),
    ),
    shows=("ingest: windows read while another is written", "ingest: tiles decoded at the same time"),
    kinds=("stages",),
)

_BLOCK_LOCK = Injection(
    "a lock held while reading blocks of pairs",
    (
        Edit(
            _BLOCKS,
            "        try:\n            return read_table(arrow_file(content), columns)\n",
            "        try:\n            with _LOCK:\n                return read_table(arrow_file(content), columns)\n",
        ),
        Edit(_BLOCKS, "_READERS = 16\n", "_LOCK = threading.Lock()\n\n_READERS = 16\n"),
        Edit(_BLOCKS, "import io\n", "import io\nimport threading\n"),
    ),
    shows=("blocks of pairs: reads at the same time",),
    kinds=("stages",),
)

FILE_FAULTS = (
    _SECOND_READ,
    _READ_BACK,
    _ARRAY_TWICE,
    _TABLE_TWICE,
    _FILE_TWICE,
    _EVERY_FILE_TWICE,
    _DECODE,
    _READ_LOCK,
    _BLOCK_LOCK,
)
"""Faults in reading and writing."""
