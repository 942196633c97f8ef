"""The report in a real browser: what a reader sees, clicks and types."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import geopandas
import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

import s2fast
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.nulls import NullRate
from s2fast.report import page
from s2fast.report.shown_matches import MOST_MATCHES
from tests.archives import ORIGINS, PIXEL_M
from tests.archives import SIDE_PX as SIDE_PX_OF_ARCHIVE
from tests.browser import Browser, Open, choose, picture, text, wait
from tests.judged import VERDICTS, Judged, every_verdict, write_page


def rows(browser: Browser, table: int) -> list[list[str]]:
    script = (
        "const { rows } = document.querySelectorAll('#lists table')[arguments[0]].tBodies[0];"
        "return [...rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    found: list[list[str]] = browser.execute_script(script, table)
    return found


def is_open(browser: Browser) -> bool:
    return bool(browser.execute_script("return document.getElementById('pair').open"))


@pytest.mark.slow
def test_page_shows_the_run_and_fetches_nothing(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    cards = [line.strip(" ?") for line in text(browser, "#cards").split("\n")]
    assert cards[cards.index("scenes, 6 pairs") - 1] == "4"
    verified = int(pd.read_parquet(judged.out / "pairs.parquet")["verified"].sum())
    assert cards[cards.index("pairs verified") - 1] == f"{verified} of 6"
    assert "extract" in text(browser, "#stages")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#scene-list img")) == 4
    wait(browser, "return [...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert "disagrees with its series" in text(browser, "#scene-list")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#map polygon.footprint")) == 2
    assert len(browser.find_elements(By.CSS_SELECTOR, "#offsets .dot, #offsets .cross")) == 3
    against = "relative to the median of 36UXA, 36UYA; a cross"
    assert against in browser.find_element(By.CSS_SELECTOR, "#offsets figcaption").text
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    outcome_of_align = (judged.out / "report_files/alignment.js").as_uri()
    assert {name for name in fetched if not name.startswith("data:")} <= {outcome_of_align}


@pytest.mark.slow
def test_matrix_switches_orders_and_opens(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    seen = {picture(browser, "matrix-canvas")}
    for shown in ("inliers", "shift", "similarity"):
        choose(browser, "#matrix-value", shown)
        seen.add(picture(browser, "matrix-canvas"))
    assert len(seen) == 4
    verified = pd.read_parquet(judged.out / "pairs.parquet")["verified"]
    choose(browser, "#matrix-value", "verdict")
    assert f"verified: {verified.sum()}" in text(browser, "#legend")
    choose(browser, "#matrix-order", "similarity")
    choose(browser, "#matrix-order", "time")
    canvas = browser.find_element(By.ID, "matrix-canvas")
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", canvas)
    starts, side = browser.execute_script("return [matrix.starts, matrix.cell]")
    third_of_first_row = starts[2] + side / 2 - canvas.size["width"] / 2
    first_row = starts[0] + side / 2 - canvas.size["height"] / 2
    ActionChains(browser).move_to_element_with_offset(canvas, int(third_of_first_row), int(first_row)).perform()
    assert "similarity 60.00 %" in text(browser, "#readout")
    ActionChains(browser).click().perform()
    assert is_open(browser)
    pairs = pd.read_parquet(judged.out / "pairs.parquet")
    assert text(browser, "#pair-title") == f"{pairs['query'][1]} and {pairs['train'][1]}"


@pytest.mark.slow
def test_everything_is_reached_with_the_keyboard(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    reached = []
    for _ in range(40):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.append(
            browser.execute_script("const at = document.activeElement; return at.id || at.name || at.className")
        )
        if reached[-1] == "matrix-canvas":
            break
    assert {"matrix-value", "matrix-order", "matrix-canvas"} <= set(reached)
    before = text(browser, "#readout")
    ActionChains(browser).send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT).perform()
    assert text(browser, "#readout") != before
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert is_open(browser)
    first = text(browser, "#pair-title")
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert text(browser, "#pair-title") != first
    ActionChains(browser).send_keys(Keys.ARROW_LEFT).perform()
    assert text(browser, "#pair-title") == first
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not is_open(browser)
    buttons = "#lists th button, #lists button.open, #filters select, #filters input, #filters button"
    assert all(element.get_property("tabIndex") == 0 for element in browser.find_elements(By.CSS_SELECTOR, buttons))


@pytest.mark.slow
def test_lists_part_by_verdict_sort_and_filter(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    pairs = pd.read_parquet(judged.out / "pairs.parquet")
    verified = pairs[pairs["verified"]]
    above, below = rows(browser, 0), rows(browser, 1)
    assert [row[-1] for row in above] == ["verified"] * len(verified)
    assert "verified" not in {row[-1] for row in below}
    inliers = [int(row[4].replace(",", "")) for row in above]
    assert inliers == sorted(verified["n_inliers"], reverse=True)
    head = browser.find_elements(By.CSS_SELECTOR, "#lists th button")[2]
    head.click()
    head.click()
    assert [float(row[2]) for row in rows(browser, 0)] == sorted(verified["similarity_pct"].round(2))
    assert browser.find_elements(By.CSS_SELECTOR, "#lists th")[2].get_attribute("aria-sort") == "ascending"

    def shown() -> int:
        return len(rows(browser, 0)) + len(rows(browser, 1))

    choose(browser, "[name=tile]", "36UYA")
    assert shown() == 1
    choose(browser, "[name=tile]", "across")
    assert shown() == 4
    choose(browser, "[name=tile]", "")
    choose(browser, "[name=verdict]", "verified")
    assert shown() == int(pairs["verified"].sum())
    browser.find_element(By.CSS_SELECTOR, "#filters button").click()
    wait(browser, "return document.querySelectorAll('#lists tbody tr').length === 6")
    browser.execute_script(
        "const to = document.querySelector('[name=to]'); to.value = '2019-05-01';"
        "to.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    assert shown() == 1


@pytest.mark.slow
def test_pair_shows_its_matches(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    pairs = pd.read_parquet(judged.out / "pairs.parquet")
    # The pair with outliers to tell from inliers.
    pair = int((pairs["n_good"] - pairs["n_inliers"]).where(pairs["verified"]).idxmax())
    assert pairs["n_good"][pair] > pairs["n_inliers"][pair] > 0
    browser.execute_script("view.open(arguments[0], everyPair)", pair)
    wait(browser, "return document.getElementById('pair-matches').height > 200")
    numbers = text(browser, "#pair-numbers")
    assert f"Inliers\n{pairs['n_inliers'][pair]:,}" in numbers
    assert "3.00 m east, -4.00 m north" in numbers
    assert re.search(
        r"Lines: \d+ inliers \(solid, blue\) and [1-9]\d* outliers \(dashed, orange\)", text(browser, "#pair-caption")
    )
    choose(browser, "#pair-under", "grey")
    pictures = [picture(browser, name) for name in ("pair-matches", "compare-canvas")]
    assert len(set(pictures)) == 2
    browser.find_element(By.ID, "pair-outliers").click()
    assert "and 0 outliers" in text(browser, "#pair-caption")
    wait(browser, f"return document.getElementById('pair-matches').toDataURL() !== {json.dumps(pictures[0])}")
    browser.find_element(By.ID, "pair-close").click()
    assert not is_open(browser)


@pytest.mark.slow
def test_matches_are_unpacked_where_they_lie(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    run = s2fast.open_run(judged.out)
    pairs = run.pairs()
    # Two scenes that lie apart, so that the ends of a match differ.
    pair = int(pairs.index[pairs["query_tile"] != pairs["train_tile"]][0])
    script = (
        "const held = Object.entries(unpackedMatches(DATA.matches[arguments[0]]));"
        "return Object.fromEntries(held.map(([k, v]) => [k, v.length ? [...v] : v]))"
    )
    held = browser.execute_script(script, pair)
    query, train = pairs["query"][pair], pairs["train"][pair]
    matches = run.matches(query, train)
    ends = run.features(query).xy[matches["query_row"]], run.features(train).xy[matches["train_row"]]
    expected = np.column_stack([*ends, matches["distance"], matches["inlier"]])
    side = SIDE_PX_OF_ARCHIVE
    columns = [np.array(held[name]) * side - 0.5 for name in ("queryX", "queryY", "trainX", "trainY")]
    found = np.column_stack([*columns, held["distance"], held["kind"]])
    assert held["count"] == min(len(matches), MOST_MATCHES) == len(found)
    # Positions are held to a 65535th of the scene.
    nearest = np.abs(found[:, None] - expected[None]).max(2).min(1)
    assert nearest.max() < side / 65535
    shift = (found[:, 2:4] - found[:, :2]) * (PIXEL_M, -PIXEL_M) + (ORIGINS["36UYA"][0] - ORIGINS["36UXA"][0], 0)
    np.testing.assert_allclose(np.column_stack([held["dx"], held["dy"]]), shift, atol=0.5)


@pytest.mark.slow
def test_unverified_run_is_labelled_and_hides_unknown_values(judged: Judged, opened: Open) -> None:
    browser = opened(judged.plain / "report.html")
    assert "not verified: run verify" in text(browser, "#cards")
    assert "run verify" in text(browser, "#problem-list")
    assert "Inliers" not in text(browser, "#lists")
    above, below = ([float(row[2]) for row in rows(browser, table)] for table in (0, 1))
    assert above == sorted((at for at in above if at >= 50), reverse=True)
    assert below == sorted((at for at in below if at < 50), reverse=True)
    assert len(above) + len(below) == 6
    assert not browser.find_element(By.ID, "accuracy").is_displayed()
    options = Select(browser.find_element(By.ID, "matrix-value")).options
    assert [option.is_enabled() for option in options] == [True, False, False, False]
    browser.execute_script("view.open(0, everyPair)")
    assert "run verify" in text(browser, "#pair-caption")
    assert not browser.find_element(By.ID, "offsets").is_displayed()


@pytest.fixture(scope="module")
def verdicts(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with every verdict, in which 3 of 600 trials were verified."""
    to = tmp_path_factory.mktemp("verdicts")
    scenes = geopandas.read_parquet(judged.out / "scenes.parquet")
    null = NullRate(trials=600, verified=3)
    return write_page(to, RunFolder(judged.out), every_verdict(judged), scenes, null)


