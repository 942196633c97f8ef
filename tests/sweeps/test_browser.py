"""The page of a sweep in a real browser: every control does what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from s2fast.sweeps.page import page
from s2fast.sweeps.page_data import Finished
from tests.browser import Browser, Open, choose, text, wait
from tests.sweeps.finished import GRID_ROWS, finished_sweep

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "test.html").write_text(page(finished_sweep(folder)), "utf-8")
    return folder / "test.html"


def run(browser: Browser, script: str, *given: Any) -> Any:
    return browser.execute_script(script, *given)


def cases(browser: Browser, column: int = 0) -> list[str]:
    script = (
        "return [...document.querySelectorAll('#case-table tbody tr')].map(row => row.cells[arguments[0]].textContent)"
    )
    found: list[str] = run(browser, script, column)
    return found


def type_into(browser: Browser, label: str, typed: str) -> None:
    box = browser.find_element(By.CSS_SELECTOR, f"[aria-label='{label}']")
    box.clear()
    box.send_keys(typed)


def show(browser: Browser, selector: str) -> Any:
    found = browser.find_element(By.CSS_SELECTOR, selector)
    run(browser, "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", found)
    return found


def test_it_shows_the_sweep_and_fetches_nothing(written: Path, opened: Open) -> None:
    browser = opened(written)
    assert text(browser, "h1") == "Sweep: test"
    assert "6 cases; 3 scenes, 45 pairs; processor, 2 cores; s2fast 0.1" in text(browser, "#facts")
    assert "41 of 45, 91.1 %: #6 contrast clahe, threshold 0.0001" in text(browser, "#best-list")
    titles = [link.text for link in browser.find_elements(By.CSS_SELECTOR, "#nav a")]
    assert len(titles) == 7
    assert (
        run(
            browser,
            "return performance.getEntriesByType('resource').filter(({ name }) => !name.startsWith('data:')).length",
        )
        == 0
    )
    assert len(browser.find_elements(By.CSS_SELECTOR, "#front-list canvas")) == 2


def test_points_say_what_they_are_under_the_cursor_and_by_keyboard(written: Path, opened: Open) -> None:
    browser = opened(written)
    over = show(browser, "#front-list .u-over")
    # The place of case 4, on the plot's own scale.
    x, y = run(
        browser,
        "const u = drawn.find(one => one instanceof FrontPlot).plot;"
        "return [u.valToPos(11, 'x') - u.over.clientWidth / 2, u.valToPos(31, 'y') - u.over.clientHeight / 2]",
    )
    ActionChains(browser).move_to_element_with_offset(over, int(x) + 3, int(y) - 2).perform()
    wait(browser, "return !document.getElementById('tip').hidden")
    told = text(browser, "#tip")
    assert told.startswith("#4 contrast clahe, threshold 0.001\n")
    assert "seconds: 11" in told
    assert "verified pairs: 31 of 45" in told
    ActionChains(browser).click().perform()
    wait(browser, "return document.querySelector('#case-table tr.picked')")
    assert run(browser, "return document.querySelector('#case-table tr.picked').cells[0].textContent") == "4"
    over = show(browser, "#front-list .u-over")
    run(browser, "arguments[0].focus()", over)
    ActionChains(browser).send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT).perform()
    assert text(browser, "#tip").startswith("#2 ")
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert run(browser, "return document.querySelector('#case-table tr.picked').cells[0].textContent") == "2"
    # The plot was drawn anew, and still has the keyboard.
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert text(browser, "#tip").startswith("#3 ")
    # As when the page scrolls under a resting pointer, which Enter makes it do.
    over = show(browser, "#front-list .u-over")
    run(browser, "arguments[0].dispatchEvent(new PointerEvent('pointerleave'))", over)
    assert text(browser, "#tip").startswith("#3 ")
    ActionChains(browser).move_to_element_with_offset(over, int(x) - 2, int(y) - 2).perform()
    wait(browser, "return document.getElementById('tip').textContent.startsWith('#4 ')")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert run(browser, "return document.getElementById('tip').hidden")


def test_other_costs_and_gains_have_their_own_front(written: Path, opened: Open) -> None:
    browser = opened(written)
    note = "#front-list .front-figure .note"
    # Three pairs of cases are better by contrast alone.
    assert (
        text(browser, note)
        == "On the front: " + "; ".join(f"#{at} {GRID_ROWS[at - 1]['label']}" for at in (1, 2, 3, 4, 5, 6)) + "."
    )
    selects = browser.find_elements(By.CSS_SELECTOR, "#front-list .front-figure:first-child select")
    assert len(selects) == 2
    run(
        browser,
        "arguments[0].value = 'found.stated_error_m'; arguments[0].dispatchEvent(new Event('change'))",
        selects[1],
    )
    assert text(browser, note).startswith("On the front: #6 ")
    run(
        browser,
        "arguments[0].value = 'found.agreeing_pct'; arguments[0].dispatchEvent(new Event('change'))",
        selects[0],
    )
    assert "scenes in agreement" in str(
        browser.find_element(By.CSS_SELECTOR, "#front-list .u-over").get_attribute("aria-label")
    )


def test_each_settings_effect_follows_the_column(written: Path, opened: Open) -> None:
    browser = opened(written)
    captions = [figure.text for figure in browser.find_elements(By.CSS_SELECTOR, "#effect-list figcaption")]
    assert captions == [
        "ingest.contrast: none: 15, clahe: 36 (over 3 combinations of the others)",
        "features.threshold: 0.001: 20.5, 0.0003: 25.5, 0.0001: 30.5 (over 2 combinations of the others)",
    ]
    choose(browser, "#effect-column", "seconds")
    assert "none: 7, clahe: 13" in text(browser, "#effect-list")
    over = show(browser, "#effect-list .u-over")
    ActionChains(browser).move_to_element_with_offset(over, over.size["width"] // 3, 0).perform()
    assert text(browser, "#tip") == "ingest.contrast = clahe\nseconds: 13"


def test_parallel_lines_say_what_they_are(written: Path, opened: Open) -> None:
    browser = opened(written)
    over = show(browser, "#parallel-plot .u-over")
    x, y = run(
        browser,
        "const u = parallel.plot; const share = parallel.axes[2].share(5);"
        "return [u.valToPos(2, 'x') - u.over.clientWidth / 2, u.valToPos(share, 'y') - u.over.clientHeight / 2]",
    )
    ActionChains(browser).move_to_element_with_offset(over, int(x) + 1, int(y) - 1).perform()
    wait(browser, "return !document.getElementById('tip').hidden")
    assert text(browser, "#tip").startswith("#6 ")
    assert run(browser, "return parallel.plot.series.length") == 7
    type_into(browser, "Filter contrast", "none")
    assert run(browser, "return parallel.plot.series.length") == 4


def test_the_table_sorts_and_filters(written: Path, opened: Open) -> None:
    browser = opened(written)
    assert cases(browser) == ["1", "2", "3", "4", "5", "6"]
    heads = browser.find_elements(By.CSS_SELECTOR, "#case-table thead th button")
    titles = [head.text for head in heads]
    verified = titles.index("verified pairs")
    heads[verified].click()
    assert cases(browser) == ["6", "5", "4", "3", "2", "1"]
    assert (
        browser.find_elements(By.CSS_SELECTOR, "#case-table thead th")[verified].get_attribute("aria-sort")
        == "descending"
    )
    heads[verified].click()
    assert cases(browser) == ["1", "2", "3", "4", "5", "6"]
    heads[titles.index("threshold")].click()
    assert cases(browser) == ["3", "6", "2", "5", "1", "4"]
    for label, typed, wanted in (
        ("verified pairs", ">=31", {"4", "5", "6"}), ("verified pairs", "15..36", {"2", "3", "4", "5"}),
        ("contrast", "NONE", {"1", "2", "3"}), ("threshold", "=0.0003", {"2", "5"}), ("seconds", "<9", {"1", "2"}),
        ("verified pairs", "of 45", {"1", "2", "3", "4", "5", "6"}),
    ):  # fmt: skip
        type_into(browser, f"Filter {label}", typed)
        assert set(cases(browser)) == wanted, (label, typed)
        assert text(browser, "#kept-count") == f"{len(wanted)} of 6 cases"
        assert run(browser, "return kept.value.size") == len(wanted)
        browser.find_element(By.ID, "show-all").click()
        assert len(cases(browser)) == 6
    best = run(browser, "return [...document.querySelectorAll('#case-table td.best')].length")
    assert best > 3


def test_pairs_are_shown_with_their_pictures(written: Path, opened: Open) -> None:
    browser = opened(written)
    lists = "#pair-lists section"
    wait(browser, "return document.querySelectorAll('#pair-lists canvas').length === 2")
    wait(browser, "return [...document.querySelectorAll('#pair-lists canvas')].every(one => one.height > 150)")
    heads = [head.text for head in browser.find_elements(By.CSS_SELECTOR, f"{lists} h3")]
    assert heads[0].startswith("Verified by #4 contrast clahe, threshold 0.001, not by #1: 2")
    assert heads[1].endswith(": 0")
    card = text(browser, f"{lists} li")
    assert "a and c" in card
    assert "#4: verified, 12 of 30 matches agree, 1.50 m east, -2.50 m north, error 0.40 m" in card
    assert "#1: not verified" in card
    # The lines are drawn: their colour is on the canvas.
    blue = run(
        browser,
        "const c = document.querySelector('#pair-lists canvas');"
        "const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        "let n = 0; for (let i = 0; i < data.length; i += 4)"
        " if (data[i] < 120 && data[i + 1] > 150 && data[i + 2] > 200) n++; return n",
    )
    assert blue > 20
    choose(browser, "#pairs-one", "2")
    wait(browser, "return document.querySelectorAll('#pair-lists li').length === 1")
    assert "b and c" in text(browser, f"{lists} li")
    choose(browser, "#pairs-other", "5")
    wait(browser, "return document.querySelectorAll('#pair-lists li').length === 1")
    heads = [head.text for head in browser.find_elements(By.CSS_SELECTOR, f"{lists} h3")]
    assert [head.rpartition(": ")[2] for head in heads] == ["0", "1"]


def test_another_sweep_is_held_against_it(written: Path, opened: Open) -> None:
    browser = opened(written)
    rows = "#against-table tbody tr"
    assert len(browser.find_elements(By.CSS_SELECTOR, rows)) == 6
    first = browser.find_elements(By.CSS_SELECTOR, f"{rows}:first-child td")
    assert [cell.text for cell in first[:3]] == ["1", "contrast none, threshold 0.001", "5.00 (−50 %)"]
    assert "better" in str(first[2].get_attribute("class"))
    choose(browser, "#against-choice", "1")
    assert browser.find_elements(By.CSS_SELECTOR, f"{rows} .better, {rows} .worse") == []
    assert "5.00 (=)" in text(browser, f"{rows}:first-child")


def test_what_a_sweep_lacks_is_not_shown(opened: Open, tmp_path: Path) -> None:
    failed = {"label": "out of memory", "status": "failed", "reason": "killed", "seconds": None, "case": "x"}
    finished = finished_sweep(tmp_path)
    (tmp_path / "one.html").write_text(page(Finished(finished.sweep, [GRID_ROWS[0], failed])), "utf-8")
    browser = opened(tmp_path / "one.html")
    shown = [link.text for link in browser.find_elements(By.CSS_SELECTOR, "#nav a")]
    assert shown == ["Gain against cost", "All settings and results at once", "All cases"] or shown == [
        "Gain against cost",
        "All cases",
    ]
    assert cases(browser)[1:] == ["2"]
    assert "killed" in text(browser, "#case-table tr.failed")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_narrow_and_wide_screens_in_both_schemes(
    opened: Open, chrome: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    finished = finished_sweep(tmp_path)
    rows = [{**row, "label": f"{row['label']}, max_per_scene 20000, mode exhaustive, ratio 0.85"} for row in GRID_ROWS]
    (tmp_path / "test.html").write_text(page(replace(finished, rows=rows)), "utf-8")
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    try:
        browser = opened(tmp_path / "test.html")
        # Wide parts scroll by themselves; the page does not.
        assert run(browser, "return document.documentElement.scrollWidth") <= width
        wait(browser, "return document.querySelectorAll('#front-list canvas').length === 2")
        assert run(browser, "return document.querySelector('#front-list canvas').clientWidth") <= width
        light = run(browser, "return getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(255, 255, 255)") == (scheme == "light")
    finally:
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
