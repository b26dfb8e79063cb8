"""The clinician's pages on a real server on loopback, with drawn studies, for browsers that look at them."""

import functools
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flask import Flask
from playwright.sync_api import BrowserContext
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


class Quiet(WSGIRequestHandler):
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
        self, state: ReportState = ReportState.PENDING, *, study: StudyRef | None = None, **drawn: Any
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


@contextmanager
def served(folder: Path, fhir: HttpFhirServer | None = None, **settings: Any) -> Iterator[Site]:
    """settings: of the service, as `cds.settings.Settings` names them."""
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
    server = make_server("127.0.0.1", 0, Flask(__name__), threaded=True, request_handler=Quiet)
    url = f"http://127.0.0.1:{server.server_port}"
    context = replace(context, settings=replace(context.settings, public_url=url, **settings))
    server.app = create_app(context)  # made now, for it needs to know its own address
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Site(url, context, submitted, archives)
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def sign_in(browser: BrowserContext, site: Site, **session: Any) -> None:
    """Give the browser a session; see `tests.fakes.signed_in.open_session` for whose."""
    secret = open_session(site.context, **session)
    browser.add_cookies(
        [{"name": "leukocds", "value": secret, "url": site.url, "httpOnly": True, "sameSite": "Lax"}]
    )
