import threading
import time
from dataclasses import replace

import pytest

from cds.deadline import Deadline
from cds.dicomweb import DicomWebArchive
from cds.errors import (
    EndpointNotAllowed,
    PackageError,
    StoreError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cds.fhir_client import HttpFhirServer
from cds.report_attachments import Attachments, CellPicture
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from cds.values import Cell, Finding, JobState, ReportState, StudyRef
from hooks.stroke import WorkerParts, read_study, write_report
from tests.fakes.assessments import MODEL, assessment, imaging_study_of
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.dicomweb import Fault as ArchiveFault
from tests.fakes.fhir_server import FakeFhirServer, Fault
from tests.fakes.images import STUDY_UID, dicom_file, drawing
from tests.fakes.reading import FakeReader, ListArchive

STUDY = StudyRef(
    study_uid=STUDY_UID, patient="Patient/1", imaging_study="ImagingStudy/2", number_of_instances=2
)
SETTINGS = Settings(
    fhir_url="http://127.0.0.1:1/fhir",
    job_max_attempts=3,
    job_backoff_s=0.01,
    job_backoff_max_s=0.02,
    job_lease_s=1.0,
    connect_timeout_s=1.0,
    read_timeout_s=2.0,
)


@pytest.fixture
def fhir():
    with FakeFhirServer(imaging_study_of(STUDY)) as server:
        yield server


class Bench:
    """The worker stroke with fakes about it; `read` and `write` do what the two tasks do."""

    def __init__(self, folder, fhir, settings=SETTINGS):
        self.store = SqlAssessmentStore(
            f"sqlite:///{folder}/store.db", report_grace_s=0.0, retry_failed_after_s=0.01
        )
        self.store.migrate()
        self.archive, self.reader = ListArchive(2), FakeReader()
        self.reports = []
        self.stopping = threading.Event()
        self.parts = WorkerParts(
            settings=settings,
            store=self.store,
            archive=lambda study: self.archive,
            reader=lambda: self.reader,
            fhir=HttpFhirServer(fhir.url, connect_timeout_s=1.0, read_timeout_s=2.0),
            submit_report=self.reports.append,
            stopping=self.stopping,
        )

    def job(self, study=STUDY, digest=MODEL.digest):
        return self.store.enqueue(study, digest)[0].key

    def read(self, key):
        read_study(self.parts, key)
        return self.store.job(key)

    def read_after_pause(self, key):
        time.sleep(1.1 * self.parts.settings.job_backoff_max_s)
        return self.read(key)


@pytest.fixture
def bench(tmp_path, fhir):
    made = Bench(tmp_path, fhir)
    yield made
    made.store.close()


def test_a_study_is_read_stored_and_its_report_asked_for(bench):
    job = bench.read(bench.job())
    assert job.state is JobState.DONE
    stored = bench.store.get(job.assessment_key)
    assert isinstance(stored.outcome, Finding)
    assert stored.study == STUDY
    assert bench.reports == [stored.key]
    assert bench.store.report_state(stored.key) == (ReportState.PENDING, None)


def test_a_message_that_comes_twice_is_done_once(bench):
    key = bench.job()
    bench.read(key)
    bench.read(key)
    assert bench.reader.studies_read == 1
    assert len(bench.reports) == 1


def test_twenty_messages_at_once_are_read_by_one_worker(bench):
    key = bench.job()
    bench.reader.seconds = 0.2
    threads = [threading.Thread(target=read_study, args=(bench.parts, key)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.reader.studies_read == 1
    assert bench.store.job(key).attempts == 1


def test_a_message_for_nothing_does_nothing(bench):
    read_study(bench.parts, "no such job")
    write_report(bench.parts, "no such assessment")
    assert bench.reports == []


@pytest.mark.parametrize("outage", [UpstreamUnavailable("The archive is out."), UpstreamTimeout("Too slow.")])
def test_while_the_archive_is_out_the_job_is_queued_again_with_a_pause(bench, outage):
    bench.archive.failures = [outage]
    job = bench.read(bench.job())
    assert (job.state, job.attempts, str(job.reason)) == (JobState.QUEUED, 1, str(outage))
    assert bench.read_after_pause(job.key).state is JobState.DONE


def test_copies_of_a_message_do_not_use_up_the_attempts(bench):
    bench.parts = replace(bench.parts, settings=replace(SETTINGS, job_backoff_s=1e6, job_backoff_max_s=1e9))
    bench.archive.failures = [UpstreamUnavailable("The archive is out.")] * 3
    key = bench.job()
    states = [(job.state, job.attempts) for job in (bench.read(key) for _ in range(4))]
    assert states == [(JobState.QUEUED, 1)] * 4


def test_attempts_are_counted_and_end(bench):
    bench.archive.failures = [UpstreamUnavailable("The archive is out.")] * 3
    key = bench.job()
    states = [bench.read_after_pause(key).state for _ in range(3)]
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert str(bench.store.job(key).reason) == "The archive is out. (after 3 attempts)"
    assert bench.read(key).state is JobState.FAILED, "a late message changes nothing"


def test_a_failed_job_may_be_revived_and_succeed(bench):
    bench.archive.failures = [UpstreamUnavailable("out")] * 3
    key = bench.job()
    for _ in range(3):
        bench.read_after_pause(key)
    time.sleep(0.02)
    assert bench.store.enqueue(STUDY, MODEL.digest)[1]
    assert bench.read(key).state is JobState.DONE


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UpstreamRefused("The archive answered 403."), "The archive answered 403."),
        (EndpointNotAllowed("evil.example is not among the allowed hosts"), "evil.example is not among"),
        (KeyError("some secret"), "internal error (KeyError)"),
        (MemoryError(), "internal error (MemoryError)"),
    ],
)
def test_what_trying_again_cannot_mend_fails_at_once_with_its_reason(bench, error, reason):
    bench.archive.failures = [error]
    job = bench.read(bench.job())
    assert (job.state, job.attempts) == (JobState.FAILED, 1)
    assert str(job.reason).startswith(reason)
    assert "secret" not in str(job.reason)


