"""The pages in German, in a real browser: they fit, their scripts speak German, and axe has nothing against them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from hooks.demo.hospital import Hospital
from hooks.gateway.app import create_app
from tests.fakes.assessments import MODEL, study
from tests.fakes.gateway import GatewayWorld

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SIZES = {"laptop": (1280, 800), "phone": (390, 844)}
#: On a phone the headers of lists are for those who listen; what is made to scroll may be wide.
WIDE = (
    "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    ".filter(e => !e.closest('thead, .scroll'))"
    ".map(e => e.outerHTML.slice(0, 120))"
)
#: Texts that are wider than the box that they stand in, and cut or hanging out.
CUT = (
    "[...document.querySelectorAll('button, th, td, label, legend, h1, h2, h3, dt, a, summary')]"
    ".filter(e => e.offsetParent && getComputedStyle(e).display !== 'inline')"
    ".filter(e => !e.closest('.worklist thead, .listed thead'))"
    ".filter(e => e.scrollWidth > e.clientWidth + 2)"
    ".map(e => [e.tagName, e.textContent.trim().slice(0, 60), e.scrollWidth, e.clientWidth])"
)


#: What hangs out of the card that it stands in, or a table out of what the card's padding leaves it.
OUT = (
    "[...document.querySelectorAll('section *, dialog[open] *')].filter(e => { "
    "const box = e.parentElement.closest('section, dialog'); "
    "const padding = e.tagName === 'TABLE' ? parseFloat(getComputedStyle(box).paddingRight) : 0; "
    "return e.offsetParent && e.getBoundingClientRect().right > box.getBoundingClientRect().right - padding + 1; })"
    ".filter(e => !e.closest('#viewer, .scroll, .tile, .hidden')).map(e => e.outerHTML.slice(0, 120))"
)


def fits(page: Page, width: int) -> None:
    assert page.evaluate(OUT) == []
    assert page.evaluate(WIDE) == []
    assert page.evaluate(CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def nothing_serious(page: Page) -> None:
    page.add_script_tag(path=AXE)
    tags = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']"
    found = page.evaluate(f"axe.run(document, {{runOnly: {tags}}})")
    bad = [
        (v["id"], [(n["target"], n["failureSummary"][:300]) for n in v["nodes"][:3]])
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    assert bad == []


def german(size: str, **more):
    width, height = SIZES[size]
    return {"viewport": {"width": width, "height": height}, "locale": "de-DE", "bypass_csp": True, **more}


@pytest.mark.parametrize("size", SIZES)
def test_the_study_page_in_german(site, visit, shoot, size):
    drawn = site.add()
    page = visit(site, drawn, **german(size))
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.wait_for_timeout(1000)
    fits(page, SIZES[size][0])
    cells = page.locator('.group[data-group="myeloblast"] .tile')
    one, two = (int(cells.nth(n).get_attribute("data-cell") or "") for n in (0, 1))
    page.locator(f'.tile[data-cell="{one}"]').click()
    expect(page.locator("#selected")).to_have_text("1 Zelle ausgewählt")
    page.locator(f'.tile[data-cell="{two}"]').click(modifiers=["Control"])
    expect(page.locator("#selected")).to_have_text("2 Zellen ausgewählt")
    fits(page, SIZES[size][0])
    shoot(page, f"german-study-{size}-selected")
    page.get_by_role("button", name="Ausschließen").click()
    expect(page.locator(".history li").first).to_contain_text("2 Zellen ausgeschlossen")
    page.get_by_role("radio", name="Ändern").check()
    expect(page.locator("[data-saved]")).to_have_text("Gespeichert ✓")
    fits(page, SIZES[size][0])
    page.evaluate("scrollTo(0, 0)")
    shoot(page, f"german-study-{size}", full_page=True)
    nothing_serious(page)
    for dialog in ("#closeup", "#types", "#comment"):
        page.evaluate("name => document.querySelector(name).showModal()", dialog)
        fits(page, SIZES[size][0])
        shoot(page, f"german-study-{size}-{dialog[1:]}")
        nothing_serious(page)
        page.evaluate("name => document.querySelector(name).close()", dialog)


@pytest.mark.parametrize("size", SIZES)
def test_the_worklist_in_german(site, visit, shoot, size):
    store = site.context.store
    drawn = site.add()
    store.enqueue(drawn.assessment.study, site.context.model.digest)
    for number, outcome in ((71, "queued"), (72, "failed")):
        job = store.enqueue(study(number, patient="Patient/p-2", accession=f"A-{number}"), MODEL.digest)[0]
        if outcome == "failed":
            store.claim(job.key, "worker", 60)
            store.fail(job.key, "worker", "the image archive cannot be reached")
    page = visit(site, drawn, may_operate=True, **german(size))
    page.goto(f"{site.url}/worklist")
    expect(page.locator("h1")).to_have_text("Nicht freigegebene Ausstriche")
    expect(page.locator("#updates")).to_have_text("Diese Liste aktualisiert sich selbst.")
    fits(page, SIZES[size][0])
    shoot(page, f"german-worklist-{size}", full_page=True)
    nothing_serious(page)
    page.evaluate("document.querySelector('time').dateTime = new Date(Date.now() - 3 * 864e5).toISOString()")
    expect(page.locator("time").first).to_have_text("3 Tagen", timeout=10_000)
    for path in ("/", "/sign-in?signed-out", "/feedback", "/worklist?page=0"):
        page.goto(site.url + path)
        fits(page, SIZES[size][0])
        shoot(page, f"german-{size}{path.partition('?')[0].replace('/', '-')}", full_page=True)
        nothing_serious(page)


def test_a_reader_chooses_the_language_and_keeps_it(site, visit):
    drawn = site.add()
    page = visit(site, drawn)
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.get_by_role("link", name="Deutsch").click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    assert page.url == site.page_of(drawn)
    page.goto(f"{site.url}/worklist")
    expect(page.locator("h1")).to_have_text("Nicht freigegebene Ausstriche")
    page.get_by_role("link", name="English").click()
    expect(page.locator("h1")).to_have_text("Smears that nobody has signed")


def test_of_two_reviewers_the_second_is_told_in_german(site, visit):
    drawn = site.add()
    ada = visit(site, drawn, user="Practitioner/1", name="Dr. Ada Hem")
    ben = visit(site, drawn, user="Practitioner/2", name="Dr. Ben Lym", **german("laptop"))
    for page, key in ((ada, "p"), (ben, "y")):
        page.locator('.group[data-group="myeloblast"] .tile').first.click()
        page.keyboard.press(key)
        page.wait_for_timeout(500)
    conflict = ben.locator(".message.conflict")
    expect(conflict).to_contain_text(
        "inzwischen hat sich durch Dr. Ada Hem etwas geändert: Dr. Ada Hem: 1 Zelle"
    )
    conflict.get_by_role("button", name="Verzichten").click()
    ben.route("**/changes", lambda route: route.abort())
    ben.locator('.group[data-group="myeloblast"] .tile').first.click()
    ben.keyboard.press("y")
    expect(ben.locator(".message.problem")).to_contain_text(
        "Nicht gespeichert: der Server ist nicht erreichbar"
    )


@contextmanager
def gateway_pages(folder: Path) -> Iterator[str]:
    """Address of a gateway's pages, with a picture that waits, one in quarantine and one discarded."""
    with Hospital() as hospital:
        world = GatewayWorld(folder, hospital)
        for name, data in (("allein.jpg", None), ("unbekannt.jpg", {"accession_number": "A-9"})):
            world.leave(name, data=data)
        world.work()
        server = make_server("127.0.0.1", 0, create_app(world.gateway), threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)
            server.server_close()
            world.close()


@pytest.mark.parametrize("size", SIZES)
def test_the_gateways_pages_in_german(chromium, shoot, tmp_path, size):
    with gateway_pages(tmp_path) as address:
        context = chromium.new_context(**german(size))
        page = context.new_page()
        page.goto(address)
        expect(page.locator("h1")).to_have_text("Bilder warten auf eine Entscheidung")
        fits(page, SIZES[size][0])
        shoot(page, f"german-gateway-{size}", full_page=True)
        nothing_serious(page)
        page.get_by_role("link", name="unbekannt.jpg").click()
        expect(page.locator(".advice")).to_contain_text(
            "hat weder ein Auftrag noch eine Probe diese Auftragsnummer"
        )
        fits(page, SIZES[size][0])
        shoot(page, f"german-gateway-{size}-image", full_page=True)
        nothing_serious(page)
        page.get_by_label("Grund").fill("unscharf")
        page.get_by_role("button", name="Aussondern").click()
        expect(page.get_by_text("ausgesondert: unscharf")).to_be_visible()
        page.get_by_role("link", name="English").click()
        expect(page.get_by_text("discarded: unscharf")).to_be_visible()
        context.close()
