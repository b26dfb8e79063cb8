"""The jobs of the assessment store: one for each study and package, claimed by one worker at a time."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, and_, func, or_, select, update

from cds.errors import ClaimLost
from cds.language import Text
from cds.store_codec import decode_study, decode_text, encode_study, encode_text
from cds.store_engine import insert_or_ignore, reading, writing
from cds.store_schema import assessments, jobs
from cds.values import Job, JobState, StudyRef, job_key

_INSTANCES_READ = (
    select(assessments.c.instances)
    .where(assessments.c.key == jobs.c.assessment_key)
    .scalar_subquery()
    .label("instances_read")
)


class JobRows:
    """The part of `cds.store.SqlAssessmentStore` that is about jobs."""

    def __init__(self, engine: Engine, retry_failed_after: timedelta, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock
        self._retry_failed_after = retry_failed_after

    def enqueue(self, study: StudyRef, model_digest: str) -> tuple[Job, bool]:
        key, now = job_key(study, model_digest), self._clock()
        if (known := self._job_row(key)) is not None and not self._revivable(known, study, now):
            return job_of(known), False
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
            "patient": study.person,
            "accession": study.accession,
        }
        with writing(self._engine) as connection:
            if known is None:
                statement: Any = insert_or_ignore(self._engine, jobs, {"key": key, **fresh})
            else:
                # `updated_at` as it was seen: of several who would revive the job, one does.
                same = (jobs.c.key == key, jobs.c.state == known.state, jobs.c.updated_at == known.updated_at)
                statement = update(jobs).where(*same).values(fresh)
            mine = connection.execute(statement).rowcount == 1
            row = connection.execute(select(jobs).where(jobs.c.key == key)).one()
        return job_of(row), mine

    def job(self, key: str) -> Job | None:
        row = self._job_row(key)
        return None if row is None else job_of(row)

    def claim(self, key: str, owner: str, lease_s: float) -> Job | None:
        now = self._clock()
        free = or_(
            # Copies of its message that wait in the queue must not use up its attempts while it pauses.
            and_(
                jobs.c.state == JobState.QUEUED.value,
                or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= now),
            ),
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
            return job_of(connection.execute(select(jobs).where(jobs.c.key == key)).one())

    def heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        """Prolong the claim; False when it is no longer the owner's."""
        now = self._clock()
        return self._change_own(
            key, owner, {"lease_until": now + timedelta(seconds=lease_s), "updated_at": now}
        )

    def finish(self, key: str, owner: str, assessment_key: str) -> None:
        self._end(key, owner, state=JobState.DONE, assessment_key=assessment_key, reason=None)

    def fail(self, key: str, owner: str, reason: Text) -> None:
        self._end(key, owner, state=JobState.FAILED, reason=encode_text(reason))

    def release(
        self, key: str, owner: str, reason: Text, pause_s: float = 0.0, counts_as_attempt: bool = True
    ) -> None:
        """Back to queued, to be sent again `pause_s` seconds from now and not to be claimed before."""
        until = self._clock() + timedelta(seconds=pause_s)
        self._end(
            key, owner, state=JobState.QUEUED, reason=encode_text(reason),
            attempts=jobs.c.attempts - (0 if counts_as_attempt else 1),
            send_at=until, lease_until=until,
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
        return [job_of(row) for row in rows]

    def ended_early(self, model_digest: str, since: datetime) -> list[Job]:
        """Jobs that ended since then and that `enqueue` would revive, the newest first, of 1,000 at most."""
        now = self._clock()
        ended = (
            jobs.c.model_digest == model_digest,
            jobs.c.state.in_([JobState.DONE.value, JobState.FAILED.value]),
            jobs.c.updated_at >= since,
            jobs.c.updated_at <= now - self._retry_failed_after,
        )
        query = select(jobs, _INSTANCES_READ).where(*ended).order_by(jobs.c.updated_at.desc()).limit(1000)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [job_of(row) for row in rows if self._revivable(row, decode_study(row.study), now)]

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

    def job_counts(self) -> Mapping[str, int]:
        with reading(self._engine) as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        return {state.value: 0 for state in JobState} | {row[0]: row[1] for row in rows}

    def oldest_queued(self) -> datetime | None:
        query = select(func.min(jobs.c.created_at)).where(jobs.c.state == JobState.QUEUED.value)
        with reading(self._engine) as connection:
            oldest: datetime | None = connection.scalar(query)
        return oldest

    def _job_row(self, key: str) -> Row[Any] | None:
        """The job's columns and `instances_read`: how many instances its result rests on, None without a result."""
        with reading(self._engine) as connection:
            return connection.execute(select(jobs, _INSTANCES_READ).where(jobs.c.key == key)).first()

    def _revivable(self, row: Row[Any], study: StudyRef, now: datetime) -> bool:
        if row.updated_at > now - self._retry_failed_after:
            return False
        if row.state == JobState.FAILED.value:
            return True
        # The hook may have come while images were still arriving: a result on fewer of them is not the last word, and
        # one on none never is.
        expected = len(study.instance_uids) or study.number_of_instances or 1
        return row.state == JobState.DONE.value and (row.instances_read or 0) < expected

    def _end(self, key: str, owner: str, **values: Any) -> None:
        state: JobState = values.pop("state")
        values = {"lease_until": None} | values
        values |= {"state": state.value, "owner": None, "updated_at": self._clock()}
        if not self._change_own(key, owner, values):
            raise ClaimLost("the job has been taken up by another worker")

    def _change_own(self, key: str, owner: str, values: Mapping[str, Any]) -> bool:
        mine = (jobs.c.key == key, jobs.c.owner == owner, jobs.c.state == JobState.RUNNING.value)
        with writing(self._engine) as connection:
            return connection.execute(update(jobs).where(*mine).values(dict(values))).rowcount == 1


def job_of(row: Row[Any]) -> Job:
    """The job in a row that has (at least) its columns."""
    return Job(
        key=row.key,
        study=decode_study(row.study),
        model_digest=row.model_digest,
        state=JobState(row.state),
        created_at=row.created_at,
        updated_at=row.updated_at,
        attempts=row.attempts,
        reason=None if row.reason is None else decode_text(row.reason),
        assessment_key=row.assessment_key,
    )
