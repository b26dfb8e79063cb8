import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cds.errors import ClaimLost, ConfigurationError, StoreError, UnknownService
from cds.language import message
from cds.store import SqlAssessmentStore
from cds.values import JobState, ReportState
from tests.fakes.assessments import MODEL, READ_AT, assessment, not_analysed, study

DIGEST = MODEL.digest


class Clock:
    def __init__(self):
        self.now = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def __call__(self):
        return self.now

    def forward(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def store(url, clock):
    with closing(SqlAssessmentStore(url, retry_failed_after_s=900, report_grace_s=30, clock=clock)) as made:
        made.migrate()
        yield made


def orphan_keys(store, clock, queued_for=60):
    return [job.key for job in store.orphans(clock(), clock() - timedelta(seconds=queued_for))]


def at_once(count, call):
    """Results of `call` made by `count` threads that start together."""
    gate = threading.Barrier(count)

    def one(number):
        gate.wait()
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_what_is_saved_is_found_again_with_its_cells_and_thumbnails(store):
    value = assessment()
    assert store.save(value, ReportState.PENDING)
    assert store.get(value.key) == value


def test_latest_is_the_newest_and_comes_without_cells(store):
    old, new = assessment(instance_uids=("1.2.3.0",)), assessment(read_at=READ_AT + timedelta(hours=1))
    for value in (new, old, assessment(number=2, read_at=READ_AT + timedelta(days=1))):
        store.save(value, ReportState.NOT_CONFIGURED)
    found = store.latest(new.study.study_uid, DIGEST)
    assert found.assessment == replace(new, outcome=replace(new.outcome, cells=()))
    assert (found.report_state, found.report) == (ReportState.NOT_CONFIGURED, None)
    assert store.latest(new.study.study_uid, DIGEST).assessment is found.assessment, "decoded once"


def test_latest_tells_how_far_the_report_is(store):
    value = assessment()
    store.save(value, ReportState.PENDING)
    assert store.latest(value.study.study_uid, DIGEST).report_state is ReportState.PENDING
    store.mark_written(value.key, "DiagnosticReport/7")
    found = store.latest(value.study.study_uid, DIGEST)
    assert (found.report_state, found.report) == (ReportState.WRITTEN, "DiagnosticReport/7")


def test_latest_follows_a_newer_assessment_at_once(store):
    store.save(assessment(instance_uids=("1.2.3.0",)), ReportState.PENDING)
    first = store.latest(study().study_uid, DIGEST).assessment
    newer = assessment(read_at=READ_AT + timedelta(seconds=1), outcome=not_analysed())
    store.save(newer, ReportState.PENDING)
    assert store.latest(study().study_uid, DIGEST).assessment == newer != first


def test_another_package_or_study_has_no_assessment(store):
    store.save(assessment(), ReportState.PENDING)
    assert store.latest(study().study_uid, "cd" * 32) is None
    assert store.latest("1.2.3", DIGEST) is None
    assert store.get("no such key") is None


def test_an_assessment_is_saved_once(store):
    value = assessment()
    assert at_once(8, lambda _: store.save(value, ReportState.PENDING)).count(True) == 1
    assert not store.save(replace(value, seconds=99.0), ReportState.WRITTEN)
    assert store.get(value.key) == value
    assert store.report_state(value.key) == (ReportState.PENDING, None)


def test_of_twenty_threads_exactly_one_makes_the_job(store):
    answers = at_once(20, lambda _: store.enqueue(study(), DIGEST))
    assert [made for _, made in answers].count(True) == 1
    assert len({job.key for job, _ in answers}) == 1
    assert store.job_counts() == {"queued": 1, "running": 0, "done": 0, "failed": 0}


def test_of_twenty_threads_exactly_one_revives_a_failed_job(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    store.fail(job.key, "a", "The archive is down.")
    clock.forward(901)
    assert [made for _, made in at_once(20, lambda _: store.enqueue(study(), DIGEST))].count(True) == 1


def test_a_job_remembers_its_study(store):
    job, made = store.enqueue(study(), DIGEST)
    assert made
    assert store.job(job.key) == job
    assert (job.study, job.model_digest, job.state, job.attempts) == (study(), DIGEST, JobState.QUEUED, 0)
    assert store.job("no such key") is None


def test_of_twenty_threads_exactly_one_claims(store):
    job, _ = store.enqueue(study(), DIGEST)
    claimed = [c for c in at_once(20, lambda n: store.claim(job.key, f"w{n}", 60)) if c is not None]
    assert len(claimed) == 1
    assert (claimed[0].state, claimed[0].attempts) == (JobState.RUNNING, 1)


def test_a_claim_holds_until_its_lease_runs_out(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    clock.forward(59)
    assert store.claim(job.key, "b", 60) is None
    assert orphan_keys(store, clock) == []
    clock.forward(1)
    assert orphan_keys(store, clock) == [job.key]
    assert store.claim(job.key, "b", 60).attempts == 2


def test_a_heartbeat_prolongs_the_lease_of_its_owner_only(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    clock.forward(50)
    assert not store.heartbeat(job.key, "b", 60)
    assert store.heartbeat(job.key, "a", 60)
    clock.forward(50)
    assert store.claim(job.key, "b", 60) is None
    clock.forward(10)
    store.claim(job.key, "b", 60)
    assert not store.heartbeat(job.key, "a", 60)


@pytest.mark.parametrize(
    "end",
    [
        lambda store, key: store.finish(key, "a", "result"),
        lambda store, key: store.fail(key, "a", "reason"),
        lambda store, key: store.release(key, "a", "reason"),
    ],
    ids=["finish", "fail", "release"],
)
def test_whoever_lost_the_claim_cannot_end_the_job(store, clock, end):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    clock.forward(60)
    store.claim(job.key, "b", 60)
    with pytest.raises(ClaimLost):
        end(store, job.key)
    assert store.job(job.key).state is JobState.RUNNING


def test_a_finished_job_is_over(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    value = assessment()
    store.save(value, ReportState.PENDING)
    store.finish(job.key, "a", value.key)
    clock.forward(10_000)
    ended, made = store.enqueue(study(), DIGEST)
    assert (ended.state, ended.assessment_key, ended.reason, made) == (JobState.DONE, value.key, None, False)
    assert store.claim(job.key, "b", 60) is None
    assert orphan_keys(store, clock) == []


@pytest.mark.parametrize("named", [2, None])
def test_a_result_on_fewer_instances_than_the_study_names_is_tried_again_later(store, clock, named):
    one = study(number_of_instances=named)
    job, _ = store.enqueue(one, DIGEST)
    store.claim(job.key, "a", 60)
    early = assessment(instance_uids=(), outcome=not_analysed())
    store.save(early, ReportState.PENDING)
    store.finish(job.key, "a", early.key)
    assert store.enqueue(one, DIGEST)[1] is False
    clock.forward(900)
    again, made = store.enqueue(one, DIGEST)
    assert (again.state, made) == (JobState.QUEUED, True)


def test_a_failed_job_is_revived_with_the_study_as_it_is_now(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    store.fail(job.key, "a", "The archive refused us.")
    clock.forward(899)
    failed, made = store.enqueue(study(), DIGEST)
    assert (failed.state, str(failed.reason), made) == (JobState.FAILED, "The archive refused us.", False)
    clock.forward(1)
    moved = study(archive_url="https://pacs.example/dicom-web")
    revived, made = store.enqueue(moved, DIGEST)
    assert (revived.state, revived.attempts, revived.reason, made) == (JobState.QUEUED, 0, None, True)
    assert store.job(job.key).study == moved


def test_why_a_job_failed_is_kept_as_a_message(store):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    why = message("{reason} (after {attempts} attempts)", reason=message("its worker died"), attempts=3)
    store.fail(job.key, "a", why)
    assert store.job(job.key).reason == why


def test_a_released_job_waits_out_its_pause(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    store.release(job.key, "a", "The archive is down.", pause_s=90)
    assert str(store.job(job.key).reason) == "The archive is down."
    clock.forward(89)
    assert orphan_keys(store, clock) == []
    assert store.claim(job.key, "b", 60) is None, "a copy of its message must not cut the pause short"
    clock.forward(1)
    assert orphan_keys(store, clock) == [job.key]
    assert store.claim(job.key, "b", 60).attempts == 2


def test_a_pause_that_the_sweeper_has_ended_holds_no_one_back(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    store.release(job.key, "a", "The archive is down.", pause_s=90)
    clock.forward(90)
    (orphan,) = store.orphans(clock(), clock())
    assert store.take_orphan(orphan, clock() + timedelta(hours=1))
    assert store.claim(job.key, "b", 60).attempts == 2


def test_a_restart_of_the_only_worker_ends_every_pause(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    store.release(job.key, "a", "The archive is down.", pause_s=90)
    store.take_all_up_again()
    assert store.claim(job.key, "b", 60).attempts == 2


def test_a_release_that_is_nobodys_fault_costs_no_attempt(store):
    job, _ = store.enqueue(study(), DIGEST)
    store.claim(job.key, "a", 60)
    store.release(job.key, "a", "The worker is stopping.", counts_as_attempt=False)
    assert store.job(job.key).attempts == 0


def test_a_queued_job_is_lost_only_after_a_while(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    clock.forward(59)
    assert orphan_keys(store, clock) == []
    clock.forward(1)
    assert orphan_keys(store, clock) == [job.key]


def test_of_many_sweepers_one_takes_the_orphan(store, clock):
    store.enqueue(study(), DIGEST)
    clock.forward(60)
    (orphan,) = store.orphans(clock(), clock())
    again = clock() + timedelta(seconds=100)
    assert at_once(8, lambda _: store.take_orphan(orphan, again)).count(True) == 1
    clock.forward(99)
    assert orphan_keys(store, clock) == []
    clock.forward(1)
    assert orphan_keys(store, clock) == [orphan.key]


def test_an_orphan_that_was_claimed_meanwhile_is_left_alone(store, clock):
    job, _ = store.enqueue(study(), DIGEST)
    clock.forward(60)
    (orphan,) = store.orphans(clock(), clock())
    store.claim(job.key, "a", 60)
    assert not store.take_orphan(orphan, clock())
    assert store.heartbeat(job.key, "a", 60)


def test_the_only_worker_takes_everything_up_again_at_once(store, clock):
    running, _ = store.enqueue(study(1), DIGEST)
    queued, _ = store.enqueue(study(2), DIGEST)
    ended, _ = store.enqueue(study(3), DIGEST)
    store.claim(running.key, "dead", 600)
    store.claim(ended.key, "dead", 600)
    value = assessment(3)
    store.save(value, ReportState.PENDING)
    store.finish(ended.key, "dead", value.key)
    assert (orphan_keys(store, clock), store.unwritten(10)) == ([], [])
    store.take_all_up_again()
    assert set(orphan_keys(store, clock)) == {running.key, queued.key}
    assert store.unwritten(10) == [value.key]
    assert not store.heartbeat(running.key, "dead", 60)


def test_a_report_is_pending_until_it_is_written(store, clock):
    value = assessment()
    store.save(value, ReportState.PENDING)
    assert store.unwritten(10) == [], "the worker that saved it writes it first"
    clock.forward(30)
    assert store.unwritten(10) == [value.key]
    store.mark_written(value.key, "DiagnosticReport/12")
    assert store.report_state(value.key) == (ReportState.WRITTEN, "DiagnosticReport/12")
    assert store.unwritten(10) == []


def test_the_oldest_due_reports_come_first(store, clock):
    values = [assessment(n) for n in (3, 1, 2)]
    for value in values:
        store.save(value, ReportState.PENDING)
        clock.forward(1)
    clock.forward(30)
    assert store.unwritten(2) == [values[0].key, values[1].key]


def test_a_report_that_fails_for_ever_lets_the_others_pass(store, clock):
    bad, good = assessment(1), assessment(2)
    for value in (bad, good):
        store.save(value, ReportState.PENDING)
    pauses = []
    for _ in range(3):
        store.report_failed(bad.key, "The FHIR server refused it.", lambda n: pauses.append(n) or 100.0)
    clock.forward(30)
    assert pauses == [1, 2, 3]
    assert store.unwritten(1) == [good.key]
    clock.forward(70)
    assert set(store.unwritten(2)) == {bad.key, good.key}


def test_of_many_sweepers_one_takes_the_report(store, clock):
    value = assessment()
    store.save(value, ReportState.PENDING)
    clock.forward(30)
    assert at_once(8, lambda _: store.take_unwritten(value.key, 60)).count(True) == 1
    assert store.unwritten(10) == []


def test_no_report_is_due_where_none_is_configured(store, clock):
    store.save(assessment(), ReportState.NOT_CONFIGURED)
    clock.forward(1000)
    store.take_all_up_again()
    assert store.unwritten(10) == []


def test_the_report_of_nothing_is_unknown(store):
    with pytest.raises(UnknownService):
        store.report_state("no such key")


def test_a_store_that_was_never_migrated_says_so(url):
    with closing(SqlAssessmentStore(url)) as store, pytest.raises(StoreError, match="never migrated"):
        store.check()


def test_a_missing_folder_is_named(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/absent/store.db")) as store:
        with pytest.raises(StoreError, match=r"the folder .*absent does not exist"):
            store.migrate()


def test_a_path_that_cannot_be_opened_is_named(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}")) as store:  # a folder, not a file
        with pytest.raises(StoreError, match=f"{tmp_path} cannot be written"):
            store.migrate()


def test_a_read_only_store_still_answers_and_refuses_to_write(store, url, tmp_path):
    store.save(assessment(), ReportState.PENDING)
    with closing(SqlAssessmentStore(f"sqlite:///file:{tmp_path}/store.db?mode=ro&uri=true")) as reader:
        assert reader.get(assessment().key) == assessment()
        with pytest.raises(StoreError, match="cannot be written: check the rights"):
            reader.enqueue(study(), DIGEST)


def test_a_full_disk_is_said_and_loses_nothing(store, url, tmp_path):
    store.save(assessment(1), ReportState.PENDING)
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        pages = raw.execute("PRAGMA page_count").fetchone()[0]

    class FullDisk(SqlAssessmentStore):
        def __init__(self):
            super().__init__(url)
            from sqlalchemy import event

            @event.listens_for(self._engine, "connect")
            def limit(connection, _record):
                connection.execute(f"PRAGMA max_page_count = {pages}")

    with closing(FullDisk()) as full, pytest.raises(StoreError, match="the disk is full"):
        for number in range(2, 200):
            full.save(assessment(number), ReportState.PENDING)
    assert store.get(assessment(1).key) == assessment(1)


def test_errors_carry_no_values(store, tmp_path):
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        raw.execute("DROP TABLE jobs")
    with pytest.raises(StoreError) as caught:
        store.enqueue(study(patient="Patient/secret-9"), DIGEST)
    assert "secret-9" not in str(caught.value)
    assert "secret-9" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("mysql://localhost/x", "mysql"),
        ("nonsense", "not an SQLAlchemy URL"),
    ],
)
def test_unusable_addresses_are_refused(bad, message):
    with pytest.raises(ConfigurationError, match=message):
        SqlAssessmentStore(bad)
