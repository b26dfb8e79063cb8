"""Telling the FHIR server how far a job is costs the job nothing; tests/unit/hooks/test_stroke.py has the stages."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cds.errors import UpstreamRefused
from cds.fhir_client import HttpFhirServer
from cds.values import Job, JobState
from hooks.progress import JobProgress
from tests.fakes.assessments import imaging_study_of
from tests.fakes.fhir_server import FakeFhirServer, Fault
from tests.fakes.results import MODEL, STUDY

AT = datetime(2026, 3, 2, tzinfo=UTC)
JOB = Job(
    key="job-1", study=STUDY, model_digest=MODEL.digest, state=JobState.RUNNING, created_at=AT, updated_at=AT
)


class Failing:
    base_url = "http://ehr.example/fhir"

    def __init__(self, error):
        self.error, self.asked = error, 0

    def search(self, *_arguments):
        self.asked += 1
        raise self.error


@pytest.mark.parametrize("error", [UpstreamRefused("HTTP 405"), KeyError("id")])
def test_what_goes_wrong_is_logged_and_no_more(error, capsys):
    server = Failing(error)
    JobProgress(server, 1.0).running(JOB)
    assert server.asked == 1
    assert "task not written" in capsys.readouterr().out


def test_nobody_is_told_without_a_server_or_a_patient():
    JobProgress(None, 1.0).running(JOB)
    server = Failing(AssertionError())
    JobProgress(server, 1.0).running(replace(JOB, study=replace(STUDY, patient=None)))
    assert server.asked == 0


def test_a_server_that_is_silent_is_given_up_in_time():
    with FakeFhirServer(imaging_study_of(STUDY)) as server, HttpFhirServer(server.url) as fhir:
        server.fault = Fault.SLOW
        began = time.monotonic()
        JobProgress(fhir, 0.2).running(JOB)
        assert time.monotonic() - began < 2
        server.fault = Fault.NONE
        JobProgress(fhir, 5.0).running(JOB)
        assert len(server.of_type("Task")) == 1
