"""Rates of the ways to count differing bits with AVX2 alone: the bounds of `hamming_top2` on such processors.

Every way does the arithmetic of comparisons of 512 bits on operands in the level-1 cache, on one thread, without keys
and without merging. Beside them, in the same process: `hamming_top2`, FAISS and OpenCV on one thread with AVX2 alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from benchmarks.meter import alone, environment_set
from s2fast_kernels.hamming_top2 import lookups
from s2fast_kernels.hamming_top2.lanes import Emitter

AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+popcnt,+bmi,+bmi2,+fma",
    "FAISS_OPT_LEVEL": "avx2",
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512-ICL",
}
"""Environment that restricts numba, FAISS and OpenCV to AVX2."""

_ROWS = 512
"""Vectors of 32 bytes in memory, 16 KB."""

_BYTES = ir.VectorType(ir.IntType(8), 32)
_WORDS = ir.VectorType(ir.IntType(16), 16)
_QUADS = ir.VectorType(ir.IntType(64), 4)
_LOW = ir.Constant(_BYTES, [0x0F] * 32)
_COUNTS = ir.Constant(_BYTES, [number.bit_count() for number in range(16)] * 2)


class _Ways:
    """Emits one unit of work of each way."""

    def __init__(self, context: Any, builder: ir.IRBuilder, memory: ir.Value, sums: ir.Value) -> None:
        self._emit, self._builder = Emitter(context, builder), builder
        self._memory = builder.bitcast(memory, _BYTES.as_pointer())
        self._sums = builder.bitcast(sums, _BYTES.as_pointer())

    def _difference(self, number: int) -> ir.Value:
        """Return the XOR of two vectors in memory."""
        first, second = (
            self._builder.load(self._builder.gep(self._memory, [ir.IntType(32)(at)]), align=32)
            for at in (number % 8, number + 8)
        )
        return self._builder.xor(first, second)

    def _count(self, x: ir.Value) -> ir.Value:
        """Count the bits of bytes by two shuffles."""
        builder = self._builder
        words = builder.lshr(builder.bitcast(x, _WORDS), ir.Constant(_WORDS, [4] * 16))
        halves = (builder.and_(x, _LOW), builder.and_(builder.bitcast(words, _BYTES), _LOW))
        return builder.add(*(self._emit.call("llvm.x86.avx2.pshuf.b", _BYTES, _COUNTS, half) for half in halves))

    def _store(self, number: int, x: ir.Value) -> None:
        """Add bytes to a sum in memory, so that no work is removed."""
        at = self._builder.gep(self._sums, [ir.IntType(32)(number)])
        self._builder.store(self._builder.add(self._builder.load(at, align=32), x), at, align=32)

    def shuffles(self) -> int:
        """Two vectors a comparison, the counts of bytes added by vpsadbw: what libraries do."""
        for number in range(16):
            counts = self._builder.add(
                self._count(self._difference(2 * number)), self._count(self._difference(2 * number + 1))
            )
            total = self._emit.call("llvm.x86.avx2.psad.bw", _QUADS, counts, ir.Constant(_BYTES, None))
            self._store(number % 4, self._builder.bitcast(total, _BYTES))
        return 16

    def carry_save(self) -> int:
        """Sixteen rows in lanes of 16 bits, their 32 words added by a tree of carry-save adders."""
        builder = self._builder
        levels: list[list[ir.Value]] = [[] for _ in range(7)]

        def add(level: int, x: ir.Value) -> None:
            levels[level].append(x)
            if len(levels[level]) == 3:
                a, b, c = levels[level]
                either, other = builder.xor(a, b), builder.xor(b, c)
                carry = builder.xor(builder.and_(either, other), b)
                levels[level] = [builder.xor(either, c)]
                add(level + 1, carry)

        for word in range(32):
            add(0, self._difference(word))
        total = ir.Constant(_BYTES, None)
        for level in reversed(levels):
            total = builder.add(total, total)
            for x in level:
                total = builder.add(total, self._count(x))
        self._store(0, total)
        return 16

    def scalar(self) -> int:
        """Eight popcnt of 64 bits a comparison."""
        for number in range(16):
            self._scalar(number)
        return 16

    def _scalar(self, number: int) -> None:
        builder = self._builder
        word = ir.IntType(64)
        memory = builder.bitcast(self._memory, word.as_pointer())
        total = word(0)
        for at in range(8):
            first, second = (
                builder.load(builder.gep(memory, [ir.IntType(32)(index)]), align=8)
                for index in (at, 64 + 8 * number + at)
            )
            # As assembly, since the compiler would make vectors of it.
            popcnt = builder.asm(
                ir.FunctionType(word, [word]), "popcnt $1, $0", "=r,r", [builder.xor(first, second)], False
            )
            total = builder.add(total, popcnt)
        into = builder.gep(builder.bitcast(self._sums, word.as_pointer()), [ir.IntType(32)(16 + number % 4)])
        builder.store(builder.add(builder.load(into, align=8), total), into, align=8)

    def lookups(self, beside: int = 0) -> int:
        """Table lookups for 64 rows and two queries, as the kernel does, with some comparisons by popcnt beside."""
        # Groups and tables lie in the same memory; their values do not matter for the rate.
        groups = [self._builder.gep(self._memory, [ir.IntType(32)(at)]) for at in (128, 256)]
        look = lookups.Lookups(self._emit, self._builder, self._memory, groups)
        parts = [(21 * part, min(21 * part + 21, lookups.NIBBLES)) for part in range(7)]
        for number, (start, stop) in enumerate(parts):
            for other in range(beside * number // 7, beside * (number + 1) // 7):
                self._scalar(other)
            for at, sums in enumerate(look.sums(start, stop)):
                for query, part in enumerate(sums):
                    self._store(2 * at + query, part)
        return beside + 2 * 64


WAYS: dict[str, Callable[[_Ways], int]] = {
    "shuffles and vpsadbw": _Ways.shuffles,
    "carry-save adders, then shuffles": _Ways.carry_save,
    "popcnt of 64 bits": _Ways.scalar,
    "table lookups of two queries": _Ways.lookups,
    "the same, every ninth comparison by popcnt": partial(_Ways.lookups, beside=16),
    "the same, every fifth comparison by popcnt": partial(_Ways.lookups, beside=32),
}
"""Ways to count, by name: each emits one unit of work and returns its number of comparisons."""


def compiled(way: Callable[[_Ways], int]) -> Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint8], int], int]:
    """Compile a way to count.

    Parameters
    ----------
    way
        One of `WAYS`.

    Returns
    -------
    callable
        Takes `operands`, to which it adds the counts, and how often to work on them; returns the number of comparisons
        this was.
    """
    binding.initialize_native_asmparser()
    done = 0

    @intrinsic
    def unit(_typing: Any, memory: Any, sums: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, operands: Any) -> ir.Value:
            nonlocal done
            pointers = (
                context.make_array(kind)(context, builder, operand).data
                for kind, operand in zip(signature.args, operands, strict=True)
            )
            done = way(_Ways(context, builder, *pointers))
            return context.get_dummy_value()

        return types.void(memory, sums), emit

    @numba.njit
    def repeat(memory: npt.NDArray[np.uint8], sums: npt.NDArray[np.uint8], times: int) -> None:
        for _ in range(times):
            unit(memory, sums)

    def work(memory: npt.NDArray[np.uint8], sums: npt.NDArray[np.uint8], times: int) -> int:
        repeat(memory, sums, times)
        return times * done

    return work


def operands() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return random nibbles, one per byte, and zeros for the sums of their counts; both aligned to 64 bytes."""
    memory, sums = _aligned(32 * _ROWS), _aligned(32 * 8)
    memory[:] = np.random.default_rng(0).integers(0, 16, len(memory), dtype=np.uint8)
    return memory, sums


