"""A real browser (Debian's Chromium, headless, driven by Playwright) on a real server on loopback.

Screenshots lie in `.cache/screenshots/` afterwards.
"""

import functools
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from cds.fhir_client import HttpFhirServer
from cds.pixels import PixelLimits
from cds.settings import Settings
from cds.values import ReportState, StudyRef
from hooks.app import create_app
from hooks.bootstrap import load_reader
from hooks.context import Context, PageParts
from hooks.image_cache import ImageCache
from hooks.pictures import StudyPictures
from hooks.reference_ranges import bundled_ranges, load_ranges
from models.package import bundled_package, load_card, load_identity
from tests.fakes.context import Queue, make_context
from tests.fakes.drawn_study import DrawnArchive, DrawnStudy, drawn_study
from tests.fakes.signed_in import open_session

SHOTS = Path(__file__).resolve().parents[2] / ".cache" / "screenshots"


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return


@dataclass
class Site:
    """The served pages. submitted: what was sent to the queue of signatures."""

    url: str
    context: Context
    submitted: Queue
    archives: dict[str, DrawnArchive]

    def add(
        self, state: ReportState = ReportState.PENDING, *, study: StudyRef | None = None, **drawn
    ) -> DrawnStudy:
        ref = study or StudyRef(
            study_uid=f"2.25.{uuid.uuid4().int}", patient="Patient/p-1", started="2026-03-02T10:15:00+01:00"
        )
        made = drawn_study(ref, self.context.model, self.context.pages.pattern_model(), **drawn)
        assert self.context.store.save(made.assessment, state)
        self.archives[ref.study_uid] = made.archive
        return made

    def page_of(self, drawn: DrawnStudy) -> str:
        return f"{self.url}/studies/{drawn.assessment.key}"


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
    yield from _served(tmp_path)


@pytest.fixture
def site_on_hapi(tmp_path, hapi_url) -> Iterator[Site]:
    """The same, with a FHIR server that signatures go to."""
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=60) as fhir:
        yield from _served(tmp_path, fhir)


def _served(folder: Path, fhir: HttpFhirServer | None = None) -> Iterator[Site]:
    archives: dict[str, DrawnArchive] = {}
    package = bundled_package()
    card = functools.cache(lambda: load_card(package))
    submitted = Queue()
    pages = PageParts(
        pictures=StudyPictures(
            archive=lambda study: archives[study.study_uid],
            limits=PixelLimits(),
            cache=ImageCache(folder / "images", 64 * 1024 * 1024),
            card=card,
            reader=functools.cache(lambda: load_reader(Settings())),
            deadline_s=20,
        ),
        pattern_model=lambda: card().pattern_model,
        ranges=load_ranges(bundled_ranges()),
        submit_signature=submitted,
        fhir=fhir,
    )
    context = make_context(folder, model=load_identity(package), pages=pages)
    server = make_server("127.0.0.1", 0, Flask(__name__), threaded=True, request_handler=_Quiet)
    url = f"http://127.0.0.1:{server.server_port}"
    context = replace(context, settings=replace(context.settings, public_url=url))
    server.app = create_app(context)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Site(url, context, submitted, archives)
    server.shutdown()
    thread.join(5)
    server.server_close()


def sign_in(browser: BrowserContext, site: Site, **session) -> None:
    """Give the browser a session; see `tests.fakes.signed_in.open_session` for whose."""
    secret = open_session(site.context, **session)
    browser.add_cookies([{"name": "leukocds", "value": secret, "url": site.url, "httpOnly": True, "sameSite": "Lax"}])


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
        **options,
    ) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1366, "height": 800}, **options})
        contexts.append(context)
        sign_in(context, site, user=user, name=name, may_review=may_review)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("console", lambda m: problems.append(f"{m.text} {m.location}") if "Content Security Policy" in m.text else None)
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
