"""Writing to servers that differ: of whatever kind, interrupted anywhere, one of each resource in the end."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from cds.errors import UpstreamError, UpstreamInvalid, UpstreamRefused, UpstreamUnavailable
from cds.fhir_capabilities import Way
from cds.fhir_client import HttpFhirServer
from cds.fhir_optional import OPTIONAL
from cds.fhir_writing import AdaptingFhirServer
from cds.imaging_study import register_study
from cds.pipeline import write_back
from cds.reading_task import Progress, Stage, show_stage
from cds.report_attachments import Attachments, CellPicture
from cds.values import ImageRef, Job, JobState, ModelIdentity
from fhir_profiles.codes import MODEL_SYSTEM
from tests.fakes.assessments import finding, imaging_study_of
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.results import READ_AT, STUDY, result

KINDS = {
    "transaction": {"transaction", "conditional", "write"},
    "transaction without conditional create": {"transaction", "write"},
    "single": {"conditional", "write"},
    "single without conditional create": {"write"},
}
ONCE = {
    "Device": 1,
    "DocumentReference": 1,
    "Observation": 2,
    "DiagnosticReport": 1,
    "Provenance": 1,
    "AuditEvent": 2,
}
WRITERS = 4
CARD = Attachments(pictures=(), model_card=b"{}")


@pytest.fixture(params=KINDS)
def server(request):
    with FakeFhirServer(imaging_study_of(STUDY)) as fake:
        fake.abilities = KINDS[request.param]
        fake.statement = None
        yield fake


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


def reading(number: int):
    model = ModelIdentity(name="cells", version=str(number), digest=f"{number:x}" * 64)
    return replace(result(model=model), read_at=READ_AT + timedelta(hours=number))


def write(server, assessment, attachments=CARD):
    """As a process that was just started does."""
    with HttpFhirServer(server.url) as client:
        return write_back(assessment, AdaptingFhirServer(client), attachments=attachments)


def counts(server):
    found = Counter(r["resourceType"] for r in server.resources.values())
    del found["ImagingStudy"]
    return dict(found)


def dangling(server):
    """References within the server that lead nowhere; those to the hospital's own are not ours."""
    found, stack = [], list(server.resources.values())
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            reference = value.get("reference")
            if isinstance(reference, str) and reference.partition("/")[0] not in (
                "Patient",
                "Encounter",
                "ImagingStudy",
            ):
                found += [reference] if reference not in server.resources else []
            stack += value.values()
        elif isinstance(value, list):
            stack += value
    return found


def test_a_report_is_written_once_however_often(server):
    references = {write(server, reading(1)) for _ in range(3)}
    assert len(references) == 1
    assert references <= server.resources.keys()
    assert counts(server) == ONCE
    assert dangling(server) == []


def interrupted_everywhere(server, work):
    """Do the work, each time with one more request answered before the answers stop, and then in peace."""
    before = dict(server.resources)
    for answered in range(200):
        server.resources = dict(before)
        server.crash_after = answered
        try:
            work()
            server.crash_after = None
            yield answered
            return
        except UpstreamUnavailable:
            server.crash_after = None
        work()
        yield answered
    pytest.fail("it never came to an end")


def test_a_crash_after_any_request_leaves_one_of_each_when_done_again(server):
    points = 0
    for _ in interrupted_everywhere(server, lambda: write(server, reading(1))):
        points += 1
        assert counts(server) == ONCE
        assert dangling(server) == []
    assert points >= (4 if "transaction" in server.abilities else 11)


def test_a_crash_while_an_older_report_is_cancelled_is_completed(server):
    write(server, reading(1))
    twice = {kind: 2 * number for kind, number in ONCE.items()} | {"Provenance": 3, "AuditEvent": 5}
    for _ in interrupted_everywhere(server, lambda: write(server, reading(2))):
        assert counts(server) == twice
        reports = {r["identifier"][0]["value"]: r["status"] for r in server.of_type("DiagnosticReport")}
        assert reports == {reading(1).key: "cancelled", reading(2).key: "preliminary"}
        assert Counter(o["status"] for o in server.of_type("Observation")) == {
            "cancelled": 2,
            "preliminary": 2,
        }
        assert dangling(server) == []


def test_a_signature_stops_the_cancelling_one_by_one(server):
    write(server, reading(1))
    (report,) = server.of_type("DiagnosticReport")
    server.resources[f"DiagnosticReport/{report['id']}"]["status"] = "final"
    write(server, reading(2))
    assert [r["status"] for r in server.of_type("DiagnosticReport")] == ["final", "preliminary"]
    assert all(o["status"] == "preliminary" for o in server.of_type("Observation"))


