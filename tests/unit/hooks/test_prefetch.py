import re
import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from cds.deadline import Deadline
from hooks.app import create_app
from hooks.cds_requests import IMAGING_STUDY_AVAILABLE
from hooks.prefetch import templates
from tests.fakes.fhir_server import FakeFhirServer, Fault, outcome
from tests.fakes.hook_requests import (
    SERVICE,
    TOKEN,
    bundle,
    hook_request,
    imaging_study,
    patient,
    with_studies,
)

COMPLETE = {"patient": patient(), "studies": bundle(imaging_study()), "reports": bundle()}


def summaries(response):
    assert response.status_code == 200, response.text
    return [card["summary"] for card in response.json["cards"]]


def refused(response):
    assert response.status_code == 412, response.text
    return response.json["issue"][0]["diagnostics"]


def asked(fhir):
    return sorted(received.path.removeprefix("/fhir/") for received in fhir.received)


def test_templates_keep_to_the_recommended_query_forms():
    # CDS Hooks 2.0, "Prefetch tokens" and "Prefetch query restrictions".
    for template in templates(["GM", "SM"]).values():
        assert re.findall(r"{{(.*?)}}", template) == ["context.patientId"]
        names = re.findall(r"[?&]([^=]+)=", template)
        assert set(names) <= {"patient", "modality", "code", "status", "_sort", "_count"}


def test_a_complete_prefetch_asks_nobody(client, fhir):
    response = client.post(SERVICE, json=hook_request(fhir_server=fhir.url, prefetch=COMPLETE))
    assert summaries(response) == ["Blood smear of 2026-03-01: analysis queued"]
    assert fhir.received == []


@pytest.mark.parametrize(
    "prefetch",
    [
        None,
        {},
        {"patient": None},
        {
            "studies": outcome("timeout", "x"),
            "patient": outcome("timeout", "x"),
            "reports": outcome("x", "x"),
        },
        {"studies": bundle(link=[{"relation": "next", "url": "https://fhir.example/page2"}])},
    ],
)
def test_what_the_prefetch_lacks_is_fetched_with_the_given_token(client, fhir, prefetch):
    response = client.post(SERVICE, json=hook_request(fhir_server=fhir.url, prefetch=prefetch))
    assert summaries(response) == ["Blood smear of 2026-03-01: analysis queued"]
    assert asked(fhir) == ["DiagnosticReport", "ImagingStudy", "Patient/p-1"]
    assert {r.headers.get("Authorization") for r in fhir.received} == {f"Bearer {TOKEN}"}
    (search,) = [r for r in fhir.received if r.path.endswith("ImagingStudy")]
    assert (search.query["patient"], search.query["modality"]) == (["p-1"], ["GM,SM"])


def test_only_the_missing_part_is_fetched(client, fhir):
    prefetch = {**COMPLETE}
    del prefetch["reports"]
    client.post(SERVICE, json=hook_request(fhir_server=fhir.url, prefetch=prefetch))
    assert asked(fhir) == ["DiagnosticReport"]


def test_an_open_fhir_server_is_asked_without_a_token(client, fhir):
    body = hook_request()
    body["fhirServer"] = fhir.url
    assert len(summaries(client.post(SERVICE, json=body))) == 1
    assert not any("Authorization" in r.headers for r in fhir.received)


def test_null_means_fetched_and_nothing_there(client):
    prefetch = {**COMPLETE, "studies": None}
    assert summaries(client.post(SERVICE, json=hook_request(prefetch=prefetch))) == []


def test_all_pages_of_the_server_are_read(client, fhir):
    for number in range(2, 5):
        study = imaging_study(number)
        fhir.resources[f"ImagingStudy/{study['id']}"] = study
    fhir.page_size = 1
    response = client.post(SERVICE, json=hook_request(fhir_server=fhir.url))
    assert len(summaries(response)) == 4


@pytest.mark.parametrize(
    ("prefetch", "words"),
    [
        (None, "not in the prefetch"),
        ({"studies": outcome("timeout", "x")}, "an OperationOutcome"),
        ({"studies": bundle(link=[{"relation": "next", "url": "x"}])}, "only a part"),
        ({"studies": bundle(total=2)}, "only a part"),
        ({"studies": {"resourceType": "Bundle", "entry": [{"response": {}}]}}, "an OperationOutcome"),
    ],
)
def test_without_a_fhir_server_it_is_412_and_says_what_is_missing(client, prefetch, words):
    said = refused(client.post(SERVICE, json=hook_request(prefetch=prefetch)))
    assert words in said
    assert "no fhirServer" in said