def numbers_of(browser: Browser, verdict: str) -> str:
    """Open the pair of a verdict; the text of its numbers."""
    browser.execute_script("view.open(arguments[0], everyPair)", VERDICTS.index(verdict))
    wait(browser, "return document.getElementById('pair-matches').height > 200")
    return text(browser, "#pair-numbers")


@pytest.mark.slow
def test_every_verdict_is_named_coloured_and_listed(verdicts: Path, opened: Open) -> None:
    browser = opened(verdicts)
    known = browser.execute_script("return [Object.keys(VERDICT_COLOURS), Object.keys(DATA.verdicts)]")
    assert {*VERDICTS, "not run"} == set(known[0])
    assert known[1] == VERDICTS
    choose(browser, "#matrix-value", "verdict")
    assert sorted(text(browser, "#legend").split("\n")) == sorted(f"{name}: 1" for name in VERDICTS)
    options = [option.text for option in Select(browser.find_element(By.NAME, "verdict")).options]
    assert sorted(options) == sorted(["all", *VERDICTS])
    script = "return [...document.querySelectorAll('.scroll')].every(list => list.scrollWidth <= list.clientWidth)"
    assert browser.execute_script(script), "a list does not fit the page"
    choose(browser, "[name=verdict]", "ambiguous")
    assert [row[-1] for row in rows(browser, 0) + rows(browser, 1)] == ["ambiguous"]
    problems = text(browser, "#problem-list")
    for verdict in ("prior suspect", "ambiguous", "not enough ground"):
        assert f"{verdict}, 1 pair:" in problems


