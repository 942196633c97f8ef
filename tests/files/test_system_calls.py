"""Files from strangers, watched by the system calls of the process that opens them and by a listening socket."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import zarr

from tests.archives import UTM36, textured, write_scene
from tests.files import hostile_crs
from tests.stac_server import item

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]

OPENING = """
import json, sys
from pathlib import Path
from s2fast.align.output import grid_of
from s2fast.align.stac import _aligned_asset
from s2fast.archive.find import find_scenes
from s2fast.archive.listing import Looking
from s2fast.archive.reference import with_reference
from s2fast.config import Ingest, Regions
from s2fast.errors import S2FastError
from s2fast.files.source import Source
from s2fast.masks.lookup import find_mask
from s2fast.masks.read import open_mask
from s2fast.model import Window
from s2fast.raster.allowed import stored_tags
from s2fast.raster.reader import open_raster
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import load_regions
from s2fast.retrieval.picture import read_image
from s2fast.truth.moves import Move
from s2fast.truth.settings import Injected
from s2fast.truth.write import Copy, write_copy

results = {}
own = find_scenes([sys.argv[2]]).scenes[0]
with open_raster(own.source) as reader:
    raster = reader.raster
whole = Window(0, 0, *raster.shape)
for name in json.loads(sys.argv[1]):
    kind, _, place = name.partition("=")
    try:
        if kind == "scene":
            with open_raster(place) as reader:
                results[name] = str(reader.raster.shape)
        elif kind == "reference":
            with open_raster(with_reference([], place, (), Looking())[1].source) as reader:
                results[name] = str(reader.raster.shape)
        elif kind == "align":
            results[name] = str(grid_of(Source.of(place)).shape)
        elif kind == "mask":
            settings = Ingest(mask="file", mask_file=place)
            with open_mask(find_mask(own, settings), raster, settings) as mask:
                results[name] = str(mask.part(whole).shape)
        elif kind == "picture":
            results[name] = str(read_image(place).shape)
        elif kind == "copied":
            copy = Copy(whole, raster.transform, Move((1.5, 0.5)), True)
            write_copy(Source.of(place), copy, Injected(), Path(sys.argv[3]))
            results[name] = "()"
        elif kind == "asset":
            results[name] = f"header {_aligned_asset(Path(place), Path(place).parent)['proj:shape']}"
        elif kind == "aligned":
            results[name] = f"tags {stored_tags(Path(place))}"
        elif kind == "found":
            for scene in find_scenes([place]).scenes:
                with open_raster(scene.source) as reader:
                    reader.read(whole)
                    results[name] = str(reader.raster.shape)
        else:
            results[name] = str(len(load_regions(RegionFile.at(place), Regions(crs="EPSG:32636")).shapes))
    except S2FastError as error:
        results[name] = str(error)
