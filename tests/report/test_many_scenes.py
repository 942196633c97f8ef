"""The report of many scenes: a made-up run, opened in a real browser."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.common.by import By

from s2fast.page.assembly import assembled
from s2fast.report import page
from s2fast.report.shown_matches import MOST_MATCHES, fit_the_page
from s2fast.report.thumbnails import SIDE_PX, data_url, shrunk_url, thumbnail_side
from tests.archives import textured
from tests.browser import Browser, Open, wait
from tests.judged import Judged

pytestmark = pytest.mark.slow


def many(scenes: int) -> dict[str, Any]:
    """Make up a run of many scenes of two tiles, every pair with as many matches as the page holds."""
    rng = np.random.default_rng(3)
    colour = np.dstack([textured(rng, (SIDE_PX, SIDE_PX)) for _ in range(3)])
    query, train = np.triu_indices(scenes, 1)
    packed = base64.b64encode(rng.bytes(19 * MOST_MATCHES)).decode()
    return {
        "scenes": [
            {
                "scene_id": f"S2A_2019{number:04d}", "tile": ("36UXA", "36UYA")[number % 2], "rows": 10980,
                "cols": 10980, "n_keypoints": 5000, "time": f"2019-01-{number % 28 + 1:02d}T08:36:01+00:00",
                "footprint": [[34, 50], [35, 50], [35, 49], [34, 49], [34, 50]], "colour": data_url(colour),
                "map": 0, "transform": [10, 0, 6e5, 0, -10, 5.6e6], "metres_per_unit": 1.0, "clear": ["99", "90"],
                "orbit": None, "grey": data_url(colour[..., 0]), "in_colour": True,
                "clear_pct": 70.0, "n_verified": 0, "disagrees": False, "verdict": "not verified", "correction": "",
                "datum": "",
                "mask": "brightness",
            }
            for number in range(scenes)
        ],
        "pairs": {
            "query": query.tolist(), "train": train.tolist(), "n_good": [100] * len(query),
            "similarity_pct": rng.uniform(0, 100, len(query)).round(2).tolist(),
        },
        "matches": [packed] * len(query) if fit_the_page(len(query)) else None,
        "beside": {"pairs": [], "scenes": []},
        "similarity_order": list(range(scenes)),
    }  # fmt: skip


def test_fifty_scenes_stay_small(judged: Judged, tmp_path: Path, opened: Open) -> None:
    small = (judged.plain / "report.html").read_text("utf-8")
    real = json.loads(re.search(r'id="data">(.*?)</script>', small)[1])  # type: ignore[index]
    made_up = real | many(50)
    assert set(made_up["scenes"][0]) - {"platform"} == set(real["scenes"][0]) - {"platform"}
    (tmp_path / "report.html").write_text(page.page(made_up), "utf-8")
    assert (tmp_path / "report.html").stat().st_size < 25_000_000
    browser = opened(tmp_path / "report.html")
    assert browser.execute_script("return [SCENES.length, N_PAIRS]") == [50, 1225]
    assert browser.execute_script("return document.querySelectorAll('*').length") < 5000
    drawn = "return document.querySelectorAll('#lists table')[1].tBodies[0].rows.length"
    assert browser.execute_script(drawn) == 100
    browser.find_elements(By.XPATH, "//button[contains(., 'Show more')]")[-1].click()
    assert browser.execute_script(drawn) == 600


def loaded_ms(browser: Browser, path: Path) -> float:
    """Open a page; return the time until its load event has ended."""
    browser.get(path.as_uri())
    script = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    wait(browser, f"{script} > 0")
    return float(browser.execute_script(script))


def test_a_page_of_many_scenes_opens_with_little(judged: Judged, tmp_path: Path, opened: Open) -> None:
    small = (judged.out / "report.html").read_text("utf-8")
    made_up = json.loads(re.search(r'id="data">(.*?)</script>', small)[1]) | many(200)  # type: ignore[index]
    assert made_up["matches"] is None, "they are in files beside the page"
    whole, peer = tmp_path / "report.html", tmp_path / "peer.html"
    side = thumbnail_side(200)
    for scene in made_up["scenes"]:
        scene["colour"], scene["grey"] = shrunk_url(scene["colour"], side), None
    whole.write_text(page.page(made_up), "utf-8")
    assert whole.stat().st_size < 10_000_000
    # Beside it, a page that only parses the same data, in turn.
    reads = "JSON.parse(document.getElementById('data').textContent); document.documentElement.dataset.ready = 'yes';"
    peer.write_text(assembled("<!doctype html><!-- data --><!-- script -->", made_up, [], [reads]), "utf-8")
    browser = opened(peer)
    times = [(loaded_ms(browser, whole), loaded_ms(browser, peer)) for _ in range(3)]
    # About 4 times as long: 19,900 pairs are unpacked, sorted and drawn as a matrix.
    assert min(first / second for first, second in times) < 20
    opened(whole)
    assert browser.execute_script("return [SCENES.length, N_PAIRS]") == [200, 19_900]
    assert browser.execute_script("return document.querySelectorAll('*').length") < 10_000
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
