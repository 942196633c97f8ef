"""Take the README's picture of a run's report: `python docs/take_pictures.py demo/run/report.html`."""

from __future__ import annotations

import base64
import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

SIZE_PX = (1280, 900)


def take(report: Path, picture: Path) -> None:
    """Open the report, show its most similar pair, and save two screenshots side by side as JPEG."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE_PX[0]},{SIZE_PX[1]}"):
        options.add_argument(argument)
    with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
        screen = {"width": SIZE_PX[0], "height": SIZE_PX[1], "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(report.resolve().as_uri())
        browser.execute_script("document.getElementById('matrix').scrollIntoView({ behavior: 'instant' })")
        shots = [shot(browser)]
        browser.execute_script("document.getElementById('pair-under').value = 'colour'")
        browser.execute_script("document.querySelector('#lists button.open').click()")
        drawn = "return document.getElementById('pair-masked').height > 200"
        WebDriverWait(browser, 30).until(lambda _: browser.execute_script(drawn))
        shots.append(shot(browser))
    import cv2
    import numpy as np

    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in shots]
    side_by_side = cv2.resize(np.hstack(images), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(picture), side_by_side, [cv2.IMWRITE_JPEG_QUALITY, 82])


def shot(browser: webdriver.Chrome) -> bytes:
    """Take what the browser shows, as PNG."""
    return base64.b64decode(browser.get_screenshot_as_base64())


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(__file__).with_name("report.jpg"))
