"""Which keypoints see painted pixels."""

import numpy as np

from s2fast.image.painted import flat, outlines, outlines_match

AREA = 30, 30


def textured() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (100, 100)).astype(np.uint8)


def test_areas_and_lines_of_equal_pixels_are_flat() -> None:
    grey = textured()
    assert not flat(grey)(slice(None)).any()
    grey[20:24, 30:35] = 7
    grey[60, 10:40] = 255
    grey[40:60, 80] = 9
    wanted = np.zeros(grey.shape, np.bool_)
    wanted[20:24, 30:35] = wanted[60, 10:40] = wanted[40:60, 80] = True
    np.testing.assert_array_equal(flat(grey)(slice(None)), wanted)
    np.testing.assert_array_equal(flat(np.tile(grey, (9, 1)))(slice(200, 300)), wanted)
    assert flat(np.zeros((0, 5), np.uint8))(slice(None)).shape == (0, 5)


def test_outline_has_a_bit_for_each_cell_of_the_support() -> None:
    painted = np.zeros((100, 100), np.bool_)
    painted[:, 50:] = True
    # The support reaches 20 px, a cell is 5 px: the right half of each row of cells is painted.
    seen = outlines(
        lambda rows: painted[rows],
        painted.shape,
        np.array([[49.5, 49.5], [20.0, 20.0]], np.float32),
        np.full(2, 4, np.float32),
    )
    assert seen.tolist() == [int("f0" * 8, 16), 0]


def test_outline_outside_the_image_is_no_paint() -> None:
    painted = np.zeros((40, 40), np.bool_)
    painted[39, 39] = True
    seen = outlines(lambda rows: painted[rows], painted.shape, np.zeros((1, 2), np.float32), np.full(1, 4, np.float32))
    assert seen.tolist() == [0]


def test_outlines_of_strips_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    painted = rng.uniform(size=(700, 90)) < 0.3
    xy, size = rng.uniform(0, [90, 700], (200, 2)).astype(np.float32), rng.uniform(2, 30, 200).astype(np.float32)
    together = outlines(lambda rows: painted[rows], painted.shape, xy, size)
    alone = [outlines(lambda rows: painted[rows], painted.shape, xy[[n]], size[[n]])[0] for n in range(200)]
    assert together.tolist() == alone


def test_keypoints_that_see_one_shape_are_alike() -> None:
    left, half, none = (np.array([value], np.uint64) for value in (0x0F, 0x03, 0))
    assert outlines_match(left, left).all()
    assert outlines_match(left, half).all()
    assert not outlines_match(left, np.array([0xF0], np.uint64)).any()
    assert not outlines_match(left, none).any()
    assert not outlines_match(none, none).any()


def test_keypoints_that_see_no_common_ground_are_alike() -> None:
    whole, part = (np.array([value], np.uint64) for value in (2**64 - 1, 0x0F))
    assert outlines_match(whole, part).all()
    assert outlines_match(part, whole).all()
    assert not outlines_match(np.array([0xFFFF], np.uint64), np.array([0xFFFF << 32], np.uint64)).any()
