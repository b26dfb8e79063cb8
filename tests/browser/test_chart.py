"""The demo's chart in a real browser, against the demo's processes: the hospital here, the real service beside it.

The calls to the service leave the browser itself, from another origin, with a JWT each.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from fhir_profiles.codes import OVERRIDE_REASON
from hooks.demo.patients import PATIENTS, Admitted, admit_all
from hooks.demo.stage import Stage, staged
from hooks.signing import Signer
from tests.fakes.axe import serious
from tests.fakes.chart import answering, card, cors, outcome

NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script>"
HEALTHY, ACUTE, CHRONIC, UNREADABLE = (
    replace(patient, id=f"chart-{name}", family=family)
    for patient, name, family in (
        (PATIENTS[0], "healthy", "Alder"),
        (PATIENTS[2], "acute", "Cedar"),
        (PATIENTS[4], "chronic", "Elm"),
        (PATIENTS[5], "unreadable", "Fir"),
    )
)
#: Longer than a machine that does other things besides takes to read a smear of thirty cells.
READ_MS = 90_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the service's database."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def stage(chromium: Browser, folder: Path) -> Iterator[Stage]:
    with staged(folder) as made:
        for person in admit_all(made.hospital, [HEALTHY, ACUTE, CHRONIC, UNREADABLE]):
            made.charts[person.patient.id] = person
        made.serving.wait_until_ready(90)
        yield made


@pytest.fixture
def visit(chromium: Browser, stage: Stage) -> Iterator[Callable[..., Page]]:
    """Opens a page of the hospital in a browser context of its own. before: is given the page before it goes there.

    Fails the test for an error in the page's scripts, a violation of its policy, or a request to another host.
    """
    contexts = []
    problems: list[str] = []
    known = (stage.hospital.url, stage.serving.url, "data:")

    def watch(request: Request) -> None:
        if not request.url.startswith(known):
            problems.append(request.url)

    def open_page(
        path: str,
        *,
        user: str = "demo-ward",
        before: Callable[[Page], Any] = lambda page: None,
        **options: Any,
    ) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1366, "height": 800}, **options})
        contexts.append(context)
        context.add_init_script(f"sessionStorage.getItem('user') ?? sessionStorage.setItem('user', '{user}')")
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("console", lambda m: problems.append(m.text) if "Security Policy" in m.text else None)
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on("request", watch)
        before(page)
        page.goto(stage.hospital.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def collecting(stage: Stage, calls: list[Request]) -> Callable[[Page], None]:
    """`calls` fills with the page's calls of the service, without the browser's own preflights."""

    def note(request: Request) -> None:
        if request.url.startswith(stage.serving.url) and request.method != "OPTIONS":
            calls.append(request)

    return lambda page: page.on("request", note)


def result(page: Page) -> Any:
    """The card of the acute smear, once it was read."""
    shown = page.locator(".card", has=page.get_by_role("heading", name="AML pattern"))
    expect(shown).to_be_visible(timeout=READ_MS)
    return shown


def service_requests(stage: Stage, **params: str) -> list[dict[str, Any]]:
    return stage.hospital.fhir.search("ServiceRequest", {"patient": f"Patient/{ACUTE.id}"} | params)


def counted(folder: Path) -> dict[str, int]:
    """Override reasons that the service has counted, as `leukocds feedback --json` tells them."""
    environ = {**os.environ, "LEUKOCDS_DATABASE_URL": f"sqlite:///{folder / 'leukocds.db'}"}
    done = subprocess.run(
        [sys.executable, "-m", "hooks.cli", "feedback", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    reasons: Counter[str] = Counter()
    for line in json.loads(done.stdout)["lines"]:
        reasons.update(line["overridden_by_reason"])
    return reasons


def test_a_smear_is_queued_then_read_while_the_chart_is_open(visit, stage, shoot) -> None:
    calls: list[Request] = []
    page = visit(f"/chart/{ACUTE.id}", before=collecting(stage, calls))
    shown = result(page)
    expect(page.locator(".card")).to_have_count(1)  # the later answer replaced the earlier one's cards
    expect(shown.locator(".indicator")).to_have_text("Critical")
    expect(shown.get_by_role("table")).to_contain_text("Myeloblast")
    expect(shown).to_contain_text("From LeukoCDS · Blood smear reading")
    expect(page.locator("#reports")).to_contain_text("preliminary", timeout=30_000)
    shoot(page, "chart-laptop", full_page=True)

    assert stage.hospital.url != stage.serving.url
    answers = [call.response() for call in calls]
    assert {a.status for a in answers} == {200}
    assert {a.headers["access-control-allow-origin"] for a in answers} == {stage.hospital.url}
    discovery = next(call for call in calls if call.url.endswith("/cds-services"))
    for call in [discovery, *(c for c in calls if c.method == "POST")]:
        assert call.headers["authorization"].startswith("Bearer ey")
    tokens = [call.headers["authorization"] for call in calls]
    assert len(tokens) == len(set(tokens))  # a JWT is good for one call
    first = next(call for call in calls if call.method == "POST")
    assert first.response().json()["cards"][0]["source"]["topic"]["code"] == "smear-queued"
    sent = json.loads(first.post_data)
    assert sent["hook"] == "patient-view"
    assert sent["fhirServer"] == stage.hospital.fhir_url
    assert set(sent["prefetch"]) == {"patient", "studies", "reports", "orders"}


def test_an_accepted_suggestion_becomes_a_draft_and_feedback(visit, stage) -> None:
    page = visit(f"/chart/{ACUTE.id}", user="demo-hematology")
    shown = result(page)
    shown.get_by_label("Flow cytometry").check()
    shown.get_by_label("Hematology referral").check()
    with page.expect_response(lambda r: r.url.endswith("/feedback") and r.request.method == "POST") as told:
        shown.get_by_role("button", name="Draft chosen orders").click()
    expect(shown).to_contain_text("2 orders drafted")
    drafts = service_requests(stage, status="draft")
    assert {d["code"]["coding"][0]["code"] for d in drafts} == {"flow-cytometry", "hematology-referral"}
    assert {d["requester"]["reference"] for d in drafts} == {"Practitioner/demo-hematology"}
    (item,) = json.loads(told.value.request.post_data)["feedback"]  # one card, both suggestions, one batch
    assert (item["outcome"], len(item["acceptedSuggestions"])) == ("accepted", 2)
    text = told.value.json()["issue"][0]["diagnostics"]
    assert "Stored: 1." in text
    assert "not sent from here: 0" in text
    expect(page.locator("#feedback-status")).to_have_text("Feedback sent: 1 card.")
    # Dealt with: the service does not send this user the card again, and the page does not call that an outage.
    page.reload()
    expect(page.locator("#guidance-status")).to_contain_text(
        "No cards: the service has answered", timeout=15_000
    )
    expect(page.locator(".outage")).to_have_count(0)


def test_the_same_suggestion_never_makes_a_second_draft(visit, stage) -> None:
    suggestion = {
        "uuid": "5d2f4b8e-9f7f-4a75-9c6e-1f3f5f1e0a01",
        "label": "Order it",
        "actions": [{"type": "create", "description": "d", "resource": _order("twice")}],
    }
    shown = card(suggestions=[suggestion], selectionBehavior="any")
    for _ in range(2):
        page = visit(f"/chart/{ACUTE.id}", before=answering(stage, [shown]))
        page.get_by_label("Order it").check()
        page.get_by_role("button", name="Draft chosen orders").click()
        expect(page.locator(".suggestions")).to_contain_text("1 order drafted")
    assert len(service_requests(stage, code="twice")) == 1


def test_at_most_one_lets_one_be_chosen(visit, stage) -> None:
    suggestions = [
        {
            "uuid": f"5d2f4b8e-9f7f-4a75-9c6e-1f3f5f1e0b0{number}",
            "label": f"Way {number}",
            "actions": [{"type": "create", "description": "d", "resource": _order(f"way-{number}")}],
        }
        for number in (1, 2)
    ]
    shown = card(suggestions=suggestions, selectionBehavior="at-most-one")
    page = visit(f"/chart/{ACUTE.id}", before=answering(stage, [shown]))
    page.get_by_label("Way 1").check()
    page.get_by_label("Way 2").check()
    expect(page.get_by_label("Way 1")).not_to_be_checked()
    page.get_by_role("button", name="Draft this order").click()
    expect(page.get_by_label("Way 1")).to_be_disabled()
    assert len(service_requests(stage, code="way-2")) == 1
    assert service_requests(stage, code="way-1") == []


def test_an_override_tells_its_coded_reason_and_comment_by_keyboard_alone(visit, folder) -> None:
    page = visit(f"/chart/{ACUTE.id}")
    shown = result(page)
    shown.get_by_role("button", name="Dismiss…").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")  # the first reason has the focus
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("seen in March")
    page.keyboard.press("Tab")
    with page.expect_response(lambda r: r.url.endswith("/feedback") and r.request.method == "POST") as told:
        page.keyboard.press("Enter")
    assert told.value.status == 200
    (item,) = json.loads(told.value.request.post_data)["feedback"]
    assert item["outcome"] == "overridden"
    assert item["overrideReason"] == {
        "reason": {
            "system": OVERRIDE_REASON,
            "code": "already-ordered",
            "display": "Work-up is already under way",
        },
        "userComment": "seen in March",
    }
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator(".dealt-with")).to_contain_text("Work-up is already under way")
    expect(page.locator(".dealt-with")).to_be_focused()
    assert counted(folder)["already-ordered"] == 1


def test_feedback_that_is_not_taken_is_kept_and_sent_again(visit, stage) -> None:
    refused: list[str] = []

    def before(page: Page) -> None:
        answering(stage, [card(overrideReasons=[])])(page)

        def once(route: Route) -> None:
            if route.request.method == "POST" and not refused:
                refused.append(route.request.post_data or "")
                route.fulfill(status=503, json=outcome("out for lunch"), headers=cors(stage))
            else:
                route.continue_()

        page.route("**/feedback", once)

    page = visit(f"/chart/{HEALTHY.id}", before=before)
    page.get_by_role("button", name="Dismiss…").click()
    page.get_by_role("button", name="Dismiss the card").click()
    expect(page.locator("#feedback-status")).to_contain_text("kept and sent again")
    expect(page.locator("#feedback-status")).to_contain_text("out for lunch")
    page.reload()  # what waits outlives the page
    expect(page.locator("#feedback-status")).to_have_text("Feedback sent: 1 card.", timeout=10_000)
    assert len(refused) == 1


def test_order_select_and_order_sign(visit, stage, shoot) -> None:
    calls: list[Request] = []
    page = visit(f"/chart/{CHRONIC.id}", before=collecting(stage, calls))
    proposed = page.locator(".suggestions label", has_text="BCR::ABL1")
    expect(proposed).to_be_visible(timeout=READ_MS)
    page.get_by_role("link", name="Orders").click()
    page.get_by_label("New order").select_option(label="BCR::ABL1 by quantitative RT-PCR of peripheral blood")
    page.get_by_role("button", name="Add draft").click()
    expect(page.get_by_role("heading", name="CML pattern")).to_be_visible()
    expect(page.locator("#drafts")).to_contain_text("BCR::ABL1")
    # Drafted, so no longer proposed; what else was proposed still is.
    expect(proposed).to_have_count(0)
    expect(page.locator(".suggestions label")).not_to_have_count(0)
    selected = json.loads(calls[-1].post_data or "")
    (draft,) = stage.hospital.fhir.search("ServiceRequest", {"patient": f"Patient/{CHRONIC.id}"})
    assert selected["hook"] == "order-select"
    assert selected["context"]["selections"] == [f"ServiceRequest/{draft['id']}"]
    assert [e["resource"]["id"] for e in selected["context"]["draftOrders"]["entry"]] == [draft["id"]]

    page.get_by_role("button", name="Review and sign").click()
    expect(page.locator("#guidance-time")).to_contain_text("(order-sign)")
    expect(proposed).to_have_count(0)
    assert json.loads(calls[-1].post_data or "")["hook"] == "order-sign"
    shoot(page, "orders-laptop", full_page=True)
    page.get_by_role("button", name="Sign 1 order").click()
    expect(page.locator("#orders-status")).to_have_text("1 order signed.")
    assert stage.hospital.fhir.read("ServiceRequest", draft["id"])["status"] == "active"
    # A removed draft is revoked, and stays away.
    page.get_by_role("button", name="Add draft").click()
    page.locator("#drafts button").click()
    expect(page.locator("#drafts")).to_have_text("No drafts.")


def test_orders_are_drafted_accepted_and_signed_by_keyboard_alone(visit, stage, shoot) -> None:
    suggestion = {
        "uuid": "5d2f4b8e-9f7f-4a75-9c6e-1f3f5f1e0e01",
        "label": "A referral, too",
        "actions": [{"type": "create", "description": "d", "resource": _order("by-keyboard", HEALTHY.id)}],
    }
    shown = card(suggestions=[suggestion], selectionBehavior="any")
    page = visit(f"/chart/{HEALTHY.id}/orders", before=answering(stage, [shown]))

    def tab_to(locator: Any) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if locator.evaluate("e => e === document.activeElement"):
                return
        raise AssertionError(f"Tab never reaches {locator}")

    expect(page.locator("#drafts")).to_have_text("No drafts.")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    tab_to(page.get_by_label("New order"))
    page.keyboard.press("ArrowDown")
    chosen = page.get_by_label("New order").evaluate("e => e.selectedOptions[0].textContent")
    tab_to(page.get_by_role("button", name="Add draft"))
    page.keyboard.press("Enter")
    expect(page.locator("#drafts")).to_contain_text(chosen)
    tab_to(page.get_by_label("A referral, too"))
    page.keyboard.press("Space")
    tab_to(page.get_by_role("button", name="Draft chosen orders"))
    page.keyboard.press("Enter")
    expect(page.locator("#drafts li")).to_have_count(2)
    # What was pressed is gone; the focus is not lost with it.
    assert page.evaluate("document.activeElement !== document.body")
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.locator(":focus").get_attribute("id") == "review":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign 2 orders")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#orders-status")).to_have_text("2 orders signed.")
    expect(page.get_by_label("New order")).to_be_focused()
    (made,) = service_requests(stage, code="by-keyboard", patient=f"Patient/{HEALTHY.id}")
    assert made["status"] == "active"


def test_orders_can_be_signed_while_decision_support_is_out(visit, stage) -> None:
    page = visit(f"/chart/{HEALTHY.id}/orders", before=answering(stage, outcome("no store"), status=503))
    page.get_by_role("button", name="Add draft").click()
    page.get_by_role("button", name="Review and sign").click()
    expect(page.get_by_role("alert")).to_contain_text("out of order for the moment (503). It says: no store")
    page.get_by_role("button", name="Sign 1 order").click()
    expect(page.locator("#orders-status")).to_have_text("1 order signed.")


def test_a_wrong_key_is_told_in_words(visit, stage) -> None:
    stranger = Signer.new(stage.signer.iss)

    def before(page: Page) -> None:
        page.route(
            "**/ehr/jwt", lambda r: r.fulfill(json={"token": stranger.token(r.request.post_data_json["aud"])})
        )

    page = visit(f"/chart/{HEALTHY.id}", before=before)
    said = page.get_by_role("alert")
    expect(said).to_contain_text("does not accept who this hospital says it is (401)")
    expect(said).to_contain_text("an outage, not a finding")
    expect(page.locator("body")).not_to_contain_text("No cards")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (412, "lacks data that it needs (412). It says: no studies"),
        (500, "It failed (500). It says: no studies"),
    ],
)
def test_an_operation_outcome_is_told_in_its_words(visit, stage, status, words) -> None:
    page = visit(f"/chart/{HEALTHY.id}", before=answering(stage, outcome("no studies"), status=status))
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.locator("body")).not_to_contain_text("No cards")


def test_an_answer_that_is_none_is_an_outage(visit, stage) -> None:
    page = visit(f"/chart/{HEALTHY.id}", before=answering(stage, {"card": []}))
    expect(page.get_by_role("alert")).to_contain_text("holds no list of cards")


def test_an_outage_leaves_the_earlier_cards_and_says_that_they_may_be_stale(visit, stage, shoot) -> None:
    page = visit(f"/chart/{HEALTHY.id}", before=answering(stage, [card()]))
    expect(page.locator(".card")).to_have_count(1)
    page.route("**/cds-services/leukemia-smear", lambda route: route.abort())
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_role("alert")).to_contain_text("may be out of date")
    expect(page.locator(".card")).to_have_count(1)
    shoot(page, "chart-outage")
    page.unroute_all()
    answering(stage, [])(page)
    # It asks again by itself; an answer without cards is told as what it is.
    expect(page.locator("#guidance-status")).to_contain_text(
        "No cards: the service has answered", timeout=15_000
    )
    expect(page.locator(".outage, .card")).to_have_count(0)


def test_cards_that_stay_keep_what_was_begun_in_them(visit, stage) -> None:
    waiting = card(
        uuid="5d2f4b8e-9f7f-4a75-9c6e-1f3f5f1e0d01",
        summary="Waiting",
        source={"label": "LeukoCDS", "topic": {"code": "smear-queued"}},
    )
    read = card(uuid="5d2f4b8e-9f7f-4a75-9c6e-1f3f5f1e0d02", summary="Read")
    page = visit(f"/chart/{HEALTHY.id}", before=answering(stage, [card(), waiting], [card(), read]))
    page.locator(".card", has_text="A card").get_by_role("button", name="Dismiss…").click()
    comment = page.locator(".card", has_text="A card").get_by_label("Comment")
    comment.fill("half a sentence")
    expect(page.get_by_role("heading", name="Read")).to_be_visible(timeout=10_000)
    expect(page.get_by_role("heading", name="Waiting")).to_have_count(0)
    expect(comment).to_have_value("half a sentence")


@pytest.mark.parametrize("agreed", [False, True])
def test_system_actions_are_carried_out_only_by_agreement(visit, stage, agreed) -> None:
    code = f"system-{agreed}".lower()
    action = {"type": "create", "description": "File an order", "resource": _order(code)}

    def before(page: Page) -> None:
        answering(stage, {"cards": [], "systemActions": [action]})(page)
        if agreed:
            page.route("**/static/chart/ehr.js", _with_agreement)

    page = visit(f"/chart/{HEALTHY.id}", before=before)
    expect(page.locator("#done")).to_contain_text(
        "as agreed: File an order" if agreed else "nothing was done"
    )
    assert len(service_requests(stage, code=code)) == int(agreed)


def _with_agreement(route: Route) -> None:
    script = route.fetch()
    route.fulfill(response=script, body=f"{script.text()}\nehr.systemActions = true;\n")


def test_scripts_stay_text_in_a_name_and_in_every_part_of_a_card(visit, stage) -> None:
    person = replace(HEALTHY, id="chart-nasty", family=NASTY)
    stage.hospital.fhir.put({"resourceType": "Patient", "id": person.id})
    stage.charts[person.id] = Admitted(patient=person, study_uid="2.25.1", images=())
    nasty = card(
        summary=NASTY,
        detail=f"{NASTY} [a](javascript:alert(3)) ![b](http://192.0.2.1/b.png)\n\n<iframe src=x></iframe>",
        source={"label": NASTY, "url": "javascript:alert(4)", "topic": {"code": "x", "display": NASTY}},
        suggestions=[{"uuid": "u", "label": NASTY, "actions": []}],
        selectionBehavior="any",
        links=[{"label": NASTY, "url": "javascript:alert(5)", "type": "absolute"}],
        overrideReasons=[{"system": "urn:x", "code": "x", "display": NASTY}],
    )
    page = visit(f"/chart/{person.id}", before=answering(stage, [nasty]))
    expect(page.locator(".card h3")).to_have_text(NASTY)
    expect(page.get_by_role("heading", level=1)).to_contain_text(NASTY)
    expect(page.locator(".detail")).to_contain_text("<iframe")
    assert page.locator(".card img, .card script, .card iframe, [href^=javascript]").count() == 0
    page.goto(stage.hospital.url)
    expect(page.get_by_role("main")).to_contain_text(NASTY)


def test_links_lead_out_in_a_tab_of_their_own(visit, stage) -> None:
    links = [
        {"label": "Study", "url": f"{stage.serving.url}/worklist", "type": "absolute"},
        {"label": "App", "url": f"{stage.serving.url}/launch", "type": "smart"},
    ]
    page = visit(f"/chart/{HEALTHY.id}", before=answering(stage, [card(links=links)]))
    expect(page.locator(".links")).to_contain_text("App (a SMART app; this hospital offers no launch)")
    expect(page.get_by_role("link", name="App")).to_have_count(0)
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Study").click()
    expect(opened.value.locator("body")).to_contain_text("DEVELOPMENT LOGIN")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("size", "width", "height"), [("laptop", 1366, 800), ("phone", 390, 844)])
@pytest.mark.parametrize("where", ["", f"/chart/{UNREADABLE.id}", f"/chart/{CHRONIC.id}/orders"])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(
    visit, shoot, scheme, size, width, height, where
) -> None:
    # The page's own policy would keep axe out, too.
    page = visit(
        where,
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        bypass_csp=True,
        user="demo-ward",
    )
    if where.endswith("orders"):
        page.get_by_role("button", name="Add draft").click()
        expect(page.locator(".card").first).to_be_visible(timeout=READ_MS)
    elif where:
        expect(page.get_by_role("heading", name="could not be analysed")).to_be_visible(timeout=READ_MS)
        page.get_by_role("button", name="Dismiss…").click()
    shoot(page, f"hospital-{Path(where).name or 'patients'}-{size}-{scheme}", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious(page) == []


def _order(code: str, patient_id: str = ACUTE.id) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": {"coding": [{"system": "urn:test", "code": code}], "text": code},
        "subject": {"reference": f"Patient/{patient_id}"},
    }