def _worker(way: Callable[[_Ways], int]) -> Callable[[int], int]:
    """Return a function that does about this many comparisons and returns their number."""
    work, both = compiled(way), operands()
    unit = work(*both, 1)
    return lambda comparisons: work(*both, max(1, comparisons // unit))


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


def _peers(rows: int) -> dict[str, Callable[[int], int]]:
    """Return the searches to compare: of a fixed number of rows, whatever number of comparisons is asked for."""
    import cv2
    import faiss

    from benchmarks import peers
    from s2fast_kernels.hamming_top2 import hamming_top2
    from s2fast_kernels.hamming_top2_both import hamming_top2_both

    numba.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    cv2.setNumThreads(1)
    kind, pool = next(iter(peers.pools(2 * rows).items()))
    query, train, offsets = pool[:rows], pool[rows:], np.array([0, rows], np.int64)
    searches: dict[str, Callable[[], object]] = {
        f"hamming_top2, {kind}": lambda: hamming_top2(query, train, offsets, backend="numba"),
        f"hamming_top2_both, {kind}": lambda: hamming_top2_both(query, train, offsets, backend="numba"),
        f"opencv BFMatcher, 61 B, {kind}": lambda: peers.opencv(query, train),
    }
    searches |= {
        f"{name}, {kind}": search for name, search in peers.faiss_searches(query, train).items() if "64" in name
    }

    def counted(search: Callable[[], object], _comparisons: int) -> int:
        search()
        return rows * rows

    return {name: partial(counted, search) for name, search in searches.items()}


def _rates(rows: int, rounds: int) -> dict[str, list[float]]:
    """Return comparisons per CPU second, by name, interleaved."""
    from s2fast_kernels.hamming_top2.paths import PATH

    candidates = {name: _worker(way) for name, way in WAYS.items()} | _peers(rows)
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, candidate in candidates.items():
            start = time.process_time()
            done = candidate(rows * rows)
            # The first round compiles and warms up.
            if number:
                rates[name].append(done / (time.process_time() - start))
    return {f"{name} ({PATH})" if name.startswith("hamming_top2") else name: rate for name, rate in rates.items()}


def rates(rows: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure all ways and peers in one process with AVX2 alone."""
    with environment_set(**AVX2):
        measured = alone(_rates, rows, rounds)
    bound = max(float(np.median(measured[name])) for name in WAYS)
    for name, found in measured.items():
        rate = float(np.median(found))
        yield {
            "measure": "AVX2 alone, one thread, per CPU second",
            "what": name,
            "rate_1e9_per_s": rate / 1e9,
            "share_of_best_way": rate / bound,
            "rounds": rounds,
        }
