"""The pages in German, in a real browser: they fit, their scripts speak German, and axe has nothing against them."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.fakes.assessments import MODEL, study

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SIZES = {"laptop": (1280, 800), "phone": (390, 844)}
#: On a phone the worklist's header is for those who listen.
WIDE = (
    "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    ".filter(e => !e.closest('.worklist thead'))"
    ".map(e => e.outerHTML.slice(0, 120))"
)
#: Texts that are wider than the box that they stand in, and cut or hanging out.
CUT = (
    "[...document.querySelectorAll('button, th, td, label, legend, h1, h2, h3, dt, a, summary')]"
    ".filter(e => e.offsetParent && !e.closest('.worklist thead') && getComputedStyle(e).display !== 'inline')"
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
