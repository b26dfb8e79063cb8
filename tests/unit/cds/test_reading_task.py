"""The Task of a job: created once, brought up to date, never twice."""

from datetime import UTC, datetime

import pytest

from cds.errors import UpstreamInvalid
from cds.fhir_client import HttpFhirServer
from cds.language import message, words
from cds.reading_task import Progress, Stage, show_stage
from cds.values import Job, JobState
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.results import MODEL, STUDY

AT = datetime(2026, 3, 2, tzinfo=UTC)
JOB = Job(
    key="job-1", study=STUDY, model_digest=MODEL.digest, state=JobState.RUNNING, created_at=AT, updated_at=AT
)
RUNNING = Stage(progress=Progress.RUNNING)


@pytest.fixture
def server():
    with FakeFhirServer() as fake:
        yield fake


@pytest.fixture
def fhir(server):
    with HttpFhirServer(server.url) as client:
        yield client


def show(fhir, stage, confirm=lambda: None):
    show_stage(JOB, stage, fhir, confirm=confirm)


def test_each_stage_is_written_once(server, fhir):
    done = Stage(progress=Progress.DONE, report="DiagnosticReport/7")
    for stage in (
        RUNNING,
        RUNNING,
        Stage(progress=Progress.WAITING, reason="The archive is out."),
        done,
        done,
    ):
        show(fhir, stage)
    (task,) = server.of_type("Task")
    assert task["status"] == "completed"
    assert task["meta"]["versionId"] == "3"
    assert "statusReason" not in task
    assert task["for"] == {"reference": STUDY.patient}
    assert task["focus"]["reference"] == STUDY.imaging_study
    assert task["encounter"] == {"reference": STUDY.encounter}


def test_the_language_of_people_is_that_of_the_settings(server, fhir):
    stage = Stage(progress=Progress.FAILED, reason=message("not finished within {seconds} s", seconds="90"))
    for _ in range(2):
        show_stage(JOB, stage, fhir, confirm=lambda: None, words=words("de"))
    (task,) = server.of_type("Task")
    assert (task["language"], task["meta"]["versionId"]) == ("de", "1")
    assert task["statusReason"] == {"text": "nicht innerhalb von 90 s fertig"}
    assert (
        "Ein Blutausstrich konnte durch Software nicht ausgewertet werden. nicht innerhalb"
        in task["text"]["div"]
    )


def test_nothing_is_created_where_the_patient_is_not_confirmed(server, fhir):
    def refuse():
        raise UpstreamInvalid("somebody else")

    with pytest.raises(UpstreamInvalid):
        show(fhir, RUNNING, refuse)
    assert server.of_type("Task") == []


def test_a_task_that_another_worker_created_meanwhile_is_brought_up_to_date(server, fhir):
    """Its own search found none, the conditional create then met the other's."""
    show(fhir, RUNNING)
    search, hidden = fhir.search, [True]

    def blind_at_first(*arguments):
        return [] if hidden and hidden.pop() else search(*arguments)

    fhir.search = blind_at_first
    show(fhir, Stage(progress=Progress.FAILED, reason="No images."))
    (task,) = server.of_type("Task")
    assert task["status"] == "failed"
    assert task["statusReason"] == {"text": "No images."}


def test_a_task_changed_by_others_meanwhile_is_read_again(server, fhir):
    show(fhir, RUNNING)
    search, stale = fhir.search, [True]

    def then_changed(*arguments):
        found = search(*arguments)
        if stale and stale.pop():
            server.resources["Task/task-1"]["meta"]["versionId"] = "9"
        return found

    fhir.search = then_changed
    show(fhir, Stage(progress=Progress.DONE, report="DiagnosticReport/7"))
    assert server.of_type("Task")[0]["meta"]["versionId"] == "10"


@pytest.mark.parametrize(
    ("progress", "reason"),
    [(Progress.FAILED, None), (Progress.WAITING, None), (Progress.DONE, "why"), (Progress.RUNNING, "why")],
)
def test_a_reason_belongs_to_what_failed_or_waits(progress, reason):
    with pytest.raises(ValueError, match="reason"):
        Stage(progress=progress, reason=reason)
