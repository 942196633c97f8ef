import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2fast.model import Window
from s2fast.raster.windows import chunk_shape, covering_rectangles, grid, reduced, reduced_shape, with_halo

sides = st.integers(1, 70)


@given(sides, sides, sides, sides)
def test_grid_owns_every_pixel_once(rows: int, cols: int, step_rows: int, step_cols: int) -> None:
    owned = np.zeros((rows, cols), int)
    for window in grid((rows, cols), (step_rows, step_cols)):
        assert window
        owned[window.slices] += 1
    assert (owned == 1).all()


@given(sides, sides, st.integers(0, 80))
def test_halo_is_what_dilation_reaches(rows: int, cols: int, halo: int) -> None:
    for window in grid((rows, cols), (16, 16)):
        grown = with_halo(window, halo, (rows, cols))
        wanted = [
            (r, c)
            for r in range(max(0, window.row - halo), min(rows, window.row + window.height + halo))
            for c in range(max(0, window.col - halo), min(cols, window.col + window.width + halo))
        ]
        assert grown.height * grown.width == len(wanted)
        assert (grown.row, grown.col) == wanted[0]


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([1, 2, 4]))
def test_chunks_are_whole_blocks_and_whole_reduced_pixels(block_rows: int, block_cols: int, reduction: int) -> None:
    for side, block in zip(chunk_shape((block_rows, block_cols), reduction), (block_rows, block_cols), strict=True):
        assert side % block == 0
        assert side % reduction == 0
        assert side >= 256


@given(st.integers(1, 600), st.integers(1, 600), st.sampled_from([1, 2, 4]))
def test_reduced_windows_tile_the_reduced_grid(rows: int, cols: int, reduction: int) -> None:
    shape = reduced_shape((rows, cols), reduction)
    owned = np.zeros(shape, int)
    for window in grid((rows, cols), (256, 256)):
        owned[reduced(window, reduction).slices] += 1
    assert (owned == 1).all()


def test_window_bounds_are_pixel_edges() -> None:
    assert Window(row=2, col=3, height=5, width=7).bounds == (3, 2, 10, 7)
    assert not Window(0, 0, 0, 4)


@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.integers(0, 10), st.integers(0, 400))
def test_what_is_wanted_is_covered_once(wanted: np.ndarray, padding: int, price: int) -> None:
    covered = np.zeros(wanted.shape, int)
    parts = covering_rectangles(wanted, padding, price)
    for part in parts:
        assert part
        covered[part.slices] += 1
    assert covered.max(initial=0) <= 1
    assert covered[wanted].all()

    def cost(windows: list[Window]) -> int:
        return sum(price + (part.height + padding) * (part.width + padding) for part in windows)

    whole = covering_rectangles(wanted, 0, wanted.size)
    assert len(whole) <= 1
    assert cost(parts) <= cost(whole)
