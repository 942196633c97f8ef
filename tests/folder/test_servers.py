"""A run folder names files on servers: nobody is asked whom the user has not named too."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import s2fast
from s2fast.errors import InputError, SceneError
from s2fast.files.source import Source
from s2fast.files.trusted import check_servers, server
from s2fast.folder.checksums import sealed, unsealed
from s2fast.folder.run_folder import SCENES, RunFolder
from s2fast.folder.sealed_groups import SEAL, group_file
from tests.archives import Archive
from tests.files.test_system_calls import hang_up

SETTINGS = {"features.backend": "opencv", "features.upsample": 1, "ingest.halo_px": 64}


@pytest.fixture(scope="module")
def finished(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("servers") / "out"
    s2fast.run(scenes=archive.scenes, regions=archive.regions, out=out, overrides=SETTINGS, progress=False)
    return out


@pytest.fixture(scope="module")
def listening() -> Iterator[tuple[str, list[object]]]:
    """The address of a server that only notes who asks."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        taken.settimeout(0.1)
        asked: list[object] = []
        threading.Thread(target=hang_up, args=(taken, asked), daemon=True).start()
        yield f"127.0.0.1:{taken.getsockname()[1]}", asked


def moved(out: Path, to: Path, place: str, *, pixels: bool = True) -> list[str]:
    """Copy a run folder, and let it name other places for its scenes, as a stranger would; return its scenes."""
    shutil.copytree(out, to)
    record = unsealed(json.loads((to / "run.json").read_text()))
    for number, item in enumerate(record["scenes"]):
        item["scene"]["path"] = name = Source.of(place.format(number)).name
        attributes = RunFolder(to).groups.attributes(group := f"{SCENES}/{item['scene']['scene_id']}")
        attributes["source"] = name
        (to / group / SEAL).write_bytes(group_file(attributes))
        if not pixels:
            shutil.rmtree(to / group / "grey")
    (to / "run.json").write_text(json.dumps(sealed(record)))
    return [item["scene"]["scene_id"] for item in record["scenes"]]


PLACES = (
    "http://{host}/{{}}_TCI.jp2", "/vsicurl/http://{host}/{{}}.tif", "/vsicurl?url=http%3A%2F%2F{host}%2F{{}}.tif",
    "/vsizip/{{{{/vsicurl/http://{host}/{{}}.zip}}}}/a.tif", "/vsicurl_streaming/http://{host}/{{}}.tif",
    "/vsigzip//vsicurl/http://{host}/{{}}.tif.gz", "http://{host}/{{}}.zarr", "/vsis3/bucket/{{}}.tif",
    "/vsiwebhdfs/http://{host}/{{}}.tif", "/vsisubfile/0_9,/vsicurl/http://{host}/{{}}.tif",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_nobody_is_asked(
    finished: Path, listening: tuple[str, list[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    host, asked = listening
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    first, second, *_ = moved(finished, tmp_path / "out", place.format(host=host))
    run = s2fast.open_run(tmp_path / "out", trust=["https://example.org/", tmp_path])
    run.show(first, second, dpi=30)
    with pytest.raises(InputError, match=r"asked only if you name it: trust "):
        run.align(tmp_path / "aligned", check=True)
    run.stac(tmp_path / "stac")
    assert asked == []


@pytest.mark.slow
def test_without_stored_pixels_one_line_says_how(
    finished: Path, listening: tuple[str, list[object]], tmp_path: Path
) -> None:
    host, asked = listening
    first, second, *_ = moved(finished, tmp_path / "out", f"http://{host}/{{}}.tif")
    run = s2fast.open_run(tmp_path / "out")
    run.folder.has_pixels = lambda _: False  # type: ignore[method-assign]
    with pytest.raises(InputError, match=rf"asked only if you name it: trust http://{host}/"):
        run.show(first, second, dpi=30)
    assert asked == []


@pytest.mark.slow
def test_who_is_named_is_asked(
    finished: Path, listening: tuple[str, list[object]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host, asked = listening
    first, second, *_ = moved(finished, tmp_path / "out", f"http://{host}/{{}}.tif")
    before = len(asked)
    s2fast.open_run(tmp_path / "out", trust=[f"http://{host}/"]).show(first, second, dpi=30)
    assert len(asked) > before
    assert "drawn in grey" in caplog.text
    assert "trust" not in caplog.text


def test_what_is_within() -> None:
    scene = Source.of("https://example.org/data/a.tif")
    for trusted in ("https://example.org/", "https://example.org/data", "https://example.org/data/a.tif"):
        check_servers([scene, Source.of("a.tif"), Source.of("zip://a.zip!/a.tif")], [trusted])
    for trusted in ("https://example.org/dat", "https://example.or", "http://example.org/", "/", "s3://example.org"):
        with pytest.raises(SceneError, match=r"trust https://example\.org/$"):
            check_servers([scene], [trusted])
    for name in ("https://example.org@evil.example/a.tif", "https://example.org/data/../../a.tif", "/vsistdin/"):
        with pytest.raises(SceneError, match="asked only if you name it"):
            check_servers([Source.of(name)], ["https://example.org/data/"])
    assert server(Source.of("https://me:word@example.org/a")) == "https://example.org/"
