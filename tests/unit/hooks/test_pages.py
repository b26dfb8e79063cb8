import pytest

from cds.agreement import Fate, Looked
from cds.values import ReportState
from hooks.app import create_app
from tests.fakes.assessments import assessment
from tests.fakes.feedback import KNOWN, accepted, overridden, shown
from tests.fakes.signed_in import sign_in


@pytest.fixture
def client(context):
    """A reviewer's browser."""
    client = create_app(context).test_client()
    sign_in(client, context)
    return client


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
