"""The worklist out of the store: jobs with their newest readings, the most urgent first."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    FromClause,
    Row,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from cds.agreement import Fate
from cds.store_codec import decode_assessment, decode_text
from cds.store_engine import reading, writing
from cds.store_jobs import job_of
from cds.store_schema import assessments, jobs, signatures, signed_reports
from cds.urgency import UNREAD, WAITING, level
from cds.values import JobState, ReportState
from cds.worklist import WorklistPage, WorklistQuery, WorklistRow, WorkState

UNSIGNED, SIGNED = "unsigned", "signed"


def signed_state(assessment_key: ColumnElement[str]) -> ColumnElement[str]:
    """Whether a clinician has signed the reading of that key: `SIGNED` or `UNSIGNED`, as SQL.

    Here, also before the FHIR server has the signature, or there by other software, as was seen when it was looked at.
    """
    here = exists().where(signatures.c.assessment_key == assessment_key)
    there = exists().where(
        signed_reports.c.assessment_key == assessment_key, signed_reports.c.fate == Fate.SIGNED.value
    )
    return case((or_(here, there), literal(SIGNED)), else_=literal(UNSIGNED))


class WorklistRows:
    """The part of `cds.store.SqlAssessmentStore` that is about the worklist."""

    _engine: Engine
    _clock: Callable[[], datetime]

    def worklist(self, query: WorklistQuery) -> WorklistPage:
        """One row for each study: the newest job that asked for it, and its newest reading for the same patient."""
        state = _state()
        urgent = func.coalesce(
            assessments.c.urgency,
            case((jobs.c.state == JobState.FAILED.value, level(UNREAD)), else_=level(WAITING)),
        )
        # Counted and sorted without their documents, which only the rows of the page are read for.
        matching = (
            select(
                jobs.c.key,
                jobs.c.created_at,
                assessments.c.key.label("assessment_key"),
                urgent.label("urgent"),
            )
            .select_from(_joined())
            .where(_newest_job(), *_matching(query, state))
            .cte("matching")
        )
        shown = (
            select(matching, select(func.count()).select_from(matching).scalar_subquery().label("total"))
            .order_by(*_order(matching))
            .limit(query.limit)
            .offset(query.offset)
            .subquery()
        )
        rows = (
            select(
                jobs,
                assessments.c.document,
                assessments.c.report_state,
                assessments.c.report_problem,
                state.label("work_state"),
                shown.c.total,
            )
            .select_from(
                shown.join(jobs, jobs.c.key == shown.c.key).outerjoin(
                    assessments, assessments.c.key == shown.c.assessment_key
                )
            )
            .order_by(*_order(shown))
        )
        with reading(self._engine) as connection:
            found = connection.execute(rows).all()
        # Beyond the last page there is no row to tell the total.
        total = found[0].total if found else query.offset
        return WorklistPage(rows=tuple(map(_row, found)), total=total)

    def retry_job(self, key: str) -> bool:
        """Queue a failed job again, with all its attempts before it; False when it is not failed (any more)."""
        now = self._clock()
        fresh = {
            "state": JobState.QUEUED.value,
            "attempts": 0,
            "reason": None,
            "owner": None,
            "lease_until": None,
            "send_at": now,
            "updated_at": now,
        }
        failed = (jobs.c.key == key, jobs.c.state == JobState.FAILED.value)
        with writing(self._engine) as connection:
            return connection.execute(update(jobs).where(*failed).values(fresh)).rowcount == 1

    def retry_report(self, key: str) -> bool:
        """Make a pending report due now; False when it is not pending."""
        pending = (assessments.c.key == key, assessments.c.report_state == ReportState.PENDING.value)
        with writing(self._engine) as connection:
            due = update(assessments).where(*pending).values(report_due_at=self._clock())
            return connection.execute(due).rowcount == 1


def _order(rows: FromClause) -> tuple[ColumnElement[Any], ...]:
    return rows.c.urgent.desc(), rows.c.created_at, rows.c.key


def _joined() -> FromClause:
    newer, a = assessments.alias(), assessments.c
    is_newest = ~exists().where(
        newer.c.study_uid == jobs.c.study_uid,
        newer.c.patient.is_not_distinct_from(jobs.c.patient),
        newer.c.read_at >= a.read_at,
        or_(newer.c.read_at > a.read_at, newer.c.key > a.key),
    )
    # Not by its key: the index that finds it so has all else that is asked of it.
    same = and_(a.study_uid == jobs.c.study_uid, a.patient.is_not_distinct_from(jobs.c.patient))
    return jobs.outerjoin(assessments, and_(same, is_newest))


def _newest_job() -> ColumnElement[bool]:
    later = jobs.alias()
    return ~exists().where(
        later.c.study_uid == jobs.c.study_uid,
        # Two patients who claim one study have a row each: whose it is, a person must settle.
        later.c.patient.is_not_distinct_from(jobs.c.patient),
        later.c.created_at >= jobs.c.created_at,
        or_(later.c.created_at > jobs.c.created_at, later.c.key > jobs.c.key),
    )


def _state() -> ColumnElement[str]:
    report_failed = and_(
        assessments.c.report_state == ReportState.PENDING.value, assessments.c.report_problem.is_not(None)
    )
    return case(
        (jobs.c.state == JobState.QUEUED.value, WorkState.QUEUED.value),
        (jobs.c.state == JobState.RUNNING.value, WorkState.READING.value),
        (signed_state(assessments.c.key) == SIGNED, WorkState.SIGNED.value),
        (jobs.c.state == JobState.FAILED.value, WorkState.FAILED.value),
        (report_failed, WorkState.REPORT.value),
        (assessments.c.analysed.is_(False), WorkState.UNREADABLE.value),
        else_=WorkState.READ.value,
    )


def _matching(query: WorklistQuery, state: ColumnElement[str]) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if query.patient is not None:
        wanted.append(jobs.c.patient == query.patient)
    if query.search:
        reference = f"Patient/{query.search.removeprefix('Patient/')}"
        by_accession = jobs.c.accession.startswith(query.search, autoescape=True)
        elsewhere = jobs.c.patient.endswith(f"/{reference}", autoescape=True)
        wanted.append(or_(jobs.c.patient == reference, elsewhere, by_accession))
    wanted.append(state == query.state.value if query.state else state != WorkState.SIGNED.value)
    return wanted


def _row(row: Row[Any]) -> WorklistRow:
    return WorklistRow(
        job=job_of(row),
        assessment=None if row.document is None else decode_assessment(row.document),
        state=WorkState(row.work_state),
        since=row.created_at,
        report_state=None if row.report_state is None else ReportState(row.report_state),
        report_problem=None if row.report_problem is None else decode_text(row.report_problem),
    )
