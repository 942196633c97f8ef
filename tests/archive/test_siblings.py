"""The rasters of products, as the ground segment and others name them."""

from __future__ import annotations

import http.server
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from s2fast.archive.names import naming
from s2fast.archive.siblings import product_rasters, selected
from s2fast.errors import MissingError, SceneError
from s2fast.files import web
from s2fast.files.source import Source
from s2fast.model import Scene
from s2fast.raster.dataset import gdal_settings, open_dataset
from tests.archives import write_scene


def scene(folder: Path, own: str, *others: str) -> Scene:
    """Make empty files of a product; return the scene of the first."""
    for name in (own, *others):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    source = Source.local(folder / own)
    return Scene.of(source, naming(source))


def found(of: Scene, folder: Path) -> dict[str, str]:
    return {name: str(Path(source.name).relative_to(folder)) for name, source in product_rasters(of).items()}


def test_level_1c(tmp_path: Path) -> None:
    stem = "T36UYA_20190427T083601"
    product = scene(
        tmp_path, f"IMG_DATA/{stem}_TCI.jp2", f"IMG_DATA/{stem}_B02.jp2", f"IMG_DATA/{stem}_B8A.jp2",
        "IMG_DATA/T36UXA_20190427T083601_B03.jp2", "QI_DATA/MSK_CLASSI_B00.jp2", "QI_DATA/MSK_CLOUDS_B00.gml",
    )  # fmt: skip
    assert found(product, tmp_path) == {
        "TCI": f"IMG_DATA/{stem}_TCI.jp2",
        "B02": f"IMG_DATA/{stem}_B02.jp2",
        "B8A": f"IMG_DATA/{stem}_B8A.jp2",
        "MSK_CLASSI_B00": "QI_DATA/MSK_CLASSI_B00.jp2",
    }


def test_level_2a_takes_the_finest_resolution(tmp_path: Path) -> None:
    stem = "T36UYA_20190427T083601"
    product = scene(
        tmp_path, f"IMG_DATA/R10m/{stem}_TCI_10m.jp2", f"IMG_DATA/R10m/{stem}_B02_10m.jp2",
        f"IMG_DATA/R20m/{stem}_B02_20m.jp2", f"IMG_DATA/R20m/{stem}_SCL_20m.jp2", f"IMG_DATA/R60m/{stem}_SCL_60m.jp2",
        f"IMG_DATA/R60m/{stem}_TCI_60m.jp2", "QI_DATA/MSK_CLDPRB_20m.jp2", "QI_DATA/MSK_CLDPRB_60m.jp2",
    )  # fmt: skip
    assert found(product, tmp_path) == {
        "TCI": f"IMG_DATA/R10m/{stem}_TCI_10m.jp2",
        "B02": f"IMG_DATA/R10m/{stem}_B02_10m.jp2",
        "SCL": f"IMG_DATA/R20m/{stem}_SCL_20m.jp2",
        "MSK_CLDPRB": "QI_DATA/MSK_CLDPRB_20m.jp2",
    }
    assert list(selected(product, [])) == ["TCI"]
    assert list(selected(product, ["SCL", "B02"])) == ["SCL", "B02"]
    assert set(selected(product, ["all"])) == set(found(product, tmp_path))
    with pytest.raises(SceneError, match="no B11 in the product of .*: it has B02, MSK_CLDPRB, SCL, TCI"):
        selected(product, ["B02", "B11"])


def test_other_names(tmp_path: Path) -> None:
    flat = scene(tmp_path, "S2A_20160830T083602_T36UYA_visual.tif", "S2A_20160830T083602_T36UYA_red.tif", "x_blue.tif")
    assert found(flat, tmp_path) == {
        "TCI": "S2A_20160830T083602_T36UYA_visual.tif", "RED": "S2A_20160830T083602_T36UYA_red.tif",
    }  # fmt: skip
    alone = scene(tmp_path, "clip.tif")
    assert found(alone, tmp_path) == {"": "clip.tif"}
    with pytest.raises(SceneError, match="it has no other raster that can be found"):
        selected(alone, ["B02"])


