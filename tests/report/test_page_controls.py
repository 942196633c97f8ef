"""What a reader does with the report in a real browser: compare, follow links, save, read in the dark."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.by import By

from s2fast.report import page
from tests.browser import Browser, Open, choose, picture, text, wait
from tests.judged import Judged

pytestmark = pytest.mark.slow


def verified_pair(judged: Judged) -> int:
    """Return the verified pair with most inliers."""
    pairs = pd.read_parquet(judged.out / "pairs.parquet")
    return int(pairs["n_inliers"].where(pairs["verified"]).idxmax())


def open_pair(browser: Browser, pair: int) -> None:
    """Open a pair, and wait until both its pictures are drawn."""
    browser.execute_script("view.open(arguments[0], everyPair)", pair)
    wait(browser, f"return view.compare.pair === {pair} && byId('pair-matches').height > 200")


def saved(browser: Browser, click: str) -> tuple[str, str]:
    """Click an element; return the name and the content that it saves."""
    script = """
        window.kept = window.content = null;
        const real = URL.createObjectURL;
        URL.createObjectURL = (blob) => {
            blob.text().then((content) => { window.content = content; });
            return real(blob);
        };
        HTMLAnchorElement.prototype.click = function () { window.kept = this.download; };
    """
    browser.execute_script(script)
    browser.execute_script("document.querySelector(arguments[0]).click()", click)
    wait(browser, "return window.kept !== null && window.content !== null")
    name, content = browser.execute_script("return [window.kept, window.content]")
    return str(name), str(content)


def test_scenes_are_compared_on_one_grid(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    open_pair(browser, verified_pair(judged))
    seen = [picture(browser, "compare-canvas")]

    def changed(what: str) -> None:
        browser.execute_script(what)
        seen.append(picture(browser, "compare-canvas"))
        assert seen[-1] != seen[-2], what

    changed("byId('compare-at').value = 100; byId('compare-at').dispatchEvent(new Event('input'))")
    changed("byId('compare-arrows').click()")
    told = re.search(r"the arrow in the corner is a displacement of ([\d.,]+) m\.", text(browser, "#compare-caption"))
    assert told is not None
    assert re.sub("[0.,]", "", told[1]) in {"1", "2", "5"}, "a round length"
    changed("byId('compare-shift').click()")
    changed("view.compare.zoom(3, 100, 100)")
    changed("byId('compare-whole').click()")
    choose(browser, "#compare-mode", "flicker")
    browser.find_element(By.ID, "compare-flicker").click()
    assert browser.find_element(By.ID, "compare-flicker").get_attribute("aria-pressed") == "true"
    label = browser.execute_script("return SCENES[PAIRS.train[view.pair]].label")
    wait(browser, f"return byId('compare-caption').textContent.includes({json.dumps(label + ' is shown')})")
    browser.find_element(By.ID, "pair-close").click()
    assert browser.execute_script("return view.compare.timer") is None


def test_train_lies_where_the_query_shows_the_same_ground(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    found = browser.execute_script(
        "const at = (scene, x, y) => {"
        " const [a, b, c, d, e, f] = composed(inverse(SCENES[0].transform), scene.transform);"
        " return [a * x + b * y + c, d * x + e * y + f]; };"
        "return SCENES.map((scene) => [scene.transform, scene.map, at(scene, 7, 5)])"
    )
    first = np.array(found[0][0]).reshape(2, 3)
    for transform, on_map, at in found:
        own = np.array(transform).reshape(2, 3)
        ground = own[:, :2] @ (7, 5) + own[:, 2]
        np.testing.assert_allclose(first[:, :2] @ at + first[:, 2], ground, atol=1e-6)
        assert on_map == 0


def test_scenes_on_other_maps_are_not_laid_over_each_other(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    pair = verified_pair(judged)
    browser.execute_script("SCENES[PAIRS.train[arguments[0]]].map = 1; view.open(arguments[0], everyPair)", pair)
    assert not browser.find_element(By.ID, "pair-compare").is_displayed()


def test_an_address_opens_its_pair_and_back_closes_it(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    pair = verified_pair(judged)
    names = pd.read_parquet(judged.out / "pairs.parquet").loc[pair, ["query", "train"]].tolist()
    address = f"{(judged.out / 'report.html').as_uri()}#pair={','.join(names)}"
    browser.execute_script("view.open(arguments[0], everyPair)", pair)
    assert browser.current_url == address
    browser.back()
    wait(browser, "return !byId('pair').open")
    browser.get("about:blank")
    browser.get(address)
    wait(browser, "return document.documentElement.dataset.ready === 'yes'")
    wait(browser, "return byId('pair').open")
    assert text(browser, "#pair-title") == " and ".join(names)
    browser.get("about:blank")
    browser.get(f"{(judged.out / 'report.html').as_uri()}#pair=nobody,nothing")
    wait(browser, "return document.documentElement.dataset.ready === 'yes'")
    assert not browser.execute_script("return byId('pair').open")


def test_a_point_over_time_leads_to_its_scene_and_its_pairs(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    points = browser.find_elements(By.CSS_SELECTOR, "#times [role=button]")
    assert len(points) == 6, "three known offsets, to the east and to the north"
    assert len(browser.find_elements(By.CSS_SELECTOR, "#times .error")) == 6
    label = str(points[0].get_attribute("aria-label"))
    browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('click'))", points[0])
    target = browser.execute_script("return document.querySelector(':target').textContent")
    assert label.partition(",")[0].partition(":")[0] in target
    browser.execute_script("document.querySelector(':target button').click()")
    scene = browser.execute_script("return lists.scene.label")
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#lists tbody tr')].map(row => row.textContent)"
    )
    assert len(shown) == 3
    assert all(scene in row for row in shown)


def test_lists_and_plots_are_saved(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    browser.execute_script("SCENES[0].scene_id = '=HYPERLINK(1)'")
    choose(browser, "[name=verdict]", "verified")
    name, content = saved(browser, "#pairs-csv")
    table = list(csv.DictReader(io.StringIO(content)))
    pairs = pd.read_parquet(judged.out / "pairs.parquet").query("verified")
    assert name == "pairs.csv"
    assert sorted(int(row["n_inliers"]) for row in table) == sorted(pairs["n_inliers"])
    assert not any(value.startswith("=") for row in table for value in row.values())
    name, content = saved(browser, "#map figcaption button")
    assert name == "map.svg"
    assert "var(--" not in content
    assert len(re.findall(r'class="footprint"', content)) == 2


def test_accuracy_is_that_of_all_inliers(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    data = json.loads(re.search(r'id="data">(.*?)</script>', (judged.out / "report.html").read_text("utf-8"))[1])  # type: ignore[index]
    told = data["accuracy"]
    pairs = pd.read_parquet(judged.out / "pairs.parquet").query("verified")
    shifts = np.hypot(pairs["dx_m"], pairs["dy_m"])
    assert told["between"]["ce90"] == pytest.approx(np.percentile(shifts, 90), abs=1e-4)
    row = text(browser, "#accuracy-table tbody")
    assert f"{told['within']['ce90']:.2f}" in row
    assert len(browser.find_elements(By.CSS_SELECTOR, "#accuracy-histogram .bar")) == len(told["histogram"]["counts"])
    open_pair(browser, verified_pair(judged))
    assert len(browser.find_elements(By.CSS_SELECTOR, "#pair-profile polyline")) == 4


def test_words_are_explained_where_they_stand(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    button = browser.find_element(By.CSS_SELECTOR, "#cards button.term")
    assert button.get_attribute("aria-label") == "What is meant by verdict?"
    button.click()
    assert "chance cannot explain it" in text(browser, "#term")
    used = set(re.findall(r'data-term="([\w-]+)"', page.asset("report.html")))
    used |= set(re.findall(r'explained\([^;]*?, "([\w-]+)"\)', "".join(map(page.asset, page.SCRIPTS))))
    assert used <= set(browser.execute_script("return Object.keys(TERMS)"))


def test_matrix_fits_the_screen_with_its_readout(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    for width, height in ((1440, 900), (3840, 2160)):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            browser.execute_script("matrix.draw(); byId('matrix').scrollIntoView({ behavior: 'instant' })")
            seen = "return ['readout', 'matrix-canvas'].map((id) => byId(id).getBoundingClientRect())"
            readout, canvas = browser.execute_script(f"{seen}.map((box) => [box.top, box.bottom])")
            assert readout[0] >= 0
            assert canvas[1] <= height
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_screens_get_a_dark_page(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    colour = "return getComputedStyle(document.body).backgroundColor"
    light, drawn = browser.execute_script(colour), picture(browser, "matrix-canvas")
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        wait(browser, f"return byId('matrix-canvas').toDataURL() !== {json.dumps(drawn)}")
        assert browser.execute_script(colour) != light
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_without_regions_no_scene_is_shown_twice(judged: Judged, opened: Open, tmp_path: Path) -> None:
    data = json.loads(re.search(r'id="data">(.*?)</script>', (judged.out / "report.html").read_text("utf-8"))[1])  # type: ignore[index]
    data["summary"]["regions"], data["beside"] = None, {name: [] for name in data["beside"]}
    (tmp_path / "report.html").write_text(page.page(data), "utf-8")
    browser = opened(tmp_path / "report.html")
    open_pair(browser, 0)
    assert not browser.find_element(By.ID, "pair-under").is_displayed()


def test_it_prints_tables_with_their_headings_and_a_pair_from_its_beginning(judged: Judged, opened: Open) -> None:
    browser = opened(judged.out / "report.html")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        row = browser.find_element(By.CSS_SELECTOR, "#lists tbody tr")
        assert all(cell.text for cell in row.find_elements(By.TAG_NAME, "td"))
        assert text(browser, "#lists thead th") == "Query"
        assert not browser.find_element(By.ID, "pairs-csv").is_displayed()
        open_pair(browser, verified_pair(judged))
        assert browser.execute_script("return byId('pair').getBoundingClientRect().top") == 0
        assert text(browser, "#pair-verdict").startswith("Verified")
        # As wide as the paper, and not squeezed.
        browser.execute_script("byId('pair').style.width = '600px'")
        shapes = browser.execute_script(
            "return ['compare-canvas', 'pair-matches'].map(byId).map((one) =>"
            " [one.width / one.height, one.clientWidth / one.clientHeight])"
        )
        assert [shown for _, shown in shapes] == pytest.approx([drawn for drawn, _ in shapes], rel=0.02)
        # A fixed dialog would end with the first sheet.
        sheets = re.findall(rb"/Type\s*/Page\b", base64.b64decode(browser.print_page()))
        assert len(sheets) > 1
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
