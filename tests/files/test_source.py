import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from s2fast.archive.names import naming
from s2fast.errors import InputError
from s2fast.files.open_storage import open_storage
from s2fast.files.source import Source
from s2fast.files.suffixes import check_on_disk
from s2fast.model import Naming, Scene


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("/data/a.tif", "/data/a.tif"),
        ("s3://bucket/a b/c.jp2", "/vsis3/bucket/a b/c.jp2"),
        ("/vsis3/bucket/c.jp2", "/vsis3/bucket/c.jp2"),
        ("gs://bucket/c.tif", "/vsigs/bucket/c.tif"),
        ("az://container/c.tif", "/vsiaz/container/c.tif"),
        ("https://example.org:8080/x/c.tif", "/vsicurl/https://example.org:8080/x/c.tif"),
        ("/vsicurl/http://example.org/c.tif", "/vsicurl/http://example.org/c.tif"),
        ("zip:///data/a.zip!/in/c.jp2", "/vsizip/{/data/a.zip}/in/c.jp2"),
        ("zip:///data/a.zip!in/c.jp2", "/vsizip/{/data/a.zip}/in/c.jp2"),
        ("zip:///data/a.zip", "/vsizip/{/data/a.zip}"),
        ("/vsizip//data/A.ZIP/in/c.jp2", "/vsizip/{/data/A.ZIP}/in/c.jp2"),
        ("/vsizip/{/data/a.zip}/in/c.jp2", "/vsizip/{/data/a.zip}/in/c.jp2"),
        ("/vsizip//vsis3/bucket/a.zip/c.jp2", "/vsizip/{/vsis3/bucket/a.zip}/c.jp2"),
        ("zip:///data/in {x} y/a.zip!c.jp2", "/vsizip/{/data/in {x} y/a.zip}/c.jp2"),
        ("zip:///data/a}{b/a.zip!c{.jp2", "/vsizip//data/a}{b/a.zip/c{.jp2"),
        ("zip:///data/a{b/a.zip!c.jp2", "/vsizip//data/a{b/a.zip/c.jp2"),
        ("/vsizip/{/vsizip/{/data/a.zip}/b.zip}/c.jp2", "/vsizip/{/vsizip/{/data/a.zip}/b.zip}/c.jp2"),
        ("/data/a?sig=1/b.tif", "/data/a?sig=1/b.tif"),
        ("HTTPS://example.org/c.tif", "/vsicurl/https://example.org/c.tif"),
        # As on disk, empty and "." steps are none.
        ("/data//./a.tif", "/data/a.tif"),
        ("s3://bucket/a//./b.tif", "/vsis3/bucket/a/b.tif"),
        ("https://example.org//a/./b.tif", "/vsicurl/https://example.org/a/b.tif"),
        ("https://example.org/get/?id=7", "/vsicurl/https://example.org/get/?id=7"),
        ("zip:///data/a.zip!/in//./c.jp2", "/vsizip/{/data/a.zip}/in/c.jp2"),
        # What GDAL alone knows stays as it is.
        ("/vsitar//data/a.tar/c.tif", "/vsitar//data/a.tar/c.tif"),
    ],
)
def test_user_paths_become_gdal_names(place: str, name: str) -> None:
    source = Source.of(place)
    assert (source.name, source.address) == (name, name)
    # Its name goes through run.json and back.
    assert Source.of(source.name) == source