def test_a_package_that_cannot_be_loaded_fails_the_job(bench):
    def broken():
        raise PackageError("The package lacks card.json.")

    bench.parts = replace(bench.parts, reader=broken)
    job = bench.read(bench.job())
    assert (job.state, str(job.reason)) == (JobState.FAILED, "The package lacks card.json.")


def test_a_worker_with_another_package_leaves_the_job_to_others(bench):
    job = bench.read(bench.job(digest="cd" * 32))
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert "another model package" in str(job.reason)
    assert bench.reader.studies_read == 0


def test_a_study_that_kills_its_workers_is_given_up(bench, tmp_path):
    key = bench.job()
    for n in range(3):
        assert bench.store.claim(key, f"dead {n}", 0.0) is not None
    job = bench.read(key)
    assert job.state is JobState.FAILED
    assert str(job.reason).startswith("given up after 3 attempts")
    assert bench.reader.studies_read == 0


def test_the_deadline_of_a_study_fails_it(tmp_path, fhir):
    bench = Bench(tmp_path, fhir, replace(SETTINGS, study_deadline_s=0.2))
    bench.reader.seconds = 5.0
    began = time.monotonic()
    job = bench.read(bench.job())
    assert (job.state, str(job.reason)) == (JobState.FAILED, "not finished within 0.2 s")
    assert time.monotonic() - began < 3


def test_heartbeats_keep_a_long_study(bench):
    bench.reader.seconds = 0.8  # for each of two images; the lease is one second
    key = bench.job()
    reading = threading.Thread(target=read_study, args=(bench.parts, key))
    reading.start()
    ends = time.monotonic() + 1.4
    while time.monotonic() < ends:
        time.sleep(0.1)
        assert bench.store.claim(key, "thief", 1.0) is None
    reading.join()
    assert bench.store.job(key).state is JobState.DONE


def test_a_worker_that_lost_its_job_stops_and_leaves_it_to_the_other(bench):
    bench.reader.seconds = 5.0
    key = bench.job()
    reading = threading.Thread(target=read_study, args=(bench.parts, key))
    reading.start()
    while bench.store.job(key).state is not JobState.RUNNING:
        time.sleep(0.01)
    bench.store.take_all_up_again()
    assert bench.store.claim(key, "other", 60.0) is not None
    reading.join(timeout=4)
    assert not reading.is_alive(), "it noticed at its next heartbeat"
    assert bench.store.job(key).state is JobState.RUNNING
    assert bench.store.heartbeat(key, "other", 60.0)
    assert bench.reports == []


