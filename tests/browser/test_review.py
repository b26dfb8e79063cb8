"""A clinician's review in a real browser: by keyboard, menu and drag, undone, signed, and beside another reviewer."""

import re
import uuid
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from cds.ports import Resource
from cds.review import ChangeKind
from cds.settings import Settings
from cds.values import StudyRef
from hooks.signatures import write_signed
from hooks.stroke import WorkerParts
from hooks.study_view import UNSURE_BELOW
from tests.fakes.axe import serious

NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def tile(page: Page, cell: int):
    return page.locator(f'.tile[data-cell="{cell}"]')


def group(page: Page, name: str):
    return page.locator(f'.group[data-group="{name}"]')


def cells_in(page: Page, name: str) -> list[int]:
    tiles = group(page, name).locator(".tile")
    return [int(t.get_attribute("data-cell") or "") for t in tiles.all()]


def human_count(page: Page, name: str) -> int:
    row = page.locator(".differential tr", has=page.get_by_role("rowheader", name=name, exact=True))
    return int(row.locator(".human").inner_text())


def unsure_of(drawn, cell_type: str) -> int:
    cells = drawn.assessment.outcome.cells
    return sum(cell.cell_type == cell_type and cell.probability < UNSURE_BELOW for cell in cells)


def changes(site, drawn) -> list[tuple[ChangeKind, str]]:
    return [(c.kind, c.value) for c in site.context.store.review(drawn.assessment.key).changes]


def test_cells_are_retyped_by_key_menu_and_drag_and_the_differential_follows(site, visit, shoot):
    drawn = site.add()
    page = visit(site, drawn)
    myeloblasts, before = cells_in(page, "myeloblast"), human_count(page, "Myeloblast")

    by_key, *by_menu = myeloblasts[:3]
    tile(page, by_key).click()
    page.keyboard.press("p")
    expect(group(page, "promyelocyte").locator(f'[data-cell="{by_key}"]')).to_be_visible()
    assert human_count(page, "Myeloblast") == before - 1

    tile(page, by_menu[0]).click()
    tile(page, by_menu[1]).click(modifiers=["Control"])
    expect(page.locator("#selected")).to_have_text("2 cells selected")
    shoot(page, "study-selected")
    page.get_by_role("button", name="Change to…").click()
    shoot(page, "study-menu")
    page.locator("#types").get_by_role("button", name="Lymphoblast").click()
    expect(group(page, "lymphoblast").locator(".tile")).to_have_count(2)
    assert human_count(page, "Myeloblast") == before - 3

    dragged = cells_in(page, "myeloblast")[0]
    tile(page, dragged).drag_to(page.locator('.palette [data-type="monocyte"]'))
    expect(group(page, "monocyte").locator(f'[data-cell="{dragged}"]')).to_be_visible()

    taken_out = cells_in(page, "myeloblast")[0]
    tile(page, taken_out).click()
    page.keyboard.press("Delete")
    expect(group(page, "excluded").locator(f'[data-cell="{taken_out}"]')).to_be_visible()
    expect(page.locator(".was")).to_contain_text("The machine's reading")
    assert changes(site, drawn) == [
        (ChangeKind.RECLASSIFY, "promyelocyte"),
        (ChangeKind.RECLASSIFY, "lymphoblast"),
        (ChangeKind.RECLASSIFY, "monocyte"),
        (ChangeKind.EXCLUDE, ""),
    ]
    shoot(page, "study-reviewed", full_page=True)

    page.keyboard.press("Control+z")
    expect(group(page, "myeloblast").locator(f'[data-cell="{taken_out}"]')).to_be_visible()
    assert human_count(page, "Myeloblast") == before - 4

    page.reload()
    expect(group(page, "monocyte").locator(f'[data-cell="{dragged}"]')).to_be_visible()
    assert human_count(page, "Myeloblast") == before - 4