def test_others_who_write_at_the_same_moment_are_met_by_trying_again(server, no_pause):
    server.collisions = 3
    write(server, reading(1))
    assert counts(server) == ONCE


def test_writers_at_the_same_moment_leave_one_of_each_without_conditional_create(monkeypatch):
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        server.abilities, server.statement = {"write"}, None
        # Everybody has searched in vain before anybody creates: as bad as it can come.
        barrier, create, first = threading.Barrier(WRITERS), HttpFhirServer.create, threading.local()

        def create_together(self, resource, if_none_exist=None, deadline=None):
            if not hasattr(first, "over"):
                first.over = True
                barrier.wait(10)
            return create(self, resource, if_none_exist, deadline)

        monkeypatch.setattr(HttpFhirServer, "create", create_together)
        with ThreadPoolExecutor(WRITERS) as pool:
            references = set(pool.map(lambda _: write(server, reading(1)), range(WRITERS)))
        assert counts(server) == ONCE
        assert dangling(server) == []
        assert references <= server.resources.keys()


def test_a_double_that_may_not_be_deleted_stays_and_is_not_used(monkeypatch):
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        server.abilities, server.statement = {"write"}, None
        device = {"identifier": [{"system": MODEL_SYSTEM, "value": reading(1).model.digest}]}
        earlier = {
            "resourceType": "Device",
            "id": "other",
            "meta": {"lastUpdated": "2020-01-01T00:00:00Z"},
            **device,
        }
        create = HttpFhirServer.create

        def create_second(self, resource, if_none_exist=None, deadline=None):
            made = create(self, resource, if_none_exist, deadline)
            server.resources.setdefault("Device/other", earlier)
            return made

        def refuse(self, reference, deadline=None):
            raise UpstreamRefused("nothing is deleted here")

        monkeypatch.setattr(HttpFhirServer, "create", create_second)
        monkeypatch.setattr(HttpFhirServer, "delete", refuse)
        write(server, reading(1))
        assert len(server.of_type("Device")) == 2
        assert server.of_type("Observation")[0]["device"]["reference"] == "Device/other"


@pytest.mark.parametrize("form", ["relative", "absolute", "other-name", "body", "none"])
def test_every_form_of_location(form):
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        server.abilities, server.statement, server.location = KINDS["single"], None, form
        assert write(server, reading(1)) == "DiagnosticReport/diagnosticreport-1"
        assert counts(server) == ONCE
        assert dangling(server) == []


def test_of_what_parallel_writers_made_twice_always_the_same_is_taken():
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        server.abilities, server.statement = {"write"}, None
        write(server, reading(1))
        (device,) = server.of_type("Device")
        twin = {**device, "id": "device-0", "meta": {**device["meta"], "lastUpdated": "2020-01-01T00:00:00Z"}}
        server.resources["Device/device-0"] = twin
        write(server, reading(1))
        assert counts(server) == {**ONCE, "Device": 2}
        assert dangling(server) == []


def test_a_server_that_ignores_what_it_is_asked_for_does_not_mislead_us(monkeypatch):
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        server.abilities, server.statement = {"write"}, None
        monkeypatch.setattr("tests.fakes.fhir_server._all_match", lambda resource, query: True)
        write(server, reading(1))
        assert counts(server) == ONCE


@pytest.mark.parametrize("unknown", [{"AuditEvent"}, {"Media", "DocumentReference"}, set(OPTIONAL)])
def test_what_a_server_does_not_take_is_left_out_with_what_refers_to_it(server, unknown):
    server.unknown_kinds = unknown
    picture = CellPicture(cell=finding(1).cells[0], jpeg=b"\xff\xd8\xff", activation_map=False)
    write(server, reading(1), Attachments(pictures=(picture,), model_card=b"{}"))
    write(server, reading(2), Attachments(pictures=(picture,), model_card=b"{}"))
    assert not unknown & set(counts(server))
    assert {"Device", "Observation", "DiagnosticReport"} <= set(counts(server))
    assert dangling(server) == []
    assert "urn:uuid" not in str(server.resources)
    old, new = server.of_type("DiagnosticReport")
    assert (old["status"], new["status"]) == ("cancelled", "preliminary")
    assert ("media" in new) == ("Media" not in unknown)
    assert len(new["result"]) == 2


