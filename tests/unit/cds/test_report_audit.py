"""Who read and wrote what, in the pattern of IHE BALP."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cds.report import report_bundle
from tests.fakes.results import READ_AT, STUDY, result

SERVER = "https://ehr.example/fhir"


def events(study=STUDY, server=SERVER):
    bundle = report_bundle(result(study=study), server=server, written_at=READ_AT + timedelta(minutes=1))
    return {
        entry["resource"]["action"]: entry["resource"]
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "AuditEvent"
    }, bundle


def roles(event):
    return {
        agent["type"]["coding"][0]["code"]: (agent["who"].get("reference"), agent.get("network"))
        for agent in event["agent"]
    }


def test_images_go_from_the_archive_to_us_and_the_report_from_us_to_the_server():
    found, bundle = events(replace(STUDY, archive_url="https://pacs.example/dicom-web"))
    device = bundle["entry"][0]["fullUrl"]
    assert roles(found["R"]) == {
        "110152": (device, None),
        "110153": (None, {"address": "https://pacs.example/dicom-web", "type": "5"}),
    }
    assert roles(found["C"]) == {"110153": (device, None), "110152": (None, {"address": SERVER, "type": "5"})}


def test_each_names_the_patient_and_what_it_is_about():
    found, bundle = events()
    report = next(e for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")
    about = {"R": STUDY.imaging_study, "C": report["fullUrl"]}
    for action, event in found.items():
        by_role = {entity["role"]["code"]: entity["what"]["reference"] for entity in event["entity"]}
        assert by_role == {"1": STUDY.patient, "4": about[action]}
    assert found["R"]["entity"][0]["detail"] == [{"type": "DICOM instances", "valueString": "2"}]


@pytest.mark.parametrize(
    ("action", "recorded"), [("R", "2026-03-02T09:20:30.123000Z"), ("C", "2026-03-02T09:21:30.123000Z")]
)
def test_when(action, recorded):
    assert events()[0][action]["recorded"] == recorded


def test_an_unknown_address_is_left_out():
    found, _ = events(server=None)
    assert all("network" not in agent for event in found.values() for agent in event["agent"])