def test_a_stopping_worker_gives_its_study_back(bench, monkeypatch):
    monkeypatch.setattr("hooks.lease.STOP_GRACE_S", 0.1)
    bench.reader.seconds = 20.0
    key = bench.job()
    reading = threading.Thread(target=read_study, args=(bench.parts, key))
    reading.start()
    while bench.store.job(key).state is not JobState.RUNNING:
        time.sleep(0.01)
    bench.stopping.set()
    reading.join(timeout=3)
    assert not reading.is_alive()
    job = bench.store.job(key)
    assert (job.state, job.attempts, str(job.reason)) == (JobState.QUEUED, 0, "the worker was stopped")


def test_a_stopping_worker_finishes_what_is_nearly_done(bench):
    bench.reader.seconds = 0.4
    key = bench.job()
    threading.Timer(0.2, bench.stopping.set).start()
    assert bench.read(key).state is JobState.DONE
    assert bench.stopping.is_set()


def test_a_stopping_worker_begins_nothing(bench):
    bench.stopping.set()
    assert bench.read(bench.job()).state is JobState.QUEUED


class BrokenStore:
    """A store that fails where told to, and else is the one behind it."""

    def __init__(self, store, *broken):
        self._store, self._broken = store, broken

    def __getattr__(self, name):
        if name in self._broken:
            raise StoreError("The disk is full.")
        return getattr(self._store, name)


@pytest.mark.parametrize("broken", ["save", "finish"])
def test_a_result_that_cannot_be_recorded_is_read_again_later(bench, broken):
    key = bench.job()
    bench.parts = replace(
        bench.parts, store=BrokenStore(bench.store, broken), settings=replace(SETTINGS, job_lease_s=0.2)
    )
    with pytest.raises(StoreError):
        read_study(bench.parts, key)
    assert bench.store.job(key).state is JobState.RUNNING, "its lease runs out"
    time.sleep(0.25)
    bench.parts = replace(bench.parts, store=bench.store)
    assert bench.read(key).state is JobState.DONE


def test_a_report_that_cannot_be_queued_stays_pending(bench):
    def out(key):
        raise UpstreamUnavailable("The broker is out.")

    bench.parts = replace(bench.parts, submit_report=out)
    job = bench.read(bench.job())
    assert job.state is JobState.DONE
    assert bench.store.unwritten(10) == [job.assessment_key]


@pytest.mark.parametrize("patient", [None, "Patient/1"])
def test_without_fhir_server_or_patient_no_report_is_pending(bench, patient):
    if patient is not None:
        bench.parts = replace(bench.parts, fhir=None)
    job = bench.read(bench.job(replace(STUDY, patient=patient)))
    assert bench.store.report_state(job.assessment_key)[0] is ReportState.NOT_CONFIGURED
    assert bench.reports == []


def test_a_server_that_is_read_only_is_owed_no_report_and_no_task(bench, fhir):
    bench.parts = replace(bench.parts, takes_reports=lambda: False)
    job = bench.read(bench.job())
    assert bench.store.report_state(job.assessment_key)[0] is ReportState.NOT_CONFIGURED
    assert bench.reports == []
    assert fhir.received == []


def test_a_report_that_a_server_turned_read_only_was_to_get_waits(bench, fhir):
    key = bench.read(bench.job()).assessment_key
    asked = len(fhir.received)
    write_report(replace(bench.parts, takes_reports=lambda: False), key)
    assert len(fhir.received) == asked
    assert bench.store.report_state(key)[0] is ReportState.PENDING


def test_a_report_is_written_once_however_often_it_is_asked_for(bench, fhir):
    key = bench.read(bench.job()).assessment_key
    for _ in range(3):
        write_report(bench.parts, key)
    (report,) = fhir.of_type("DiagnosticReport")
    state, reference = bench.store.report_state(key)
    assert (state, reference) == (ReportState.WRITTEN, f"DiagnosticReport/{report['id']}")


def test_a_report_whose_writer_died_before_noting_it_is_not_written_twice(bench, fhir):
    key = bench.read(bench.job()).assessment_key
    with pytest.raises(StoreError):
        write_report(replace(bench.parts, store=BrokenStore(bench.store, "mark_written")), key)
    write_report(bench.parts, key)
    assert len(fhir.of_type("DiagnosticReport")) == 1
    assert bench.store.report_state(key)[0] is ReportState.WRITTEN


