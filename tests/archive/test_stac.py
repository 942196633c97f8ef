"""Scenes that STAC documents name, on disk, on a server, and found by a search; and what strangers' items may not."""

import json
import logging
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyproj
import pytest
import rasterio

from s2fast.archive.find import find_scenes
from s2fast.archive.links import linked
from s2fast.archive.listing import Looking
from s2fast.errors import InputError, SceneError
from s2fast.files.source import Placed, Source
from s2fast.raster.reader import open_raster
from tests.archives import Archive, textured, write_scene
from tests.command_line import s2fast
from tests.stac_server import LEAKS, SECRET, StacServer, item, serving

pytest.importorskip("pystac")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StacServer]:
    with serving(tmp_path) as running:
        yield running


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def collection(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(items)}


def found(place: Any, asset: str = "auto", trusted: tuple[str, ...] = ()) -> Any:
    return find_scenes([Source.of(place).trusting(trusted)], looking=Looking(asset))


def test_a_scene_is_what_its_item_says(tmp_path: Path) -> None:
    properties: dict[str, Any] = {
        "proj:epsg": 32636, "proj:transform": [10, 0, 600000, 0, -10, 5600040],
        "s2:generation_time": "2019-08-05T10:00:00Z",
    }  # fmt: skip
    scene = found(write(tmp_path / "items.json", collection(item("S2A_one", "a/TCI.jp2", **properties)))).scenes[0]
    assert scene.scene_id == "S2A_one"
    assert scene.sensing_time == datetime(2019, 8, 5, 8, 36, 1, 24000, UTC)
    assert (scene.platform, scene.tile, scene.level, scene.baseline) == ("S2A", "36UXA", "L1C", 207)
    assert (scene.asset, scene.product_time, scene.cloud_cover_pct) == ("TCI", "20190805T100000", 12.5)
    assert scene.source == Source.local(tmp_path / "a/TCI.jp2")
    assert scene.source.placed == Placed("EPSG:32636", (10, 0, 600000, 0, -10, 5600040))


def test_what_an_item_does_not_say_is_parsed_from_its_id(tmp_path: Path) -> None:
    bare = item("S2B_36UYA_20190606_0_L2A", "TCI.jp2")
    bare["properties"] = {"datetime": "2019-06-06T08:36:01Z"}
    scene = found(write(tmp_path / "item.json", bare)).scenes[0]
    assert (scene.platform, scene.tile, scene.level) == ("S2B", "36UYA", "L2A")
    assert scene.cloud_cover_pct is None


@pytest.mark.parametrize(
    ("keys", "wanted", "key"),
    [
        (["B04", "TCI", "visual"], "auto", "visual"), (["B04", "TCI"], "auto", "TCI"), (["B04", "B02"], "auto", "B04"),
        (["B02", "red"], "auto", "red"), (["TCI_60m", "TCI_10m", "TCI_20m"], "auto", "TCI_10m"),
        (["visual", "nir"], "nir", "nir"), (["B08_20m", "B08_10m"], "b08", "B08_10m"), (["tci"], "auto", "tci"),
    ],
)  # fmt: skip
def test_assets(tmp_path: Path, keys: list[str], wanted: str, key: str) -> None:
    document = item("one", "x.tif")
    document["assets"] = {name: {"href": f"{name}.tif"} for name in keys}
    scene = found(write(tmp_path / "item.json", document), wanted).scenes[0]
    assert scene.source.path == tmp_path / f"{key}.tif"


def test_an_item_without_the_asset_is_left_out_by_itself(tmp_path: Path) -> None:
    document = collection(item("good", "a.tif"), item("bad", "b.tif", "blue"))
    result = found(write(tmp_path / "items.json", document))
    assert [scene.scene_id for scene in result.scenes] == ["good"]
    assert result.left_out == {
        "bad": 'its item has no asset visual, TCI or B04, but thumbnail, B08, blue: choose one with '
        'overrides={"ingest.asset": "NAME"}'
    }  # fmt: skip


