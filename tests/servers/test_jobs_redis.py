"""Worker processes on a real Redis, ended in every way a process can end."""

import os
import signal
import threading
import time
from contextlib import closing

import pytest

from cds.settings import Settings
from cds.values import JobState, ReportState, StudyRef
from hooks.bootstrap import open_store
from hooks.tasks import TaskQueue
from tests.fakes.assessments import MODEL
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.images import dicom_file, drawing
from tests.fakes.processes import Process

pytestmark = pytest.mark.timeout(60)


def study(number):
    return StudyRef(
        study_uid=f"2.25.{7000 + number}", patient=f"Patient/{number}", imaging_study=f"ImagingStudy/{number}"
    )


@pytest.fixture
def archive():
    """Ten studies of two images each."""
    instances = [
        dicom_file(
            drawing(seed=n),
            StudyInstanceUID=study(n).study_uid,
            SeriesInstanceUID=f"2.25.{8000 + n}",
            SOPInstanceUID=f"2.25.{9000 + 10 * n + i}",
        )
        for n in range(10)
        for i in range(2)
    ]
    with FakeArchive(*instances) as fake:
        yield fake


@pytest.fixture
def fhir():
    with FakeFhirServer() as server:
        yield server


class Site:
    """Store, queue and settings that the worker processes share with the test."""

    def __init__(self, folder, database_url, broker_url, archive, fhir):
        self.folder, self.fhir = folder, fhir
        self.values = {
            "database_url": database_url,
            "broker_url": broker_url,
            "archive_url": archive.url,
            "fhir_url": fhir.url,
            "job_lease_s": 2.0,
            "sweep_interval_s": 1.0,
            "job_backoff_s": 0.2,
        }
        self.settings = Settings(**self.values)
        self.store = open_store(self.settings)
        self.store.migrate()
        self.queue = TaskQueue(self.settings)

    def worker(self, **changes):
        return Process("worker", self.folder, **{**self.values, **changes})

    def submit(self, number):
        job, made = self.store.enqueue(study(number), MODEL.digest)
        if made:
            self.queue.submit_study(job.key)
        return job.key

    def state(self, key):
        return self.store.job(key).state

    def written(self, key):
        job = self.store.job(key)
        return (
            job.assessment_key is not None
            and self.store.report_state(job.assessment_key)[0] is ReportState.WRITTEN
        )


@pytest.fixture
def site(tmp_path, redis_database_url, archive, fhir):
    made = Site(tmp_path, f"sqlite:///{tmp_path}/store.db", redis_database_url, archive, fhir)
    with closing(made.store):
        yield made


def test_twenty_hooks_at_once_make_one_study_read_and_one_report(site, archive):
    with site.worker() as worker:
        threads = [threading.Thread(target=site.submit, args=(1,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        key = site.submit(1)
        worker.until(lambda: site.written(key))
    assert site.store.job(key).attempts == 1
    assert archive.count("GET", "/instances") == 2  # the page, and the next one, which is empty
    assert len(site.fhir.of_type("DiagnosticReport")) == 1


def test_a_study_whose_worker_was_killed_is_read_by_another_with_one_report(site, archive):
    archive.fault, archive.delay_s = Fault.SLOW, 30.0
    with site.worker() as first:
        key = site.submit(1)
        first.until(lambda: archive.count("GET") > 0)
        assert site.state(key) is JobState.RUNNING
        first.kill()
    archive.fault = Fault.NONE
    assert site.state(key) is JobState.RUNNING, "nobody knows yet that its worker is dead"
    with site.worker() as second:
        second.until(lambda: site.written(key))
    assert site.store.job(key).attempts == 2
    assert len(site.fhir.of_type("DiagnosticReport")) == 1


def test_a_worker_whose_child_was_killed_reads_the_study_again(site, archive):
    archive.fault, archive.delay_s = Fault.SLOW, 30.0
    with site.worker() as worker:
        key = site.submit(1)
        worker.until(lambda: archive.count("GET") > 0)
        archive.fault = Fault.NONE
        os.kill(_only_child(worker.pid), signal.SIGKILL)  # as the kernel does when memory runs out
        worker.until(lambda: site.written(key))
    assert site.store.job(key).attempts == 2


def test_a_worker_told_to_stop_gives_its_study_back_at_once(site, archive):
    with site.worker(job_lease_s=600, test_reader_seconds=60) as first:
        key = site.submit(1)
        first.until(lambda: site.state(key) is JobState.RUNNING)
        began = time.monotonic()
        assert first.stop() == 0
        assert time.monotonic() - began < 10
    job = site.store.job(key)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    with site.worker() as second:
        second.until(lambda: site.written(key))


def test_messages_that_redis_lost_are_sent_again(site):
    import redis

    keys = [site.submit(n) for n in range(3)]
    with redis.Redis.from_url(site.settings.broker_url, socket_timeout=5) as database:
        database.flushdb()
    with site.worker() as worker:
        worker.until(lambda: all(site.written(key) for key in keys))


def test_a_fhir_server_that_is_down_and_back_later_gets_each_report_once(site, fhir):
    fhir.down()
    with site.worker() as worker:
        keys = [site.submit(n) for n in range(3)]
        worker.until(lambda: all(site.state(key) is JobState.DONE for key in keys))
        time.sleep(1.0)
        assert not any(site.written(key) for key in keys)
        fhir.up()
        worker.until(lambda: all(site.written(key) for key in keys))
    assert len(fhir.of_type("DiagnosticReport")) == 3


def test_workers_share_the_studies_over_postgresql(
    tmp_path, redis_database_url, postgres_database_url, archive, fhir
):
    site = Site(tmp_path, postgres_database_url, redis_database_url, archive, fhir)
    with closing(site.store), site.worker(worker_concurrency=2) as one, site.worker() as other:
        keys = [site.submit(n) for n in range(10)]
        one.until(lambda: all(site.written(key) for key in keys), timeout_s=30)
        assert [site.store.job(key).attempts for key in keys] == [1] * 10
        assert one.log().count('"study read"') + other.log().count('"study read"') == 10
    assert len(fhir.of_type("DiagnosticReport")) == 10


def _only_child(pid):
    """The pool's process: the one child of the main process that is not a resource tracker."""
    children = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat, open(f"/proc/{entry}/cmdline") as command:
                    parent, words = stat.read().rpartition(")")[2].split()[1], command.read()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            if int(parent) == pid and "resource_tracker" not in words:
                children.append(int(entry))
    (child,) = children
    return child
