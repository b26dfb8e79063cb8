"""The same store on a real PostgreSQL: what SQLite cannot show about types, locks and several processes."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from cds.access import AuditAction, AuditEntry, AuditOutcome, PendingSignIn, Session
from cds.agreement import Fate, Looked
from cds.errors import ClaimLost, ReviewChanged, StoreError
from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.store import SqlAssessmentStore
from cds.store_engine import open_engine
from cds.store_schema import metadata
from cds.values import JobState, Pattern, ReportState
from cds.watch import StudyChange
from cds.worklist import WorklistQuery, WorkState
from tests.fakes.assessments import MODEL, assessment, study
from tests.fakes.feedback import LATER, accepted, card_uuid, overridden, shown

ENQUEUE = """
import sys
from cds.store import SqlAssessmentStore
from tests.fakes.assessments import MODEL, study
store = SqlAssessmentStore(sys.argv[1])
store.migrate()
print([store.enqueue(study(), MODEL.digest)[1] for _ in range(5)].count(True))
"""


@pytest.fixture
def store(postgres_database_url):
    with closing(SqlAssessmentStore(postgres_database_url, report_grace_s=0.0)) as made:
        made.migrate()
        yield made


def at_once(count, call):
    gate = threading.Barrier(count)

    def one(number):
        gate.wait()
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_what_is_saved_is_found_again(store):
    value = assessment(read_at=datetime(2026, 3, 4, 23, 30, tzinfo=timezone(timedelta(hours=5))))
    assert store.save(value, ReportState.PENDING)
    assert not store.save(value, ReportState.PENDING)
    assert store.get(value.key) == value
    found = store.latest(value.study.study_uid, MODEL.digest)
    assert found.assessment == replace(value, outcome=replace(value.outcome, cells=()))
    assert (found.report_state, found.report) == (ReportState.PENDING, None)


def test_steps_and_tables_agree(store, postgres_database_url):
    engine = open_engine(postgres_database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_of_processes_that_start_together_one_migrates_and_one_makes_the_job(postgres_database_url):
    command = [sys.executable, "-c", ENQUEUE, postgres_database_url]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    made = 0
    for process in started:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        made += int(output)
    assert made == 1


def test_of_twenty_threads_exactly_one_makes_the_job_and_one_claims_it(store):
    answers = at_once(20, lambda _: store.enqueue(study(), MODEL.digest))
    assert [made for _, made in answers].count(True) == 1
    key = answers[0][0].key
    claims = at_once(20, lambda n: store.claim(key, f"w{n}", 60))
    assert len([c for c in claims if c is not None]) == 1
    assert store.job_counts() == {"queued": 0, "running": 1, "done": 0, "failed": 0}


def test_a_job_runs_its_course(store):
    job, _ = store.enqueue(study(), MODEL.digest)
    store.claim(job.key, "a", 60)
    store.release(job.key, "a", "The archive is down.", pause_s=0.0)
    now = datetime.now(UTC)
    (orphan,) = store.orphans(now + timedelta(seconds=1), now)
    assert (orphan.key, orphan.reason) == (job.key, "The archive is down.")
    taken = at_once(6, lambda _: store.take_orphan(orphan, now + timedelta(seconds=60)))
    assert taken.count(True) == 1
    assert store.claim(job.key, "b", 60).attempts == 2
    assert store.heartbeat(job.key, "b", 60)
    with pytest.raises(ClaimLost):
        store.fail(job.key, "a", "too late")
    value = assessment()
    store.save(value, ReportState.PENDING)
    store.finish(job.key, "b", value.key)
    assert store.job(job.key).state is JobState.DONE
    assert store.unwritten(5) == [value.key]
    store.report_failed(value.key, "The FHIR server is down.", lambda failures: 0.0)
    assert store.take_unwritten(value.key, 60.0)
    assert store.unwritten(5) == []
    store.mark_written(value.key, "DiagnosticReport/1")
    assert store.report_state(value.key) == (ReportState.WRITTEN, "DiagnosticReport/1")


def test_connections_that_the_server_closed_are_replaced(store, postgres_database_url):
    store.check()
    with closing(open_engine(postgres_database_url).raw_connection()) as connection:
        connection.cursor().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    store.check()


def test_a_database_that_is_not_there_is_a_store_error_without_the_password(postgres_database_url):
    url = postgres_database_url.rpartition("/")[0] + "/no_such_database"
    with closing(SqlAssessmentStore(url)) as absent, pytest.raises(StoreError) as caught:
        absent.check()
    assert "no_such_database" in str(caught.value)
    password = url.partition("://")[2].partition("@")[0].partition(":")[2]
    assert password
    assert password not in str(caught.value)


def test_a_server_that_is_not_there_is_a_store_error():
    with closing(SqlAssessmentStore("postgresql://nobody@127.0.0.1:1/none")) as absent:
        with pytest.raises(StoreError, match="failed"):
            absent.check()


def test_cards_shown_and_feedback_told_by_many_at_once_are_stored_once(store):
    at_once(8, lambda _: store.remember_cards([shown(1), shown(2)]))
    items = [accepted(1), overridden(2, reason=LATER, comment="seen"), overridden(3)]
    receipts = at_once(8, lambda _: store.take_feedback("leukemia-smear", items))
    assert sum(receipt.stored for receipt in receipts) == 3
    assert {receipt.unknown_cards for receipt in receipts} == {1}
    (action,) = store.actions([card_uuid(2)])[card_uuid(2)]
    assert action.reason is not None
    assert action.reason.code == "will-review-later"
    summary = store.feedback_summary(datetime(2026, 5, 1, tzinfo=UTC))
    (line,) = summary.lines
    assert (line.cards, line.showings, line.accepted, line.overridden) == (2, 2, 1, 1)
    assert line.reasons == {"will-review-later": 1}
    assert summary.unknown_cards == 1


def test_batches_in_opposite_order_do_not_end_each_other(store):
    items = [overridden(number) for number in range(60)]
    receipts = at_once(6, lambda n: store.take_feedback("leukemia-smear", items[:: -1 if n % 2 else 1]))
    assert sum(receipt.stored for receipt in receipts) == 60


def test_a_jti_is_used_once_however_many_ask(store):
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    later = now + timedelta(minutes=5)
    assert at_once(16, lambda _: store.use_jti("iss", "odd \x00 \ud800", later, now)).count(True) == 1
    assert store.use_jti("other", "odd \x00 \ud800", later, now)
    assert store.use_jti("iss", "x" * 100_000, later, now)


def test_the_worklist_sessions_and_audit_are_the_same_there(store):
    job, _ = store.enqueue(study(accession="A-17"), MODEL.digest)
    store.claim(job.key, "worker", 60)
    store.save(assessment(), ReportState.PENDING)
    store.finish(job.key, "worker", assessment().key)
    other, _ = store.enqueue(study(2, patient=None), MODEL.digest)
    store.claim(other.key, "worker", 60)
    store.fail(other.key, "worker", "broken")
    page = store.worklist(WorklistQuery())
    assert [(row.state, row.job.key) for row in page.rows] == [
        (WorkState.READ, job.key),
        (WorkState.FAILED, other.key),
    ]
    assert store.worklist(WorklistQuery(search="A-1")).total == 1
    assert store.worklist(WorklistQuery(patient="Patient/p-1", state=WorkState.READ)).total == 1
    assert store.retry_job(other.key)
    assert not store.retry_job(other.key)

    now = datetime.now(UTC)
    session = Session(
        user="Practitioner/1", name="Dr. Test", issuer="https://ehr.example", may_review=True, may_operate=False,
        patient=None, started_at=now, ends_at=now + timedelta(hours=1),
    )  # fmt: skip
    store.open_session("secret", session)
    assert store.session("secret", 60) == session
    assert store.session("other", 60) is None
    pending = PendingSignIn(issuer="i", state="s", nonce="n", code_verifier="v", target="/")
    store.begin_sign_in("secret", pending, now + timedelta(minutes=5))
    assert at_once(8, lambda _: store.take_sign_in("secret", "s")).count(pending) == 1
    assert store.close_session("secret")
    assert store.purge_sessions(60) == 0

    entry = AuditEntry(
        id="0" * 36, at=now, user=None, name=None, issuer=None, action=AuditAction.SIGN_IN, what="callback",
        patient=None, outcome=AuditOutcome.DENIED,
    )  # fmt: skip
    store.record(entry)
    store.record(entry)
    assert store.audit() == [entry]
    assert at_once(8, lambda _: store.take_unsent(entry.id, 60)).count(True) == 1


def test_a_hook_instance_used_again_keeps_the_suggestions_of_both_answers(store):
    store.remember_cards([shown(suggestions={"s-1": "flow-cytometry"})])
    store.remember_cards([shown(suggestions={"s-2": "bcr-abl1"}), shown(2)])
    receipt = store.take_feedback("leukemia-smear", [accepted(1, "s-1", "s-2", "s-3")])
    assert (receipt.stored, receipt.unknown_suggestions) == (1, 1)


def test_old_cards_without_feedback_go(store):
    store.remember_cards([shown(1), shown(2), shown(3)])
    store.take_feedback("leukemia-smear", [overridden(2)])
    later = datetime(2030, 1, 1, tzinfo=UTC)
    assert [store.purge_cards(later, 1), store.purge_cards(later, 9), store.purge_cards(later, 9)] == [
        1,
        1,
        0,
    ]
    assert store.feedback_summary().lines[0].cards == 1


def test_a_report_is_looked_at_by_one_and_counted(store):
    made = assessment()
    store.save(made, ReportState.PENDING)
    store.mark_written(made.key, "DiagnosticReport/1")
    (report,) = store.written_reports(5)
    assert at_once(6, lambda _: store.take_written(report, 60)).count(True) == 1
    assert store.written_reports(5) == []
    store.looked_at(made.key, Looked(fate=Fate.SIGNED, status="final", conclusion="AML"), None)
    (line,) = store.agreement(made.read_at)
    assert (line.pattern, line.reports, line.coded, line.agreed) == ("AML", 1, 1, 1)


def test_a_report_is_handed_over_once(store):
    store.keep_resources("a" * 36, [{"resourceType": "DiagnosticReport"}])
    assert list(store.resources_for("ehr", ["a" * 36])) == ["a" * 36]
    assert at_once(6, lambda _: store.hand_over("ehr", "a" * 36)).count(True) == 1
    assert store.resources_for("ehr", ["a" * 36]) == {}
    later = datetime(2130, 1, 1, tzinfo=UTC)
    assert store.purge_resources(later - timedelta(days=99_999), later, 9) == 1
    assert store.resources_for("another ehr", ["a" * 36]) == {}


def test_new_studies_are_looked_for_by_one_worker_and_the_cursor_never_goes_back(store):
    server, now = "https://fhir.example/r4", datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert len({watch.secret for watch in at_once(6, lambda _: store.watch(server))}) == 1
    assert at_once(6, lambda _: store.take_look(server, 60)).count(True) == 1
    change = StudyChange(version="ab" * 32, changed_at=now)
    at_once(6, lambda n: store.passed(server, [change], now + timedelta(minutes=n), timedelta(hours=1)))
    assert store.watch(server).cursor == now + timedelta(minutes=5)
    assert store.seen(server, [change.version, "other"]) == {change.version}
    store.look_now(server, notified=True)
    assert store.take_look(server, 60)


def test_of_reviewers_at_once_one_is_stored_and_the_others_are_told(store):
    made = assessment()
    store.save(made, ReportState.PENDING)

    def add(number):
        change = Change(
            number=1, at=made.read_at, user=f"Practitioner/{number}", name="Dr.", kind=ChangeKind.EXCLUDE, cells=(0,)
        )  # fmt: skip
        try:
            return store.add_change(made.key, change).version
        except ReviewChanged:
            return None

    answers = at_once(6, add)
    assert sorted(answers, key=bool) == [None] * 5 + [1]
    assert store.review(made.key).version == 1


def test_a_signature_is_taken_by_one_sweeper(store):
    made = assessment()
    store.save(made, ReportState.PENDING)
    by = {"number": 1, "user": "Practitioner/1", "name": "Dr. Größe"}
    signature = Signature(
        assessment_key=made.key, signed_at=made.read_at, verdict=Verdict.AGREE, conclusion=Pattern.AML, **by
    )
    change = Change(at=made.read_at, kind=ChangeKind.SIGN, **by)
    store.sign(change, signature, SignatureState.PENDING)
    assert store.signed(made.key).signature == signature
    assert store.unwritten_signatures(9) == [made.key]
    taken = at_once(5, lambda number: store.take_unwritten_signature(made.key, 60))
    assert taken.count(True) == 1
    store.signature_failed(made.key, 1, "out", lambda failures: 0.0)
    assert store.unwritten_signatures(9) == [made.key]
    assert list(store.labelled_cells()) == []