def test_everything_can_be_done_by_keyboard_alone(site, visit):
    drawn = site.add()
    page = visit(site, drawn)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(".tile:focus").count():
            break
    first = int(page.locator(":focus").get_attribute("data-cell") or "")
    assert first in cells_in(page, "unsure")
    page.keyboard.press("ArrowRight")
    second = int(page.locator(":focus").get_attribute("data-cell") or "")
    assert second != first
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#selected")).to_have_text("2 cells selected")
    page.keyboard.press("m")
    expect(group(page, "monocyte").locator(".tile.human")).to_have_count(2)
    page.keyboard.press("Enter")
    expect(page.locator("#closeup")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#closeup")).to_be_hidden()
    expect(page.locator(".tile:focus")).to_have_count(1)
    page.keyboard.press("Control+z")
    expect(group(page, "monocyte").locator(".tile.human")).to_have_count(0)
    page.get_by_label("Amend").focus()
    page.keyboard.press("Space")
    expect(page.locator(".history li").first).to_contain_text("Amend")


def test_cells_are_retyped_one_after_the_other_while_they_are_large(site, visit):
    drawn = site.add()
    page = visit(site, drawn)
    first, second, third = cells_in(page, "myeloblast")[:3]
    large = page.locator("#closeup-pixels")
    tile(page, first).dblclick()
    page.keyboard.press("p")
    page.keyboard.press("Delete")
    expect(group(page, "promyelocyte").locator(f'[data-cell="{first}"]')).to_be_attached()
    expect(group(page, "excluded").locator(f'[data-cell="{second}"]')).to_be_attached()
    expect(large).to_have_attribute("src", re.compile(f"/cells/{third}/pixels"))
    page.keyboard.press("ArrowLeft")
    assert changes(site, drawn) == [(ChangeKind.RECLASSIFY, "promyelocyte"), (ChangeKind.EXCLUDE, "")]

    reader = visit(site, drawn, user="Practitioner/2", may_review=False)
    tile(reader, third).dblclick()
    reader.keyboard.press("p")
    expect(reader.locator("#closeup-pixels")).to_have_attribute("src", re.compile(f"/cells/{third}/pixels"))
    assert len(changes(site, drawn)) == 2


def test_counts_are_of_all_cells_also_of_those_that_the_page_does_not_hold(site, visit, monkeypatch):
    monkeypatch.setattr("hooks.study_view.MAX_TILES", 30)
    drawn = site.add()
    page = visit(site, drawn)
    shown, count = cells_in(page, "myeloblast"), group(page, "myeloblast").locator("[data-count]")
    before = int(count.inner_text())
    assert before > len(shown)
    tile(page, shown[0]).click()
    page.keyboard.press("p")
    expect(group(page, "promyelocyte").locator(f'[data-cell="{shown[0]}"]')).to_be_visible()
    expect(count).to_have_text(str(before - 1))
    assert human_count(page, "Myeloblast") == before - 1 + unsure_of(drawn, "myeloblast")


def test_a_large_cell_makes_room_for_what_keeps_a_change(site, visit):
    drawn = site.add()
    ada, ben = (visit(site, drawn, user=f"Practitioner/{n}") for n in (1, 2))
    one, two = cells_in(ada, "myeloblast")[:2]
    tile(ada, one).click()
    ada.keyboard.press("p")
    expect(group(ada, "promyelocyte").locator(f'[data-cell="{one}"]')).to_be_visible()
    tile(ben, two).dblclick()
    ben.keyboard.press("y")
    expect(ben.locator(".message.conflict")).to_be_visible()
    expect(ben.locator("#closeup")).to_be_hidden()


@pytest.mark.parametrize(("width", "height"), [(820, 1180), (390, 844)])
def test_by_touch_cells_are_chosen_by_tapping_and_given_a_type_from_the_menu(
    site, visit, shoot, width, height
):
    drawn = site.add()
    page = visit(site, drawn, viewport={"width": width, "height": height}, has_touch=True, is_mobile=True)
    one, two, three = cells_in(page, "myeloblast")[:3]
    for cell in (one, two, three):
        tile(page, cell).tap()
    expect(page.locator("#selected")).to_have_text("3 cells selected")
    expect(page.locator("#closeup")).to_be_hidden()  # quick taps on neighbours are no double tap on one
    page.wait_for_timeout(700)
    tile(page, three).tap()
    expect(page.locator("#selected")).to_have_text("2 cells selected")
    menu = page.get_by_role("button", name="Change to…")
    expect(menu).to_be_in_viewport()  # the bar goes along
    shoot(page, f"study-touch-{width}")
    menu.tap()
    page.locator("#types").get_by_role("button", name="Monocyte").tap()
    expect(group(page, "monocyte").locator(".tile.human")).to_have_count(2)
    assert changes(site, drawn) == [(ChangeKind.RECLASSIFY, "monocyte")]
    tile(page, three).tap()
    page.get_by_role("button", name="Take out").tap()
    expect(group(page, "excluded").locator(f'[data-cell="{three}"]')).to_be_visible()
    page.get_by_role("button", name="Undo").tap()
    expect(group(page, "myeloblast").locator(f'[data-cell="{three}"]')).to_be_visible()
    page.wait_for_timeout(700)
    tile(page, three).tap()
    tile(page, three).tap()
    expect(page.locator("#closeup")).to_be_visible()


def test_of_two_reviewers_at_once_neither_overwrites_the_other(site, visit, shoot):
    drawn = site.add()
    ada = visit(site, drawn, user="Practitioner/1", name="Dr. Ada Hem")
    ben = visit(site, drawn, user="Practitioner/2", name="Dr. Ben Lym")
    one, two = cells_in(ada, "myeloblast")[:2]
    tile(ada, one).click()
    ada.keyboard.press("p")
    expect(group(ada, "promyelocyte").locator(f'[data-cell="{one}"]')).to_be_visible()
    tile(ben, two).click()
    ben.keyboard.press("y")
    conflict = ben.locator(".message.conflict")
    expect(conflict).to_contain_text("Dr. Ada Hem: 1 cell: Promyelocyte")
    shoot(ben, "study-conflict")
    assert changes(site, drawn) == [(ChangeKind.RECLASSIFY, "promyelocyte")]
    expect(group(ben, "promyelocyte").locator(f'[data-cell="{one}"]')).to_be_visible()
    expect(group(ben, "myeloblast").locator(f'[data-cell="{two}"]')).to_be_visible()
    conflict.get_by_role("button", name="Store my change now").click()
    expect(group(ben, "lymphoblast").locator(f'[data-cell="{two}"]')).to_be_visible()
    assert changes(site, drawn)[-1] == (ChangeKind.RECLASSIFY, "lymphoblast")


@pytest.mark.parametrize("last", ["remark", "verdict"])
def test_nothing_is_signed_while_what_was_to_be_part_of_it_is_not_stored(site, visit, last):
    """Whoever signs has seen what the other reviewer changed, and signs the own words with it."""
    drawn = site.add()
    ada, ben = (visit(site, drawn, user=f"Practitioner/{n}", name=f"Dr. {n}") for n in (1, 2))
    asked: list[str] = []
    ben.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    ben.get_by_label("Agree").check()
    expect(ben.locator(".history li").first).to_contain_text("Agree")
    ada.reload()
    one = cells_in(ada, "myeloblast")[0]
    tile(ada, one).click()
    ada.keyboard.press("p")
    expect(group(ada, "promyelocyte").locator(f'[data-cell="{one}"]')).to_be_visible()
    if last == "remark":
        ben.get_by_label("Remark in the report").fill("Auer rods")
        ben.get_by_role("button", name="Sign as").click()
    else:  # faster than the answer comes
        ben.evaluate(
            """() => { const form = document.querySelector("form.signing");
                       form.querySelector('[value="reject"]').click(); form.requestSubmit(); }"""
        )
    conflict = ben.locator(".message.conflict")
    expect(conflict).to_contain_text("Dr. 1: 1 cell: Promyelocyte")
    ben.wait_for_timeout(500)
    assert asked == []
    assert ChangeKind.SIGN not in [kind for kind, _ in changes(site, drawn)]
    conflict.get_by_role("button", name="Store my change now").click()
    expect(ben.locator(".history li").first).not_to_contain_text("Promyelocyte")
    kept = {"remark": (ChangeKind.REMARK, "Auer rods"), "verdict": (ChangeKind.DECIDE, "reject")}[last]
    assert changes(site, drawn)[-1] == kept


def test_a_server_that_is_out_loses_no_change(site, visit):
    drawn = site.add()
    page = visit(site, drawn)
    cell = cells_in(page, "myeloblast")[0]
    page.route("**/changes", lambda route: route.abort())
    tile(page, cell).click()
    page.keyboard.press("p")
    problem = page.locator(".message.problem")
    expect(problem).to_contain_text("the server cannot be reached")
    assert changes(site, drawn) == []
    page.unroute("**/changes")
    problem.get_by_role("button", name="Try again").click()
    expect(group(page, "promyelocyte").locator(f'[data-cell="{cell}"]')).to_be_visible()


def test_a_cell_is_enlarged_and_found_in_its_image(site, visit, shoot):
    drawn = site.add()
    page = visit(site, drawn)
    cell = cells_in(page, "unsure")[0]
    tile(page, cell).dblclick()
    pixels = page.locator("#closeup-pixels")
    expect(pixels).to_be_visible()
    expect(pixels).to_have_js_property("complete", True)
    assert pixels.evaluate("image => image.naturalWidth") >= 96
    page.get_by_label("Activation maps").last.check()
    activation = page.locator("#closeup-map")
    expect(activation).to_have_js_property("complete", True, timeout=30_000)
    expect(activation).not_to_have_js_property("naturalWidth", 0, timeout=30_000)
    shoot(page, "study-closeup")
    page.get_by_role("button", name="Show in the image").click()
    ring = page.locator(f'.ring[data-cell="{cell}"]')
    expect(ring).to_have_class(re.compile("this"))
    page.wait_for_timeout(1500)
    shoot(page, "study-viewer")
    asked = page.evaluate(
        "performance.getEntriesByType('resource').map(r => r.name).filter(n => n.includes('/tiles/'))"
    )
    assert asked
    ring.click()
    expect(page.locator("#closeup")).to_be_visible()


def test_names_comments_and_sources_are_shown_as_text(site, visit):
    study = StudyRef(study_uid=f"2.25.{uuid.uuid4().int}", patient="Patient/p-1")
    drawn = site.add(study=study)
    page = visit(site, drawn, name=f"Dr {NASTY}")
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.route("**/patient", lambda route: route.fulfill(json={"name": NASTY, "birth_date": NASTY}))
    page.reload()
    expect(page.locator("#patient-name")).to_have_text(NASTY)
    cell = cells_in(page, "myeloblast")[0]
    tile(page, cell).click()
    page.get_by_role("button", name="Comment…").click()
    page.locator("#comment textarea").fill(NASTY)
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".history")).to_contain_text(NASTY)
    tile(page, cell).dblclick()
    expect(page.locator("#closeup-said")).to_contain_text(NASTY)
    assert page.locator("img[src='x']").count() == 0
    assert alerts == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 390])
