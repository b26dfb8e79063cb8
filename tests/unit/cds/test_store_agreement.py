import threading
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from cds.agreement import AgreementLine, Fate, Looked
from cds.store import SqlAssessmentStore
from cds.values import ReportState, wilson_interval
from tests.fakes.assessments import MODEL, READ_AT, assessment, finding, not_analysed

HOUR = timedelta(hours=1)


class Bench:
    def __init__(self, folder):
        self.now = READ_AT
        self.store = SqlAssessmentStore(f"sqlite:///{folder}/store.db", clock=lambda: self.now)
        self.store.migrate()

    def written(self, number, outcome=None, **changes):
        made = replace(assessment(number, outcome), **changes)
        self.store.save(made, ReportState.PENDING)
        self.store.mark_written(made.key, f"DiagnosticReport/{number}")
        return made.key

    def look(self, key, fate, conclusion=None, due_at=None):
        (report,) = [r for r in self.store.written_reports(100) if r.assessment_key == key]
        assert self.store.take_written(report, 60)
        self.store.looked_at(key, Looked(fate=fate, status="x", conclusion=conclusion), due_at)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    with closing(made.store):
        yield made


def test_written_reports_are_to_be_looked_at_pending_ones_are_not(bench):
    bench.store.save(assessment(1), ReportState.PENDING)
    bench.store.save(assessment(2), ReportState.NOT_CONFIGURED)
    key = bench.written(3)
    (report,) = bench.store.written_reports(10)
    assert (report.assessment_key, report.reference) == (key, "DiagnosticReport/3")
    assert (report.pattern, report.model_name, report.model_version) == ("AML", MODEL.name, MODEL.version)
    assert report.read_at == READ_AT


def test_one_that_was_taken_is_due_again_after_its_pause_or_when_told(bench):
    key = bench.written(1)
    (report,) = bench.store.written_reports(10)
    assert bench.store.take_written(report, 60)
    assert not bench.store.take_written(report, 60)
    assert bench.store.written_reports(10) == []
    bench.now += timedelta(seconds=60)
    assert [r.assessment_key for r in bench.store.written_reports(10)] == [key]
    bench.look(key, Fate.SIGNED, "AML", bench.now + HOUR)
    assert bench.store.written_reports(10) == []
    bench.now += HOUR
    bench.look(key, Fate.DELETED, due_at=None)
    bench.now += 1000 * HOUR
    assert bench.store.written_reports(10) == []


def test_those_never_looked_at_come_first_and_the_number_is_bounded(bench):
    bench.look(bench.written(1), Fate.OPEN, due_at=bench.now)
    fresh = [bench.written(n) for n in (2, 3)]
    bench.now += HOUR
    found = [r.assessment_key for r in bench.store.written_reports(2)]
    assert sorted(found) == sorted(fresh)


def test_of_many_workers_one_looks(bench):
    bench.written(1)
    (report,) = bench.store.written_reports(10)
    taken = []
    threads = [
        threading.Thread(target=lambda: taken.append(bench.store.take_written(report, 60))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count(True) == 1


def test_agreement_by_pattern_and_model_version(bench):
    newer = replace(MODEL, version="2.0.0", digest="cd" * 32)
    for number, (fate, conclusion) in enumerate(
        [
            (Fate.SIGNED, "AML"), (Fate.SIGNED, "AML"), (Fate.SIGNED, "ALL"), (Fate.SIGNED, None),
            (Fate.OPEN, None), (Fate.WITHDRAWN, None), (Fate.DELETED, None), (Fate.SUPERSEDED, None),
        ]
    ):  # fmt: skip
        bench.look(bench.written(number), fate, conclusion)
    bench.look(bench.written(20, model=newer), Fate.SIGNED, "AML")
    bench.look(bench.written(30, not_analysed()), Fate.SIGNED, "ALL")
    first, second, third = bench.store.agreement()
    assert first == AgreementLine(
        pattern="AML", model_name="cells", model_version="1.2.3", reports=8, signed=4, coded=3, agreed=2, superseded=1,
        withdrawn=2,
    )  # fmt: skip
    assert (first.share, first.interval) == (2 / 3, wilson_interval(2, 3))
    assert (second.model_version, second.coded, second.agreed) == ("2.0.0", 1, 1)
    assert (third.pattern, third.signed, third.coded, third.share, third.interval) == (None, 1, 0, None, None)


def test_a_report_that_is_amended_counts_by_what_it_says_now(bench):
    key = bench.written(1)
    bench.look(key, Fate.SIGNED, "AML", bench.now)
    bench.look(key, Fate.SIGNED, "CLL", bench.now)
    (line,) = bench.store.agreement()
    assert (line.reports, line.coded, line.agreed) == (1, 1, 0)
    bench.look(key, Fate.WITHDRAWN, None, None)
    (line,) = bench.store.agreement()
    assert (line.coded, line.withdrawn) == (0, 1)


def test_since_is_about_when_the_smear_was_read(bench):
    bench.look(bench.written(1, finding()), Fate.SIGNED, "AML")
    assert len(bench.store.agreement(READ_AT)) == 1
    assert bench.store.agreement(READ_AT + timedelta(seconds=1)) == ()
