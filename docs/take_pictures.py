"""Take the README's picture of a run's report: `python docs/take_pictures.py demo/run/report.html`."""

from __future__ import annotations

import base64
import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

SIZE_PX = (700, 640)
"""Width and height of the browser: narrow, so that words can still be read where both halves are 350 px wide."""

SCALE = 1.3

PAIR = "S2A_20160830T083602_T36UYA,S2A_20170815T083602_T36UYA"


def take(report: Path, picture: Path) -> None:
    """Open the report, show the matches of `PAIR`, and save two screenshots side by side as JPEG."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE_PX[0]},{SIZE_PX[1]}"):
        options.add_argument(argument)
    with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
        screen = {"width": SIZE_PX[0], "height": SIZE_PX[1], "deviceScaleFactor": SCALE, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(report.resolve().as_uri())
        browser.execute_script("document.getElementById('matrix').scrollIntoView({ behavior: 'instant' })")
        shots = [shot(browser)]
        browser.execute_script("document.getElementById('pair-under').value = 'colour'")
        browser.execute_script(f"location.hash = 'pair={PAIR}'")
        drawn = "return document.getElementById('pair-matches').height > 200"
        WebDriverWait(browser, 30).until(lambda _: browser.execute_script(drawn))
        browser.execute_script("document.getElementById('pair-under').scrollIntoView({ behavior: 'instant' })")
        browser.execute_script("document.getElementById('pair').scrollBy(0, -100)")  # its heading stays above all else
        shots.append(shot(browser))
    import cv2
    import numpy as np

    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in shots]
    cv2.imwrite(str(picture), np.hstack(images), [cv2.IMWRITE_JPEG_QUALITY, 82])


def shot(browser: webdriver.Chrome) -> bytes:
    """Take what the browser shows, as PNG."""
    return base64.b64decode(browser.get_screenshot_as_base64())


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(__file__).with_name("report.jpg"))
