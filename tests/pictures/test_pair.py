"""Pictures of a pair: what is drawn, where, and from which matches."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.quiver import Quiver, QuiverKey

import s2fast
from s2fast.errors import InputError, RunFolderError
from s2fast.folder.run_folder import RunFolder
from s2fast.model import TileInfo, Window
from s2fast.pictures.lines import lines_to_draw
from s2fast.pictures.pair import Layout, windows_to_draw
from s2fast.report.imagery import original, shrunk, snapped_to_tile, stored_grey, whole_scene
from s2fast.report.ordering import similarity_order
from s2fast.results import Run
from tests.archives import PIXEL_M, Archive
from tests.folders import tile_info
from tests.judged import VERDICTS, Judged, every_verdict

UXA = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")
UYA = "S2A_20190606T083601_T36UYA"


@pytest.fixture
def run(judged: Judged) -> Run:
    return s2fast.open_run(judged.out)


@pytest.mark.slow
def test_lines_are_the_nearest_and_distinguishable(run: Run) -> None:
    windows = whole_scene(run.folder, UXA[0]), whole_scene(run.folder, UYA)
    lines = lines_to_draw(run.folder, UXA[0], UYA, 1000, windows, inliers_only=False)
    matches = run.matches(UXA[0], UYA)
    assert lines.inlier is not None
    assert (len(lines), lines.inlier.sum()) == (len(matches), matches["inlier"].sum())
    few = lines_to_draw(run.folder, UXA[0], UYA, 5, windows, inliers_only=False)
    nearest = matches.sort_values("distance", kind="stable")[:5]
    np.testing.assert_array_equal(few.query_xy, run.features(UXA[0]).xy[nearest["query_row"]])
    only = lines_to_draw(run.folder, UXA[0], UYA, 1000, windows, inliers_only=True)
    assert only.inlier is not None
    assert len(only) == matches["inlier"].sum()
    assert only.inlier.all()


@pytest.mark.slow
def test_figure_draws_kinds_by_colour_and_line(run: Run) -> None:
    figure = run.show(UXA[0], UYA, matches=1000)
    drawn = [artist for artist in figure.artists if isinstance(artist, LineCollection)]
    assert [artist.get_label() for artist in drawn] == ["inlier", "inlier", "outlier", "outlier"]
    # The first of each two is the dark edge.
    inlier, outlier = drawn[1], drawn[3]
    assert inlier.get_edgecolor().tolist() != outlier.get_edgecolor().tolist()
    assert inlier.get_linestyle() != outlier.get_linestyle()
    matches = run.matches(UXA[0], UYA)
    agree = int(matches["inlier"].sum())
    assert (len(inlier.get_segments()), len(outlier.get_segments())) == (agree, len(matches) - agree)
    assert [axes.get_xlabel() for axes in figure.axes] == ["column [px]"] * 8
    assert len(run.show(*UXA, view="original").axes) == 2


@pytest.mark.slow
def test_lines_end_at_the_keypoints(run: Run) -> None:
    """In every panel, a line ends where the axes draw the keypoint."""
    figure = run.show(UXA[0], UYA, layout="matches", inliers_only=True, matches=7)
    figure.canvas.draw()
    lines = figure.artists[1].get_segments()
    windows = whole_scene(run.folder, UXA[0]), whole_scene(run.folder, UYA)
    drawn = lines_to_draw(run.folder, UXA[0], UYA, 7, windows, inliers_only=True)
    for end, (axes, xy) in enumerate(zip(figure.axes, (drawn.query_xy, drawn.train_xy), strict=True)):
        expected = figure.transFigure.inverted().transform(axes.transData.transform(xy))
        np.testing.assert_allclose([line[end] for line in lines], expected, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "panels"), [("pair", 2), ("matches", 2), ("displacement", 2), ("all", 8)])
def test_layouts(run: Run, layout: Layout, panels: int) -> None:
    figure = run.show(*UXA, layout=layout)
    assert len(figure.axes) == panels
    for axes in figure.axes:
        texts = [text.get_text() for text in axes.texts]
        assert "N" in texts
        assert "1 km" in texts  # of 5.12
    assert ("lines:" in figure.get_suptitle()) == (layout in ("matches", "all"))


@pytest.mark.slow
def test_scale_bar_and_north_are_those_of_the_ground(run: Run) -> None:
    axes = run.show(*UXA, layout="pair").axes[0]
    left, right = axes.lines[0].get_xdata()
    assert (right - left) * 5120 == pytest.approx(1000)
    head, tail = axes.texts[1].xy, axes.texts[1].get_position()
    assert head[0] == pytest.approx(tail[0])
    assert head[1] > tail[1]


@pytest.mark.slow
def test_arrows_are_the_displacements_enlarged(run: Run) -> None:
    axes = run.show(*UXA, layout="displacement").axes[0]
    arrows = next(artist for artist in axes.collections if isinstance(artist, Quiver))
    matches = run.matches(*UXA)
    matches = matches[matches["inlier"]]
    shift = run.features(UXA[1]).xy[matches["train_row"]] - run.features(UXA[0]).xy[matches["query_row"]]
    starts = run.features(UXA[0]).xy[matches["query_row"]].tolist()
    rows = [starts.index(start) for start in arrows.XY.tolist()]
    drawn = np.column_stack([arrows.U, arrows.V])
    enlarged = np.linalg.norm(drawn) / np.linalg.norm(shift[rows])
    assert enlarged > 10
    # An arrow points as the feature moves in the picture, whose rows grow downward.
    np.testing.assert_allclose(drawn, shift[rows] * enlarged, atol=enlarged * 1e-3)
    key = next(artist for artist in axes.artists if isinstance(artist, QuiverKey))
    assert f"{float(key.text.get_text().split(' m, ')[0]) / PIXEL_M * enlarged:.1f}" == f"{key.U:.1f}"


@pytest.mark.slow
def test_without_regions_no_scene_is_drawn_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(run.record, asked=run.record.asked.model_copy(update={"regions": None}))
    monkeypatch.setattr(Run, "_load", lambda _: whole)
    assert len(run.show(*UXA).axes) == 6


@pytest.mark.slow
def test_a_pair_without_inliers_has_no_displacements(judged: Judged) -> None:
    plain = s2fast.open_run(judged.plain)
    assert len(plain.show(*UXA).axes) == 6
    with pytest.raises(InputError, match="choose a verified pair"):
        plain.show(*UXA, layout="displacement")


def test_inliers_nobody_knows_are_asked_for(judged: Judged) -> None:
    with pytest.raises(RunFolderError, match="run verify first"):
        s2fast.open_run(judged.plain).show(*UXA, inliers_only=True)


def test_crop_shows_the_same_ground_of_both(run: Run) -> None:
    # 36UYA lies 384 pixels east of 36UXA; see tests/archives.py.
    crop = Window(100, 400, 50, 60)
    assert windows_to_draw(run.folder, UXA[0], UYA, crop) == (crop, Window(100, 16, 50, 60))
    assert windows_to_draw(run.folder, UXA[0], UYA, Window(0, 300, 20, 100))[1] == Window(0, 0, 20, 16)
    with pytest.raises(InputError, match="the crop 0,0,60,50 of"):
        windows_to_draw(run.folder, UXA[0], UYA, Window(0, 0, 50, 60))
    matches = run.matches(UXA[0], UYA)
    in_both = matches["query_row"][matches["inlier"]].iloc[0]
    middle_x, middle_y = map(int, run.features(UXA[0]).xy[in_both])
    around = windows_to_draw(run.folder, UXA[0], UYA, Window(middle_y - 40, middle_x - 40, 80, 80))
    lines = lines_to_draw(run.folder, UXA[0], UYA, 1000, around, inliers_only=False)
    assert 0 < len(lines) < len(matches)
    assert np.abs(lines.query_xy - (middle_x, middle_y)).max() <= 40.5
    axes = run.show(UXA[0], UYA, view="masked", crop=crop).axes
    assert [axis.get_xlim() for axis in axes] == [(399.5, 459.5), (15.5, 75.5)]
    assert axes[0].get_ylim() == (149.5, 99.5)


def test_crop_is_cut_from_the_picture_drawn_whole(run: Run) -> None:
    """A feature stands at the same pixel whether the whole scene is drawn or a part of it."""
    full = whole_scene(run.folder, UXA[0])
    crop = Window(128, 64, 256, 128)
    for reader in (original, stored_grey):
        drawn, part = (reader(run.folder, UXA[0], window, 512).astype(float) for window in (full, crop))
        # Each is stretched by its own percentiles: they differ by a linear map, clipped at its ends.
        cut = drawn[crop.slices]
        middle = (cut > 30) & (cut < 225) & (part > 30) & (part < 225)
        assert np.corrcoef(cut[middle], part[middle])[0, 1] > 0.999


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_stored_pixels_cover_a_window(archive: Archive, tmp_path: Path, reduction: int) -> None:
    class Folder(RunFolder):
        def tile(self, scene_id: str) -> TileInfo:
            del scene_id
            return tile_info(reduction=reduction, full_shape=(511, 513))

    for window in (Window(0, 0, 511, 513), Window(7, 9, 1, 1), Window(505, 507, 6, 6)):
        covered = snapped_to_tile(Folder(tmp_path), "any", window)
        assert all(edge % reduction == 0 for edge in covered.bounds)
        x0, y0, x1, y1 = window.bounds
        left, top, right, bottom = covered.bounds
        last = (513 // reduction * reduction, 511 // reduction * reduction)
        assert left <= x0
        assert top <= y0
        assert right >= min(x1, last[0])
        assert bottom >= min(y1, last[1])
        assert covered


@pytest.mark.slow
def test_only_the_source_that_the_run_read_is_drawn(
    one_tile: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scenes = shutil.copytree(one_tile.scenes, tmp_path / "scenes")
    done = s2fast.run(scenes=scenes, out=tmp_path / "out")

    def drawn() -> tuple[int, ...]:
        return original(done.folder, UXA[0], whole_scene(done.folder, UXA[0]), 256).shape

    assert drawn() == (256, 256, 3)
    assert not caplog.records
    path = Path(done.folder.tile(UXA[0]).source)
    os.utime(path, (0, 0))
    assert drawn() == (256, 256)
    path.unlink()
    assert drawn() == (256, 256)
    assert [record.getMessage() for record in caplog.records if "grey" in record.getMessage()] == [
        f"{path}: it has changed since the run read it; the scene is drawn in grey, from the run folder",
        f"{path}: cannot read its size and modification time: No such file or directory; the scene is drawn in grey, "
        "from the run folder",
    ]


@pytest.mark.slow
def test_title_gives_the_verdict_and_what_it_found(run: Run, judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = every_verdict(judged)
    monkeypatch.setattr(Run, "pairs", lambda _: pairs)
    titles = [
        run.show(query, train).get_suptitle().split("\n")
        for query, train in zip(pairs["query"], pairs["train"], strict=True)
    ]
    assert "shift 3.00 m east, 4.00 m south ± 0.50 m, rotation -1.250°, scale 1.01250" in titles[0][1]
    assert [lines[1] for lines in titles[1:]] == VERDICTS[1:]


def test_shrinking_leaves_no_data_out() -> None:
    grey = np.zeros((4, 4), np.uint8)
    grey[0, :2] = 200
    # OpenCV rounds the share of pixels with data to a 255th.
    np.testing.assert_allclose(shrunk(grey, 2), [[200, 0], [0, 0]], atol=1)


def test_similarity_order_puts_similar_scenes_together() -> None:
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1, 2], 7))
    similarity = np.where(groups[:, None] == groups, 40.0, 2.0) + rng.uniform(0, 1, (21, 21))
    similarity[np.tril_indices(21)] = np.nan
    order = similarity_order(similarity)
    assert sorted(order) == list(range(21))
    assert np.count_nonzero(np.diff(groups[order])) == 2
