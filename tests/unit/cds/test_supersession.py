"""Which report stands, decided on a fake server; tests/servers/test_supersession_hapi.py does it on a real one."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from cds.errors import UpstreamConflict, UpstreamRefused
from cds.fhir_client import HttpFhirServer
from cds.language import words
from cds.pipeline import write_back
from cds.report import report_bundle
from cds.settings import Settings
from cds.supersession import supersede_older
from cds.values import ModelIdentity
from tests.fakes.assessments import imaging_study_of
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.results import READ_AT, STUDY, result


@pytest.fixture
def server():
    with FakeFhirServer(imaging_study_of(STUDY)) as fake:
        yield fake


@pytest.fixture
def fhir(server):
    with HttpFhirServer(server.url) as client:
        yield client


def reading(number: int):
    model = ModelIdentity(name="cells", version=str(number), digest=f"{number:x}" * 64)
    return replace(result(model=model), read_at=READ_AT + timedelta(hours=number))


def statuses(server):
    return [report["status"] for report in server.of_type("DiagnosticReport")]


def test_the_newest_stands_whatever_the_order_of_writing(server, fhir):
    for number in (2, 1, 3):
        write_back(reading(number), fhir)
    assert statuses(server) == ["cancelled", "cancelled", "preliminary"]
    by = [r["extension"][0]["valueReference"]["reference"] for r in server.of_type("DiagnosticReport")[:2]]
    assert by == ["DiagnosticReport/diagnosticreport-3", "DiagnosticReport/diagnosticreport-1"]


def test_it_says_which_it_cancelled_and_then_has_nothing_left_to_do(server, fhir):
    write_back(reading(1), fhir)
    with_both = reading(2)
    fhir.transaction(report_bundle(with_both))
    assert supersede_older(with_both, fhir) == ("DiagnosticReport/diagnosticreport-1",)
    assert supersede_older(with_both, fhir) == ()


@pytest.mark.parametrize(
    ("older", "newer", "note"),
    [
        ("de", "en", "Ersetzt durch eine neuere Auswertung derselben Studie."),
        ("en", "de", "Superseded by a newer reading of the same study."),
    ],
)
def test_an_older_report_is_told_so_in_its_own_language(server, fhir, older, newer, note):
    write_back(reading(1), fhir, words=words(older))
    write_back(reading(2), fhir, words=words(newer))
    old, new = server.of_type("DiagnosticReport")
    assert old["conclusion"].startswith(note)
    assert f'xml:lang="{older}"><p>{note}</p>' in old["text"]["div"]
    assert (old["language"], new["language"]) == (older, newer)


def test_a_report_without_versions_is_left_alone(server, fhir):
    write_back(reading(1), fhir)
    del server.resources["DiagnosticReport/diagnosticreport-1"]["meta"]["versionId"]
    write_back(reading(2), fhir)
    assert statuses(server) == ["preliminary", "preliminary"]


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended"])
def test_what_is_signed_stays_as_it_is(server, fhir, status):
    write_back(reading(1), fhir)
    report = server.resources["DiagnosticReport/diagnosticreport-1"]
    report["status"] = status
    before = dict(report)
    write_back(reading(2), fhir)
    assert server.resources["DiagnosticReport/diagnosticreport-1"] == before
    assert statuses(server) == [status, "preliminary"]


def test_a_result_that_somebody_signed_alone_stays_signed(server, fhir):
    write_back(reading(1), fhir)
    differential = server.of_type("Observation")[0]
    server.resources[f"Observation/{differential['id']}"]["status"] = "final"
    write_back(reading(2), fhir)
    assert [o["status"] for o in server.of_type("Observation")][:2] == ["final", "cancelled"]


def test_others_who_write_without_end_are_an_outage_that_is_tried_again_later(server, fhir, monkeypatch):
    write_back(reading(1), fhir)
    newer = reading(2)
    sent = fhir.transaction
    conflict = UpstreamConflict("somebody else was faster")
    monkeypatch.setattr(fhir, "transaction", lambda bundle, deadline=None: _refuse(bundle, sent, conflict))
    with pytest.raises(UpstreamConflict) as caught:
        write_back(newer, fhir)
    assert caught.value.retryable
    monkeypatch.undo()
    write_back(newer, fhir)
    assert statuses(server) == ["cancelled", "preliminary"]


def test_a_server_that_lets_nothing_be_changed_still_has_the_new_report(server, fhir, monkeypatch):
    write_back(reading(1), fhir)
    sent, refused, told = fhir.transaction, UpstreamRefused("HTTP 405"), []
    monkeypatch.setattr(fhir, "transaction", lambda bundle, deadline=None: _refuse(bundle, sent, refused))
    with pytest.raises(UpstreamRefused):
        write_back(reading(2), fhir)
    assert write_back(reading(2), fhir, older_stand=told.append) == "DiagnosticReport/diagnosticreport-2"
    assert told == [refused]
    assert statuses(server) == ["preliminary", "preliminary"]


def test_results_that_were_deleted_keep_no_report_from_being_cancelled(server, fhir):
    write_back(reading(1), fhir)
    for reference in [r for r in server.resources if r.startswith("Observation/")]:
        del server.resources[reference]
    write_back(reading(2), fhir)
    assert statuses(server) == ["cancelled", "preliminary"]


def _refuse(bundle, sent, error):
    if any("ifMatch" in entry["request"] for entry in bundle["entry"]):
        raise error
    return sent(bundle)


def test_the_default_scopes_allow_what_is_written(server, fhir):
    for number in (1, 2):
        write_back(reading(number), fhir)
    asked = dict(scope.removeprefix("system/").split(".") for scope in Settings().fhir_scopes.split())
    entries = [e for r in server.received if r.method == "POST" for e in json.loads(r.body)["entry"]]
    assert {e["request"]["method"] for e in entries} == {"POST", "PUT"}
    for entry in entries:
        letter = {"POST": "c", "PUT": "u"}[entry["request"]["method"]]
        assert letter in asked[entry["resource"]["resourceType"]]