@pytest.mark.slow
def test_pair_shows_what_its_verdict_rests_on(verdicts: Path, opened: Open) -> None:
    browser = opened(verdicts)
    turned = numbers_of(browser, "verified")
    assert "similarity: shift, rotation and scale" in turned
    assert "1.250 ± 0.020° clockwise, train relative to query" in turned
    assert "1.01250 ± 0.00040, train relative to query" in turned
    assert "3.00 m east, -4.00 m north, at the centre of the common ground" in turned
    assert "Witnesses\n41 independent matches" in turned
    assert "Second shift" not in turned
    two = numbers_of(browser, "ambiguous")
    assert "Shift\n3.00 m east, -4.00 m north\n" in two
    assert "Second shift\n33.00 m east, 26.00 m north" in two
    assert "Rotation" not in two
    assert "diamond" in text(browser, "#pair-plot figcaption")
    assert "Model" not in numbers_of(browser, "not enough ground")
    suspect = numbers_of(browser, "prior suspect")
    assert "300 m east" in suspect
    assert "50.00 m from the expected position" in suspect


@pytest.mark.slow
def test_pair_without_matches_shows_no_plot(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    browser.execute_script("view.open(0, everyPair)")
    plot = browser.find_element(By.ID, "pair-plot")
    assert plot.is_displayed()
    browser.execute_script("DATA.matches[1] = ''; DATA.beside.pairs = []; view.open(1, everyPair)")
    assert not plot.is_displayed()


@pytest.mark.slow
def test_squares_on_both_sides_of_the_diagonal_tell_the_same(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    told = [
        browser.execute_script(f"matrix.at = {{row: {row}, column: {column}}}; matrix.mark();")
        or text(browser, "#readout")
        for row, column in ((0, 2), (2, 0))
    ]
    assert told[0] == told[1]
    assert told[0].startswith(str(browser.execute_script("return pairName(PAIR_AT[2])")))


@pytest.mark.slow
def test_page_fits_a_telephone(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened(judged.out / "report.html")
        # No table is cut: what a pair's own view also shows is left out.
        widths = "return [...document.querySelectorAll('.scroll')].map((box) => [box.scrollWidth, box.clientWidth])"
        assert all(whole <= seen for whole, seen in browser.execute_script(widths))
        assert text(browser, "#lists thead").split() == ["Query", "Train", "Inliers", "▼", "Shift", "[m]", "Verdict"]
        lines = "return [...document.querySelectorAll('.date')].map((date) => date.getClientRects().length)"
        assert set(browser.execute_script(lines)) == {1}
        browser.execute_script("view.open(0, everyPair)")
        assert browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        box = browser.execute_script("const box = byId('pair').getBoundingClientRect(); return [box.left, box.right]")
        assert 0 <= box[0] < box[1] <= 390
        assert browser.execute_script("return byId('pair').scrollWidth <= byId('pair').clientWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_page_warns_of_trials_that_were_verified(verdicts: Path, judged: Judged, opened: Open, tmp_path: Path) -> None:
    browser = opened(verdicts)
    told = "3 of 600 null trials were verified (0.5 %, 95 % confidence interval 0.1 to 1.5 %)"
    assert told in text(browser, "#problem-list")
    assert told in text(browser, "#facts")
    pairs = pd.read_parquet(judged.out / "pairs.parquet")
    scenes = geopandas.read_parquet(judged.out / "scenes.parquet")
    browser = opened(write_page(tmp_path, RunFolder(judged.out), pairs, scenes, NullRate(trials=600, verified=0)))
    assert "0 of 600 null trials were verified (at most 0.61 %, 95 % confidence)" in text(browser, "#facts")
    assert text(browser, "#problem-list") == "None."
    browser = opened(judged.plain / "report.html")
    assert "not measured: run verify" in text(browser, "#facts")


SIGHT = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""What linear red, green and blue are to an eye (Machado, Oliveira and Fernandes, 2009, severity 1)."""


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_verdicts_differ_for_every_eye(sight: str) -> None:
    block = re.search(r"VERDICT_COLOURS = \{(.*?)\};", page.asset("tools.js"), re.DOTALL)
    assert block
    colours = dict(re.findall(r'"([\w ]+)": "#(\w{6})"', block[1]))
    assert set(colours) == {*VERDICTS, "not run"}
    # Pairs that were not verified never stand beside others.
    del colours["not run"]
    srgb = np.array([[int(colour[at : at + 2], 16) for at in (0, 2, 4)] for colour in colours.values()], np.uint8)
    linear = np.where(srgb > 10, ((srgb / 255 + 0.055) / 1.055) ** 2.4, srgb / 255 / 12.92)
    seen = np.clip(linear @ np.asarray(SIGHT[sight]).T, 0, 1).astype(np.float32)
    encoded = np.where(seen > 0.0031308, 1.055 * seen ** (1 / 2.4) - 0.055, 12.92 * seen).astype(np.float32)
    lab = cv2.cvtColor(encoded[None], cv2.COLOR_RGB2Lab)[0]
    apart = np.linalg.norm(lab[:, None] - lab, axis=2)[np.triu_indices(len(lab), 1)]
    # About 2 is the least an eye tells apart side by side; squares of a matrix are small and lie apart.
    assert apart.min() > 20


def test_what_a_name_holds_is_text(judged: Judged) -> None:
    held = page.page({"problems": [{"subject": "</script><b>", "text": ""}]})
    assert "</script><b>" not in held
    assert "\\u003c/script>\\u003cb>" in held
