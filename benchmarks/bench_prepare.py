"""Preparation as tensor operations against OpenCV's, piece by piece: ``python -m benchmarks prepare``.

    python -m benchmarks prepare [--images DIR] [--size 2745] [--runs 5] [--json]

Compares the masks, the contrast and the enlargement of `s2fast.image.torch_prepare`, on the CPU device, and kornia's
functions for the same steps, with the host's, for synthetic scenes and the real ones in DIR (../shared/data). A
difference is given as its maximum [DN] and the share of pixels that differ. "at a seam" is the largest step [DN]
between two halves of a scene, contrasted separately as if they were windows, minus the whole scene's. Then times the
pieces alternately: on a CPU, OpenCV is faster and is what runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.datasets import REAL
from benchmarks.harness import emit, interleaved, option_parser
from s2fast.config import Ingest
from s2fast.image import prepare as host
from s2fast.image import torch_prepare
from s2fast.image.torch_clahe import Clahe
from s2fast_kernels.akaze.cases import real_images, synthetic_image

Image = npt.NDArray[np.uint8]

SHAPES = ((64, 80), (65, 80), (1021, 1030), (1024, 1024))
"""Sizes of the synthetic scenes [px]: tiles without padding, with one axis to pad, with two, of even sides."""

NODATA_PX = 8
CLIP = Ingest().clahe_clip


def main(argv: Sequence[str]) -> int:
    """Compare, time and print."""
    parser = option_parser("prepare", __doc__)
    parser.add_argument("--images", type=Path, default=REAL.parent, help="folder of the real images")
    parser.add_argument("--size", type=int, default=2745, help="side of the scene whose preparation is timed [px]")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(argv)
    for name, image in images(options.images):
        emit({"benchmark": "prepare", "scene": name} | differences(image), as_json=options.json)
    for row in timings(synthetic_image((options.size, options.size)), options.runs):
        emit({"benchmark": "prepare", "size": options.size, **row}, as_json=options.json)
    return 0


def images(folder: Path) -> Iterator[tuple[str, Image]]:
    """Yield synthetic scenes with clouds and a black corner, then the real scenes, if available."""
    for shape in SHAPES:
        image = np.maximum(synthetic_image(shape), 1)
        image[: shape[0] // 4, : shape[1] // 5] = 0
        yield f"synthetic {shape[0]} x {shape[1]}", image
    if folder.is_dir():
        yield from real_images(folder, multiple=1)


def differences(image: Image) -> dict[str, Any]:
    """Compare every piece for one scene."""
    tensor = torch.from_numpy(image)
    wanted = cv2.createCLAHE(CLIP, (host.CLAHE_TILES, host.CLAHE_TILES)).apply(image)
    valid = ~host.without_data(image, NODATA_PX)
    masks = np.count_nonzero(torch_prepare.without_data(tensor, NODATA_PX).numpy() == valid)
    found, bright = torch_prepare.clouds(tensor, torch.from_numpy(valid)), host.clouds(image, valid)
    if found is None or bright is None:
        masks += image.size * ((found is None) != (bright is None))
    else:
        masks += np.count_nonzero(found.numpy() != bright)
    whole = slice(0, 2 * image.shape[0]), slice(0, 2 * image.shape[1])
    enlarged = torch_prepare.upscaled(tensor, *whole).numpy()
    return {
        "contrast": apart(Clahe.of(tensor, CLIP).applied(tensor).numpy(), wanted),
        "kornia's contrast": apart(kornias_contrast(image), wanted),
        "kornia's at a seam": seam(image, kornias_contrast),
        "OpenCV's at a seam": seam(image, cv2.createCLAHE(CLIP, (host.CLAHE_TILES, host.CLAHE_TILES)).apply),
        "pixels of masks wrong": masks,
        "enlargement": apart(enlarged, host.upscaled(image, *whole)),
        "kornia's enlargement": apart(kornias_enlargement(image), host.upscaled(image, *whole)),
    }


def apart(got: Image, wanted: Image) -> str:
    """Return the largest difference [DN] and the share of pixels that differ [%]."""
    difference = np.abs(got.astype(np.int16) - wanted)
    return f"{difference.max()} in {100 * np.count_nonzero(difference) / difference.size:.4f} %"


def kornias_missing_data(grey: torch.Tensor) -> torch.Tensor:
    """Return the missing data and its rim by kornia's morphology, rectangles as a column and a row."""
    from kornia.morphology import dilation, erosion

    plane = (grey == 0).float()[None, None]
    wide = 2 * NODATA_PX + 1
    for operation, width in ((erosion, host.SPECK_PX), (dilation, host.SPECK_PX), (dilation, wide)):
        for side in ((width, 1), (1, width)):
            plane = operation(plane, torch.ones(side), engine="shift")
    return plane[0, 0] > 0