def test_a_fhir_server_off_the_allow_list_is_412_and_not_contacted(client):
    said = refused(client.post(SERVICE, json=hook_request(fhir_server="http://169.254.169.254/latest")))
    assert "allow-list" in said


@pytest.mark.parametrize(
    "fault",
    [
        Fault.SLOW,
        Fault.DRIP,
        Fault.DRIP_HEADER,
        Fault.CUT_OFF,
        Fault.UNAUTHORIZED,
        Fault.BROKEN,
        Fault.OUTCOME,
        Fault.HTML,
        Fault.NOT_JSON,
        Fault.WRONG_TYPE,
        Fault.REDIRECT,
    ],
)
def test_a_fhir_server_that_fails_is_412_within_the_budget(client, fhir, fault):
    fhir.fault = fault
    began = time.monotonic()
    said = refused(client.post(SERVICE, json=hook_request(fhir_server=fhir.url)))
    assert time.monotonic() - began < 2.0  # a budget of 1 s
    assert "ImagingStudies" in said
    for private in ("Doe", "secret", "p-1", TOKEN):
        assert private not in said


def test_a_fhir_server_that_is_down_is_412(client, fhir):
    fhir.down()
    said = refused(client.post(SERVICE, json=hook_request(fhir_server=fhir.url)))
    assert "fhirServer did not give it" in said


def test_a_patient_whom_the_server_does_not_know_is_412(client, fhir):
    del fhir.resources["Patient/p-1"]
    said = refused(client.post(SERVICE, json=hook_request(fhir_server=fhir.url)))
    assert "does not know the patient" in said


def test_without_patient_and_reports_the_cards_still_come(client, fhir):
    fhir.fault = Fault.BROKEN
    prefetch = {"studies": bundle(imaging_study())}
    with capture_logs() as logs:
        response = client.post(SERVICE, json=hook_request(fhir_server=fhir.url, prefetch=prefetch))
    assert len(summaries(response)) == 1
    events = {entry["event"] for entry in logs}
    assert {"patient not confirmed", "earlier reports not to be had"} <= events


def test_nobody_waits_long_for_what_is_not_essential(client_with, fhir):
    fhir.fault = Fault.SLOW
    prefetch = {"studies": bundle(imaging_study())}
    began = time.monotonic()
    client = client_with(hook_budget_s=10.0)
    response = client.post(SERVICE, json=hook_request(fhir_server=fhir.url, prefetch=prefetch))
    assert len(summaries(response)) == 1
    assert time.monotonic() - began < 3.0


def test_the_imaging_hook_reads_the_studies_it_names(client, fhir):
    fhir.resources["ImagingStudy/study-2"] = imaging_study(2)
    named = ["ImagingStudy/study-1", f"{fhir.url}/ImagingStudy/study-2"]
    body = hook_request(IMAGING_STUDY_AVAILABLE, fhir_server=fhir.url, imagingStudies=named)
    assert len(summaries(client.post(SERVICE, json=body))) == 2
    assert "ImagingStudy" not in asked(fhir)  # read one by one, not searched


def test_the_imaging_hook_takes_studies_sent_along_or_prefetched(client):
    body = hook_request(IMAGING_STUDY_AVAILABLE, imagingStudies=bundle(imaging_study()))
    assert len(summaries(client.post(SERVICE, json=body))) == 1
    body = with_studies(imaging_study(1), imaging_study(2), hook=IMAGING_STUDY_AVAILABLE)
    assert summaries(client.post(SERVICE, json=body)) == ["Blood smear of 2026-03-01: analysis queued"]


def test_an_endpoint_with_the_id_of_a_study_does_not_hide_it(client):
    endpoint = {"resourceType": "Endpoint", "id": "study-1", "status": "off"}
    body = with_studies(imaging_study(1), endpoint, hook=IMAGING_STUDY_AVAILABLE)
    assert summaries(client.post(SERVICE, json=body)) == ["Blood smear of 2026-03-01: analysis queued"]


def test_a_named_study_that_does_not_exist_is_a_card(client, fhir):
    named = ["ImagingStudy/study-1", "ImagingStudy/gone"]
    body = hook_request(IMAGING_STUDY_AVAILABLE, fhir_server=fhir.url, imagingStudies=named)
    queued, problem = summaries(client.post(SERVICE, json=body))
    assert "queued" in queued
    assert "does not know this ImagingStudy" in problem


