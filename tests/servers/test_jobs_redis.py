"""Worker processes on a real Redis, ended in every way a process can end."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing

import pytest
import requests

from cds.errors import UpstreamUnavailable
from cds.settings import Settings
from cds.values import JobState, ReportState, StudyRef
from hooks.bootstrap import open_store
from hooks.tasks import TaskQueue
from tests.fakes.assessments import MODEL, imaging_study_of
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.hook_requests import SERVICE, imaging_study, with_studies
from tests.fakes.images import dicom_file, drawing
from tests.fakes.processes import Process, free_port

pytestmark = pytest.mark.timeout(240)


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
    with FakeFhirServer(*(imaging_study_of(study(n)) for n in range(10))) as server:
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
        assert first.stop() == 0  # within a tenth of the lease
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


def test_redis_may_go_away_and_come_back(tmp_path, archive, fhir):
    with OwnRedis(tmp_path) as redis_server:
        site = Site(tmp_path, f"sqlite:///{tmp_path}/store.db", redis_server.url, archive, fhir)
        with closing(site.store), site.worker() as worker:
            first = site.submit(1)
            worker.until(lambda: site.written(first))
            redis_server.kill()
            job, _ = site.store.enqueue(study(2), MODEL.digest)
            began = time.monotonic()
            with pytest.raises(UpstreamUnavailable):
                site.queue.submit_study(job.key)
            assert time.monotonic() - began < 1.0, "a hook does not wait for a broker that is out"
            time.sleep(1.5)
            redis_server.start()
            worker.until(lambda: site.written(job.key))


def test_redis_may_go_away_just_before_a_message_is_acknowledged(tmp_path, archive, fhir, monkeypatch):
    """The broker dies while the FHIR server takes the report: nothing but the message's end is left to be told."""
    with OwnRedis(tmp_path) as redis_server:
        take = fhir.transact

        def dying(bundle):
            if any(entry["resource"]["resourceType"] == "DiagnosticReport" for entry in bundle["entry"]):
                redis_server.kill()
            return take(bundle)

        monkeypatch.setattr(fhir, "transact", dying)
        site = Site(tmp_path, f"sqlite:///{tmp_path}/store.db", redis_server.url, archive, fhir)
        with closing(site.store), site.worker() as worker:
            for number in range(1, 4):
                job, _ = site.store.enqueue(study(number), MODEL.digest)
                worker.until(lambda key=job.key: site.written(key))
                worker.until(lambda number=number: worker.log().count("Couldn't ack") >= number)
                time.sleep(0.2)
                redis_server.start()
            monkeypatch.setattr(fhir, "transact", take)
            last, _ = site.store.enqueue(study(4), MODEL.digest)
            worker.until(lambda: site.written(last.key))


def test_hooks_of_several_serving_processes_are_read_by_the_worker(site, fhir):
    port = free_port()
    uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{study(1).study_uid}"}
    named = imaging_study(1, identifier=[uid])
    fhir.resources["ImagingStudy/study-1"] = named
    hook = with_studies(named)
    url = f"http://127.0.0.1:{port}{SERVICE}"
    with (
        Process("serve", site.folder, **site.values, port=port, web_processes=2) as server,
        site.worker() as worker,
    ):
        server.until(lambda: server.log().count('"serving"') == 2)
        threads = [
            threading.Thread(target=requests.post, args=(url,), kwargs={"json": hook, "timeout": 30})
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        worker.until(lambda: bool(fhir.of_type("DiagnosticReport")))
        worker.until(lambda: site.store.job_counts()["done"] == 1)
        cards = requests.post(url, json=hook, timeout=30).json()["cards"]
    assert "AML" in cards[0]["summary"]
    assert len(fhir.of_type("DiagnosticReport")) == 1
    assert sum(site.store.job_counts().values()) == 1


def test_workers_share_the_studies_over_postgresql(
    tmp_path, redis_database_url, postgres_database_url, archive, fhir
):
    site = Site(tmp_path, postgres_database_url, redis_database_url, archive, fhir)
    with closing(site.store), site.worker(worker_concurrency=2) as one, site.worker() as other:
        keys = [site.submit(n) for n in range(10)]
        one.until(lambda: all(site.written(key) for key in keys))
        assert [site.store.job(key).attempts for key in keys] == [1] * 10
        assert one.log().count('"study read"') + other.log().count('"study read"') == 10
    assert len(fhir.of_type("DiagnosticReport")) == 10


class OwnRedis:
    """A Redis of this test's own, which may be killed and started again with what it had written."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process = None

    def start(self):
        command = [
            "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--save",
            "",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        ends = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < ends, "redis-server did not start"
                time.sleep(0.05)

    def kill(self):
        self._process.kill()
        self._process.wait(10)

    def __enter__(self):
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed: `make servers` installs it")
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()


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


def test_a_worker_tells_prometheus_what_its_processes_met(site, tmp_path, monkeypatch):
    port = free_port()
    counted = tmp_path / "counted"
    counted.mkdir()
    monkeypatch.setenv("TMPDIR", str(counted))

    def told():
        return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text

    site.fhir.down()
    with site.worker(worker_metrics=str(port)) as worker:
        key = site.submit(1)
        worker.until(lambda: site.state(key) is JobState.DONE)
        worker.until(lambda: 'upstream="FHIR server"' in told())
        assert 'leukocds_jobs{state="done"} 1.0' in told()
        worker.stop()
    assert list(counted.iterdir()) == [], "the counters go with the worker"


def test_a_worker_notices_that_a_report_was_signed(site):
    with site.worker(follow_reports_s=0.3) as worker:
        key = site.submit(1)
        worker.until(lambda: site.written(key))
        (report,) = site.fhir.of_type("DiagnosticReport")
        report["status"] = "final"
        report["conclusionCode"] = [{"coding": [{"system": "urn:leukocds:pattern", "code": "AML"}]}]
        worker.until(lambda: any(line.signed for line in site.store.agreement()))
    (line,) = site.store.agreement()
    assert (line.reports, line.signed, line.coded) == (1, 1, 1)
