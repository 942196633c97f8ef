"""What finds pictures in the index of the tests' archive, and pictures cut from its scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from s2fast.folder.run_folder import RunFolder
from s2fast.retrieval.finder import Finder
from s2fast.retrieval.index import Index
from s2fast.retrieval.picture import Image
from tests.indexed import Indexed


@pytest.fixture(scope="session")
def finder(indexed: Indexed) -> Finder:
    """What finds pictures in that index."""
    return Finder(Index(indexed.index), keypoints=700)


@dataclass(frozen=True)
class Cut:
    """A picture cut from a scene, turned and scaled, and where it lies."""

    image: Image
    to_scene: npt.NDArray[np.float64]
    """(2, 3) affine from its pixels to those of the scene."""


def picture(pixels: npt.NDArray[np.uint8], name: str = "picture") -> Image:
    """A picture without missing pixels."""
    return Image(name, pixels, np.zeros(pixels.shape, np.bool_), pixels.shape)


@pytest.fixture(scope="session")
def cut(indexed: Indexed) -> Callable[..., Cut]:
    """Cut a square of a scene, given its centre, turned clockwise in the scene [deg], enlarged by a factor."""
    folder = RunFolder(indexed.out)

    def make(scene: str, x: float, y: float, side: int, turn: float = 0.0, factor: float = 1.0) -> Cut:
        angle = np.radians(turn)
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / factor
        middle = (side - 1) / 2
        matrix = np.column_stack([turned, (x, y) - turned @ (middle, middle)])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        grey = cv2.warpAffine(folder.grey(scene), matrix, (side, side), flags=flags)
        return Cut(picture(grey), matrix)

    return make