@pytest.mark.parametrize(
    ("place", "opened", "shown"),
    [
        ("https://h/a.tif?sv=1&sig=x%2By", "/vsicurl/https://h/a.tif?sv=1&sig=x%2By", "/vsicurl/https://h/a.tif"),
        ("https://me:wo:rd@h:8/a.tif", "/vsicurl/https://me:wo:rd@h:8/a.tif", "/vsicurl/https://h:8/a.tif"),
        ("https://me:w?o#r@d@h/a.tif", "/vsicurl/https://me:w%3Fo%23r%40d@h/a.tif", "/vsicurl/https://h/a.tif"),
        ("https://h/a.tif#token=x", "/vsicurl/https://h/a.tif", "/vsicurl/https://h/a.tif"),
        ("https://h/a b.tif?sig=//x' {y}", "/vsicurl/https://h/a%20b.tif?sig=%2F%2Fx%27%20%7By%7D",
         "/vsicurl/https://h/a%20b.tif"),
        ("https://h/get?file=S2A/a.tif&token=x", "/vsicurl/https://h/get?file=S2A%2Fa.tif&token=x",
         "/vsicurl/https://h/get?file=S2A%2Fa.tif"),
        ("https://h/get?path=a.tif%3Fsig%3Dx", "/vsicurl/https://h/get?path=a.tif%3Fsig%3Dx", "/vsicurl/https://h/get"),
        ("/vsicurl?use_head=no&url=https%3A%2F%2Fme%3Ax%40h%2Fa.tif%3Fsig%3Dx", "/vsicurl/https://me:x@h/a.tif?sig=x",
         "/vsicurl/https://h/a.tif"),
        ("zip://https://h/a.zip?sig=x!y!/c.tif", "/vsizip/{/vsicurl/https://h/a.zip?sig=x!y}/c.tif",
         "/vsizip/{/vsicurl/https://h/a.zip}/c.tif"),
        ("/vsizip//vsicurl/https://h/a.zip?sig=x/c.tif", "/vsizip/{/vsicurl/https://h/a.zip?sig=x}/c.tif",
         "/vsizip/{/vsicurl/https://h/a.zip}/c.tif"),
    ],
)  # fmt: skip
def test_secrets_open_a_source_and_are_not_shown(place: str, opened: str, shown: str) -> None:
    source = Source.of(place)
    assert (source.address, source.name, source.resolved().name) == (opened, shown, shown)
    assert Source.of(source.address).address == opened
    assert Source.of(source) is source


@pytest.mark.parametrize("option", ["header.Authorization=Bearer%20tok3nWord", "pc_url_signing=yes", "cookie=tok3n"])
def test_an_option_that_would_not_be_sent_is_refused(option: str) -> None:
    name = option.partition("=")[0]
    with pytest.raises(InputError, match=f"/vsicurl/https://h/a.tif: {name}, an option .* is not supported") as caught:
        Source.of(f"/vsicurl?{option}&use_head=no&url=https%3A%2F%2Fh%2Fa.tif")
    assert "tok3n" not in str(caught.value)


@pytest.mark.parametrize("place", ["az://box/a.tif?sv=1&sig=Zq7k", "/vsis3/box/a.tif?X-Amz-Signature=Zq7k"])
def test_an_object_store_takes_no_signature(place: str) -> None:
    with pytest.raises(InputError, match="environment") as caught:
        Source.of(place)
    assert "Zq7k" not in str(caught.value)


def test_unknown_scheme_is_an_error() -> None:
    with pytest.raises(InputError, match=r"ftp://host/a\.tif.*s3://.*not ftp://"):
        Source.of("ftp://host/a.tif")


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("scenes")
    assert Source.of("link").name == "link"
    assert Source.of("link").absolute().path == tmp_path / "link"
    assert Source.of("link").resolved().path == tmp_path / "scenes"
    assert Source.of("zip://a.zip!c.jp2").absolute().name == f"/vsizip/{{{tmp_path}/a.zip}}/c.jp2"
    assert Source.of("s3://bucket/c.jp2").resolved().name == "/vsis3/bucket/c.jp2"


SIGNED = "https://me:pass@h/dir/T36UYA_TCI.tif?sig=Zq7k1x"


