"""From a card to the clinician's page by SMART App Launch, as `leukocds demo --smart` has it."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from hooks.demo.patients import PATIENTS, admit_all
from hooks.demo.stage import Stage, staged
from tests.fakes.axe import serious

ACUTE = replace(PATIENTS[2], id="launch-acute")
READ_MS = 90_000


@pytest.fixture(scope="module")
def stage(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("demo"), smart=True) as made:
        for person in admit_all(made.hospital, [ACUTE]):
            made.charts[person.patient.id] = person
        made.serving.wait_until_ready(90)
        yield made


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1366, "height": 800})
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(("user", "name"), [("demo-ward", "Gale Ward"), ("demo-hematology", "Hana Marrow")])
def test_the_link_of_a_card_opens_its_study_for_whoever_sits_there(stage, page, shoot, user, name) -> None:
    page.goto(f"{stage.hospital.url}/chart/{ACUTE.id}")
    page.get_by_label("You are").select_option(user)
    expect(page.get_by_role("heading", name="AML pattern")).to_be_visible(timeout=READ_MS)
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Cells, differential and images").click()
    app = opened.value
    app.wait_for_url(re.compile(f"{stage.serving.url}/studies/"))
    expect(app.locator("body")).to_contain_text("AML pattern")
    expect(app.locator("body")).to_contain_text(name)
    shoot(app, f"launched-{user}")


def test_who_begins_at_the_service_says_at_the_hospital_who_they_are(stage, page) -> None:
    page.goto(f"{stage.serving.url}/worklist")
    page.get_by_role("link", name="The simulated hospital").click()
    expect(page.get_by_role("note")).to_contain_text("a test double")
    page.get_by_role("link", name="Dr. Hana Marrow").click()
    page.wait_for_url(f"{stage.serving.url}/worklist")
    expect(page.locator("body")).to_contain_text("Dr. Hana Marrow")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 390])
def test_axe_finds_nothing_serious_where_the_hospital_asks_who_you_are(
    stage, chromium, shoot, width, scheme
) -> None:
    context = chromium.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(f"{stage.serving.url}/worklist")
    page.get_by_role("link", name="The simulated hospital").click()
    expect(page.get_by_role("heading", name="Who are you?")).to_be_visible()
    shoot(page, f"hospital-who-{width}-{scheme}", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious(page) == []
    context.close()
