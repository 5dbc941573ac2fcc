# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: Chromium, from a file, as a phone, a desktop and on paper."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from camseg_core.evaluation.corruptions import select_corruptions
from camseg_core.evaluation.metrics.registry import METRICS, Metric
from camseg_core.evaluation.report.report import write_report
from camseg_core.labels import CAMVID

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
support = pytest.importorskip("selenium.webdriver.support.ui", reason="selenium is not installed")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="chromium and chromedriver are not installed"
)

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip

VISITS = itertools.count()

PHONE, DESKTOP = (390, 844), (1280, 900)
A4_WIDTH_PIXELS = 703
"""210 mm without the page's margins of 12 mm, at 96 pixels per inch."""


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory,
    simulate_run: Callable[..., Path],
    simulated_images: Callable[..., list[Any]],
) -> Path:
    """A page of two runs with everything that a page can hold, and room for one more metric."""
    out = tmp_path_factory.mktemp("runs")
    images = simulated_images(9, 11, ("fog", "night", "rain", "snow"), "adverse")
    corruptions = select_corruptions("gaussian_noise:5,gaussian_noise:50,hue:0.1,hue:0.2")
    simulate_run(out, images, CAMVID, corruptions=corruptions, dataset="d" * 60)
    simulate_run(out, images[:2], CAMVID, protocol="published", is_random=True)
    more = Metric("mean accuracy", "One more.", lambda m: m.official.pixel_accuracy, is_brief=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METRICS, "mean_accuracy", more)  # type: ignore[arg-type]  # a dict, in truth
        return write_report(out, out / "report.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(browser: Any, page: Path, size: tuple[int, int], media: str = "", **features: str) -> None:
    """Load the page and wait until it is whole."""
    width, height = size
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": media, "features": [{"name": k, "value": v} for k, v in features.items()]},
    )
    # An address of its own: an earlier page of the same one is not taken for it.
    address = f"{page.as_uri()}?{next(VISITS)}"
    browser.get(address)
    support.WebDriverWait(browser, 30).until(
        lambda driver: driver.execute_script(
            """return location.href === arguments[0] && document.readyState === 'complete' &&
                 document.querySelector('footer') !== null &&
                 [...document.images].every(image => image.complete)""",
            address,
        )
    )


@pytest.mark.parametrize("size", [PHONE, DESKTOP, (320, 600)])
def test_only_tables_scroll_sideways(browser: Any, page: Path, size: tuple[int, int]) -> None:
    show(browser, page, size)
    width, view = browser.execute_script(
        "return [document.scrollingElement.scrollWidth, window.innerWidth]"
    )
    assert view == size[0]
    assert width <= view
    cut = browser.execute_script(
        """return [...document.querySelectorAll('body *')].filter(element =>
             !element.closest('.box, svg') && element.getBoundingClientRect().width > 0 &&
             element.getBoundingClientRect().right > innerWidth + 0.5
           ).map(element => element.outerHTML.slice(0, 80))"""
    )
    assert cut == []


def test_all_pictures_are_loaded(browser: Any, page: Path) -> None:
    show(browser, page, DESKTOP)
    widths = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert widths == [64] * 4 * (8 + 2)
    # The heat maps, which are images within the plots.
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('svg image')].map(i => i.getBBox().width)"
    )
    assert len(boxes) >= 2
    assert min(boxes) > 5


def test_nothing_is_fetched_and_nothing_is_complained_about(browser: Any, page: Path) -> None:
    show(browser, page, DESKTOP)
    browser.get_log("performance")
    browser.get_log("browser")
    show(browser, page, PHONE)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert sum(address.startswith(page.as_uri()) for address in addresses) == 1
    assert all(address.startswith((page.as_uri(), "data:")) for address in addresses)


def test_a_script_in_the_page_would_not_run(browser: Any, page: Path, tmp_path: Path) -> None:
    """What an escape that was forgotten would meet."""
    source = page.read_text(encoding="utf-8")
    changed = tmp_path / "changed.html"
    changed.write_text(
        source.replace("<main>", "<main><script>document.title = 'ran'</script>"), encoding="utf-8"
    )
    show(browser, changed, DESKTOP)
    assert browser.title == "2 evaluations – segmentation report"
    assert "Content Security Policy" in browser.get_log("browser")[0]["message"]


def test_the_headline_is_on_the_first_screen_of_a_phone(browser: Any, page: Path) -> None:
    show(browser, page, PHONE)
    run = json.loads(page.with_name("figures.json").read_text())["runs"][0]
    score = f"{100 * run['rows'][-5]['score']:.2f} %"  # at 4 steps, then its four conditions
    assert run["rows"][-5]["condition"] is None
    tile = browser.find_element("css selector", ".tiles dd")
    assert tile.text == score
    assert tile.rect["y"] + tile.rect["height"] < PHONE[1]


def test_text_in_plots_is_readable_on_a_phone(browser: Any, page: Path) -> None:
    show(browser, page, PHONE)
    heights = browser.execute_script(
        """return [...document.querySelectorAll('.plot svg text')]
             .filter(text => !text.closest('[aria-label^=confusion]'))
             .map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().d)"""
    )
    assert len(heights) > 100
    # Upright and turned text: a turned one has no height of its own in its matrix.
    assert min(height for height in heights if height > 0.1) >= 8.0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Any, page: Path, scheme: str) -> None:
    show(browser, page, DESKTOP, **{"prefers-color-scheme": scheme})
    colors = browser.execute_script(
        """const style = element => getComputedStyle(document.querySelector(element));
           return [[style('h1').color, style('body').backgroundColor],
                   [style('dt').color, style('.card').backgroundColor],
                   [style('.banner').color, style('.banner').backgroundColor],
                   [style('.plot svg text').fill, style('figure.plot').backgroundColor]]"""
    )
    for ink, ground in colors:
        assert contrast(ink, ground) >= 4.5, (ink, ground)


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of the Web Content Accessibility Guidelines."""
    lights = []
    for color in (first, second):
        channels = [int(part) / 255 for part in color.strip("rgb()").split(",")]
        red, green, blue = (
            channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
            for channel in channels
        )
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_nothing_is_cut_on_paper(browser: Any, page: Path) -> None:
    show(browser, page, (A4_WIDTH_PIXELS, 1000), "print")
    cut = browser.execute_script(
        """return [...document.querySelectorAll('table, figure, svg, img, dl')].filter(element =>
             element.getBoundingClientRect().right > innerWidth + 0.5
           ).map(element => element.outerHTML.slice(0, 80))"""
    )
    assert cut == []
    hidden = browser.execute_script(
        """return [...document.querySelectorAll('details table')].filter(table =>
             !table.checkVisibility({contentVisibilityAuto: true})).length"""
    )
    assert hidden == 0  # what is folded is printed
    result = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    content = base64.b64decode(result["data"])
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") >= 4