def test_a_named_study_that_cannot_be_read_is_412(client, fhir):
    assert "no fhirServer" in refused(client.post(SERVICE, json=hook_request(IMAGING_STUDY_AVAILABLE)))
    fhir.fault = Fault.BROKEN
    body = hook_request(IMAGING_STUDY_AVAILABLE, fhir_server=fhir.url)
    assert "ImagingStudy that the hook names" in refused(client.post(SERVICE, json=body))


def test_the_budget_is_shared_by_all_calls(client, fhir):
    fhir.fault = Fault.SLOW
    names = [f"ImagingStudy/{number}" for number in range(30)]
    body = hook_request(IMAGING_STUDY_AVAILABLE, fhir_server=fhir.url, imagingStudies=names)
    deadline = Deadline(3.0)
    refused(client.post(SERVICE, json=body))
    deadline.check()


class Hanging:
    """A FHIR server whose calls of one kind hang for seconds, and know of no deadline, as looking up a name does."""

    def __init__(self, server, seconds):
        self.server, self.seconds = server, seconds

    def read(self, reference, deadline=None):
        return self._after(reference.partition("/")[0], self.server.read, reference)

    def search(self, resource_type, params, deadline=None):
        return self._after(resource_type, self.server.search, resource_type, params)

    def _after(self, kind, call, *args):
        time.sleep(self.seconds.get(kind, 0.0))
        return call(*args)


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        ({"ImagingStudy": 4.0}, 412),
        ({"Patient": 4.0, "DiagnosticReport": 4.0}, 200),
        ({"ImagingStudy": 0.5, "Patient": 4.0, "DiagnosticReport": 4.0}, 200),
        ({"Endpoint": 4.0}, 200),
        ({"ImagingStudy": 0.8, "Endpoint": 4.0}, 200),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_wherever_it_hangs_it_costs_the_budget_and_no_more(context, fhir, seconds, status):
    fhir.resources["ImagingStudy/study-1"] = imaging_study(endpoint=[{"reference": "Endpoint/pacs"}])
    fhir.resources["Endpoint/pacs"] = {"resourceType": "Endpoint", "id": "pacs", "status": "off"}
    hanging = replace(
        context, fhir_server=lambda url, token: Hanging(context.fhir_server(url, token), seconds)
    )
    client = create_app(hanging).test_client()
    began = time.monotonic()
    response = client.post(SERVICE, json=hook_request(fhir_server=fhir.url))
    assert time.monotonic() - began < 2.0  # a budget of 1 s
    assert response.status_code == status
    if status == 200:
        (summary,) = summaries(response)
        assert ("cannot be read" if "Endpoint" in seconds else "analysis queued") in summary


def test_the_token_goes_nowhere_but_to_the_server_it_came_with(client, fhir):
    """Not where a resource of that server points, on hosts that are allowed."""
    with FakeFhirServer(patient(), imaging_study()) as other:
        elsewhere = [{"reference": f"{other.url}/Endpoint/pacs"}]
        fhir.resources["ImagingStudy/study-1"] = imaging_study(endpoint=elsewhere)
        body = hook_request(
            IMAGING_STUDY_AVAILABLE,
            fhir_server=fhir.url,
            imagingStudies=[f"{other.url}/ImagingStudy/study-1"],
        )
        refused_or_problem = client.post(SERVICE, json=body)
        assert refused_or_problem.status_code in (200, 400, 412)
        assert client.post(SERVICE, json=hook_request(fhir_server=fhir.url)).status_code == 200
        fhir.page_size, fhir.next_base = 1, other.url
        fhir.resources["ImagingStudy/study-2"] = imaging_study(2)
        assert client.post(SERVICE, json=hook_request(fhir_server=fhir.url)).status_code == 412
        fhir.fault, fhir.redirect_to = Fault.REDIRECT, other.url
        assert client.post(SERVICE, json=hook_request(fhir_server=fhir.url)).status_code == 412
        assert other.received == []
    assert any(received.headers.get("Authorization") == f"Bearer {TOKEN}" for received in fhir.received)


def test_the_token_is_kept_nowhere(context, fhir, tmp_path):
    """Not in the store, which is what the worker reads, nor in the queue, which is all that it is told."""
    client = create_app(context).test_client()
    assert len(summaries(client.post(SERVICE, json=hook_request(fhir_server=fhir.url)))) == 1
    assert len(context.submit.keys) == 1
    assert TOKEN not in str(context.submit.keys)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert any(b"1.2.826.0.1.1" in content for content in kept.values()), "the job is stored elsewhere"
    assert not any(TOKEN.encode() in content for content in kept.values())
