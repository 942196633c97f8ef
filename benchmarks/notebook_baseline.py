"""The notebook as a plain script with OpenCV, pandas and descriptors as text in a CSV.

This is the baseline for equal results and for speed. It does not use s2fast.

    python -m benchmarks.notebook_baseline --scenes DIR --regions FILE --out OUT [--reduction 2] [--crs EPSG:4236]
        [--buffer-m 0] [--first N]

Writes features.csv (one row per scene, keypoints and descriptors as text) and similarity.csv (one row per pair), and
prints the seconds of each step as one JSON object.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from rasterio.features import rasterize
from shapely.geometry import Polygon


def find_images(folder: Path) -> list[Path]:
    """Return every ``*_TCI.jp2`` under a folder, sorted by file name."""
    return sorted(folder.rglob("*_TCI.jp2"), key=lambda path: path.name)


def read_grey(path: Path, reduction: int) -> npt.NDArray[np.uint8]:
    """Read an image as grey and shrink it."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise SystemExit(f"OpenCV cannot read {path}")
    if reduction > 1:
        grey = cv2.resize(grey, (grey.shape[1] // reduction, grey.shape[0] // reduction))
    return np.asarray(grey, np.uint8)


def polygon_mask(path: Path, polygons: Any, crs: str, buffer_m: float, reduction: int) -> npt.NDArray[np.uint8]:
    """Rasterise all polygons on an image's grid and shrink the mask; nonzero inside polygons."""
    with rasterio.open(path) as image:
        placed = polygons.set_crs(crs, allow_override=True).to_crs(image.crs).geometry
        if buffer_m:
            placed = placed.buffer(buffer_m)
        exteriors = [Polygon(part.exterior) for row in placed for part in getattr(row, "geoms", [row])]
        mask = rasterize(exteriors, image.shape, transform=image.transform, default_value=255, dtype="uint8")
    if reduction > 1:
        mask = cv2.resize(mask, (mask.shape[1] // reduction, mask.shape[0] // reduction))
    return np.asarray(mask, np.uint8)


def detect(grey: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]) -> tuple[list[tuple[float, ...]], list[list[int]]]:
    """Paint the outside black and run AKAZE; return keypoints (x, y, size, angle, response) and descriptors."""
    keypoints, descriptors = cv2.AKAZE.create().detectAndCompute(cv2.bitwise_and(grey, grey, mask=mask), None)
    rows = [(*point.pt, point.size, point.angle, point.response) for point in keypoints]
    return rows, [] if descriptors is None else descriptors.tolist()


def parse_descriptors(text: str) -> npt.NDArray[np.uint8]:
    """Parse descriptors from the text in the CSV."""
    return np.array(ast.literal_eval(text), dtype=np.uint8)


def similarity(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], ratio: float = 0.8) -> float:
    """Return the share of the first image's descriptors that pass the ratio test against the second [%]."""
    if len(first) == 0 or len(second) == 0:
        return 0.0
    matches = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(first, second, k=2)
    good = [pair for pair in matches if len(pair) == 2 and pair[0].distance < ratio * pair[1].distance]
    return round(100 * len(good) / max(len(first), 1), 2)


def main(argv: Sequence[str] | None = None) -> None:
    """Run all steps and print their seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--regions", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reduction", type=int, default=2)
    parser.add_argument("--crs", default="EPSG:4236")
    parser.add_argument("--buffer-m", type=float, default=0.0)
    parser.add_argument("--first", type=int, help="only the first N images")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)

    seconds = {"ingest": 0.0, "extract": 0.0, "match": 0.0}
    polygons = geopandas.read_file(options.regions)
    rows = []
    for path in find_images(options.scenes)[: options.first]:
        start = time.perf_counter()
        grey = read_grey(path, options.reduction)
        mask = polygon_mask(path, polygons, options.crs, options.buffer_m, options.reduction)
        seconds["ingest"] += time.perf_counter() - start
        start = time.perf_counter()
        keypoints, descriptors = detect(grey, mask)
        rows.append({"image": path.name, "keypoints": str(keypoints), "descriptors": str(descriptors)})
        seconds["extract"] += time.perf_counter() - start
    start = time.perf_counter()
    pd.DataFrame(rows).to_csv(options.out / "features.csv", index=False)
    features = pd.read_csv(options.out / "features.csv")
    seconds["extract"] += time.perf_counter() - start

    start = time.perf_counter()
    table = []
    for i, j in itertools.combinations(range(len(features)), 2):
        first = parse_descriptors(features["descriptors"][i])
        second = parse_descriptors(features["descriptors"][j])
        score = similarity(first, second)
        table.append({"image1": features["image"][i], "image2": features["image"][j], "similarity": score})
    pd.DataFrame(table).to_csv(options.out / "similarity.csv", index=False)
    seconds["match"] = time.perf_counter() - start
    print(json.dumps({"images": len(features), "pairs": len(table), "seconds": seconds}))


if __name__ == "__main__":
    main()
