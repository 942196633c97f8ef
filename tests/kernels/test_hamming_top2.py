"""Every backend of `hamming_top2` that can run here returns the reference's bits."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.check.callgrind import INSTRUCTION_SET
from s2fast_kernels.backends import available
from s2fast_kernels.hamming_top2 import BACKENDS, hamming_top2, numba_cpu
from s2fast_kernels.hamming_top2.cases import CASES, Case, hard_operands, operands, random_descriptors
from s2fast_kernels.hamming_top2.reference import Top2

FAST = [name for name in available(BACKENDS) if name != "reference"]
SIZES = st.sampled_from([0, 1, 2, 31, 63, 65, 257])


def assert_equal(got: Top2, wanted: Top2) -> None:
    for field in ("index", "best", "second"):
        assert getattr(got, field).dtype == getattr(wanted, field).dtype
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


@pytest.mark.slow
@pytest.mark.parametrize("backend", available(BACKENDS))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_reference(case: Case, backend: str) -> None:
    query, train, offsets = operands(case)
    wanted = hamming_top2(query, train, offsets, backend="reference")
    assert_equal(hamming_top2(query, train, offsets, backend=backend), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=60, deadline=None)
@given(
    n=SIZES,
    scene_rows=st.lists(SIZES, max_size=5),
    distinct=st.sampled_from([1, 2, 5, 1 << 20]),
    seed=st.integers(0, 1 << 32),
)
def test_equals_reference_on_hard_operands(
    backend: str, n: int, scene_rows: list[int], distinct: int, seed: int
) -> None:
    query, train, offsets = hard_operands(np.random.default_rng(seed), n, scene_rows, distinct)
    wanted = hamming_top2(query, train, offsets, backend="reference")
    assert_equal(hamming_top2(query, train, offsets, backend=backend), wanted)


@pytest.mark.parametrize("backend", available(BACKENDS))
@pytest.mark.parametrize("bit", [0, 15, 16, 63, 64, 300, 485, 486, 510, 511])
def test_counts_every_bit(backend: str, bit: int) -> None:
    train = np.zeros((3, 8), np.uint64)
    train[:, bit // 64] = np.uint64(1) << np.uint64(bit % 64)
    top2 = hamming_top2(np.zeros((1, 8), np.uint64), train, np.array([0, 1, 3]), backend=backend)
    np.testing.assert_array_equal(top2.best, [[1, 1]])
    np.testing.assert_array_equal(top2.second, [[65535, 1]])


@pytest.mark.parametrize("backend", available(BACKENDS))
def test_the_farthest_neighbour_is_512_bits_away(backend: str) -> None:
    train = np.full((70, 8), (1 << 64) - 1, np.uint64)
    top2 = hamming_top2(np.zeros((1, 8), np.uint64), train, np.array([0, 70]), backend=backend)
    assert (top2.index[0, 0], top2.best[0, 0], top2.second[0, 0]) == (0, 512, 512)


def test_reference_by_hand() -> None:
    query = np.zeros((1, 8), np.uint64)
    train = np.zeros((4, 8), np.uint64)
    train[0, 0] = 0b111
    train[1, 7] = 0b1
    train[2, 3] = 0b1 << 63
    train[3, 0] = 0b11
    top2 = hamming_top2(query, train, np.array([0, 1, 1, 4]), backend="reference")
    np.testing.assert_array_equal(top2.index, [[0, -1, 0]])
    np.testing.assert_array_equal(top2.best, [[3, 65535, 1]])
    np.testing.assert_array_equal(top2.second, [[65535, 65535, 1]])


@pytest.mark.parametrize("backend", FAST)
def test_more_rows_than_opencv_takes(backend: str) -> None:
    rng = np.random.default_rng(1)
    train = random_descriptors(rng, 263_000)
    query = train[[0, 131_071, 131_072, 262_999]].copy()
    train[200_000] = train[5]
    query = np.concatenate([query, train[200_000:200_001]])
    top2 = hamming_top2(query, train, np.array([0, len(train)]), backend=backend)
    np.testing.assert_array_equal(top2.index[:, 0], [0, 131_071, 131_072, 262_999, 5])
    np.testing.assert_array_equal(top2.best[:, 0], 0)
    assert top2.second[4, 0] == 0


@pytest.mark.parametrize("backend", FAST)
def test_the_lowest_of_far_apart_equal_rows_wins(backend: str) -> None:
    # The copies lie in different groups, blocks and, for the last, beyond 65,535.
    rng = np.random.default_rng(2)
    train = random_descriptors(rng, 70_000)
    for row, copies in ((3, (4, 40, 5_000)), (2_047, (2_048,)), (4_100, (4_099 + 64,)), (65_600, (69_999,))):
        train[list(copies)] = train[row]
    rows = np.array([3, 2_047, 4_100, 65_600])
    top2 = hamming_top2(train[rows], train, np.array([0, len(train)]), backend=backend)
    np.testing.assert_array_equal(top2.index[:, 0], rows)
    np.testing.assert_array_equal(top2.second, 0)


def test_thread_count_does_not_change_the_answer() -> None:
    query, train, offsets = operands(Case("threads", 301, (999, 0, 2_500), distinct=700))
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        wanted = hamming_top2(query, train, offsets, backend="numba")
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        assert_equal(hamming_top2(query, train, offsets, backend="numba"), wanted)
    finally:
        numba.set_num_threads(before)


RESTRICTED = """
import numba
import numpy as np
from s2fast_kernels.hamming_top2 import numba_cpu, paths, reference
from s2fast_kernels.hamming_top2.cases import CASES, ODD_SCENES, hard_operands, operands
from s2fast_kernels.hamming_top2_both import numba_cpu as both, reference as both_reference
from s2fast_kernels.hamming_window_top2.numba_cpu import distance
from s2fast_kernels.hamming_window_top2_both import WindowRows, numba_cpu as near, reference as near_reference

