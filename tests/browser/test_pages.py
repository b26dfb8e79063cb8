"""Every page of the service and of the gateway, as laptop and phone show it, light and dark: axe finds nothing serious,
nothing scrolls sideways, nothing comes from another host, and no policy allows what is written into the markup."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, Response
from werkzeug.serving import make_server

from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.values import Pattern, ReportState
from hooks.demo.hospital import Hospital
from hooks.gateway.app import create_app as create_gateway
from hooks.gateway.journal import ImageState
from hooks.gateway.quarantine import Quarantine
from tests.fakes.assessments import MODEL, READ_AT, assessment, finding, not_analysed, study
from tests.fakes.axe import serious
from tests.fakes.feedback import overridden, shown
from tests.fakes.gateway import GatewayWorld, order, patient
from tests.fakes.site import Quiet, Site, served, sign_in

SIZES = {"laptop": (1366, 800), "phone": (390, 844)}
BY = {"user": "Practitioner/1", "name": "Dr. Ada Hem"}
#: What a page's source holds that its policy would drop: scripts, styles and handlers in the markup.
WRITTEN = """html => [...new DOMParser().parseFromString(html, "text/html").querySelectorAll("*")]
    .filter(e => e.matches("script:not([src]), style, [style]") || [...e.attributes].some(a => a.name.startsWith("on")))
    .map(e => e.outerHTML.slice(0, 100))"""
LONG = "W" * 120 + " <b>markup</b> " + "verylongwordwithoutanyplacetobreak" * 4
ISSUER = """
[[issuer]]
name = "General Hospital"
iss = "https://ehr.example/fhir"
client_id = "leukocds"
"""


@dataclass
class Where:
    """A page. session: of who looks; None: nobody. status: of the answer."""

    url: str
    session: dict[str, Any] | None
    site: Site | None = None
    status: int = 200


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Where]]:
    """Name to page."""
    root = tmp_path_factory.mktemp("pages")
    sign_in_file = root / "sign_in.toml"
    sign_in_file.write_text(ISSUER)
    with (
        served(root / "bare") as bare,
        served(root / "full") as full,
        served(root / "development", development_login=True) as development,
        served(root / "issuers", sign_in=str(sign_in_file)) as issuers,
        gateways(root) as gateway,
    ):
        yield {**of_service(bare, full, development, issuers), **gateway}


def of_service(bare: Site, full: Site, development: Site, issuers: Site) -> dict[str, Where]:
    reviewer, operator = {"may_review": True}, {"may_review": False, "may_operate": True}
    one = {"may_review": False, "patient": "Patient/p-1"}
    keys = fill(full)

    def at(path: str, session: dict[str, Any] | None, site: Site = full, status: int = 200) -> Where:
        return Where(site.url + path, session, site, status)

    return {
        "home": at("/", reviewer),
        "home-operator": at("/", operator),
        "worklist": at("/worklist", reviewer),
        "worklist-operator": at("/worklist", operator),
        "worklist-empty": at("/worklist", reviewer, bare),
        "worklist-signed": at("/worklist?state=signed", reviewer),
        "worklist-failed": at("/worklist?state=failed", operator),
        "worklist-filtered": at("/worklist?search=p-3", reviewer),
        "worklist-none-found": at("/worklist?search=nobody", reviewer),
        "worklist-one-patient": at("/worklist", one),
        "worklist-page-2": at("/worklist?page=2", reviewer),
        "worklist-retried": at("/worklist?said=retried", operator),
        "feedback": at("/feedback", reviewer),
        "feedback-empty": at("/feedback", reviewer, bare),
        "sign-in-nowhere": at("/sign-in", None),
        "sign-in-issuers": at("/sign-in", None, issuers),
        "sign-in-development": at("/sign-in", None, development),
        "signed-in-development": at("/sign-in?signed-out", reviewer, development),
        "error-400": at("/worklist?page=x", reviewer, status=400),
        "error-403": at("/feedback", one, status=403),
        "error-403-nobody": at("/launch?iss=https://nowhere.example&launch=1", None, status=403),
        "error-404": at("/studies/00000000-0000-4000-8000-000000000000", reviewer, status=404),
        "error-405": at("/worklist/retry", reviewer, status=405),
        "study-healthy": at(f"/studies/{keys['healthy']}", reviewer),
        "study-not-analysed": at(f"/studies/{keys['not-analysed']}", reviewer),
        "study-pending": at(f"/studies/{keys['pending']}", reviewer),
        "study-signed": at(f"/studies/{keys['signed']}", {"may_review": False}),
    }


def fill(site: Site) -> dict[str, str]:
    """Smears in every state, and cards with what became of them."""
    store = site.context.store
    keys: dict[str, str] = {}
    for number in range(30):
        smear = study(number + 10, patient=f"Patient/p-{number % 5 + 1}", accession=f"A-{number}")
        job = store.enqueue(smear, MODEL.digest)[0]
        if number == 1:
            continue  # it is queued
        store.claim(job.key, "worker", 60)
        if number in (2, 3):
            store.fail(job.key, "worker", LONG if number == 2 else "The archive does not answer.")
            continue
        outcome = not_analysed() if number == 4 else finding()
        made = replace(assessment(number + 10, outcome), study=job.study)
        store.save(made, ReportState.PENDING)
        store.finish(job.key, "worker", made.key)
        if number == 5:
            signing = Change(number=1, at=READ_AT, kind=ChangeKind.SIGN, **BY)
            store.sign(signing, signature(made.key), SignatureState.WRITTEN)
    unread = assessment(90, not_analysed())
    store.save(unread, ReportState.PENDING)
    keys["not-analysed"] = unread.key
    for name, pattern in (("healthy", "healthy"), ("pending", "AML"), ("signed", "CML")):
        keys[name] = site.add(pattern=pattern).assessment.key
    for name, state in (("pending", SignatureState.PENDING), ("signed", SignatureState.WRITTEN)):
        signing = Change(number=1, at=READ_AT, kind=ChangeKind.SIGN, **BY)
        store.sign(signing, signature(keys[name]), state)
    store.remember_cards([shown(n) for n in (1, 2, 3)])
    store.take_feedback("leukemia-smear", [overridden(2)])
    return keys


def signature(key: str) -> Signature:
    return Signature(
        assessment_key=key, number=1, signed_at=READ_AT, verdict=Verdict.AGREE, conclusion=Pattern.AML,
        remark=LONG, **BY,
    )  # fmt: skip


@contextmanager
def gateways(root: Path) -> Iterator[dict[str, Where]]:
    hospital = Hospital()
    hospital.fhir.put(patient(1))
    hospital.fhir.put(order("A-1", "p-1"))
    with hospital:
        idle, busy = (GatewayWorld(root / name, hospital) for name in ("idle", "busy"))
        busy.leave(f"{'long-name-' * 9}.png")  # waits for its data
        busy.leave("nobody-knows.png", data={"accession_number": "A-99"})
        busy.leave("to-be-discarded.png", data={"accession_number": "A-98"})
        busy.work()
        held = busy.gateway.journal.images(ImageState.QUARANTINED)
        assert len(held) >= 2
        with listening(create_gateway(idle.gateway)) as calm, listening(create_gateway(busy.gateway)) as url:
            Quarantine(busy.folders, busy.gateway.journal).discard(held[-1].id, LONG)
            try:
                yield {
                    "gateway": Where(calm, None),
                    "gateway-busy": Where(url, None),
                    "gateway-image": Where(f"{url}/images/{held[0].id}", None),
                    "gateway-discarded": Where(f"{url}/images/{held[-1].id}", None),
                    "gateway-404": Where(f"{url}/images/nothing", None, status=404),
                }
            finally:
                idle.close()
                busy.close()


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


Go = Callable[..., tuple[Page, Response]]


@pytest.fixture
def go(chromium: Browser) -> Iterator[Go]:
    """Opens one of the pages in a browser context of its own."""
    contexts: list[BrowserContext] = []

    def there(where: Where, *, before: Callable[[Page], None] = lambda page: None, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        if where.session is not None:
            assert where.site is not None
            sign_in(context, where.site, **where.session)
        page = context.new_page()
        before(page)
        response = page.goto(where.url)
        assert response is not None
        assert response.status == where.status
        return page, response

    yield there
    for context in contexts:
        context.close()


NAMES = (
    "home", "home-operator", "worklist", "worklist-operator", "worklist-empty", "worklist-signed", "worklist-failed",
    "worklist-filtered", "worklist-none-found", "worklist-one-patient", "worklist-page-2", "worklist-retried",
    "feedback", "feedback-empty", "sign-in-nowhere", "sign-in-issuers", "sign-in-development", "signed-in-development",
    "error-400", "error-403", "error-403-nobody", "error-404", "error-405", "study-healthy", "study-not-analysed",
    "study-pending", "study-signed", "gateway", "gateway-busy", "gateway-image", "gateway-discarded", "gateway-404",
)  # fmt: skip


def test_no_page_is_left_out(pages: dict[str, Where]) -> None:
    assert set(NAMES) == set(pages)


@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(pages, go: Go, shoot, name: str) -> None:
    page, _ = go(pages[name], bypass_csp=True)
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(300)
            shoot(page, f"page-{name}-{size}-{scheme}", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (size, scheme)
            assert serious(page) == [], (size, scheme)


@pytest.mark.parametrize("name", NAMES)
def test_no_request_goes_to_another_host_and_nothing_is_written_into_the_markup(
    pages, go: Go, name: str
) -> None:
    problems: list[str] = []

    def watch(page: Page) -> None:
        own = pages[name].url.split("/", 3)
        ours = ("/".join(own[:3]) + "/", "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(ours) else problems.append(r.url))
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("console", lambda m: problems.append(m.text) if "Security Policy" in m.text else None)

    page, response = go(pages[name], before=watch)
    page.wait_for_timeout(300)
    policy = response.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "default-src 'self'" in policy or "default-src 'none'" in policy
    assert "http" not in policy, "another host is named"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert page.evaluate(WRITTEN, response.text()) == []
    assert problems == []
