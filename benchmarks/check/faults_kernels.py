"""Faults in the kernels."""

# ruff: noqa: E501  # replaced text is quoted line by line

from __future__ import annotations

from benchmarks.check.inject import Edit, Injection

_KERNELS = "kernels/s2fast_kernels"
_SEARCH = f"{_KERNELS}/hamming_top2/numba_cpu.py"
_LANES = f"{_KERNELS}/hamming_top2/lanes.py"
_LOOKUPS = f"{_KERNELS}/hamming_top2/lookups.py"
_BOTH = f"{_KERNELS}/hamming_top2_both/numba_cpu.py"
_WINDOW = f"{_KERNELS}/hamming_window_top2_both/numba_cpu.py"
_MATCHES = f"{_KERNELS}/window_matches/numba_cpu.py"
_DETECT = f"{_KERNELS}/akaze/numba_detect.py"
_ENGINE = f"{_KERNELS}/akaze/numba_cpu.py"
_OCTAVES = f"{_KERNELS}/akaze/octaves.py"
_TRITON = f"{_KERNELS}/hamming_top2/triton_gpu.py"
_WINDOWS = f"{_KERNELS}/window_matches/triton_gpu.py"
_AKAZE_TRITON = f"{_KERNELS}/akaze/triton_gpu.py"


def _kernel(operation: str, *edits: Edit) -> Injection:
    return Injection(
        f"+10 % in {operation}",
        edits,
        shows=(f"{operation}, *: instructions", f"{operation}, *: instructions of compiled code"),
        kinds=("counts",),
        cases=(operation,),
    )


def _twice(block: str, when: str) -> str:
    """Return a block of code that runs twice under a condition."""
    first = block.splitlines()[0]
    indent = first[: len(first) - len(first.lstrip())]
    indented = "".join("    " + line for line in block.splitlines(keepends=True))
    return f"{indent}for _ in range(2 if {when} else 1):\n{indented}"


_SEARCH_BLOCK = """            state[:] = NO_KEY
            compare_block(panel[block], -(-rows[block] // LANES), queries, last - first, state)
"""

_BOTH_BLOCK = """                state[:] = NO_KEY
                columns[:] = NO_KEY
                groups = -(-rows[block] // LANES)
                compare_block_both(panel[block], groups, queries, last - first, state, columns)
"""


_ENCODE = "{0}        encode_queries(query[first:last], queries)\n"

_ENCODE_BEFORE = (
    "{0}        for before in range(0, first, _TILE):\n"
    "{0}            encode_queries(query[before : before + _TILE], queries)\n" + _ENCODE
)

_SELECTION = "    found: Columns = _selected(query[3], keys, train[3], train_keys, ratio, max_distance, mutual)\n"

_SMOOTHING = "                numba_scale_space.smooth(image, free, height, width, _TAPS, scratch)\n"

_DETERMINANT = "        _determinant_row(dx, dy, PAD + i, radius, det, i & 3, first, w, centre, corner, scale)\n"


def hamming_twice(percent: int) -> Edit:
    """Return an edit that does a share of the work of `hamming_top2` twice."""
    return Edit(_SEARCH, _SEARCH_BLOCK, _twice(_SEARCH_BLOCK, f"(7 * tile + block) % 20 < {percent // 5}"))


KERNELS = (
    _kernel(
        "akaze",
        Edit(_DETECT, _DETERMINANT, _twice(_DETERMINANT, "True")),
        Edit(_ENGINE, _SMOOTHING, 2 * _SMOOTHING),
    ),
    _kernel("window_matches", Edit(_MATCHES, _SELECTION, 3 * _SELECTION)),
    _kernel("hamming_top2_both", Edit(_BOTH, _BOTH_BLOCK, _twice(_BOTH_BLOCK, "(7 * tile + block) % 10 == 0"))),
    _kernel("hamming_top2", hamming_twice(10)),
)
"""More work in each kernel."""

_FLOAT64 = Injection(
    "float64 where float32 was",
    (
        Edit(
            _ENGINE,
            '        """Return a plane of zeros; see `Engine`."""\n        return np.zeros(shape, np.float32)\n',
            '        """Return a plane of zeros; see `Engine`."""\n        return np.zeros(shape, np.float64)\n',
        ),
    ),
    shows=("extract * px: peak*", "akaze, *: instructions of compiled code", "akaze, *: simulated cache misses"),
    kinds=("memory", "counts", "misses"),
    cases=("akaze",),
)

