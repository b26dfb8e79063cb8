import re
from dataclasses import replace

import pytest

from cds.agreement import Fate, Looked
from cds.values import Cell, ImageReading, ReportState
from hooks.app import create_app
from tests.fakes.assessments import assessment, finding, not_analysed
from tests.fakes.feedback import KNOWN, accepted, overridden, shown
from tests.fakes.signed_in import sign_in

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def client(context):
    """A reviewer's browser."""
    client = create_app(context).test_client()
    sign_in(client, context)
    return client


def page_of(client, context, made):
    assert context.store.save(made, ReportState.PENDING)
    response = client.get(f"/studies/{made.key}")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    return response.text


def test_a_result_shows_verdict_evidence_differential_cells_and_model(client, context):
    page = page_of(client, context, assessment(outcome=finding(40)))
    for words in (
        "AML pattern in blood smear, possible APL",
        "Blasts 41 % (95 % interval 32 to 51 %).",
        "Myeloblast",
        "Probability of each pattern",
        "The JPEG data ends too early.",
        "ab" * 32,
        "not a diagnosis",
        "1.2.826.0.1.1",
        "not written yet",
        "20, 12 shown",
    ):
        assert words in page
    assert page.count("data:image/jpeg;base64,") == 12


def test_a_smear_not_analysed_has_its_page_too(client, context):
    page = page_of(client, context, assessment(outcome=not_analysed()))
    assert "Not analysed: too few cells" in page
    assert "Only 12 white cells were found." in page
    assert "Differential</h2>" not in page


def test_names_from_outside_are_shown_as_text(client, context):
    cells = (Cell(source=NASTY, row=1, column=1, cell_type=NASTY, probability=0.5, thumbnail=b"\xff\xd8"),)
    made = assessment(outcome=replace(finding(), cells=cells, evidence=(NASTY,)))
    made = replace(
        made,
        images=(ImageReading(source=NASTY, refused=NASTY), ImageReading(source="b", scale_origin=NASTY, um_per_px=1)),
        model=replace(made.model, version=NASTY),
    )  # fmt: skip
    page = page_of(client, context, made)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


def test_nothing_comes_from_another_host_and_no_script_runs(client, context):
    page = page_of(client, context, assessment())
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert address.startswith(("/", "data:", "#")), address
    assert "<script" not in page
    assert "style=" not in page  # the content security policy would drop it
    styles = client.get("/static/leukocds.css")
    assert styles.status_code == 200
    assert "url(" not in styles.text


def test_many_images_and_cells_stay_a_page(client, context):
    cells = tuple(
        Cell(source="a", row=1, column=1, cell_type=f"type_{n % 30}", probability=0.5, thumbnail=b"\xff\xd8" * 500)
        for n in range(900)
    )  # fmt: skip
    images = tuple(ImageReading(source=f"image-{n}", cells=1, quality=0.5) for n in range(500))
    page = page_of(
        client, context, replace(assessment(outcome=replace(finding(), cells=cells)), images=images)
    )
    assert page.count("<figure>") == 120
    assert "and 300 more" in page
    assert len(page) < 1_000_000


@pytest.mark.parametrize(
    "path", ["/studies/00000000-0000-0000-0000-000000000000", "/studies/x", "/studies/", "/%3Cscript%3E"]
)
def test_an_unknown_page_is_404_and_says_so(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "There is no" in response.text
    assert "<script" not in response.text


def test_the_front_page_leads_to_discovery_and_health(client):
    page = client.get("/").text
    for link in ("/cds-services", "/health", "/ready"):
        assert f'href="{link}"' in page
    assert "Not a diagnosis".lower() in page.lower()


def test_the_feedback_page_shows_the_table_and_no_person(client, context):
    assert "No card has been shown." in client.get("/feedback").text
    context.store.remember_cards([shown(1), shown(2, topic="smear-failed", pattern=None)])
    told = [accepted(1), overridden(1, reason=KNOWN, comment="Mr Smith"), overridden(9)]
    context.store.take_feedback("leukemia-smear", told)
    page = client.get("/feedback").text
    for words in (
        "AML pattern",
        "cells 1.2.3",
        "Diagnosis is already known: 1",
        "Failed",
        "not sent from here: 1",
    ):
        assert words in page
    assert "No report has been looked at." in page
    for person in ("Smith", "Practitioner", "p-1"):
        assert person not in page
    assert "No card has been shown since then." in client.get("/feedback?since=2030-01-01").text
    assert "AML pattern" in client.get("/feedback?since=2026-04-30").text


def test_a_date_that_is_none_is_400_on_a_page(client):
    response = client.get("/feedback?since=soon")
    assert (response.status_code, response.mimetype) == (400, "text/html")
    assert "since must be a date" in response.text


def test_the_front_page_leads_to_the_feedback(client):
    assert 'href="/feedback"' in client.get("/").text


def test_the_feedback_page_shows_agreement_with_signed_reports(client, context):
    assert "No report has been looked at" in client.get("/feedback").text
    made = assessment()
    context.store.save(made, ReportState.PENDING)
    context.store.mark_written(made.key, "DiagnosticReport/1")
    (report,) = context.store.written_reports(1)
    context.store.take_written(report, 60)
    context.store.looked_at(made.key, Looked(fate=Fate.SIGNED, status="final", conclusion="AML"), None)
    text = client.get("/feedback").text
    assert "1 (100 %)" in text
    assert "21–100 %" in text
