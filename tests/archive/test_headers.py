"""Headers are read several at once, in the order of the scenes."""

import threading
import time
import warnings

import pytest
from rasterio.errors import NotGeoreferencedWarning

from s2fast.archive import headers
from s2fast.archive.headers import headers_at_once
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.model import Naming, Scene


def scenes(place: str, count: int = 20) -> list[Scene]:
    return [Scene.of(Source.of(f"{place}/{number}_TCI.jp2"), Naming(str(number))) for number in range(count)]


def check_at_once(asked: list[Scene], threads: int) -> None:
    """Check that so many headers are read at once, and that they come in the order of the scenes."""
    changed, now, most = threading.Condition(), [0], [0]

    def read(scene: Scene) -> str:
        with changed:
            now[0] += 1
            most[0] = max(most[0], now[0])
            changed.notify_all()
            assert changed.wait_for(lambda: most[0] >= threads, 60)
        time.sleep(0.01)  # one more would begin now
        with changed:
            now[0] -= 1
        return scene.source.name

    assert list(headers_at_once(asked, read)) == [(scene, scene.source.name) for scene in asked]
    assert most[0] == threads


def test_sixteen_on_servers_and_as_many_on_disk_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    check_at_once(scenes("s3://bucket"), 16)
    for cores, threads in ((1, 1), (3, 3), (64, 4)):
        monkeypatch.setattr(headers, "available_cores", lambda cores=cores: cores)
        check_at_once(scenes("/data"), threads)


@pytest.mark.parametrize("ranges", [True, False, None])
def test_files_that_a_web_server_has_only_whole_are_copied_one_by_one(
    ranges: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def supports_ranges(source: Source) -> bool:
        asked.append(source.url)
        if ranges is None:
            raise SceneError("no answer")
        return "whole" not in source.url or ranges

    monkeypatch.setattr(headers, "supports_ranges", supports_ranges)
    both = scenes("http://parts.org/a", 10) + scenes("http://whole.org/a", 10)
    check_at_once(both, 1 if ranges is False else 16)
    assert len(asked) == 2, "one request per server"


def test_no_thread_warns_of_what_is_left_out_anyway() -> None:
    def read(_: Scene) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
        warnings.warn("", NotGeoreferencedWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        list(headers_at_once(scenes("s3://bucket"), read))
        assert warnings.filters == before
    assert not seen