def test_members_of_a_zip(tmp_path: Path) -> None:
    granule, stem = "P.SAFE/GRANULE/L2A", "T36UYA_20190427T083601"
    members = [
        f"IMG_DATA/R10m/{stem}_TCI_10m.jp2", f"IMG_DATA/R10m/{stem}_B02_10m.jp2", f"IMG_DATA/R20m/{stem}_B02_20m.jp2",
        f"IMG_DATA/R20m/{stem}_SCL_20m.jp2", "IMG_DATA/R20m/T36UXA_20190427T083601_B11_20m.jp2",
        "QI_DATA/MSK_CLDPRB_20m.jp2", "QI_DATA/MSK_DETFOO_B01.gml",
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in members:
            archive.writestr(f"{granule}/{name}", b"")
    source = Source.local(tmp_path / "p.zip").member(f"{granule}/{members[0]}")
    product = Scene.of(source, naming(source))
    begin = f"/vsizip/{{{tmp_path}/p.zip}}/{granule}/"
    assert {name: found.name.removeprefix(begin) for name, found in product_rasters(product).items()} == {
        "TCI": members[0], "B02": members[1], "SCL": members[3], "MSK_CLDPRB": members[5],
    }  # fmt: skip
    assert list(selected(product, ["SCL"])) == ["SCL"]
    with pytest.raises(SceneError, match="no B11 in the product of .*: it has B02, MSK_CLDPRB, SCL, TCI"):
        selected(product, ["B11"])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the folder; yield its address, and the paths asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_head(self) -> object:  # type: ignore[override]
            asked.append(self.path)
            # As of a container with one signature for all of its files.
            if "?" in self.path and not self.path.endswith("?sig=Zq7k1x"):
                self.send_error(403)
                return None
            if "busy" in self.path:
                self.send_error(503)
                return None
            return super().send_head()

        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "?sig=Zq7k1x"])
@pytest.mark.parametrize(
    ("own", "band", "mask"),
    [
        ("t/R10m/T36UYA_20190427T083601_TCI_10m.tif", "t/R10m/T36UYA_20190427T083601_B04_10m.tif",
         "t/R20m/T36UYA_20190427T083601_SCL_20m.tif"),
        ("36/U/YA/R10m/TCI.tif", "36/U/YA/R10m/B04.tif", "36/U/YA/R20m/SCL.tif"),
        ("S2A_36UYA_20190427_0_L2A/TCI.tif", "S2A_36UYA_20190427_0_L2A/B04.tif", "S2A_36UYA_20190427_0_L2A/SCL.tif"),
        ("p/S2A_T36UYA_20190427T083601_L2A_visual.tif", "p/S2A_T36UYA_20190427T083601_L2A_b04.tif",
         "p/S2A_T36UYA_20190427T083601_L2A_scl.tif"),
    ],
)  # fmt: skip
def test_other_bands_on_a_server(
    served: tuple[str, list[str]], tmp_path: Path, own: str, band: str, mask: str, query: str
) -> None:
    url, _ = served
    for name in (own, band, mask):
        write_scene(tmp_path / name, np.full((64, 64), 7, np.uint8), block=64)
    source = Source.of(f"{url}/{own}{query}")
    product = Scene.of(source, naming(source))
    with gdal_settings():
        found = selected(product, ["TCI", "B04", "SCL"])
        assert [entry.name.removeprefix(f"/vsicurl/{url}/") for entry in found.values()] == [own, band, mask]
        assert [entry.url.endswith(query) for entry in found.values()] == [True] * 3
        with pytest.raises(SceneError, match="no B11 in the product of .*: it has B04") as error:
            selected(product, ["B04", "B11"])
        with pytest.raises(SceneError, match="files on a server are not listed; name the bands"):
            selected(product, ["all"])
    assert "Zq7k1x" not in str(error.value)


def test_other_bands_in_a_zip_on_a_server(served: tuple[str, list[str]], tmp_path: Path) -> None:
    url, _ = served
    names = [f"I/R10m/T36UYA_20190427T083601_{name}_10m.tif" for name in ("TCI", "B04")]
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in names:
            archive.write(write_scene(tmp_path / name, np.full((64, 64), 7, np.uint8), block=64), name)
    source = Source.of(f"zip://{url}/p.zip!/{names[0]}")
    with gdal_settings():
        found = selected(Scene.of(source, naming(source)), ["B04"])
    assert found["B04"].name == source.name.replace("TCI", "B04")


def test_a_busy_server_is_not_taken_for_one_without_the_finer_raster(
    served: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = served
    monkeypatch.setattr(web, "_PAUSES_S", ())
    for name in ("R10m/T36UYA_20190427T083601_TCI_10m.tif", "R20m/T36UYA_20190427T083601_BUSY_20m.tif"):
        write_scene(tmp_path / name, np.full((64, 64), 7, np.uint8), block=64)
    source = Source.of(f"{url}/R10m/T36UYA_20190427T083601_TCI_10m.tif")
    with gdal_settings(), pytest.raises(SceneError, match=r"R10m/T36UYA_20190427T083601_busy_10m.tif.*503"):
        selected(Scene.of(source, naming(source)), ["busy"])


@pytest.mark.parametrize(
    ("status", "code", "told", "kind"),
    [
        (404, "NoSuchKey", "The specified key does not exist.", MissingError),
        (403, "AccessDenied", "Access Denied", MissingError),
        (503, "SlowDown", "Please reduce your request rate.", SceneError),
    ],
)
def test_what_an_object_store_says_of_a_file(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, told: str, kind: type[SceneError]
) -> None:
    class Store(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{told}</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "x", "GDAL_HTTP_MAX_RETRY": "0",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        try:
            with gdal_settings(), pytest.raises(SceneError) as error:
                open_dataset(Source.of(f"s3://bucket{status}/R10m/B04.tif"))
        finally:
            server.shutdown()
            thread.join()
    assert type(error.value) is kind
