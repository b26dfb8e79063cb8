"""Two FHIR servers number their patients each for itself: a launch's patient opens what was read for that very one."""

import json
from dataclasses import replace

import pytest

from cds.values import ReportState
from hooks.app import create_app
from tests.fakes.assessments import assessment
from tests.fakes.hook_requests import SERVICE, imaging_study, with_studies
from tests.fakes.signed_in import sign_in

OWN, OTHER = "https://ours.example/fhir", "https://theirs.example/fhir"


@pytest.fixture
def ours(context):
    return replace(context, own_servers=frozenset([OWN]))


@pytest.fixture
def app(ours):
    return create_app(ours)


def read(context, app, number, fhir_server):
    """A smear of `Patient/p-1` of that server: its chart asked for it and it was read."""
    before = len(context.submit.keys)
    asked = app.test_client().post(SERVICE, json=with_studies(imaging_study(number), fhir_server=fhir_server))
    assert asked.status_code == 200
    (key,) = context.submit.keys[before:]
    job = context.store.claim(key, "worker", 60)
    made = replace(assessment(number, instance_uids=(f"1.2.3.{number}",)), study=job.study)
    assert context.store.save(made, ReportState.PENDING)
    context.store.finish(key, "worker", made.key)
    return made


def browser(app, context, patient):
    client = app.test_client()
    sign_in(client, context, patient=patient)
    return client


def test_the_patient_of_a_launch_does_not_open_the_smear_of_another_servers_patient_of_that_number(ours, app):
    own, other = read(ours, app, 1, OWN), read(ours, app, 2, OTHER)
    assert own.study.patient == other.study.patient == "Patient/p-1"
    mine = browser(app, ours, "Patient/p-1")
    for page in ("", "/report.pdf", "/cells/0.jpg", "/cells/0/pixels.png"):
        assert mine.get(f"/studies/{own.key}{page}").status_code == 200, page
        assert mine.get(f"/studies/{other.key}{page}").status_code == 403, page
    for page in ("review", "images/0", "patient"):
        assert mine.get(f"/api/studies/{own.key}/{page}").status_code == 200, page
        assert mine.get(f"/api/studies/{other.key}/{page}").status_code == 403, page
    refused = {entry.patient for entry in ours.store.audit() if entry.outcome.value == "denied"}
    assert refused == {f"{OTHER}/Patient/p-1"}


def test_nor_does_the_worklist_show_it_or_count_it(ours, app):
    own, other = read(ours, app, 1, OWN), read(ours, app, 2, OTHER)
    mine = browser(app, ours, "Patient/p-1").get("/worklist").text
    assert own.key in mine
    assert other.key not in mine
    assert "1–1 / 1" in mine
    everybody = browser(app, ours, None)
    for address in ("/worklist", "/worklist?search=p-1"):
        page = everybody.get(address).text
        assert own.key in page
        assert other.key in page
        assert "p-1 · theirs.example" in page


def test_nor_is_it_among_the_earlier_studies(ours, app):
    own, other = read(ours, app, 1, OWN), read(ours, app, 2, OTHER)
    for made in (own, other):
        ours.store.mark_written(made.key, "DiagnosticReport/1")
    assert other.key not in browser(app, ours, None).get(f"/studies/{own.key}").text
    assert own.key not in browser(app, ours, None).get(f"/studies/{other.key}").text


def test_one_study_that_two_servers_claim_is_a_problem_to_be_settled(ours, app):
    read(ours, app, 1, OTHER)
    third = with_studies(imaging_study(1), fhir_server="https://third.example/fhir")
    answer = app.test_client().post(SERVICE, json=third)
    assert "A study of this UID was read for another patient." in json.dumps(answer.json)


@pytest.mark.parametrize("same", [OWN, f"{OWN}/", "https://OURS.example:443/fhir", None])
def test_our_own_server_is_known_by_every_way_of_writing_it(ours, app, same):
    made = read(ours, app, 1, same)
    assert made.study.patient_server is None
    assert browser(app, ours, "Patient/p-1").get(f"/studies/{made.key}").status_code == 200


def test_an_address_that_is_none_is_not_taken_for_ours(ours, app):
    made = read(ours, app, 1, "https://ours.example/fhir;x=1\\")
    assert made.study.patient_server is not None