def test_axe_finds_nothing_serious(site, visit, scheme, width):
    drawn = site.add()
    page = visit(site, drawn, viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    tile(page, cells_in(page, "unsure")[0]).click()
    page.get_by_label("Amend").check()
    page.locator("#viewer").scroll_into_view_if_needed()
    page.wait_for_timeout(1500)
    page.evaluate("scrollTo(0, 0)")  # what scrolls below the bar of types is reached by scrolling on
    for dialog in ("", "#closeup", "#types", "#comment"):
        if dialog:
            page.evaluate("() => document.querySelectorAll('dialog').forEach(d => d.close())")
            page.evaluate("name => document.querySelector(name).showModal()", dialog)
        assert serious(page) == [], dialog


def test_who_may_not_review_may_look(site, visit):
    drawn = site.add()
    page = visit(site, drawn, may_review=False)
    cell = cells_in(page, "myeloblast")[0]
    tile(page, cell).click()
    page.keyboard.press("p")
    expect(group(page, "myeloblast").locator(f'[data-cell="{cell}"]')).to_be_visible()
    expect(page.get_by_text("You may look at this study, but not review it.")).to_be_visible()
    assert page.get_by_role("button", name="Sign as").count() == 0


def chart(fhir) -> tuple[StudyRef, str]:
    """A patient whose name is markup, a clinician and a study, on the FHIR server."""
    uid = f"2.25.{uuid.uuid4().int}"
    patient, clinician, smear = (uuid.uuid4().urn for _ in range(3))
    resources: dict[str, Resource] = {
        patient: {
            "resourceType": "Patient",
            "name": [{"family": NASTY, "given": ["Eve"]}],
            "birthDate": "1970-01-02",
        },
        clinician: {"resourceType": "Practitioner", "name": [{"family": "Hem"}]},
        smear: {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "subject": {"reference": patient},
        },
    }
    entries = [
        {"fullUrl": url, "resource": r, "request": {"method": "POST", "url": r["resourceType"]}}
        for url, r in resources.items()
    ]
    answer = fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    p, c, s = (e["response"]["location"].partition("/_history/")[0] for e in answer["entry"])
    return StudyRef(study_uid=uid, imaging_study=s, patient=p, started="2026-03-02"), c


def test_a_signed_reading_is_final_on_the_fhir_server_also_after_an_outage(site_on_hapi, visit, shoot):
    site = site_on_hapi
    fhir = site.context.pages.fhir
    study, clinician = chart(fhir)
    drawn = site.add(study=study)
    key = drawn.assessment.key
    page = visit(site, drawn, user=clinician)
    cell = cells_in(page, "myeloblast")[0]
    tile(page, cell).click()
    page.keyboard.press("p")
    expect(group(page, "promyelocyte").locator(f'[data-cell="{cell}"]')).to_be_visible()

    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Agree").check()
    page.get_by_role("button", name="Sign as Dr. Ada Hem").click()
    expect(page.locator(".message.problem")).to_contain_text("Choose amend")
    page.get_by_label("Amend").check()
    expect(page.locator(".history li").first).to_contain_text("Amend")
    page.get_by_label("Remark in the report").fill(f"Auer rods {NASTY}")
    page.get_by_role("button", name="Sign as Dr. Ada Hem").click()
    expect(page.locator(".state.pending")).to_contain_text("signed here, not yet on the FHIR server")
    shoot(page, "study-signed", full_page=True)
    assert site.submitted.keys == [key]

    parts = WorkerParts(
        settings=Settings(), store=site.context.store, archive=None, reader=None, fhir=None, submit_report=None,
        stopping=None,
    )  # fmt: skip
    write_signed(parts, key)  # an outage: it stays pending, and says why
    assert site.context.store.signed(key).problem
    write_signed(replace(parts, fhir=fhir), key)
    page.reload()
    expect(page.locator(".state.written")).to_contain_text("signed, and on the FHIR server")
    expect(page.locator("#patient-name")).to_have_text(f"Eve {NASTY}")
    _, reference = site.context.store.report_state(key)
    report = fhir.read(reference)
    assert report["status"] == "final"
    assert report["resultsInterpreter"] == [{"reference": clinician, "display": "Dr. Ada Hem"}]
    assert f"Auer rods {NASTY}" in report["conclusion"]
    assert "<script>" not in report["text"]["div"]
