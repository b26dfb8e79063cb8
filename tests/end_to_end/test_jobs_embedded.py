"""`leukocds serve` with its embedded worker, as a process: killed, stopped, refused."""

import socket
import threading
import time
from contextlib import closing

import pytest
import requests

from cds.store import SqlAssessmentStore
from cds.values import JobState, ReportState, StudyRef, job_key
from tests.fakes.assessments import MODEL
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.hook_requests import SERVICE, imaging_study, with_studies
from tests.fakes.images import dicom_file, drawing
from tests.fakes.processes import Process, free_port

pytestmark = pytest.mark.timeout(240)

STUDY_UID = "1.2.826.0.1.1"  # that of `imaging_study(1)`


@pytest.fixture
def archive():
    instances = [
        dicom_file(drawing(seed=n), StudyInstanceUID=STUDY_UID, SOPInstanceUID=f"2.25.{600 + n}")
        for n in range(2)
    ]
    with FakeArchive(*instances) as fake:
        yield fake


@pytest.fixture
def fhir():
    with FakeFhirServer(imaging_study(1)) as server:
        yield server


class Site:
    def __init__(self, folder, archive, fhir):
        self.folder = folder
        self.port = free_port()
        self.values = {
            "port": self.port,
            "database_url": f"sqlite:///{folder}/store.db",
            "archive_url": archive.url,
            "fhir_url": fhir.url,
            "sweep_interval_s": 0.5,
            "job_backoff_s": 0.2,
        }
        self.store = SqlAssessmentStore(self.values["database_url"])

    def serve(self, **changes):
        return Process("serve", self.folder, **{**self.values, **changes})

    def hook(self):
        """Cards of one hook about the one study."""
        answer = requests.post(
            f"http://127.0.0.1:{self.port}{SERVICE}", json=with_studies(imaging_study(1)), timeout=30
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["cards"]

    def ready(self):
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/ready", timeout=10).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def job_counts(self):
        return {state: count for state, count in self.store.job_counts().items() if count}

    def written(self):
        found = self.store.latest(STUDY_UID, MODEL.digest)
        return found is not None and found.report_state is ReportState.WRITTEN


@pytest.fixture
def site(tmp_path, archive, fhir):
    made = Site(tmp_path, archive, fhir)
    with closing(made.store):
        yield made


def test_a_hook_is_answered_at_once_and_its_study_read_and_reported(site, fhir):
    with site.serve() as server:
        server.until(site.ready)
        (queued,) = site.hook()
        server.until(site.written)
        (result,) = site.hook()
    assert queued["summary"] != result["summary"]
    assert "AML" in result["summary"]
    assert len(fhir.of_type("DiagnosticReport")) == 1


def test_twenty_hooks_at_once_make_one_job_and_one_report(site, fhir):
    with site.serve() as server:
        server.until(site.ready)
        threads = [threading.Thread(target=site.hook) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.until(site.written)
        assert server.log().count('"study read"') == 1
    assert site.job_counts() == {"done": 1}
    assert len(fhir.of_type("DiagnosticReport")) == 1


def test_a_study_under_way_at_a_kill_is_read_after_the_restart_with_one_report(site, archive, fhir):
    archive.fault, archive.delay_s = Fault.SLOW, 30.0
    with site.serve() as first:
        first.until(site.ready)
        site.hook()
        first.until(lambda: archive.count("GET") > 0)
        first.kill()
    assert site.job_counts() == {"running": 1}
    archive.fault = Fault.NONE
    with site.serve() as second:
        # Long before the lease of a minute is over: this process knows that it is the only worker.
        second.until(site.written)
    assert site.job_counts() == {"done": 1}
    assert len(fhir.of_type("DiagnosticReport")) == 1


def test_jobs_waiting_in_the_in_memory_queue_at_a_kill_are_not_lost(site, archive):
    archive.fault, archive.delay_s = Fault.SLOW, 30.0
    with site.serve() as first:
        first.until(site.ready)
        site.hook()
        requests.post(
            f"http://127.0.0.1:{site.port}{SERVICE}", json=with_studies(imaging_study(2)), timeout=30
        ).raise_for_status()
        first.until(lambda: site.job_counts() == {"running": 1, "queued": 1})
        first.kill()
    archive.fault = Fault.NONE
    with site.serve() as second:
        second.until(lambda: site.job_counts() == {"done": 2})


def test_a_server_told_to_stop_gives_its_study_back_in_seconds(site, archive):
    with site.serve(test_reader_seconds=60) as server:
        server.until(site.ready)
        site.hook()
        server.until(lambda: site.job_counts() == {"running": 1})
        assert server.stop(30) == 0  # the study itself would take two minutes
    assert site.job_counts() == {"queued": 1}


def test_a_fhir_server_that_is_down_and_back_later_gets_the_report_once(site, fhir):
    fhir.down()
    with site.serve() as server:
        server.until(site.ready)
        site.hook()
        server.until(lambda: site.job_counts() == {"done": 1})
        time.sleep(1.0)
        assert not site.written()
        fhir.up()
        server.until(site.written)
    assert len(fhir.of_type("DiagnosticReport")) == 1


def test_a_failed_study_says_why(site, archive):
    archive.fault = Fault.UNAUTHORIZED
    with site.serve() as server:
        server.until(site.ready)
        site.hook()
        server.until(lambda: site.job_counts() == {"failed": 1})
        (card,) = site.hook()
    assert "could not be read" in (card["summary"] + card.get("detail", "")).lower()
    assert site.store.job(_job_key(site)).state is JobState.FAILED


def test_nothing_in_the_log_names_a_patient(site, archive):
    with site.serve(log_level="DEBUG") as server:
        server.until(site.ready)
        site.hook()
        server.until(site.written)
        log = server.log()
    assert "p-1" not in log
    assert STUDY_UID not in log


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "0.0.0.0"}, "LEUKOCDS_ALLOW_OPEN=1"),
        ({"web_processes": 2}, "LEUKOCDS_WEB_PROCESSES is above 1 with the embedded broker"),
        ({"host": "192.0.2.1", "allow_open": 1}, "no address of this machine"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_sentence(site, changes, message):
    with site.serve(**changes) as server:
        assert server.wait() == 1
        assert message in server.log()
        assert "Traceback" not in server.log()


def test_a_port_that_is_taken_is_said(site):
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.port))
        other.listen()
        with site.serve() as server:
            assert server.wait() == 1
            assert "the port is taken; stop what listens there or set LEUKOCDS_PORT" in server.log()


def _job_key(site):
    return job_key(StudyRef(study_uid=STUDY_UID, number_of_instances=2), MODEL.digest)
