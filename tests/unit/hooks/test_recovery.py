import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from cds.errors import StoreError, UpstreamUnavailable
from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.store import SqlAssessmentStore
from cds.values import JobState, Pattern, ReportState
from hooks.recovery import Sweeper, Swept
from tests.fakes.assessments import MODEL, assessment, study


class Bench:
    def __init__(self, folder):
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.store = SqlAssessmentStore(
            f"sqlite:///{folder}/store.db", report_grace_s=10.0, clock=lambda: self.now
        )
        self.store.migrate()
        self.studies, self.reports, self.signatures = [], [], []
        self.broker_error = None

    def check(self):
        if self.broker_error is not None:
            raise self.broker_error

    def sweeper(self, store=None, tick_s=0.02):
        return Sweeper(
            store or self.store,
            submit_study=self.studies.append,
            submit_report=self.reports.append,
            submit_signature=self.signatures.append,
            check=self.check,
            interval_s=10.0,
            tick_s=tick_s,
            clock=lambda: self.now,
        )

    def forward(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.store.close()


def test_nothing_left_behind_is_nothing_to_do(bench):
    bench.store.enqueue(study(), MODEL.digest)
    bench.broker_error = AssertionError("there is no reason to ask the broker")
    assert bench.sweeper().sweep() == Swept()


def test_a_job_whose_message_was_lost_is_sent_again(bench):
    job, _ = bench.store.enqueue(study(), MODEL.digest)
    bench.forward(10)
    assert bench.sweeper().sweep() == Swept(jobs=1)
    assert bench.studies == [job.key]
    assert bench.sweeper().sweep() == Swept(), "sent just now"


def test_a_job_that_waits_its_turn_is_sent_again_ever_more_rarely(bench):
    bench.store.enqueue(study(), MODEL.digest)
    sent = []
    for second in range(400):
        if bench.sweeper().sweep().jobs:
            sent.append(second)
        bench.forward(1)
    assert sent == [10, 20, 40, 80, 160, 310]


def test_a_dead_workers_job_is_sent_again_after_its_lease(bench):
    job, _ = bench.store.enqueue(study(), MODEL.digest)
    bench.store.claim(job.key, "dead", 60)
    bench.forward(59)
    assert bench.sweeper().sweep() == Swept()
    bench.forward(1)
    assert bench.sweeper().sweep() == Swept(jobs=1)
    assert bench.store.job(job.key).state is JobState.QUEUED
    assert bench.store.claim(job.key, "other", 60).attempts == 2


def test_a_released_job_is_sent_when_its_pause_is_over(bench):
    job, _ = bench.store.enqueue(study(), MODEL.digest)
    bench.store.claim(job.key, "a", 60)
    bench.store.release(job.key, "a", "out", pause_s=3)
    bench.forward(2)
    assert bench.sweeper().sweep() == Swept()
    bench.forward(1)
    assert bench.sweeper().sweep() == Swept(jobs=1)


def test_unwritten_reports_are_sent_until_they_are_written(bench):
    value = assessment()
    bench.store.save(value, ReportState.PENDING)
    bench.forward(10)
    assert bench.sweeper().sweep() == Swept(reports=1)
    assert bench.sweeper().sweep() == Swept()
    bench.forward(20)
    assert bench.sweeper().sweep() == Swept(reports=1)
    bench.store.mark_written(value.key, "DiagnosticReport/1")
    bench.forward(1000)
    assert bench.sweeper().sweep() == Swept()
    assert bench.reports == [value.key, value.key]


def test_while_the_broker_is_out_nothing_is_used_up(bench):
    bench.store.enqueue(study(), MODEL.digest)
    bench.forward(10)
    bench.broker_error = UpstreamUnavailable("The broker is out.")
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable):
            bench.sweeper().sweep()
    bench.broker_error = None
    assert bench.sweeper().sweep() == Swept(jobs=1)


def test_many_sweepers_send_each_thing_once(bench):
    for number in range(10):
        bench.store.enqueue(study(number + 1), MODEL.digest)
        bench.store.save(assessment(number + 100), ReportState.PENDING)
    bench.forward(10)
    threads = [threading.Thread(target=bench.sweeper().sweep) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.studies) == len(set(bench.studies)) == 10
    assert len(bench.reports) == len(set(bench.reports)) == 10


def test_the_thread_outlives_outages_and_bugs(bench):
    errors = [StoreError("The disk is full."), RuntimeError("bug"), StoreError("The disk is full.")]

    class Moody:
        def __getattr__(self, name):
            if name == "orphans" and errors:
                raise errors.pop()
            return getattr(bench.store, name)

    job, _ = bench.store.enqueue(study(), MODEL.digest)
    bench.forward(10)
    sweeper = bench.sweeper(Moody())
    sweeper.start()
    ends = time.monotonic() + 5
    while not bench.studies and time.monotonic() < ends:
        time.sleep(0.01)
    sweeper.stop()
    assert bench.studies == [job.key]


def test_a_signature_that_waits_is_sent_again_until_it_is_written(bench):
    made = assessment()
    bench.store.save(made, ReportState.PENDING)
    bench.store.mark_written(made.key, "DiagnosticReport/1")
    by = {"number": 1, "user": "Practitioner/1", "name": "Dr. Hem"}
    signature = Signature(
        assessment_key=made.key, signed_at=bench.now, verdict=Verdict.AGREE, conclusion=Pattern.AML, **by
    )
    change = Change(at=bench.now, kind=ChangeKind.SIGN, **by)
    bench.store.sign(change, signature, SignatureState.PENDING)
    assert bench.sweeper().sweep() == Swept(signatures=1)
    assert bench.sweeper().sweep() == Swept(), "it is under way"
    bench.forward(21)
    assert bench.sweeper().sweep() == Swept(signatures=1)
    bench.store.signature_written(made.key, 1)
    bench.forward(1000)
    assert bench.sweeper().sweep() == Swept()
    assert bench.signatures == [made.key, made.key]