def test_results_go_to_the_archive_where_the_setting_says_so(tmp_path, fhir):
    files = [dicom_file(drawing(seed=n), sop_instance_uid=f"2.25.{n}") for n in (1, 2)]
    with FakeArchive(*files) as archive:
        bench = Bench(tmp_path, fhir, replace(SETTINGS, dicom_results=True))
        bench.archive = DicomWebArchive(archive.url, backoff_s=0.01, attempts=1)
        key = bench.read(bench.job()).assessment_key
        archive.faults["store"] = ArchiveFault.BROKEN
        write_report(bench.parts, key)
        # The FHIR report is there and stays pending until the archive has its own.
        assert len(fhir.of_type("DiagnosticReport")) == 1
        assert bench.store.report_state(key)[0] is ReportState.PENDING
        archive.faults.clear()
        write_report(bench.parts, key)
        assert bench.store.report_state(key)[0] is ReportState.WRITTEN
        assert len(archive.archive.instances(STUDY_UID)) == 3
        assert len(fhir.of_type("DiagnosticReport")) == 1
        bench.store.close()


def test_results_stay_out_of_the_archive_unless_asked_for(bench, fhir):
    key = bench.read(bench.job()).assessment_key
    write_report(bench.parts, key)  # the archive of this bench cannot store
    assert bench.store.report_state(key)[0] is ReportState.WRITTEN


def test_a_fhir_server_that_is_down_and_back_later_gets_its_report_once(bench, fhir):
    key = bench.read(bench.job()).assessment_key
    fhir.down()
    write_report(bench.parts, key)
    assert bench.store.report_state(key) == (ReportState.PENDING, None)
    time.sleep(0.05)
    assert bench.store.unwritten(10) == [key]
    fhir.up()
    write_report(bench.parts, key)
    write_report(bench.parts, key)
    assert len(fhir.of_type("DiagnosticReport")) == 1
    assert bench.store.report_state(key)[0] is ReportState.WRITTEN


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.UNAUTHORIZED, Fault.OUTCOME, Fault.HTML])
def test_a_report_that_is_refused_stays_pending_with_a_pause(bench, fhir, fault):
    key = bench.read(bench.job()).assessment_key
    bench.parts = replace(bench.parts, settings=replace(SETTINGS, job_backoff_s=1e6, job_backoff_max_s=1e9))
    fhir.fault = fault
    write_report(bench.parts, key)
    assert bench.store.report_state(key)[0] is ReportState.PENDING
    assert bench.store.unwritten(10) == []
    bench.store.take_all_up_again()
    assert bench.store.unwritten(10) == [key]


def test_a_report_that_cannot_be_built_is_noted_not_lost(bench, monkeypatch):
    key = bench.read(bench.job()).assessment_key
    monkeypatch.setattr("cds.pipeline.report_bundle", lambda *_, **__: {}["x"])
    write_report(bench.parts, key)
    assert bench.store.report_state(key)[0] is ReportState.PENDING


def test_the_report_is_kept_for_clients_that_create_it_themselves(bench):
    key = bench.read(bench.job()).assessment_key
    resources = bench.store.resources_for("a client", [key])[key]
    assert [r["resourceType"] for r in resources] == ["Observation", "Observation", "DiagnosticReport"]
    assert resources[-1]["identifier"][0]["value"] == key


def test_a_report_that_cannot_be_made_for_clients_does_not_cost_the_reading(bench, monkeypatch):
    monkeypatch.setattr("hooks.stroke.client_resources", lambda assessment: {}["x"])
    job = bench.read(bench.job())
    assert job.state is JobState.DONE
    assert bench.store.resources_for("a client", [job.assessment_key]) == {}
    assert bench.reports == [job.assessment_key]


def test_a_pending_report_waits_for_a_server_to_be_configured(bench, fhir):
    value = assessment()
    bench.store.save(value, ReportState.PENDING)
    write_report(replace(bench.parts, fhir=None), value.key)
    assert bench.store.report_state(value.key)[0] is ReportState.PENDING


def test_the_interruptible_deadline_is_a_deadline():
    from hooks.lease import InterruptibleDeadline

    assert isinstance(InterruptibleDeadline(5.0, lambda: None), Deadline)
    assert 4 < InterruptibleDeadline(5.0, lambda: None).remaining() <= 5
    with pytest.raises(PackageError):
        InterruptibleDeadline(5.0, lambda: PackageError("x")).check()


