"""A full disk is one line, whatever GDAL writes there."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio

from s2fast.align.output import Form, Kernel, Target, grid_of, write
from s2fast.errors import InputError, S2FastError
from s2fast.files.source import Source
from s2fast.files.writing import room_in, writing
from s2fast.model import Window
from s2fast.raster.dataset import gdal_settings
from s2fast.raster.reader import open_raster
from s2fast.synth import archive
from s2fast.synth.archive import synth
from s2fast.truth.moves import Move
from s2fast.truth.settings import Injected
from s2fast.truth.write import Copy, write_copy
from tests.archives import textured, write_scene


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "a.tif", np.stack([textured(np.random.default_rng(0), (300, 300))] * 3))


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond what the beginning of one needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def copied(scene: Path, to: Path) -> None:
    with open_raster(scene) as reader:
        part = Window(0, 0, *reader.raster.shape)
        copy = Copy(part, reader.raster.transform, Move((1.5, 0.5)), True)
    write_copy(Source.local(scene), copy, Injected(), to / "copy.tif")


def aligned(form: Form) -> Callable[[Path, Path], None]:
    def act(scene: Path, to: Path) -> None:
        source = Source.local(scene)
        with gdal_settings():
            write(source, (3.0, 4.0), Target(form, Kernel.CUBIC, grid_of(source), False, {}), to / f"b{form.suffix}")

    return act


ACTS: dict[str, Callable[[Path, Path], object]] = {
    "a copy of a sweep": copied,
    "an aligned VRT": aligned(Form.VRT),
    "an aligned COG": aligned(Form.COG),
    "a synthetic archive": lambda _, to: synth(to / "synth", size=256, tiles=["36UYA"], dates=1, seed=0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTS)
def test_a_full_disk_is_one_line(name: str, scene: Path, tmp_path: Path) -> None:
    with pytest.raises(S2FastError, match=r"write|written") as caught, full_disk():
        ACTS[name](scene, tmp_path)
    assert "free disk space there" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_told_from_other_errors(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=f"cannot write to {tmp_path}: No space left on device; free disk"),
        room_in(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "Error writing bytes to file")
    with pytest.raises(FileNotFoundError), room_in(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "none")


def test_an_archive_that_is_not_written_to_the_end_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"size": 256, "tiles": ["36UYA"], "dates": 1, "seed": 0}
    with monkeypatch.context() as patch:
        patch.setattr(archive, "write_regions", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            synth(tmp_path, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    assert synth(tmp_path, **options).is_file()  # type: ignore[arg-type]


def test_what_cannot_be_read_meanwhile_is_not_said_to_be_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(rasterio.errors.RasterioIOError), writing(tmp_path):
        raise rasterio.errors.RasterioIOError("Read failed. See previous exception for details.")
    with pytest.raises(InputError, match=f"cannot write to {tmp_path}: File too large; free"), writing(tmp_path):
        raise OSError(27, "File too large")