def kornias_contrast(image: Image) -> Image:
    """Return an image after kornia's CLAHE, rounded to grey values."""
    from kornia.enhance import equalize_clahe

    # The smallest number at or above value / 255 that kornia's truncation maps back to the value.
    scaled = torch.from_numpy(image).double() / 255
    scaled = torch.where((scaled * 255).long() < torch.from_numpy(image), torch.nextafter(scaled, scaled + 1), scaled)
    found = equalize_clahe(scaled[None, None], CLIP, (host.CLAHE_TILES, host.CLAHE_TILES))[0, 0]
    return np.asarray((found * 255).round().clamp(0, 255).byte().numpy())


def kornias_enlargement(image: Image) -> Image:
    """Return an image upscaled by kornia."""
    from kornia.geometry.transform import rescale

    large = rescale(torch.from_numpy(image).float()[None, None], 2.0, "bicubic", align_corners=False)[0, 0]
    return np.asarray(large.round().clamp(0, 255).byte().numpy())


def seam(image: Image, contrast: Any) -> int:
    """Return how much larger a step at the seam of two halves is than that of the whole scene, at most [DN]."""
    middle = image.shape[1] // 2
    whole = contrast(image)[:, middle - 1 : middle + 1].astype(int)
    halves = [contrast(np.ascontiguousarray(half)) for half in (image[:, :middle], image[:, middle:])]
    step = halves[1][:, 0].astype(int) - halves[0][:, -1]
    return int(np.abs(step - (whole[:, 1] - whole[:, 0])).max())


def timings(image: Image, runs: int) -> Iterator[dict[str, Any]]:
    """Yield the median seconds of every piece on one thread of the CPU: OpenCV's, tensor operations, kornia's."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    tensor, valid = torch.from_numpy(image), np.ones(image.shape, np.bool_)
    ground = torch.from_numpy(valid)
    whole = slice(0, 2 * image.shape[0]), slice(0, 2 * image.shape[1])
    opencv = cv2.createCLAHE(CLIP, (host.CLAHE_TILES, host.CLAHE_TILES))
    pieces: dict[str, dict[str, Any]] = {
        "missing data": {
            "host": lambda: host.without_data(image, NODATA_PX),
            "torch": lambda: torch_prepare.without_data(tensor, NODATA_PX),
            "kornia": lambda: kornias_missing_data(tensor),
        },
        "clouds": {
            "host": lambda: host.clouds(image, valid),
            "torch": lambda: torch_prepare.clouds(tensor, ground),
        },
        "contrast": {
            "host": lambda: opencv.apply(image),
            "torch": lambda: Clahe.of(tensor, CLIP).applied(tensor),
            "kornia": lambda: kornias_contrast(image),
        },
        "enlargement": {
            "host": lambda: host.upscaled(image, *whole),
            "torch": lambda: torch_prepare.upscaled(tensor, *whole),
            "kornia": lambda: kornias_enlargement(image),
        },
    }
    for piece, candidates in pieces.items():
        seconds = interleaved(candidates, runs)
        yield {"piece": piece, **{f"{name} s": float(np.median(times)) for name, times in seconds.items()}}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