def test_a_catalogue_is_followed_on_disk_and_on_a_server(tmp_path: Path, server: StacServer) -> None:
    write(tmp_path / "cat/2019/one/one.json", item("one", "./TCI.jp2"))
    write(tmp_path / "cat/2019/two.json", item("two", "two/TCI.jp2", datetime="2019-09-05T08:36:01Z"))
    links = [
        {"rel": "item", "href": "one/one.json"}, {"rel": "item", "href": "two.json"},
        {"rel": "root", "href": "../catalog.json"}, {"rel": "child", "href": "../catalog.json"},
        {"rel": "item", "href": "gone.json"},
    ]  # fmt: skip
    base = {"stac_version": "1.0.0", "id": "c", "description": ""}
    write(tmp_path / "cat/2019/collection.json", {"type": "Collection", "links": links, **base})
    child = [{"rel": "child", "href": "./2019/collection.json"}]
    root = write(tmp_path / "cat/catalog.json", {"type": "Catalog", "links": child, **base})
    for place, folder in ((str(root), str(tmp_path)), (f"{server.address}/cat/catalog.json", server.address)):
        result = found(place)
        names = {scene.scene_id: scene.source.name.removeprefix("/vsicurl/") for scene in result.scenes}
        assert names == {"one": f"{folder}/cat/2019/one/TCI.jp2", "two": f"{folder}/cat/2019/two/TCI.jp2"}
        assert [reason.rpartition(": ")[2] for reason in result.left_out.values()] == ["there is no such file"]


def test_a_search_is_read_page_by_page(tmp_path: Path, server: StacServer) -> None:
    pytest.importorskip("pystac_client")
    server.items = [
        item(f"number {number}", f"{server.address}/{number}.tif", datetime=f"2019-0{number}-05T00:00:00Z")
        for number in range(1, 6)
    ]
    server.items[3]["bbox"] = [10, 50, 11, 51]
    query = "collections=sentinel-2-l2a&bbox=34.1,50,34.2,51&token=tok3nWord"
    result = found(f"{server.address}/api/search?{query}")
    assert [scene.scene_id for scene in result.scenes] == ["number 1", "number 2", "number 3", "number 5"]
    assert sum("/api/search" in path for path in server.asked) == 2
    assert len(found(f"{server.address}/api/search?{query}&max_items=1").scenes) == 1
    with pytest.raises(InputError, match=r"/api/search.*: the search failed: HTTP 403") as error:
        found(f"{server.address}/api/search?{query}5")
    assert not any(leak in str(error.value) for leak in LEAKS)
    with pytest.raises(InputError, match=r"parameter max_items is not as a STAC API takes it"):
        found(f"{server.address}/api/search?{query}&max_items=many")


def test_a_page_that_leads_elsewhere_is_not_asked_for(tmp_path: Path, server: StacServer) -> None:
    pytest.importorskip("pystac_client")
    with serving(tmp_path) as other:
        server.items = [item(str(number), f"{other.address}/{number}.tif") for number in range(3)]
        query = "collections=sentinel-2-l2a&bbox=34,50,35,51&token=tok3nWord"
        place = Source.of(f"{server.address}/api/search?{query}")
        address, server.address = server.address, other.address
        with pytest.raises(InputError, match="the search failed: it names"):
            find_scenes([place])
        server.address = address
        assert other.asked == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("api/search?token=wr0ngWord", "HTTP 403"),
        ("none/search?token=tok3nWord", "HTTP 404"),
        ("", "Connection refused"),
    ],
)
def test_a_failed_search_says_why(tmp_path: Path, server: StacServer, path: str, reason: str) -> None:
    pytest.importorskip("pystac_client")
    address = f"{server.address}/{path}" if path else "http://127.0.0.1:1/search?token=tok3nWord"
    public = re.escape(address.partition("?")[0])
    requests = logging.getLogger("urllib3.connectionpool")
    level = requests.level
    with pytest.raises(InputError, match=f"^{public}: the search failed: {reason}$") as caught:
        found(address)
    assert requests.level == level, "how its caller logs is the caller's"
    assert str(caught.value).isprintable()
    assert not any(secret in str(caught.value) for secret in (*LEAKS, "wr0ngWord"))


