"""A real browser (Debian's Chromium, headless, driven by Playwright) on a real server on loopback.

Screenshots lie in `.cache/screenshots/` afterwards.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from cds.fhir_client import HttpFhirServer
from tests.fakes.drawn_study import DrawnStudy
from tests.fakes.site import Site, served, sign_in

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
def site(tmp_path) -> Iterator[Site]:
    with served(tmp_path) as made:
        yield made


@pytest.fixture
def site_on_hapi(tmp_path, hapi_url) -> Iterator[Site]:
    """The same, with a FHIR server that signatures go to."""
    with (
        HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=60) as fhir,
        served(tmp_path, fhir) as made,
    ):
        yield made


@pytest.fixture
def visit(chromium) -> Iterator[Callable[..., Page]]:
    """Opens a page in a browser context of its own; fails the test for an error in the page's scripts, a violation of
    its content security policy, or a request to another host."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_page(
        site: Site,
        drawn: DrawnStudy,
        *,
        user="Practitioner/1",
        name="Dr. Ada Hem",
        may_review=True,
        may_operate=False,
        **options,
    ) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1366, "height": 800}, **options})
        contexts.append(context)
        sign_in(context, site, user=user, name=name, may_review=may_review, may_operate=may_operate)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on(
            "console",
            lambda m: (
                problems.append(f"{m.text} {m.location}") if "Content Security Policy" in m.text else None
            ),
        )
        page.on(
            "request",
            lambda r: None if r.url.startswith((site.url, "data:", "blob:")) else problems.append(r.url),
        )
        page.goto(site.page_of(drawn))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    def take(page: Page, name: str, **options) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        # "initial": to hide the caret a style sheet would be put into the page, which its policy forbids.
        page.screenshot(path=SHOTS / f"{name}.png", caret="initial", **options)

    return take
