"""The assessment store on SQLite or PostgreSQL: one result per key, one job per study and package, whoever asks.

Every change that several threads, processes or machines may attempt at once is one conditional statement, so that
exactly one of them succeeds. Times are the caller's clock (hosts that share a store keep their clocks together).
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property

from sqlalchemy import bindparam, exists, insert, literal_column, select, update

from cds.errors import UnknownService
from cds.kept import Kept
from cds.language import Text, message
from cds.store_actions import ActionRows
from cds.store_agreement import AgreementRows
from cds.store_audit import AuditRows
from cds.store_codec import cells_of, decode_assessment, encode_assessment, encode_text
from cds.store_engine import insert_or_ignore, migrating, open_engine, reading, writing
from cds.store_feedback import FeedbackRows
from cds.store_jobs import JobRows
from cds.store_jtis import JtiRows
from cds.store_quick import Quick
from cds.store_reviews import ReviewRows
from cds.store_schema import assessments, jobs, signatures, thumbnails
from cds.store_sessions import SessionRows
from cds.store_watch import WatchRows
from cds.store_worklist import WorklistRows
from cds.urgency import urgency
from cds.values import Assessment, JobState, NotAnalysed, ReportState, StoredAssessment, utc_now

#: Assessments without cells that are kept decoded; they never change once stored.
CACHE_SIZE = 512
#: The same with their cells.
WITH_CELLS_CACHE_SIZE = 32


class SqlAssessmentStore(
    JobRows,
    FeedbackRows,
    JtiRows,
    AgreementRows,
    ActionRows,
    SessionRows,
    AuditRows,
    WorklistRows,
    ReviewRows,
    WatchRows,
):
    """Fulfils `cds.ports.WorkerStore`, `HookStore`, `JtiStore`, `AuditStore` and `WatchStore`. Safe for threads;
    a process that forks makes one after the fork.

    retry_failed_after_s: age from which `enqueue` revives a failed job, and a done one whose result rests on fewer
    instances than the study now names. report_grace_s: time that the worker who saved an assessment has to write its
    report before `unwritten` names it. Every method raises StoreError when the database fails.
    """

    def __init__(
        self,
        database_url: str,
        *,
        retry_failed_after_s: float = 900.0,
        report_grace_s: float = 30.0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(open_engine(database_url), timedelta(seconds=retry_failed_after_s), clock)
        self._report_grace = timedelta(seconds=report_grace_s)
        self._cache = Kept[str, Assessment](CACHE_SIZE)
        self._with_cells = Kept[str, Assessment](WITH_CELLS_CACHE_SIZE)

    def migrate(self) -> None:
        """Bring the schema up to date; several processes may do so at once."""
        from cds.migrations import upgrade  # Alembic is slow to import and needed here alone

        with migrating(self._engine) as connection:
            upgrade(connection)

    def check(self) -> None:
        """Raises StoreError unless the database answers and has its tables."""
        with reading(self._engine) as connection:
            connection.execute(select(jobs.c.key).limit(1)).first()

    def close(self) -> None:
        self._engine.dispose()

    @cached_property
    def _latest(self) -> Quick:
        a = assessments.c
        return Quick(
            self._engine,
            select(
                a.key,
                a.report_state,
                a.report_reference,
                exists().where(signatures.c.assessment_key == a.key).label("signed"),
            )
            .where(a.study_uid == bindparam("study_uid"), a.model_digest == bindparam("model_digest"))
            .order_by(a.read_at.desc())
            .limit(literal_column("1")),
        )

    def latest(self, study_uid: str, model_digest: str) -> StoredAssessment | None:
        """The newest assessment of a study by that package, without its cells (`get` has them)."""
        found = self._latest.rows(study_uid=study_uid, model_digest=model_digest)
        if not found:
            return None
        key, state, reference, signed = found[0]
        assessment = self._cache.get(key)
        if assessment is None:
            with reading(self._engine) as connection:
                document = connection.scalar(select(assessments.c.document).where(assessments.c.key == key))
            if document is None:
                return None
            assessment = decode_assessment(document)
            self._cache.put(key, assessment)
        return StoredAssessment(
            assessment=assessment, report_state=ReportState(state), report=reference, signed=bool(signed)
        )

    def get(self, key: str) -> Assessment | None:
        with reading(self._engine) as connection:
            row = connection.execute(
                select(assessments.c.document, assessments.c.cells).where(assessments.c.key == key)
            ).first()
            if row is None:
                return None
            jpegs = connection.execute(
                select(thumbnails.c.position, thumbnails.c.jpeg).where(thumbnails.c.assessment_key == key)
            )
            return decode_assessment(
                row.document, row.cells, {position: bytes(jpeg) for position, jpeg in jpegs}
            )

    def with_cells(self, key: str) -> Assessment | None:
        """The assessment with its cells but without their thumbnails (`thumbnail` has each); kept decoded."""
        if (kept := self._with_cells.get(key)) is not None:
            return kept
        with reading(self._engine) as connection:
            row = connection.execute(
                select(assessments.c.document, assessments.c.cells).where(assessments.c.key == key)
            ).first()
        if row is None:
            return None
        assessment = decode_assessment(row.document, row.cells)
        self._with_cells.put(key, assessment)
        return assessment

    def of_patient(self, patient: str, limit: int) -> list[Assessment]:
        """The newest assessments of that patient's studies, without cells, of which the FHIR server confirmed that
        they are his. patient: as `StudyRef.person`."""
        query = (
            select(assessments.c.document)
            .where(assessments.c.patient == patient)
            .where(assessments.c.report_state == ReportState.WRITTEN.value)
            .order_by(assessments.c.read_at.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [decode_assessment(document) for document in connection.scalars(query)]

    def newest_reading(self, study_uid: str) -> str | None:
        """Key of the study's newest assessment, by whichever model."""
        query = (
            select(assessments.c.key)
            .where(assessments.c.study_uid == study_uid)
            .order_by(assessments.c.read_at.desc(), assessments.c.key)
            .limit(1)
        )
        with reading(self._engine) as connection:
            return connection.scalar(query)

    def save(self, assessment: Assessment, report_state: ReportState) -> bool:
        """Store once; False when that key was there already (nothing is changed then)."""
        document, cells = encode_assessment(assessment)
        values = {
            "key": assessment.key,
            "study_uid": assessment.study.study_uid,
            "model_digest": assessment.model.digest,
            "instances": len(assessment.instance_uids),
            "read_at": assessment.read_at,
            "seconds": float(assessment.seconds),
            "document": document,
            "cells": cells,
            "report_state": report_state.value,
            "report_attempts": 0,
            "report_due_at": self._clock() + self._report_grace,
            "patient": assessment.study.person,
            "urgency": urgency(assessment.outcome),
            "analysed": not isinstance(assessment.outcome, NotAnalysed),
        }
        jpegs = [
            {"assessment_key": assessment.key, "position": position, "jpeg": cell.thumbnail}
            for position, cell in enumerate(cells_of(assessment))
            if cell.thumbnail is not None
        ]
        with writing(self._engine) as connection:
            if not connection.execute(insert_or_ignore(self._engine, assessments, values)).rowcount:
                return False
            if jpegs:
                connection.execute(insert(thumbnails), jpegs)
        return True

    def take_all_up_again(self) -> None:
        """Make every unfinished job and every pending report due at once: for a process that knows itself to be the
        only worker and whose queue died with its predecessor."""
        now = self._clock()
        running = jobs.c.state == JobState.RUNNING.value
        unfinished = jobs.c.state.in_([JobState.QUEUED.value, JobState.RUNNING.value])
        pending = assessments.c.report_state == ReportState.PENDING.value
        with writing(self._engine) as connection:
            connection.execute(
                update(jobs)
                .where(running)
                .values(reason=encode_text(message("the worker was stopped")), owner=None)
            )
            connection.execute(
                update(jobs)
                .where(unfinished)
                .values(state=JobState.QUEUED.value, lease_until=None, send_at=now)
            )
            connection.execute(update(assessments).where(pending).values(report_due_at=now))

    def report_state(self, key: str) -> tuple[ReportState, str | None]:
        """Raises UnknownService when there is no such assessment."""
        columns = select(assessments.c.report_state, assessments.c.report_reference)
        with reading(self._engine) as connection:
            row = connection.execute(columns.where(assessments.c.key == key)).first()
        if row is None:
            raise UnknownService("no assessment is stored under that key")
        return ReportState(row.report_state), row.report_reference

    def unwritten(self, limit: int) -> list[str]:
        """Keys of the assessments whose report is pending and whose pause is over, the longest due first."""
        due = (
            select(assessments.c.key)
            .where(assessments.c.report_state == ReportState.PENDING.value)
            .where(assessments.c.report_due_at <= self._clock())
            .order_by(assessments.c.report_due_at)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return list(connection.scalars(due))

    def take_unwritten(self, key: str, pause_s: float) -> bool:
        """True for the one sweeper that may send that pending report now; `unwritten` names it again
        after the pause."""
        now = self._clock()
        due = (assessments.c.report_due_at <= now, assessments.c.report_state == ReportState.PENDING.value)
        with writing(self._engine) as connection:
            taken = connection.execute(
                update(assessments)
                .where(assessments.c.key == key, *due)
                .values(report_due_at=now + timedelta(seconds=pause_s))
            )
            return taken.rowcount == 1

    def report_failed(self, key: str, problem: Text, pause: Callable[[int], float]) -> None:
        """Note why the report could not be written and when it is tried again.

        pause: number of failures so far (from 1) to seconds.
        """
        with writing(self._engine) as connection:
            query = select(assessments.c.report_attempts).where(assessments.c.key == key)
            attempts = (connection.scalar(query) or 0) + 1
            connection.execute(
                update(assessments)
                .where(assessments.c.key == key, assessments.c.report_state == ReportState.PENDING.value)
                .values(
                    report_attempts=attempts,
                    report_problem=encode_text(problem),
                    report_due_at=self._clock() + timedelta(seconds=pause(attempts)),
                )
            )

    def mark_written(self, key: str, reference: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                update(assessments)
                .where(assessments.c.key == key)
                .values(
                    report_state=ReportState.WRITTEN.value, report_reference=reference, report_problem=None
                )
            )