@pytest.mark.parametrize(
    ("place", "path", "is_web", "is_remote", "zip_parts", "filename"),
    [
        ("/data/a b.tif", Path("/data/a b.tif"), False, False, None, "a b.tif"),
        ("/data/a.zip", Path("/data/a.zip"), False, False, None, "a.zip"),
        ("zip:///data/a.zip!in/c.jp2", None, False, False, ("/data/a.zip", "in/c.jp2"), "c.jp2"),
        ("zip:///data/a.zip", None, False, False, ("/data/a.zip", ""), "a.zip}"),
        ("s3://bucket/c.jp2", None, False, True, None, "c.jp2"),
        (SIGNED, None, True, True, None, "T36UYA_TCI.tif"),
        (f"zip://{SIGNED.replace('.tif', '.zip')}!/c.tif", None, False, True,
         ("/vsicurl/https://h/dir/T36UYA_TCI.zip", "c.tif"), "c.tif"),
    ],
)  # fmt: skip
def test_where_a_source_lies(
    place: str, path: Path | None, is_web: bool, is_remote: bool, zip_parts: tuple[str, str] | None, filename: str
) -> None:
    source = Source.of(place)
    assert (source.path, source.is_local) == (path, path is not None)
    assert (source.is_web, source.is_remote) == (is_web, is_remote)
    assert source.posix.name == filename
    archive, member = source.zip_parts or (None, "")
    assert (zip_parts is None) == (archive is None)
    if archive is not None:
        assert (archive.name, member) == zip_parts
        assert archive.member(member).address == source.address
        assert source.outermost == archive
    else:
        assert source.outermost is source


def test_a_secret_reaches_what_opens_a_source_and_nothing_else() -> None:
    source = Source.of(SIGNED)
    scene = Scene.of(source, naming(source))

    class Stored(BaseModel):
        scene: Scene

    model = Stored(scene=scene)
    written = model.model_dump_json(by_alias=True)
    shown = [
        str(source), repr(source), f"{source}", f"{scene}", repr(scene), repr(model), written, str(model.model_dump()),
        str(TypeAdapter(Source).dump_python(source)), repr(source.absolute()), str(source.posix),
        source.redacted(OSError(f"no {SIGNED} and no T36UYA_TCI.tif?sig=Zq7k1x")),
    ]  # fmt: skip
    assert not [text for text in shown if "Zq7k1x" in text or "me:pass" in text]
    assert json.loads(written)["scene"]["path"] == "/vsicurl/https://h/dir/T36UYA_TCI.tif"
    assert (source.url, source.address) == (SIGNED, f"/vsicurl/{SIGNED}")
    for copied in (copy.deepcopy(source), pickle.loads(pickle.dumps(scene)).source, model.scene.source):
        assert copied.address == source.address
    zipped = Source.of("zip://https://h/a.zip?sig=Zq7k1x!/in/c.tif").zip_parts
    assert zipped is not None
    assert zipped[0].url == "https://h/a.zip?sig=Zq7k1x"


def test_sources_are_equal_whatever_opens_them() -> None:
    signed, other, plain = (Source.of(f"https://h/a.tif{query}") for query in ("?sig=Zq7k1x", "?sig=Xp5m2w", ""))
    assert signed == other == plain
    assert len({signed, other, plain}) == 1
    assert signed != Source.of("https://h/b.tif?sig=Zq7k1x")
    assert signed != Source.of("https://h/a.tif?id=7&sig=Zq7k1x")


@pytest.mark.parametrize("stored", ["/vsicurl/https:/h/a.tif", "/vsicurl/https://h/a.tif"])
def test_a_scene_read_from_its_record_is_the_scene_without_the_secret(stored: str) -> None:
    adapter = TypeAdapter(Scene)
    scene = adapter.validate_json(json.dumps({"scene_id": "a", "path": stored}))
    assert scene == Scene("a", source=Source.of("https://h/a.tif?sig=Zq7k1x"))
    assert scene.source.secret == ""
    assert adapter.validate_json(adapter.dump_json(scene, by_alias=True)) == scene
    with pytest.raises(ValidationError):
        adapter.validate_json('{"scene_id": "a", "path": 5}')