def test_a_server_that_is_no_api_ends_in_one_line(tmp_path: Path, server: StacServer) -> None:
    pytest.importorskip("pystac_client")
    old = item("old", "a.tif") | {"stac_version": "0.8.0", "links": [{"rel": "collection", "href": "/etc/passwd"}]}
    here = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": ""}
    search = [{"rel": "search", "href": "/etc/passwd"}, {"rel": "self", "href": server.address}]
    for root in (old, here | {"links": search}, {}):
        write(tmp_path / "v1" / "index", root)
        with pytest.raises(InputError, match="/v1/index/search: the search failed: ") as error:
            found(f"{server.address}/v1/index/search?collections=a")
        assert str(error.value).isprintable()
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[]", "items.json: it is no STAC item"), ("{", "it is no JSON"), ("[" * 100_000, "it is no JSON"),
        ('{"type": "FeatureCollection", "features": [1, {}, {"id": "x", "type": "Feature"}]}', "an item is no object"),
        ('{"type": "Feature", "assets": {}, "id": "a"}', "a: it is no valid STAC item"),
        ('{"type": "Feature", "assets": {"visual": 3}, "id": "a\\u001b[1m", "properties": {}}', "no valid STAC item"),
        (
            '{"type": "Feature", "stac_version": "1.0.0", "id": "b", "geometry": null, "links": [], '
            '"properties": {"datetime": "2019-06-06T08:36:01Z"}, "assets": {"visual": {}}}',
            "b: its item has no asset visual, TCI or B04, but no asset with an address: ",
        ),
        ('{"type": "FeatureCollection", "features": []}', "no scenes found"),
    ],
)  # fmt: skip
def test_bad_documents_end_in_one_line(tmp_path: Path, document: str, message: str) -> None:
    path = tmp_path / "items.json"
    path.write_text(document)
    with pytest.raises(InputError, match=message) as error:
        found(path)
    assert str(error.value).isprintable()