@pytest.mark.parametrize(
    "held",
    [
        imaging_study_of(replace(STUDY, patient="Patient/2")),
        imaging_study_of(replace(STUDY, study_uid="1.2.3")),
        imaging_study_of(STUDY) | {"status": "entered-in-error"},
        imaging_study_of(replace(STUDY, imaging_study="ImagingStudy/3")),
    ],
    ids=["another patient's", "another study", "withdrawn", "not there"],
)
def test_no_report_is_written_where_the_study_is_not_the_patients(tmp_path, held):
    with FakeFhirServer(held) as server:
        bench = Bench(tmp_path, server)
        job = bench.read(bench.job())
        write_report(bench.parts, job.assessment_key)
        assert bench.store.report_state(job.assessment_key) == (ReportState.PENDING, None)
        assert not server.of_type("DiagnosticReport")
        bench.store.close()


def only_task(fhir):
    (task,) = fhir.of_type("Task")
    return task


def test_a_job_is_followed_by_its_task_to_the_report(bench, fhir):
    seen = []
    bench.archive.instances = _telling(
        bench.archive.instances, lambda: seen.append(only_task(fhir)["status"])
    )
    job = bench.read(bench.job())
    assert seen == ["in-progress"]
    assert only_task(fhir)["status"] == "in-progress", "the report is still to be written"
    write_report(bench.parts, job.assessment_key)
    task, (report,) = only_task(fhir), fhir.of_type("DiagnosticReport")
    assert task["status"] == "completed"
    assert task["output"][0]["valueReference"]["reference"] == f"DiagnosticReport/{report['id']}"
    assert task["identifier"] == [{"system": "urn:leukocds:job", "value": job.key}]


def test_a_job_that_waits_or_failed_says_why_in_its_task(bench, fhir):
    bench.archive.failures = [UpstreamUnavailable("The archive is out.")] * 3
    key = bench.job()
    bench.read(key)
    task = only_task(fhir)
    assert (task["status"], task["statusReason"]) == ("on-hold", {"text": "The archive is out."})
    bench.read_after_pause(key)
    bench.read_after_pause(key)
    task = only_task(fhir)
    assert (task["status"], task["statusReason"]["text"]) == (
        "failed",
        "The archive is out. (after 3 attempts)",
    )


def test_another_job_that_comes_to_a_known_result_completes_too(bench, fhir):
    write_report(bench.parts, bench.read(bench.job()).assessment_key)
    again = bench.read(bench.job(replace(STUDY, number_of_instances=3)))
    assert bench.reader.studies_read == 1
    task = next(t for t in fhir.of_type("Task") if t["identifier"][0]["value"] == again.key)
    assert task["status"] == "completed"
    assert task["output"][0]["valueReference"]["reference"] == "DiagnosticReport/diagnosticreport-1"


def test_no_task_by_setting_and_none_about_another_servers_patient(bench, fhir, tmp_path):
    bench.parts = replace(bench.parts, settings=replace(SETTINGS, write_tasks=False))
    bench.read(bench.job())
    assert fhir.of_type("Task") == []
    with FakeFhirServer(imaging_study_of(replace(STUDY, patient="Patient/2"))) as other:
        (tmp_path / "other").mkdir()
        elsewhere = Bench(tmp_path / "other", other)
        assert elsewhere.read(elsewhere.job()).state is JobState.DONE
        assert other.of_type("Task") == []
        elsewhere.store.close()


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.OUTCOME, Fault.HTML, Fault.UNAUTHORIZED])
def test_a_server_that_takes_no_task_holds_up_no_study(bench, fhir, fault):
    fhir.fault = fault
    assert bench.read(bench.job()).state is JobState.DONE


def test_pictures_and_card_go_with_the_report(bench, fhir):
    cell = Cell(source="2.25.5000", row=1, column=2, cell_type="myeloblast", probability=0.9)
    picture = CellPicture(cell=cell, jpeg=b"\xff\xd8\xff", activation_map=False)
    attachments = Attachments(pictures=(picture,), model_card=b"{}")
    bench.parts = replace(bench.parts, attachments=lambda assessment: attachments)
    write_report(bench.parts, bench.read(bench.job()).assessment_key)
    assert len(fhir.of_type("Media")) == len(fhir.of_type("DocumentReference")) == 1


def _telling(call, tell):
    def told(*arguments):
        tell()
        return call(*arguments)

    return told
