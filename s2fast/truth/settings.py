"""Which copies of the scenes are made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Injected(BaseModel):
    """The section ``[truth]`` of a sweep's file; ``truth = "injected"`` stands for its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scenes: int = Field(12, ge=2, le=100)
    """Number of scenes that are copied, spread over tiles and seasons."""
    by: Literal["pixels", "header"] = "pixels"
    """pixels: resample the copies. header: move their georeferencing only, which is exact, and tests signs and
    arithmetic but not how precisely features are located."""
    move_px: float = Field(1.5, gt=0, le=4)
    """Largest move in x and in y [px]; the smallest is a tenth of it."""
    rotate_deg: float = Field(0.0, ge=-5, le=5)
    """Rotation of the copies about their centre, counter-clockwise as seen [deg]."""
    scale: float = Field(1.0, ge=0.95, le=1.05)
    """Factor by which the copies are enlarged about their centre."""
    blur_px: float = Field(0.0, ge=0, le=10)
    """Standard deviation of a Gaussian blur [px]."""
    noise: float = Field(0.0, ge=0, le=50)
    """Standard deviation of noise [% of white]: of 255, or of a uint16 scene's 99th percentile."""
    haze: float = Field(0.0, ge=0, lt=1)
    """Share of white, as of `noise`, that is mixed in."""
    contrast: float = Field(1.0, gt=0, le=4)
    """Factor by which values differ more from the scene's mean."""
    seed: int = Field(0, ge=0)
    """Seed of the moves and of the noise."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if value == "injected":
            return {}
        if isinstance(value, str):
            raise ValueError(f'{value!r} is not known: write truth = "injected", or a section [truth]')
        return value

    @model_validator(mode="after")
    def _headers_only_move(self) -> Injected:
        if self.by == "header" and (self.rotate_deg or self.scale != 1):
            raise ValueError('by = "header" moves without resampling: leave out rotate_deg and scale')
        return self