_SERIAL = Injection(
    "a missing parallel=True",
    (
        Edit(
            _SEARCH,
            "    parallel=True,\n    nogil=True,\n)\ndef _search_panel(",
            "    nogil=True,\n)\ndef _search_panel(",
        ),
    ),
    shows=("numba: functions with a parallel loop",),
    kinds=("compiled",),
)

_SEARCHED_AGAIN = Injection(
    "a search that begins at the first row again",
    (
        Edit(
            _WINDOW, "        low, high = bounds[strip, 0]", "        first = 0\n        low, high = bounds[strip, 0]"
        ),
        Edit(_SEARCH, _ENCODE.format(""), _ENCODE_BEFORE.format("")),
        Edit(_BOTH, _ENCODE.format("    "), _ENCODE_BEFORE.format("    ")),
        Edit(
            _OCTAVES,
            "        inner = Rect(window.top, min(window.bottom, height), window.left, min(window.right, width))\n",
            "        inner = Rect(window.top, min(window.bottom, height), window.left, min(window.right, width))\n"
            "        for core in self.cores[0]:\n            check_image(self.source(*core.common(Rect(0, height, 0, width)).slices))\n",
        ),
    ),
    shows=("hamming_*: growth exponent", "window_matches: growth exponent", "akaze: growth exponent"),
    kinds=("growth",),
    cases=("akaze", "window_matches", "hamming_top2_both", "hamming_top2"),
)

_WINDOW_COPY = Injection(
    "a copy in each windowed search",
    (
        Edit(
            _WINDOW,
            "    return (rows.descriptors, rows.x, rows.y, rows.row),",
            "    return (rows.descriptors.copy(), rows.x, rows.y, rows.row),",
        ),
    ),
    shows=("window_matches, *: simulated cache misses",),
    kinds=("misses",),
    cases=("window_matches",),
)

_LARGE_TILES = Injection(
    "tiles of the GPU too large",
    (
        Edit(_TRITON, "    80: Tiling(128, 64, 4, 2, peel=False),\n", "    80: Tiling(256, 128, 4, 3, peel=False),\n"),
        Edit(_TRITON, "    90: Tiling(256, 64, 8, 3, peel=True),\n", "    90: Tiling(256, 128, 4, 4, peel=True),\n"),
    ),
    shows=("gpu *: registers", "gpu *: spilled bytes", "gpu *: shared memory *", "gpu *: blocks on an SM"),
    kinds=("gpu",),
)

_SMALL_TILES = Injection(
    "tiles of the GPU too small",
    (
        Edit(_TRITON, "    80: Tiling(128, 64, 4, 2, peel=False),\n", "    80: Tiling(64, 16, 4, 2, peel=False),\n"),
        Edit(_TRITON, "    90: Tiling(256, 64, 8, 3, peel=True),\n", "    90: Tiling(64, 16, 8, 3, peel=True),\n"),
    ),
    shows=("gpu *: tensor instructions", "gpu *: instructions a comparison"),
    kinds=("gpu",),
)

_WINDOW_TILES = Injection(
    "tiles of the windowed search on a GPU too large",
    (Edit(_WINDOWS, "TILING = Tiling(32, 1)\n", "TILING = Tiling(256, 1)\n"),),
    shows=(
        "gpu *, windows: registers",
        "gpu *, windows: spilled bytes",
        "gpu *, windows: programs on an SM",
        "gpu *, windows: instructions a step",
    ),
    kinds=("gpu",),
)

_WINDOW_COUNTS = Injection(
    "a population count of the windowed search on a GPU lost, a fused multiply-add won",
    (
        Edit(
            _WINDOWS,
            "    bits = bits - ((bits >> 1) & 0x55555555)\n",
            "    bits = bits - ((bits >> 1) & 0x55555554)\n",
        ),
        Edit(
            _WINDOWS,
            "            near = inside & (dx * dx + dy * dy <= limit)\n",
            "            near = inside & (tl.fma(dx, dx, dy * dy) <= limit)\n",
        ),
    ),
    shows=(
        "gpu *, windows: population counts",
        "gpu *, windows: fused multiply-adds",
    ),
    kinds=("gpu",),
)