print(json.dumps(results))
"""

KINDS = ("scene", "reference", "align", "aligned", "mask", "picture", "copied", "asset")
"""Inputs that may be a raster: a scene, a reference, a band that is aligned, a file where one is to be written, a mask,
a picture to find, a scene that a sweep or tuning copies, a corrected raster that becomes an asset."""

SIDE = 64
HEAD = (
    f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"%s><SRS>EPSG:32636</SRS>'
    "<GeoTransform>600000,10,0,5600040,0,-10</GeoTransform>"
)
SOURCE = '<%s><SourceFilename relativeToVRT="0">{file}</SourceFilename><SourceBand>1</SourceBand>%s</%s>'
BAND = '<VRTRasterBand dataType="Byte" band="1"%s>'
SIMPLE = SOURCE % ("SimpleSource", "", "SimpleSource")
END = "</VRTRasterBand></VRTDataset>"

VIRTUAL = {
    "plain": HEAD % "" + BAND % "" + SIMPLE + END,
    "kernel": HEAD % "" + BAND % "" + SOURCE % ("KernelFilteredSource", "", "KernelFilteredSource") + END,
    "derived": HEAD % ""
    + BAND % ' subClass="VRTDerivedRasterBand"'
    + "<PixelFunctionType>sum</PixelFunctionType>"
    + SIMPLE
    + END,
    "raw": HEAD % ""
    + BAND % ' subClass="VRTRawRasterBand"'
    + '<SourceFilename relativeToVRT="0">{file}</SourceFilename><ImageOffset>0</ImageOffset>'
    + END,
    "warped": HEAD % ' subClass="VRTWarpedDataset"'
    + '<GDALWarpOptions><SourceDataset relativeToVRT="0">{file}</SourceDataset></GDALWarpOptions></VRTDataset>',
    "pansharpened": HEAD % ' subClass="VRTPansharpenedDataset"'
    + '<PansharpeningOptions><PanchroBand><SourceFilename relativeToVRT="0">{file}</SourceFilename><SourceBand>1'
    + "</SourceBand></PanchroBand></PansharpeningOptions></VRTDataset>",
    "processed": HEAD % ' subClass="VRTProcessedDataset"'
    + '<Input><SourceFilename relativeToVRT="0">{file}</SourceFilename></Input></VRTDataset>',
    "mask": HEAD % "" + f"<MaskBand>{BAND % ''}{SIMPLE}</VRTRasterBand></MaskBand></VRTDataset>",
    "overview": HEAD % ""
    + BAND % ""
    + '<Overview><SourceFilename relativeToVRT="0">{file}</SourceFilename><SourceBand>1</SourceBand></Overview>'
    + END,
    "over a server": (HEAD % "" + BAND % "" + SIMPLE + END).replace("{file}", "/vsicurl/{url}a.tif"),
    "WMS": '<GDAL_WMS><Service name="TMS"><ServerUrl>{url}</ServerUrl></Service></GDAL_WMS>',
    "WCS": "<WCS_GDAL><ServiceURL>{url}</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
    "WMTS": "<GDAL_WMTS><GetCapabilitiesUrl>{url}</GetCapabilitiesUrl></GDAL_WMTS>",
    "STAC items": '{{"type": "FeatureCollection", "stac_version": "1.0.0", "features": [{{"stac_version": "1.0.0", '
    '"assets": {{"a": {{"href": "{file}"}}}}}}]}}',
    "tile index": "<GDALTileIndexDataset><IndexDataset>{file}</IndexDataset></GDALTileIndexDataset>",
}

POLYGON = (
    '"type": "FeatureCollection", "features": [{{"type": "Feature", "properties": {{}}, "geometry": '
    '{{"type": "Polygon", "coordinates": [[[33, 50], [34, 50], [34, 51], [33, 50]]]}}}}]'
)
VECTORS = {
    "OGR VRT": "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{file}</SrcDataSource></OGRVRTLayer>"
    "</OGRVRTDataSource>",
    "raster VRT": VIRTUAL["plain"],
    "WFS": "<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>",
    "entities": "<!DOCTYPE a [<!ENTITY e SYSTEM 'file://{file}'>]>"
    "<FeatureCollection xmlns='http://www.opengis.net/gml'><name>&amp;e;</name></FeatureCollection>".replace(
        "&amp;", "&"
    ),
    "schema": "<FeatureCollection xmlns='http://www.opengis.net/gml' "
    "xmlns:s='http://www.w3.org/2001/XMLSchema-instance' s:schemaLocation='urn:a {url}a.xsd'/>",
    "links": "<kml xmlns='http://www.opengis.net/kml/2.2'><Document><NetworkLink><Link><href>{url}a.kml</href></Link>"
    "</NetworkLink><NetworkLink><Link><href>{file}</href></Link></NetworkLink></Document></kml>",
    "PDS": '[\nPDS_VERSION_ID = PDS3\nRECORD_TYPE = FIXED_LENGTH\nRECORD_BYTES = 10\n^TABLE = "../secret/secret.tif"\n'
    "OBJECT = TABLE\nINTERCHANGE_FORMAT = ASCII\nROWS = 1\nROW_BYTES = 10\nCOLUMNS = 1\nOBJECT = COLUMN\nNAME = a\n"
    "DATA_TYPE = CHARACTER\nSTART_BYTE = 1\nBYTES = 5\nEND_OBJECT = COLUMN\nEND_OBJECT = TABLE\nEND\n",
    "CRS of a server": f'{{{{"crs": {{{{"type": "link", "properties": {{{{"href": "{{url}}a"}}}}}}}}, {POLYGON}}}}}',
    "CRS in other letters": '{{"CRS": {{"properties": {{"url": "{url}a"}}, "Type": "\\u0075rl"}}, ' + POLYGON + "}}",
    "view of tables": '!table\n!version 100\nopen table "../secret/secret" Hide\nopen table "../secret/secret" Hide\n'
    "create view x as\nSelect a, b\nfrom secret, secret\nwhere secret.a=secret.a\n",
    "styles": "<kml xmlns='http://www.opengis.net/kml/2.2'><Document><Placemark><styleUrl>{url}a.kml#a</styleUrl>"
    "</Placemark></Document></kml>",
}


@dataclass(frozen=True)
class Opened:
    """What became of all files."""

    results: dict[str, str]
    """The shape or number of polygons read, or the message, by file."""
    calls: str
    """The system calls of the process."""
    port: int
    """The port that was listened on."""
    secret: Path
    """The file that nothing may read."""
    asked: list[object]
    """Who connected to the port."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Open all files in one process."""
    root = tmp_path_factory.mktemp("strangers")
    for name in ("given", "secret"):
        (root / name).mkdir()
    pixels = np.stack([textured(np.random.default_rng(0), (SIDE, SIDE))] * 3)
    own = write_scene(root / "given" / "own.tif", pixels)
    secret = write_scene(root / "secret" / "secret.tif", pixels)
    places = [f"{kind}={own}" for kind in KINDS]
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.1)
        asked: list[object] = []
        threading.Thread(target=hang_up, args=(listening, asked), daemon=True).start()
        port = listening.getsockname()[1]
        fields = {"file": escape(str(secret)), "url": f"http://127.0.0.1:{port}/"}
        for number, text in enumerate(VIRTUAL.values()):
            for suffix in (".tif", ".jp2", ".png", ".vrt"):
                path = root / "given" / f"{number}{suffix}"
                path.write_text(text.format(**fields))
                places += [f"{kind}={path}" for kind in KINDS]
                (item_of := path.with_suffix(f"{suffix}.json")).write_text(json.dumps(item("a", path.name)))
                places.append(f"found={item_of}")
            with zipfile.ZipFile(root / "given" / f"{number}.zip", "w") as packed:
                for inside in ("a.tif", "a.vrt"):
                    packed.writestr(inside, text.format(**fields))
                    places.append(f"scene=zip://{root}/given/{number}.zip!/{inside}")
        for suffix in (".msk", ".ovr"):
            beside = write_scene(root / "given" / f"beside{suffix[1:]}.tif", pixels)
            Path(f"{beside}{suffix}").write_text(VIRTUAL["plain"].format(**fields))
            places.append(f"scene={beside}")
        with rasterio.open(write_scene(root / "given" / "names.tif", pixels), "r+") as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))
        places.append(f"scene={root}/given/names.tif")
        for number, text in enumerate(VECTORS.values()):
            for suffix in (".geojson", ".kml", ".gml", ".csv", ".tab", ".vrt"):
                path = root / "given" / f"v{number}{suffix}"
                path.write_text(text.format(**fields))
                places += [f"{kind}={path}" for kind in ("regions", "mask")]
        for path in (*geopackages(root / "given", secret), gml_with_schema(root / "given", secret, fields["url"])):
            places += [f"{kind}={path}" for kind in ("regions", "mask")]
        places += [f"found={path}" for path in stac_items(root / "given", secret, fields["url"])]
        places.append(f"found={zarr_of_links(root / 'given' / 'links.zarr', secret)}")
        places += hostile_crs.places(root / "given", secret, fields["url"])
        log = root / "calls"
        command = [
            "strace",
            "-f",
            "-s",
            "4096",
            "-e",
            "trace=open,openat,openat2,connect,sendto,execve",
            "-o",
            str(log),
        ]
        (root / "plugins").mkdir()
        for name in ("gdal_Any.so", "ogr_Any.so"):
            (root / "plugins" / name).write_text("no library")
        done = subprocess.run(
            [*command, sys.executable, "-c", OPENING, json.dumps(places), str(own), str(root / "copy.tif")],
            env=os.environ
            | {
                "GDAL_DRIVER_PATH": str(root / "plugins"),
                "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS": "YES",
                "GDAL_HTTP_MAX_RETRY": "0",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if "ptrace" in done.stderr and done.returncode:
            pytest.skip(f"strace may not watch processes here: {done.stderr.splitlines()[0]}")
        assert done.returncode == 0, done.stderr
    return Opened(json.loads(done.stdout), log.read_text(), port, secret, asked)


def hang_up(listening: socket.socket, asked: list[object]) -> None:
    """Accept connections and end them, so that a reader that asks does not wait for an answer."""
    while listening.fileno() >= 0:
        with suppress(OSError):
            connection, address = listening.accept()
            asked.append(address)
            connection.close()


def geopackages(folder: Path, secret: Path) -> list[Path]:
    """Write GeoPackages whose schema calls functions that read files, as views and as triggers."""
    import sqlite3

    paths = []
    calls = (
        f"SELECT gdal_get_pixel_value('{secret}', 1, 'pixel', 0, 0)",
        f"SELECT ogr_layer_Extent('{secret}')",
        f"SELECT readfile('{secret}')",
        f"SELECT load_extension('{secret}')",
    )
    for number, call in enumerate(calls):
        path = folder / f"g{number}.gpkg"
        frame = geopandas.GeoDataFrame(
            {"a": [1]}, geometry=[shapely.box(600_100, 5_600_000, 600_300, 5_600_200)], crs=UTM36
        )
        frame.to_file(path, layer="fields")
        base = sqlite3.connect(path)
        base.execute("PRAGMA writable_schema = on")
        trigger = f"CREATE TRIGGER t AFTER INSERT ON fields BEGIN {call}; END"
        view = f"CREATE VIEW v AS SELECT fid, geom, ({call}) AS x FROM fields"
        base.execute("INSERT INTO sqlite_master VALUES ('trigger', 't', 'fields', 0, ?)", [trigger])
        base.execute("INSERT INTO sqlite_master VALUES ('view', 'v', 'v', 0, ?)", [view])
        base.execute("INSERT INTO gpkg_contents (table_name, data_type, srs_id) VALUES ('v', 'features', 32636)")
        base.execute("INSERT INTO gpkg_geometry_columns VALUES ('v', 'geom', 'POLYGON', 32636, 0, 0)")
        base.commit()
        base.close()
        paths.append(path)
    return paths


def gml_with_schema(folder: Path, secret: Path, url: str) -> Path:
    """Write polygons beside a schema that includes files elsewhere."""
    path = folder / "schema.gml"
    ring = "<coordinates>33,50 34,50 34,51 33,50</coordinates>"
    path.write_text(
        "<FeatureCollection xmlns='http://www.opengis.net/gml'><featureMember><a><geometryProperty>"
        f"<Polygon srsName='EPSG:4326'><outerBoundaryIs><LinearRing>{ring}</LinearRing></outerBoundaryIs></Polygon>"
        "</geometryProperty></a></featureMember></FeatureCollection>"
    )
    path.with_suffix(".xsd").write_text(
        "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>"
        f"<xs:import schemaLocation='{url}a.xsd'/><xs:include schemaLocation='{secret}'/></xs:schema>"
    )
    return path


def stac_items(folder: Path, secret: Path, url: str) -> list[Path]:
    """Write items and catalogues that name what lies outside their folder."""
    hrefs = (
        str(secret), f"file://{secret}", f"../secret/{secret.name}", f"/vsizip/{secret}", f"/vsicurl/{url}a.tif",
        f"{url}a.tif", f"{url}a.zarr", "0.vrt", f"zip://{secret}!/a.tif", "link.tif",
    )  # fmt: skip
    (folder / "link.tif").symlink_to(secret)
    paths = []
    for number, href in enumerate((*hrefs, "own.tif")):
        paths.append(folder / (f"i{number}.json" if href != "own.tif" else "item_of_own.json"))
        paths[-1].write_text(json.dumps(item("a", href)))
        paths.append(folder / f"c{number}.json")
        links = [{"rel": "item", "href": href}]
        catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": links}
        paths[-1].write_text(json.dumps(catalogue))
    return paths


def zarr_of_links(store: Path, secret: Path) -> Path:
    """Write a store whose only chunk is a link to a file outside, without compression."""
    group = zarr.open_group(store, mode="w", zarr_format=2, attributes={"proj:code": "EPSG:32636"})
    group.attrs["proj:transform"] = [10, 0, 600000, 0, -10, 5600040]
    array = group.create_array("tci", shape=(SIDE, SIDE), chunks=(SIDE, SIDE), dtype="u1", compressors=None)
    array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    (store / "tci/0.0").symlink_to(secret)
    return store


def test_nothing_outside_is_opened(opened: Opened) -> None:
    assert "own.tif" in opened.calls  # the witness sees what is opened
    name = f"{opened.secret.parent.name}/{opened.secret.stem}"  # also as a relative path, and with other suffixes
    lines = [line for line in opened.calls.splitlines() if name in line and "execve" not in line]
    assert lines == []


def test_no_plugins_of_the_environment_are_loaded(opened: Opened) -> None:
    assert "plugins/" not in "\n".join(line for line in opened.calls.splitlines() if "execve" not in line)


def test_nobody_is_asked(opened: Opened) -> None:
    assert "openat(" in opened.calls
    assert not re.findall(rf"connect\(.*htons\({opened.port}\)|connect\(.*AF_INET", opened.calls)
    assert opened.asked == []


def test_all_that_lead_outside_are_refused_in_one_line(opened: Opened) -> None:
    read = {Path(name).name for name, result in opened.results.items() if not re.search("[a-z]{3}", result)}
    # Triggers and views do not run: what the files themselves hold is read. KML and GML refer to what is never fetched.
    # Of polygons the CRS is declared, so that what the file says of its own is not used.
    read -= {Path(name).name for name in opened.results if re.match("regions=.*crs_", name)}
    assert read <= {"own.tif", "g0.gpkg", "g1.gpkg", "g2.gpkg", "g3.gpkg", "item_of_own.json"}
    assert {"own.tif", "item_of_own.json"} <= read
    assert all("\n" not in result for result in opened.results.values())