def test_a_scene_takes_its_names_from_whatever_names_it() -> None:
    source = Source.of("s3://bucket/item.tif")
    named = Naming("S2A_20160830T083602_T36UYA", platform="S2A", tile="36UYA", baseline=510, level="L2A")
    scene = Scene.of(source, named)
    assert scene.source == source
    assert Scene.of(source, scene) == scene
    assert replace(scene, scene_id="x").source == source
    assert (scene.scene_id, scene.tile, scene.baseline, scene.level) == (named.scene_id, "36UYA", 510, "L2A")


TEXT = st.text(st.characters(exclude_categories=["C"], exclude_characters="/"), min_size=1).filter(
    lambda step: step != ".."
)
"""A step of a path: braces, question marks, exclamation marks and blanks too."""


@pytest.mark.slow
@example(["0"], [" "])
@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, min_size=1, max_size=3))
def test_members_of_any_name_come_apart_as_they_were_put_together(folders: list[str], inside: list[str]) -> None:
    archive = Source.parsed(f"/data/{'/'.join(folders)}.zip")
    member = archive.member("/".join(inside))
    assert member.zip_parts == (archive, "/".join(step for step in inside if step != "."))
    assert Source.parsed(member.name) == member


@pytest.mark.slow
@example(["."], "0", "0")
@example(["a", "", "b", "."], "0", "sig=a//b")
@given(st.lists(TEXT, min_size=1, max_size=4), TEXT, TEXT)
def test_web_addresses_are_read_alike_as_written_and_as_opened(steps: list[str], user: str, query: str) -> None:
    source = Source.of(f"https://{user}:word@h/{'/'.join(steps)}?{query}")
    again = Source.of(source.address)
    assert (again, again.address) == (source, source.address)
    # The slash before a query that is left out is that of a folder.
    assert Source.of(source.name).name == source.name.rstrip("/")
    assert not set(source.address) & set(" '\"{}<>")


@given(st.text(st.sampled_from("abcXYZ019%+="), min_size=8), st.text(st.sampled_from("ghi789"), min_size=8))
def test_no_signature_and_no_password_is_ever_shown(signature: str, password: str) -> None:
    source = Source.of(f"https://me:{password}@h/x.tif?sig=Q{signature}Q")
    for text in (str(source), repr(source), TypeAdapter(Source).dump_json(source).decode()):
        assert f"Q{signature}Q" not in text
        assert password not in text
    assert f"Q{signature}Q" in source.address


@pytest.mark.parametrize(
    "text",
    [
        " https://h/a.tif?sv=1&sig=Zq7k1xW%2B \n",
        "https%3A%2F%2Fh%2Fa.tif%3Fsv%3D1%26sig%3DZq7k1xW%252B",
        "https://h/a.tif%3Fsv%3D1%26sig%3DZq7k1xW%252B",
    ],
)
def test_addresses_as_they_are_pasted(text: str) -> None:
    source = Source.of(text)
    assert source.name == "/vsicurl/https://h/a.tif"
    assert source.url == "https://h/a.tif?sv=1&sig=Zq7k1xW%2B"
    assert Source.of(" a.tif ").name == " a.tif "


def test_a_password_for_an_object_store_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match=r"^/vsis3/bucket/a\.tif: .* AWS_SECRET_ACCESS_KEY"):
        Source.of("s3://AKIA:Zq7k1xW@bucket/a.tif")


@pytest.mark.parametrize("place", ["a\0b.tif", "s3://bucket/a\0b", "https://example.org/a\0b.tif?sig=Zq7k1x"])
def test_a_zero_byte_is_no_part_of_a_name(place: str) -> None:
    for act in (Source.of, open_storage, check_on_disk):
        with pytest.raises(InputError, match=r"\\x00b.* has a zero byte, which no path has: give another$") as error:
            act(place)
        assert "Zq7k1x" not in str(error.value)