_AKAZE_TILES = Injection(
    "tiles of AKAZE on a GPU too small or too large",
    (
        Edit(_AKAZE_TRITON, "SMOOTH_TILE = Tile(32, 64, 8)\n", "SMOOTH_TILE = Tile(128, 128, 4)\n"),
        Edit(_AKAZE_TRITON, "DERIVE_TILE = Tile(8, 128, 4)\n", "DERIVE_TILE = Tile(16, 16, 8)\n"),
    ),
    shows=(
        "gpu *, *blur*: spilled bytes",
        "gpu *, *blur*: shared memory *",
        "gpu *, derivatives*: instructions a pixel",
        "gpu *, derivatives*: bytes a pixel",
    ),
    kinds=("gpu",),
)

_AKAZE_FUSED = Injection(
    "a fused multiply-add in AKAZE's diffusion on a GPU",
    (
        Edit(
            _AKAZE_TRITON,
            "        pixel = pixel + flux * tl.load(steps + i)\n",
            "        pixel = tl.fma(flux, tl.load(steps + i) + tl.zeros_like(flux), pixel)\n",
        ),
    ),
    shows=("gpu *, * diffusion steps: fused multiply-adds",),
    kinds=("gpu",),
)

_SCALAR = Injection(
    "vectors lost in one kernel",
    (
        Edit(
            _DETECT,
            "            centre * src[up, c] + corner * (src[up, left] + src[up, right])\n        )\n",
            "            centre * src[up, c] + corner * (src[up, left] + src[up, right])\n        )\n"
            # A loop that may end early is not vectorised.
            "        if np.isnan(dy[row, c]):\n            break\n",
        ),
    ),
    shows=("akaze.numba_detect.*: vector instructions", "akaze, *: instructions of compiled code"),
    kinds=("compiled", "counts"),
    cases=("akaze",),
)

_ONE_QUERY = Injection(
    "one query at a time in the search",
    # The counts are those of AVX2, which compares by lookups.
    (Edit(_LANES, "TOGETHER = 3\n", "TOGETHER = 1\n"), Edit(_LOOKUPS, "_GROUPS = 2\n", "_GROUPS = 1\n")),
    shows=("hamming_top2*.numba_cpu._search_panel: vector *", "hamming_top2*: instructions of compiled code"),
    kinds=("compiled", "counts"),
    cases=("hamming_top2", "hamming_top2_both"),
)

_SPILLED = Injection(
    "registers spilled in the search",
    (Edit(_LANES, "TOGETHER = 3\n", "TOGETHER = 12\n"),),
    shows=("hamming_top2*._search_panel: vectors stored on the stack",),
    kinds=("compiled",),
)

_WINDOW_LOCK = Injection(
    "a lock held while extracting",
    (
        Edit(
            _OCTAVES,
            "            return self.engine.run(jobs, self.settings, self._keep, self._admit) if jobs else []\n",
            "            with lock:\n"
            "                return self.engine.run(jobs, self.settings, self._keep, self._admit) if jobs else []\n",
        ),
        Edit(
            _OCTAVES,
            "        size = self.engine.batch\n",
            "        import threading\n\n        lock = threading.Lock()\n        size = self.engine.batch\n",
        ),
    ),
    shows=("akaze: windows at the same time",),
    kinds=("stages",),
)

_ARRAY = Injection(
    "one more big array",
    (
        Edit(
            _SEARCH,
            "    for blocks in panels(train_offsets, _PANEL_BLOCKS):\n",
            "    train = train.copy()\n    for blocks in panels(train_offsets, _PANEL_BLOCKS):\n",
        ),
        Edit(
            _BOTH,
            "    threads = numba.get_num_threads()\n",
            "    train = train.copy()\n    threads = numba.get_num_threads()\n",
        ),
    ),
    shows=("hamming_top2: peak*", "hamming_top2_both: peak*", "hamming_top2*: simulated cache misses"),
    kinds=("memory", "misses"),
    cases=("hamming_top2", "hamming_top2_both"),
)

KERNEL_FAULTS = (
    *KERNELS,
    _FLOAT64,
    _SERIAL,
    _SEARCHED_AGAIN,
    _WINDOW_COPY,
    _LARGE_TILES,
    _SMALL_TILES,
    _WINDOW_TILES,
    _WINDOW_COUNTS,
    _AKAZE_TILES,
    _AKAZE_FUSED,
    _SCALAR,
    _ONE_QUERY,
    _SPILLED,
    _WINDOW_LOCK,
    _ARRAY,
)
"""Faults in the kernels."""