def test_a_task_follows_its_job_on_every_kind_of_server(server):
    job = Job(
        key="6c7a7bb0-0000-5000-8000-000000000001",
        study=STUDY, model_digest="ab" * 32, state=JobState.RUNNING, created_at=READ_AT, updated_at=READ_AT,
        attempts=1,
    )  # fmt: skip
    with HttpFhirServer(server.url) as client:
        fhir = AdaptingFhirServer(client)
        for stage in (
            Stage(progress=Progress.RUNNING),
            Stage(progress=Progress.DONE, report="DiagnosticReport/1"),
        ):
            show_stage(job, stage, fhir, confirm=lambda: None)
    (task,) = server.of_type("Task")
    assert task["status"] == "completed"


def test_nothing_is_written_to_a_read_only_server():
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        server.abilities, server.statement = set(), None
        with pytest.raises(UpstreamRefused, match="read only, as its CapabilityStatement says"):
            write(server, reading(1))
        assert all(r.method == "GET" for r in server.received)


@pytest.mark.parametrize(
    ("way", "posts"), [(Way.TRANSACTION, {"/fhir"}), (Way.SINGLE, {"/fhir/Device", "/fhir/DiagnosticReport"})]
)
def test_a_setting_overrules_what_the_server_says(way, posts):
    with FakeFhirServer(imaging_study_of(STUDY)) as server, HttpFhirServer(server.url) as client:
        write_back(reading(1), AdaptingFhirServer(client, way))
        assert posts <= {r.path for r in server.received if r.method == "POST"}
        assert len({"/fhir"} & {r.path for r in server.received if r.method == "POST"}) == (
            way is Way.TRANSACTION
        )


def test_a_statement_that_cannot_be_had_is_asked_for_again(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("cds.fhir_writing.time.monotonic", lambda: clock[0])
    with FakeFhirServer() as server, HttpFhirServer(server.url) as client:
        fhir = AdaptingFhirServer(client)
        server.statement = {"resourceType": "Basic"}
        assert fhir.way() is Way.TRANSACTION
        server.statement, server.abilities = None, {"write"}
        clock[0] = 59.0
        assert fhir.way() is Way.TRANSACTION
        clock[0] = 61.0
        assert fhir.way() is Way.SINGLE


def test_a_transaction_of_which_a_part_was_refused_is_no_success(monkeypatch):
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        answer = {"resourceType": "Bundle", "entry": [{"response": {"status": "422 Unprocessable Entity"}}]}
        monkeypatch.setattr(server, "transact", lambda bundle: (200, answer))
        with pytest.raises(UpstreamRefused, match="LEUKOCDS_FHIR_WRITE=single"):
            write(server, reading(1))


def test_an_answer_that_names_nothing_is_followed_by_a_search(monkeypatch):
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        taken = server.transact
        bare = {"resourceType": "Bundle", "type": "transaction-response"}
        monkeypatch.setattr(server, "transact", lambda bundle: (taken(bundle)[0], bare))
        assert write(server, reading(1)) == "DiagnosticReport/diagnosticreport-1"


def test_a_server_that_takes_a_report_and_does_not_find_it(monkeypatch):
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        bare = {"resourceType": "Bundle", "type": "transaction-response"}
        monkeypatch.setattr(server, "transact", lambda bundle: (200, bare))
        with pytest.raises(UpstreamInvalid, match="does not find it") as caught:
            write(server, reading(1))
    assert isinstance(caught.value, UpstreamError)


def test_an_imaging_study_that_we_make_is_made_once_with_its_endpoint(server):
    images = [
        ImageRef(study_uid="1.2.9", series_uid="1.2.9.1", sop_instance_uid="1.2.9.1.1", sop_class_uid="")
    ]
    values = {
        "study_uid": "1.2.9", "patient": "Patient/p-1", "instances": images, "started": None,
        "archive_url": "https://archive.example/dicom-web",
    }  # fmt: skip

    def register():
        with HttpFhirServer(server.url) as client:
            return register_study(AdaptingFhirServer(client), None, **values)

    for _ in interrupted_everywhere(server, register):
        found = Counter(r["resourceType"] for r in server.resources.values())
        assert found == {"ImagingStudy": 2, "Endpoint": 1}
    (endpoint,) = server.of_type("Endpoint")
    assert server.resources[register()]["endpoint"] == [{"reference": f"Endpoint/{endpoint['id']}"}]
