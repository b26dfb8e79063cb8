import time
from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs

from cds.errors import UpstreamUnavailable
from cds.settings import Settings
from cds.values import JobState, ReportState, StudyRef
from hooks.bootstrap import open_store, worker_parts
from hooks.embedded import EmbeddedWorker
from hooks.logs import CORRELATION, bind
from hooks.tasks import TaskQueue
from tests.fakes.assessments import MODEL, assessment, imaging_study_of, study
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.images import STUDY_UID
from tests.fakes.reading import FakeReader, ListArchive

STUDY = StudyRef(study_uid=STUDY_UID, patient="Patient/1", imaging_study="ImagingStudy/2")


@pytest.fixture
def fhir():
    with FakeFhirServer(imaging_study_of(STUDY), imaging_study_of(study(9))) as server:
        yield server


@pytest.fixture
def settings(tmp_path, fhir):
    return Settings(
        database_url=f"sqlite:///{tmp_path}/store.db",
        fhir_url=fhir.url,
        sweep_interval_s=0.3,
        job_backoff_s=0.1,
        job_backoff_max_s=0.2,
        connect_timeout_s=1.0,
    )


@pytest.fixture
def store(settings):
    made = open_store(settings)
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def archive():
    return ListArchive(2)


@pytest.fixture
def start(settings, archive):
    """Start an embedded worker; it ends with the test."""
    started = []

    def begin(reader=None):
        one = reader or FakeReader()

        def parts(settings, stopping):
            return replace(
                worker_parts(settings, stopping), archive=lambda study: archive, reader=lambda: one
            )

        worker = EmbeddedWorker(settings, parts)
        worker.start()
        started.append(worker)
        return worker

    yield begin
    for worker in started:
        worker.stop()
        assert not worker.alive()


def until(condition, seconds=8.0):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


def written(store, job_key):
    job = store.job(job_key)
    return job.assessment_key is not None and store.report_state(job.assessment_key)[0] is ReportState.WRITTEN


def test_a_submitted_study_is_read_and_its_report_written(store, settings, start, fhir):
    worker = start()
    job, _ = store.enqueue(STUDY, MODEL.digest)
    TaskQueue(settings).submit_study(job.key)
    until(lambda: written(store, job.key))
    assert worker.alive()
    assert store.job(job.key).state is JobState.DONE
    assert len(fhir.of_type("DiagnosticReport")) == 1


def test_the_hooks_correlation_id_stands_on_the_lines_of_its_job(store, settings, start):
    start()
    job, _ = store.enqueue(STUDY, MODEL.digest)
    other, _ = store.enqueue(replace(STUDY, study_uid="1.2.3.99"), MODEL.digest)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        with bind(**{CORRELATION: "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"}):
            TaskQueue(settings).submit_study(job.key)
        TaskQueue(settings).submit_study(other.key)
        until(lambda: store.job(job.key).state is store.job(other.key).state is JobState.DONE)
    found = {(line["job"], line.get(CORRELATION)) for line in logs if "job" in line}
    assert found == {(job.key, "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"), (other.key, None)}


def test_what_the_last_process_left_is_taken_up_at_once(store, start, fhir):
    job, _ = store.enqueue(STUDY, MODEL.digest)
    store.claim(job.key, "the process before", 3600)
    unwritten = assessment(9)
    store.save(unwritten, ReportState.PENDING)
    start()
    until(lambda: written(store, job.key))
    until(lambda: store.report_state(unwritten.key)[0] is ReportState.WRITTEN)
    assert len(fhir.of_type("DiagnosticReport")) == 2


def test_a_job_that_never_reached_the_queue_is_found_by_the_sweeper(store, start):
    start()
    job, _ = store.enqueue(STUDY, MODEL.digest)
    until(lambda: store.job(job.key).state is JobState.DONE)


def test_an_archive_that_comes_back_is_tried_again_after_pauses(store, settings, start, archive):
    archive.failures = [UpstreamUnavailable("out"), UpstreamUnavailable("out")]
    start()
    job, _ = store.enqueue(STUDY, MODEL.digest)
    TaskQueue(settings).submit_study(job.key)
    until(lambda: store.job(job.key).state is JobState.DONE)
    assert store.job(job.key).attempts == 3


def test_a_fhir_server_that_comes_back_gets_its_report_once(store, settings, start, fhir):
    fhir.down()
    start()
    job, _ = store.enqueue(STUDY, MODEL.digest)
    TaskQueue(settings).submit_study(job.key)
    until(lambda: store.job(job.key).state is JobState.DONE)
    time.sleep(0.5)
    assert not written(store, job.key)
    fhir.up()
    until(lambda: written(store, job.key))
    assert len(fhir.of_type("DiagnosticReport")) == 1


def test_a_worker_can_be_stopped_and_another_started(store, settings, start):
    first = start()
    first.stop()
    assert not first.alive()
    start()
    job, _ = store.enqueue(STUDY, MODEL.digest)
    TaskQueue(settings).submit_study(job.key)
    until(lambda: store.job(job.key).state is JobState.DONE)


def test_a_report_in_german_is_written_where_the_settings_say_so(tmp_path, store, settings, archive, fhir):
    def parts(settings, stopping):
        return replace(
            worker_parts(settings, stopping), archive=lambda study: archive, reader=lambda: FakeReader()
        )

    worker = EmbeddedWorker(replace(settings, language="de"), parts)
    worker.start()
    try:
        job, _ = store.enqueue(STUDY, MODEL.digest)
        until(lambda: written(store, job.key))
    finally:
        worker.stop()
    (report,) = fhir.of_type("DiagnosticReport")
    assert report["language"] == "de"
    assert report["conclusion"].startswith("Muster einer akuten myeloischen Leukämie (Wahrscheinlichkeit")
    assert report["conclusion"].endswith("Es ist keine Diagnose.")
