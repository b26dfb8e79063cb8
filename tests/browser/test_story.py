"""The demo's whole story: the chart, its card, the page, cells typed anew, signed, and the chart again."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from hooks.demo.patients import HEMATOLOGIST, PATIENTS, STAFF, admit_all
from hooks.demo.stage import Stage, staged

PATIENT = replace(PATIENTS[1], id="story-1", family="Birch")
READ_MS = 90_000


@pytest.fixture(params=[False, True], ids=["development login", "SMART App Launch"])
def stage(request, chromium: Browser, tmp_path) -> Iterator[Stage]:
    with staged(tmp_path, smart=request.param) as made:
        for person in admit_all(made.hospital, [PATIENT]):
            made.charts[person.patient.id] = person
        made.serving.wait_until_ready(90)
        yield made


@pytest.fixture
def chart(chromium: Browser, stage: Stage) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1366, "height": 800})
    page = context.new_page()
    page.goto(f"{stage.hospital.url}/chart/{PATIENT.id}")
    page.get_by_label("You are").select_option(HEMATOLOGIST)
    yield page
    context.close()


def test_from_the_chart_to_the_signed_report_in_the_chart(stage: Stage, chart: Page, shoot) -> None:
    expect(chart.get_by_role("heading", name="ALL pattern")).to_be_visible(timeout=READ_MS)
    with chart.context.expect_page() as opened:
        chart.get_by_role("link", name="Cells, differential and images").click()
    study = opened.value
    study.wait_for_load_state()
    name = STAFF[HEMATOLOGIST]
    if study.url.startswith(f"{stage.serving.url}/sign-in"):
        name = "Dr. Ada Reviewer"
        study.get_by_role("button", name=name).click()
    study.wait_for_url(re.compile(f"{stage.serving.url}/studies/"))
    expect(study.locator("#patient-name")).to_contain_text("Birch", timeout=20_000)

    blasts = study.locator('.group[data-group="lymphoblast"] .tile')
    before = blasts.count()
    blasts.first.click()
    study.keyboard.press("l")
    expect(blasts).to_have_count(before - 1)
    study.get_by_label("Amend").check()
    expect(study.locator(".history li").first).to_contain_text("Amend")
    study.on("dialog", lambda dialog: dialog.accept())
    study.get_by_role("button", name=f"Sign as {name}").click()
    expect(study.locator(".state.written")).to_be_visible(timeout=30_000)
    expect(study.locator("main > .notice")).not_to_contain_text("Preliminary")
    shoot(study, "story-signed")

    chart.reload()
    report = chart.locator(".sheet", has_text="DiagnosticReport/")
    expect(report).to_contain_text(f"reviewed and amended by {name}", timeout=20_000)
    expect(report).to_contain_text("final")
    shoot(chart, "story-chart", full_page=True)
