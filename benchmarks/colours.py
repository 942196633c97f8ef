"""Colour scenes beside copies with other colours, moved by known parts of a pixel, lossless and lossy files in turn.

The scenes of the main set are grey: of these, luma and OpenCV's weights are the same. The scenes of the other sites are
not. Their copies are moved by a windowed sinc, and every band has its own gain and noise, as on another date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

import s2fast
from s2fast.truth.moves import Move, moved
from s2fast.verdicts import is_verified

_SCENES = ("lebanon/T36SYC_TCI_60m.jp2", "paris/T31UDQ_20240105T105339_TCI_10m.jp2")
_SIDE_PX = 360
_GAIN = (0.85, 1.0, 1.2)
"""Gain of red, green and blue in the copies."""
_NOISE_DN = 5.0
_REVERSIBLE = (("YES", "100"), ("NO", "50"))
"""REVERSIBLE and QUALITY of the files, in turn."""


def colour_row(data: Path, overrides: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Compare the shifts of parts of the scenes against their copies with the truth."""
    rng = np.random.default_rng(0)
    (out / "scenes").mkdir(parents=True)
    truth = {}
    for number, (name, pixels, profile) in enumerate(_parts(data)):
        by = tuple(rng.uniform(-1.5, 1.5, 2))
        copy = [
            moved(band.astype(np.float32), np.ones(band.shape, np.bool_), Move(by, (0.0, 0.0)))[0] * gain
            for band, gain in zip(pixels, _GAIN, strict=True)
        ]
        noisy = np.clip(np.stack(copy) + rng.normal(0, _NOISE_DN, pixels.shape), 1, 255).astype(np.uint8)
        for turn, (suffix, values) in enumerate((("a", pixels), ("b", noisy))):
            reversible, quality = _REVERSIBLE[(number + number // 2 + turn) % 2]
            options = profile | {"driver": "JP2OpenJPEG", "QUALITY": quality, "REVERSIBLE": reversible}
            with rasterio.open(out / "scenes" / f"{name}{suffix}.jp2", "w", **options) as dataset:
                dataset.write(values)
        truth[f"{name}a", f"{name}b"] = by
    listed = out / "pairs.csv"
    listed.write_text("query,train\n" + "".join(f"{query},{train}\n" for query, train in truth))
    settings = {"matching.pairs": "file", "matching.pairs_file": str(listed)} | dict(overrides)
    pairs = s2fast.run(scenes=out / "scenes", out=out / "run", overrides=settings).pairs()
    wanted = np.array([truth[pair] for pair in zip(pairs["query"], pairs["train"], strict=True)])
    off = np.hypot(*(pairs[["dx_px", "dy_px"]].to_numpy() - wanted).T)
    verified = is_verified(pairs).to_numpy()
    return {
        "pairs": len(pairs),
        "verified": int(verified.sum()),
        "error px, median": round(float(np.median(off[verified])), 4),
        "error px, p95": round(float(np.quantile(off[verified], 0.95)), 4),
        "keypoints": int(pairs["n_query"].sum() + pairs["n_train"].sum()),
    }


def _parts(data: Path) -> Iterator[tuple[str, npt.NDArray[np.uint8], dict[str, Any]]]:
    """Yield name, pixels and georeferencing of squares of the scenes that miss no pixel."""
    for path in _SCENES:
        with rasterio.open(data / path) as dataset:
            for row in range(0, dataset.height - _SIDE_PX + 1, _SIDE_PX):
                for column in range(0, dataset.width - _SIDE_PX + 1, _SIDE_PX):
                    window = Window(column, row, _SIDE_PX, _SIDE_PX)
                    pixels = dataset.read(window=window)
                    if pixels.any(axis=0).all():
                        profile = {"count": 3, "height": _SIDE_PX, "width": _SIDE_PX, "dtype": "uint8",
                                   "crs": dataset.crs, "transform": dataset.window_transform(window)}  # fmt: skip
                        yield f"{Path(path).parent.name}{row:05d}{column:05d}", pixels, profile
