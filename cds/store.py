"""The assessment store on SQLite or PostgreSQL: one result per key, one job per study and package, whoever asks.

Every change that several threads, processes or machines may attempt at once is one conditional statement, so that
exactly one of them succeeds. Times are the caller's clock (hosts that share a store keep their clocks together).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Executable, Row, Table, and_, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cds.errors import ClaimLost, UnknownService
from cds.store_codec import cells_of, decode_assessment, decode_study, encode_assessment, encode_study
from cds.store_engine import migrating, open_engine, reading, writing
from cds.store_schema import assessments, jobs, thumbnails
from cds.values import Assessment, Job, JobState, ReportState, StudyRef, job_key, utc_now

#: Assessments without cells that are kept decoded; they never change once stored.
CACHE_SIZE = 512


class SqlAssessmentStore:
    """Fulfils `cds.ports.AssessmentStore`. Safe for threads; a process that forks makes one after the fork.

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
        self._engine = open_engine(database_url)
        self._insert = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        self._retry_failed_after = timedelta(seconds=retry_failed_after_s)
        self._report_grace = timedelta(seconds=report_grace_s)
        self._clock = clock
        self._cache: OrderedDict[str, Assessment] = OrderedDict()
        self._cache_lock = threading.Lock()

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

    def latest(self, study_uid: str, model_digest: str) -> Assessment | None:
        """The newest assessment of a study by that package, without its cells (`get` has them)."""
        newest = (
            select(assessments.c.key)
            .where(assessments.c.study_uid == study_uid, assessments.c.model_digest == model_digest)
            .order_by(assessments.c.read_at.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            key = connection.scalar(newest)
            if key is None or (cached := self._cached(key)) is not None:
                return None if key is None else cached
            document = connection.scalar(select(assessments.c.document).where(assessments.c.key == key))
        if document is None:
            return None
        assessment = decode_assessment(document)
        with self._cache_lock:
            self._cache[key] = assessment
            while len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return assessment

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
        }
        jpegs = [
            {"assessment_key": assessment.key, "position": position, "jpeg": cell.thumbnail}
            for position, cell in enumerate(cells_of(assessment))
            if cell.thumbnail is not None
        ]
        with writing(self._engine) as connection:
            if not connection.execute(self._insert_or_ignore(assessments, values)).rowcount:
                return False
            if jpegs:
                connection.execute(insert(thumbnails), jpegs)
        return True

    def enqueue(self, study: StudyRef, model_digest: str) -> tuple[Job, bool]:
        key, now = job_key(study, model_digest), self._clock()
        if (known := self._job_row(key)) is not None and not self._revivable(known, study, now):
            return _job(known), False
        fresh = {
            "study_uid": study.study_uid,
            "study": encode_study(study),
            "model_digest": model_digest,
            "state": JobState.QUEUED.value,
            "attempts": 0,
            "reason": None,
            "assessment_key": None,
            "owner": None,
            "lease_until": None,
            "send_at": None,
            "created_at": now,
            "updated_at": now,
        }
        with writing(self._engine) as connection:
            if known is None:
                statement: Any = self._insert_or_ignore(jobs, {"key": key, **fresh})
            else:
                # `updated_at` as it was seen: of several who would revive the job, one does.
                same = (jobs.c.key == key, jobs.c.state == known.state, jobs.c.updated_at == known.updated_at)
                statement = update(jobs).where(*same).values(fresh)
            mine = connection.execute(statement).rowcount == 1
            row = connection.execute(select(jobs).where(jobs.c.key == key)).one()
        return _job(row), mine

    def job(self, key: str) -> Job | None:
        row = self._job_row(key)
        return None if row is None else _job(row)

    def claim(self, key: str, owner: str, lease_s: float) -> Job | None:
        now = self._clock()
        free = or_(
            jobs.c.state == JobState.QUEUED.value,
            and_(jobs.c.state == JobState.RUNNING.value, jobs.c.lease_until <= now),
        )
        values = {
            "state": JobState.RUNNING.value,
            "owner": owner,
            "lease_until": now + timedelta(seconds=lease_s),
            "send_at": None,
            "attempts": jobs.c.attempts + 1,
            "updated_at": now,
        }
        with writing(self._engine) as connection:
            if not connection.execute(update(jobs).where(jobs.c.key == key, free).values(values)).rowcount:
                return None
            return _job(connection.execute(select(jobs).where(jobs.c.key == key)).one())

    def heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        """Prolong the claim; False when it is no longer the owner's."""
        now = self._clock()
        return self._change_own(
            key, owner, {"lease_until": now + timedelta(seconds=lease_s), "updated_at": now}
        )

    def finish(self, key: str, owner: str, assessment_key: str) -> None:
        self._end(key, owner, state=JobState.DONE, assessment_key=assessment_key, reason=None)

    def fail(self, key: str, owner: str, reason: str) -> None:
        self._end(key, owner, state=JobState.FAILED, reason=reason)

    def release(
        self, key: str, owner: str, reason: str, pause_s: float = 0.0, counts_as_attempt: bool = True
    ) -> None:
        """Back to queued, to be sent again `pause_s` seconds from now."""
        self._end(
            key, owner, state=JobState.QUEUED, reason=reason,
            attempts=jobs.c.attempts - (0 if counts_as_attempt else 1),
            send_at=self._clock() + timedelta(seconds=pause_s),
        )  # fmt: skip

    def orphans(self, now: datetime, queued_before: datetime) -> list[Job]:
        """Queued jobs whose pause is over or, without one, untouched since `queued_before`; running jobs whose lease
        ran out by `now`. Oldest first, 500 at most."""
        lost = or_(
            and_(jobs.c.state == JobState.QUEUED.value, jobs.c.send_at <= now),
            and_(
                jobs.c.state == JobState.QUEUED.value,
                jobs.c.send_at.is_(None),
                jobs.c.updated_at <= queued_before,
            ),
            and_(jobs.c.state == JobState.RUNNING.value, jobs.c.lease_until <= now),
        )
        with reading(self._engine) as connection:
            rows = connection.execute(select(jobs).where(lost).order_by(jobs.c.updated_at).limit(500)).all()
        return [_job(row) for row in rows]

    def take_orphan(self, orphan: Job, send_again_at: datetime) -> bool:
        """True for the one sweeper that may send that orphan to the queue now; the others are told False.

        The job counts as lost again at `send_again_at` unless a worker has claimed it by then.
        """
        same = (
            jobs.c.key == orphan.key,
            jobs.c.state == orphan.state.value,
            jobs.c.updated_at == orphan.updated_at,
        )
        values = {
            "state": JobState.QUEUED.value,
            "owner": None,
            "lease_until": None,
            "send_at": send_again_at,
            "updated_at": self._clock(),
        }
        with writing(self._engine) as connection:
            return connection.execute(update(jobs).where(*same).values(values)).rowcount == 1

    def take_all_up_again(self) -> None:
        """Make every unfinished job and every pending report due at once: for a process that knows itself to be the
        only worker and whose queue died with its predecessor."""
        now = self._clock()
        running = jobs.c.state == JobState.RUNNING.value
        unfinished = jobs.c.state.in_([JobState.QUEUED.value, JobState.RUNNING.value])
        pending = assessments.c.report_state == ReportState.PENDING.value
        with writing(self._engine) as connection:
            connection.execute(
                update(jobs).where(running).values(reason="the worker was stopped", owner=None)
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

    def report_failed(self, key: str, problem: str, pause: Callable[[int], float]) -> None:
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
                    report_problem=problem,
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

    def job_counts(self) -> Mapping[str, int]:
        with reading(self._engine) as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        return {state.value: 0 for state in JobState} | {row[0]: row[1] for row in rows}

    def _insert_or_ignore(self, table: Table, values: Mapping[str, Any]) -> Executable:
        statement = self._insert(table).values(dict(values)).on_conflict_do_nothing()
        # Else the driver's count of inserted rows is not kept, and -1 stands in for it.
        return statement.execution_options(preserve_rowcount=True)

    def _cached(self, key: str) -> Assessment | None:
        with self._cache_lock:
            if key in self._cache:
                self._cache.move_to_end(key)
            return self._cache.get(key)

    def _job_row(self, key: str) -> Row[Any] | None:
        """The job's columns and `instances_read`: how many instances its result rests on, None without a result."""
        read = (
            select(assessments.c.instances)
            .where(assessments.c.key == jobs.c.assessment_key)
            .scalar_subquery()
        )
        with reading(self._engine) as connection:
            return connection.execute(
                select(jobs, read.label("instances_read")).where(jobs.c.key == key)
            ).first()

    def _revivable(self, row: Row[Any], study: StudyRef, now: datetime) -> bool:
        if row.updated_at > now - self._retry_failed_after:
            return False
        if row.state == JobState.FAILED.value:
            return True
        # The hook may have come while images were still arriving: a result on fewer of them is not the last word.
        expected = len(study.instance_uids) or study.number_of_instances or 0
        return row.state == JobState.DONE.value and (row.instances_read or 0) < expected

    def _end(self, key: str, owner: str, **values: Any) -> None:
        state: JobState = values.pop("state")
        values |= {"state": state.value, "owner": None, "lease_until": None, "updated_at": self._clock()}
        if not self._change_own(key, owner, values):
            raise ClaimLost("the job has been taken up by another worker")

    def _change_own(self, key: str, owner: str, values: Mapping[str, Any]) -> bool:
        mine = (jobs.c.key == key, jobs.c.owner == owner, jobs.c.state == JobState.RUNNING.value)
        with writing(self._engine) as connection:
            return connection.execute(update(jobs).where(*mine).values(dict(values))).rowcount == 1


def _job(row: Row[Any]) -> Job:
    return Job(
        key=row.key,
        study=decode_study(row.study),
        model_digest=row.model_digest,
        state=JobState(row.state),
        created_at=row.created_at,
        updated_at=row.updated_at,
        attempts=row.attempts,
        reason=row.reason,
        assessment_key=row.assessment_key,
    )
