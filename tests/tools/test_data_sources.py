from pathlib import Path

from s2fast.archive.find import find_scenes
from s2fast.tools.data_sources import SOURCES, listing, markdown


def test_the_page_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scenes.md").read_text("utf-8")
    assert markdown() in page
    assert all(source.address in listing() for source in SOURCES)


def test_every_path_is_found(tmp_path: Path) -> None:
    """Each row's example, written out, is one scene of tile 36UYA."""
    for number, source in enumerate(SOURCES):
        for look, pattern in zip(source.looks, source.patterns, strict=True):
            if look.endswith(".zip"):
                continue
            path = tmp_path / str(number) / look.removeprefix("ARCHIVE/")
            path.parent.mkdir(parents=True)
            path.touch()
            (scene,) = find_scenes([tmp_path / str(number)]).scenes
            assert (scene.tile, f"{scene.sensing_time:%Y%m%d}") == ("36UYA", "20190606"), source.name
            assert list((tmp_path / str(number)).glob(pattern.removeprefix("ARCHIVE/"))) == [path]


def test_a_path_of_the_listing_fits_a_terminal() -> None:
    assert max(len(path) for source in SOURCES for path in source.patterns) <= 80 - 14