def test_what_the_items_of_strangers_may_not_name(tmp_path: Path) -> None:
    """Whatever it is, it is not opened; and each is told in one line."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/link.tif").symlink_to("/etc/passwd")
    disk = Source.local(tmp_path / "inside/items.json")
    here = [Source.local(tmp_path / "inside")]
    web = Source.of("https://93.184.216.34/items.json")
    bucket = Source.of("s3://mine/items.json")
    everywhere = [
        "/vsizip//etc/x.zip", "/vsicurl/http://127.0.0.1/", "/vsimem/a", "zip:///etc/x.zip!/a", "ftp://h/a.tif", "",
        "data:image/png;base64,AAAA", "javascript:0", "a\x1b.tif", "ZARR:/etc", "VRT:/a", "C:\\a.tif",
        "http://127.0.0.1:9/a.tif", "http://localhost/a.tif", "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/a.tif", "http://[::1]/a.tif", "http://2130706433/a.tif", "s3://other/a.tif", "gs://b/a.tif",
        "https://93.184.216.34/a.vrt", "https://93.184.216.34/a.VRT?x=1", "https://93.184.216.34/a.%76rt",
    ]  # fmt: skip
    local = ["/etc/passwd", "../a.tif", "file:///etc/passwd", "file:///%65tc/passwd", "./../../a.tif", "link.tif"]
    own = {
        disk.name: [*local, "a.vrt", "/./vsizip/x", "file:///vsizip/x"],
        web.name: ["/vsicurl/x", *local[2:4], "a.vrt"],
    }
    for document, folders in ((disk, here), (web, []), (bucket, [])):
        for href in (*everywhere, *own.get(document.name, local[:5])):
            with pytest.raises(SceneError) as error:
                linked(document, href, folders)
            assert str(error.value).startswith("it names "), href
            assert str(error.value).isprintable()
    assert linked(web, "a/b.tif", []).name == "/vsicurl/https://93.184.216.34/a/b.tif"
    assert linked(web, "../etc/passwd", []).name == "/vsicurl/https://93.184.216.34/etc/passwd"
    assert linked(disk, "a/../b.tif", here).path == tmp_path / "inside/b.tif"
    assert linked(bucket, "s3://mine/a.tif", []).name == "/vsis3/mine/a.tif"
    assert linked(bucket, "a/../b.tif", []).name == "/vsis3/mine/b.tif"
    trusted = [Source.of(folder) for folder in ("/etc", "http://127.0.0.1:9", "s3://other")]
    for href in ("/etc/passwd", "http://127.0.0.1:9/a.tif", "s3://other/a.tif"):
        linked(disk, href, trusted)
    with pytest.raises(SceneError, match="comes from a server"):
        linked(web, "file:///etc/passwd", trusted)


def test_a_link_of_a_catalogue_is_as_an_asset(tmp_path: Path, server: StacServer) -> None:
    links = [
        {"rel": "item", "href": href} for href in ("/etc/passwd", f"{server.address}/item.json", "../x.json", None)
    ]
    root = write(
        tmp_path / "c/catalog.json",
        {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": links},
    )
    write(tmp_path / "item.json", item("one", "a.tif"))
    with pytest.raises(InputError, match=r"a link cannot be followed: it names"):
        found(root)
    assert server.asked == []
    assert [scene.scene_id for scene in found(root, trusted=(server.address,)).scenes] == ["one"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "its id is null, and must be a text"), ({"id": 7}, "its id is 7, and must be a text"),
        ({"properties": None}, "its properties is null, and must be an object"),
        ({"assets": [1]}, "its assets is [1], and must be an object"),
        ({"stac_version": 1}, "its stac_version is 1, and must be a text"),
        ({"properties": {"datetime": "yester\nday"}},
         'its datetime is "yester\\nday", which is no time as 2019-06-06T08:36:01Z'),
        ({"properties": {"datetime": None, "start_datetime": 7, "end_datetime": 7}}, "its start_datetime is 7, which"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_item_is_said_in_words_of_stac(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    document = collection(item("good", "a.tif"), item("bad", "b.tif") | change)
    result = found(write(tmp_path / "items.json", document))
    assert [scene.scene_id for scene in result.scenes] == ["good"]
    [reason] = result.left_out.values()
    assert reason == f"it is no valid STAC item: {message}" if "which" not in message else message in reason
    assert reason.isprintable()


def test_what_an_item_has_beside_the_asset_may_be_invalid(tmp_path: Path) -> None:
    document = item("one", "a.tif") | {"links": None}
    document["assets"] |= {"preview": {"href": None}, "more": 3}
    other = item("two", "b.tif") | {"links": [None, 3, {}, {"rel": "via"}]}
    result = found(write(tmp_path / "items.json", collection(document, other)))
    assert {scene.scene_id for scene in result.scenes} == {"one", "two"}


TRANSFORM = [10, 0, 600000, 0, -10, 5600040]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "epsg"),
    [
        ({"proj:epsg": None}, None), ({"proj:epsg": True}, None), ({"proj:epsg": "none"}, None),
        ({"proj:code": "EPSG:none"}, None), ({"proj:code": 32636}, None), ({"proj:epsg": 99999}, None),
        ({"proj:code": "/etc/passwd"}, None), ({"proj:code": "EPSG:32636"}, 32636), ({"proj:epsg": 32636.0}, 32636),
        ({"proj:epsg": "32636"}, 32636), ({"proj:code": None, "proj:epsg": 32636}, 32636),
        ({"proj:code": None, "proj:projjson": pyproj.CRS(32636).to_json_dict()}, 32636),
        ({"proj:epsg": 32636, "proj:transform": [10**400] * 6}, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["0.9.0", "1.0.0", "1.1.0"])
def test_the_projection_of_an_item(tmp_path: Path, version: str, said: dict[str, Any], epsg: int | None) -> None:
    cv2.imwrite(str(tmp_path / "bare.tif"), np.ones((40, 40), np.uint8))
    document = item("one", "bare.tif", **{"proj:transform": TRANSFORM, **said}) | {"stac_version": version}
    [scene] = found(write(tmp_path / "item.json", document)).scenes
    if epsg is None:
        with (
            pytest.raises(SceneError, match=r"bare\.tif: it has (no CRS|a CRS but no geotransform)") as error,
            open_raster(scene.source),
        ):
            pass
        assert str(error.value).isprintable()
    else:
        with open_raster(scene.source) as reader:
            assert rasterio.CRS.from_wkt(reader.raster.crs_wkt).to_epsg() == epsg
            assert list(reader.raster.transform) == TRANSFORM


def test_the_asset_says_more_than_its_item(tmp_path: Path) -> None:
    said: dict[str, Any] = {"proj:code": "EPSG:4326", "proj:transform": TRANSFORM}
    document = item("one", "a.tif", **said)
    document["assets"]["visual"]["proj:epsg"] = 32636
    [scene] = found(write(tmp_path / "item.json", document)).scenes
    assert scene.source.placed == Placed("EPSG:32636", tuple(map(float, TRANSFORM)))


def test_a_signed_link_relative_to_a_document_that_was_moved_to_disk(tmp_path: Path) -> None:
    result = found(write(tmp_path / "items.json", collection(item("a", f"a.tif?{SECRET}"), item("b", "b.tif"))))
    assert result.left_out["a"].startswith("it names 'a.tif?sv=2024&sig=...', a signed address on the server that it")
    (tmp_path / "a.tif?b=1").touch()
    assert found(write(tmp_path / "item.json", item("c", "a.tif?b=1"))).scenes[0].source.path == tmp_path / "a.tif?b=1"


@pytest.mark.slow
def test_signed_links_run_and_are_nowhere_afterwards(
    archive: Archive,
    tmp_path: Path,
    server: StacServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One scene's signature has expired: the others are matched."""
    (tmp_path / "signed").mkdir()
    files = sorted(archive.scenes.rglob("*_TCI.jp2"))
    items = []
    for number, file in enumerate(files[:3]):
        os.link(file, tmp_path / "signed" / f"{number}.jp2")
        secret = SECRET if number < 2 else "sv=2024&sig=Zq7Kk1xWold"
        time = f"2019-0{number + 1}-05T08:36:01Z"
        items.append(item(f"scene {number}", f"{server.address}/signed/{number}.jp2?{secret}", datetime=time))
    place = write(tmp_path / "signed/items.json", collection(*items))
    for given in (f"{server.address}/signed/{place.name}?{SECRET}", str(place)):
        out = tmp_path / f"out {len(given)}"
        command = ["run", "--scenes", given, "--out", str(out), "--set", f'ingest.trust=["{server.address}"]']
        assert s2fast(monkeypatch, *command) == 3
        shown = "".join(capsys.readouterr())
        assert "2 scenes, 1 pair" in shown
        assert "1 scene skipped: scene 2" in shown
        record = json.loads((out / "run.json").read_text())
        assert [entry["scene"]["scene_id"] for entry in record["scenes"]] == ["scene 0", "scene 1"]
        assert "its signature may have expired: get a new address" in record["problems"]["scene 2"]
        written = [file for file in out.rglob("*") if file.is_file()]
        for leak in LEAKS:
            assert leak not in shown
            assert not [file for file in written if leak.encode() in file.read_bytes()]


def test_the_item_places_a_raster_without_georeferencing(tmp_path: Path) -> None:
    import numpy as np

    pixels = textured(np.random.default_rng(1), (64, 64))
    file = write_scene(tmp_path / "plain.png.tif", pixels, crs=None)
    bare = write(tmp_path / "bare.json", item("one", file.name))
    with pytest.raises(SceneError, match="it has no CRS"), open_raster(found(bare).scenes[0].source):
        pass
    told = write(tmp_path / "told.json", item("one", file.name, **{"proj:code": "EPSG:32636"}))
    with open_raster(found(told).scenes[0].source) as reader:
        assert "UTM zone 36N" in reader.raster.crs_wkt
        assert reader.raster.transform == (10.0, 0.0, 600000.0, 0.0, -10.0, 5600040.0)
