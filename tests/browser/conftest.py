"""A real browser (Debian's Chromium, headless, driven by Playwright).

Screenshots lie in `.cache/screenshots/` afterwards.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

SHOTS = Path(__file__).resolve().parents[2] / ".cache" / "screenshots"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = os.environ.get("LEUKOCDS_TEST_CHROMIUM") or shutil.which("chromium")
    if not program:
        pytest.skip(
            "chromium is not installed: `apt-get install chromium`, or name one in LEUKOCDS_TEST_CHROMIUM"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def shoot() -> Callable[..., None]:
    def take(page: Page, name: str, **options: bool) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", **options)

    return take