@numba.njit
def distances(query, train):
    found = np.empty((len(query), len(train)), np.int64)
    for i in range(len(query)):
        for j in range(len(train)):
            found[i, j] = distance(query, i, train, j)
    return found

def equal(got, wanted):
    for field in ("index", "best", "second"):
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field))

cases = [operands(case) for case in CASES]
for seed, distinct in enumerate((1, 5, 1 << 20)):
    cases.append(hard_operands(np.random.default_rng(seed), 65, [63, 0, 1, 2_100, 257], distinct))
# A bit beyond those of AKAZE, in one row of the queries, or in one of the train rows.
for side in (0, 1):
    for bit in (43, 44, 63):
        case = operands(ODD_SCENES, seed=bit)
        case[side][-3, 7] |= np.uint64(1) << np.uint64(bit)
        cases.append(case)
for case in cases:
    equal(numba_cpu.hamming_top2(*case), reference.hamming_top2(*case))
    for found in zip(both.hamming_top2_both(*case), both_reference.hamming_top2_both(*case)):
        equal(*found)
    few, all_rows = case[0][:9], case[1]
    np.testing.assert_array_equal(distances(few, all_rows), np.bitwise_count(few[:, None] ^ all_rows).sum(axis=2))
rng = np.random.default_rng(1)
for rows, radius, away in ((7, 9.0, (0.0, 0.0)), (300, 1.5, (0.25, -1.0)), (300, 9.0, (0.0, 0.0))):
    descriptors, _, _ = hard_operands(rng, rows, [rows], 5)
    scenes = [
        WindowRows.of(part, rng.uniform(0, 20, (rows, 2)), rng.integers(0, 2, rows), radius)
        for part in (descriptors, rng.permutation(descriptors))
    ]
    for found in zip(*(module.hamming_window_top2_both(*scenes, away) for module in (near, near_reference))):
        equal(*found)
print(paths.PATH)
"""

INSTRUCTION_SETS = {
    INSTRUCTION_SET["NUMBA_CPU_NAME"]: (INSTRUCTION_SET["NUMBA_CPU_FEATURES"], "AVX2, table lookups"),
    "x86-64": ("+sse2", "counts as LLVM compiles them"),
}
"""Features and expected path, by the name of a processor; the first is the one on which the check counts."""


@pytest.mark.slow
@pytest.mark.parametrize("processor", INSTRUCTION_SETS)
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="restricts x86 features")
def test_every_instruction_set_gives_the_same_bits(processor: str, other_processors: Path) -> None:
    features, path = INSTRUCTION_SETS[processor]
    # The folder in which tests/benchmarks/test_check_counts.py counts.
    cache = other_processors / "code-avx2"
    restricted = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(cache)}
    environment = os.environ | restricted | {"PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-c", RESTRICTED], check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert printed.stdout.strip() == path


@pytest.mark.slow
def test_a_read_only_installation_caches_elsewhere(tmp_path: Path) -> None:
    # Root may write anywhere, so __pycache__ is made a file: numba cannot use it, whoever runs this.
    package = Path(numba_cpu.__file__).parents[1]
    copied = shutil.copytree(package, tmp_path / "site" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [copied, *(path for path in copied.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").touch()
    environment = os.environ | {
        "PYTHONPATH": str(copied.parent),
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    code = (
        "import s2fast_kernels.hamming_top2.lanes as lanes, numpy as np;"
        "lanes.encode(np.zeros(8, np.uint64), np.zeros(32, np.uint16));"
        "print(sum(lanes.encode.stats.cache_hits.values()))"
    )
    for hits in (0, 1):
        run = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
        assert run.stdout.strip() == str(hits)


def test_importing_the_package_imports_no_backend() -> None:
    heavy = {"numba", "torch", "triton", "faiss", "cv2"}
    code = f"import sys, s2fast_kernels.hamming_top2; print({heavy} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert printed.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("query", "train", "offsets", "message"),
    [
        (np.zeros((2, 8), np.int64), np.zeros((2, 8), np.uint64), np.array([0, 2]), "query must be"),
        (np.zeros((2, 8), np.uint64), np.zeros((2, 7), np.uint64), np.array([0, 2]), "train must be"),
        (np.zeros((2, 8), np.uint64), np.zeros((4, 8), np.uint64)[::2], np.array([0, 2]), "contiguous"),
        (np.zeros((2, 8), np.uint64), np.zeros((2, 8), np.uint64), np.array([0, 1]), "train_offsets must rise"),
        (np.zeros((2, 8), np.uint64), np.zeros((2, 8), np.uint64), np.array([0, 2], np.int32), "int64"),
        (np.zeros((2, 8), np.uint64), np.zeros((2, 8), np.uint64), np.array([0, 2, 1, 2]), "train_offsets must rise"),
    ],
)
def test_refuses(query: np.ndarray, train: np.ndarray, offsets: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hamming_top2(query, train, offsets)
