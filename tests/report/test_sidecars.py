"""Files beside the page: loaded when a pair is opened, and missed aloud."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import s2fast
from s2fast.folder.record import load_record
from s2fast.folder.run_folder import RunFolder
from s2fast.report import sidecars
from s2fast.stages import report
from tests.archives import Archive
from tests.browser import Browser, Open, text, wait
from tests.judged import Judged, write_page

pytestmark = pytest.mark.slow


def verified_pair(judged: Judged) -> int:
    """Return the verified pair with most inliers."""
    pairs = pd.read_parquet(judged.out / "pairs.parquet")
    return int(pairs["n_inliers"].where(pairs["verified"]).idxmax())


def open_pair(browser: Browser, pair: int) -> None:
    """Open a pair, and wait until its file has been read or missed."""
    browser.execute_script("view.open(arguments[0], everyPair)", pair)
    wait(browser, "return !view.details.awaited && byId('pair-matches').height > 200")


def test_a_pair_shows_the_residuals_of_all_its_inliers(judged: Judged, opened: Open) -> None:
    browser, pair = opened(judged.out / "report.html"), verified_pair(judged)
    assert browser.execute_script("return [...files.keys()]") == ["alignment"], (
        "nothing else is read before it is needed"
    )
    open_pair(browser, pair)
    run = s2fast.open_run(judged.out)
    row = run.pairs().loc[pair]
    matches = run.matches(row["query"], row["train"])
    shift = matches.loc[matches["inlier"].astype(bool), ["dx_m", "dy_m"]].to_numpy()
    residual = shift - row[["dx_m", "dy_m"]].to_numpy(float)
    held = browser.execute_script("const { east, north } = view.details.residuals; return [[...east], [...north]]")
    np.testing.assert_allclose(np.array(held).T, residual, atol=np.abs(residual).max() / 32000)
    circles = browser.execute_script("return [ce(view.details.residuals, 0.9), ce(view.details.residuals, 0.95)]")
    assert circles == pytest.approx(np.percentile(np.hypot(*residual.T), [90, 95]), rel=1e-3)
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('#pair-plot .dots path')].map(path => path.getAttribute('d')).join('')"
    )
    caption = text(browser, "#pair-plot figcaption")
    assert f"dots: all {len(residual):,} inliers" in caption
    assert f"CE90 about the shift, {circles[0]:.2f} m" in caption
    outside = re.search(r"(\d+) more are outside", caption)
    assert len(residual) - int(outside[1] if outside else 0) <= drawn.count("M") <= len(residual)
    assert f"and CE95, {circles[1]:.2f} m" in text(browser, "#pair-lengths figcaption")


def test_a_page_alone_says_what_it_lacks(judged: Judged, tmp_path: Path, opened: Open) -> None:
    shutil.copy(judged.out / "report.html", tmp_path)
    browser = opened(tmp_path / "report.html")
    open_pair(browser, verified_pair(judged))
    assert "report_files of this report is not beside the page" in text(browser, "#pair-missing")
    assert re.search(r"dots: \d+ inliers; crosses", text(browser, "#pair-plot figcaption")), "those in the page itself"
    told = [entry["message"] for entry in browser.get_log("browser")]
    assert told
    assert all("ERR_FILE_NOT_FOUND" in message for message in told)
    # The folder is copied: the next look finds it.
    shutil.copytree(judged.out / sidecars.FOLDER, tmp_path / sidecars.FOLDER)
    open_pair(browser, verified_pair(judged))
    assert not browser.find_element("id", "pair-missing").is_displayed()


def test_a_large_run_leaves_lines_and_large_pictures_to_files(
    judged: Judged, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2fast.report.shown_matches._PAGE_BYTES", 0)
    monkeypatch.setattr("s2fast.report.thumbnails._FULL_SIDE_SCENES", 0)
    monkeypatch.setattr("s2fast.report.thumbnails._SMALL_SCENES", 1)
    monkeypatch.setattr(sidecars, "_FILE_BYTES", 4000)
    pairs, run = pd.read_parquet(judged.out / "pairs.parquet"), RunFolder(judged.out)
    path = write_page(tmp_path, run, pairs, s2fast.open_run(judged.out).scenes())
    names = [file.name for file in (tmp_path / sidecars.FOLDER).iterdir()]
    assert len([name for name in names if name.startswith("pairs-")]) > 1
    assert len([name for name in names if name.startswith("scene-")]) == 4
    plain, split = opened(judged.out / "report.html"), {}
    for pair in range(len(pairs)):
        open_pair(plain, pair)
        script = "const { matches, profile } = view.details; return [matches && [...matches.dx], profile]"
        split[pair] = plain.execute_script(script)
    browser = opened(path)
    assert browser.execute_script("return [DATA.matches, DATA.profiles]") == [None, None]
    for pair in range(len(pairs)):
        open_pair(browser, pair)
        assert browser.execute_script(script) == split[pair]
    widths = "const [page, drawn] = [new Image(), view.compare.images[0].width]; page.src = SCENES[0].colour;"
    assert browser.execute_script(f"{widths} return page.decode().then(() => [page.width, drawn])") != [0, 0]
    small, large = browser.execute_script(f"{widths} return page.decode().then(() => [page.width, drawn])")
    assert small < large


def test_files_are_checked_and_replaced_with_the_report(one_tile: Archive, tmp_path: Path) -> None:
    out = tmp_path / "run"
    s2fast.run(scenes=one_tile.scenes, regions=one_tile.regions, out=out)
    folder = RunFolder(out)
    record = load_record(folder)
    assert record is not None
    names = {name for name in record.history.tables if name.startswith(sidecars.FOLDER)}
    outcome = f"{sidecars.FOLDER}/alignment.js"
    assert names | {outcome} == {f"{sidecars.FOLDER}/{file.name}" for file in (out / sidecars.FOLDER).iterdir()}
    assert report.is_up_to_date(record, folder)
    stale = out / sidecars.FOLDER / "pairs-0-000000000000.js"
    stale.write_text("deliver()")
    for name in names:
        (out / name).write_text("deliver()")
    assert not report.is_up_to_date(record, folder)
    s2fast.run(scenes=one_tile.scenes, regions=one_tile.regions, out=out)
    assert {file.name for file in (out / sidecars.FOLDER).iterdir()} == {Path(name).name for name in {*names, outcome}}
    for name in names:
        assert json.dumps(Path(name).stem) in (out / name).read_text()


def test_the_report_shows_how_align_ended(one_tile: Archive, tmp_path: Path, opened: Open) -> None:
    out, to = tmp_path / "run", tmp_path / "aligned scenes"
    run = s2fast.run(scenes=one_tile.scenes, regions=one_tile.regions, out=out)
    browser = opened(out / "report.html")
    wait(browser, "return files.get('alignment') !== undefined")
    assert not browser.find_element("id", "alignment").is_displayed()
    table = run.align(to, max_error_m=1e6)
    browser = opened(out / "report.html")
    wait(browser, "return !byId('alignment').hidden")
    assert f"{table['aligned'].sum()} of {len(table)} scenes aligned." in text(browser, "#alignment")
    assert (
        browser.execute_script("return document.querySelector('#alignment a').href") == (to / "alignment.html").as_uri()
    )
    assert f"{table['aligned'].sum()} of {len(table)} scenes" in text(browser, "#cards")
    shown = text(browser, "#scene-list")
    assert shown.count("left out:") == (~table["aligned"]).sum()
    # The run is still whole, and still up to date.
    record = load_record(RunFolder(out))
    assert record is not None
    assert report.is_up_to_date(record, RunFolder(out))
