"""Storage: addresses, and messages about storage that fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from s2fast.errors import RunFolderError, SceneError
from s2fast.files.objects import ObjectRanges
from s2fast.files.open_storage import open_storage
from s2fast.files.source import Source
from s2fast.files.storage import failure

ASKED = (
    "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 10s, after 10 retries, "
    "max_retries: 10 - HTTP error: error sending request"
)
"""What obstore says where the environment has no credentials: it asks the metadata of the machine for them."""


def test_missing_credentials_are_named_by_their_variables() -> None:
    told = str(failure("read", "s3://bucket/out/run.json", RuntimeError(ASKED)))
    assert told.startswith("cannot read s3://bucket/out/run.json: no S3 credentials: set the environment variables")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        assert name in told
    assert "169.254" not in told
    assert "credentials" not in str(failure("read", "x", RuntimeError("Server returned 404")))


def test_a_name_of_any_length_is_cut_in_a_message() -> None:
    told = str(failure("read", f"out/{5000 * 'a'}/zarr.json", OSError(errno.ENAMETOOLONG, "File name too long")))
    assert told.startswith("cannot read out/aaa")
    assert "aaa...aaa" in told
    assert "aaa/zarr.json: File name too long; " in told
    assert len(told) < 1200


def test_a_scene_without_credentials_names_them_too() -> None:
    pytest.importorskip("obstore")
    scene = ObjectRanges(Source.of("s3://bucket/scene.tif"))

    def refused() -> None:
        raise OSError(ASKED)

    with pytest.raises(SceneError, match="AWS_ACCESS_KEY_ID.*AWS_NO_SIGN_REQUEST=YES for a public bucket"):
        scene._asked(refused)


def test_a_relative_path_follows_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        open_storage("out").write("name", name.encode())
    assert (tmp_path / "one/out/name").read_bytes() == b"one"
    assert (tmp_path / "two/out/name").read_bytes() == b"two"


def test_a_folder_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most files of a run lie in few folders, and every look at a part of a path is a system call."""
    looked: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: (looked.append(str(path)), lstat(path))[1])
    storage = open_storage(str(tmp_path))
    for number in range(3):
        storage.write(f"a/b/c/{number}", b"1")
    assert looked == []  # what it makes itself is no link
    for number in range(3):
        assert open_storage(str(tmp_path)).read(f"a/b/c/{number}") == b"1"
    assert [path.removeprefix(f"{tmp_path}/") for path in looked] == ["a", "a/b", "a/b/c"] * 3
    looked.clear()
    storage.hold()
    for number in range(3):
        assert open_storage(str(tmp_path)).read(f"a/b/c/{number}") == b"1"
        storage.remove(f"a/b/c/{number}")
    assert looked == []
    storage.release()
    # Who opens the folder after the run looks for himself.
    (tmp_path / "a/b").rename(tmp_path / "elsewhere")
    (tmp_path / "a/b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match="a/b is a link"):
        open_storage(str(tmp_path)).write("a/b/c/0", b"1")


def test_a_folder_that_may_not_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # as with a umask that leaves no rights
    with pytest.raises(RunFolderError, match=f"cannot write {tmp_path}: Permission denied; choose a folder"):
        open_storage(str(tmp_path)).swap("a", None, b"")
