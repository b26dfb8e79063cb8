"""Which written reports were signed, by what conclusion: the follow-up of our reports, in the assessment store."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine, case, func, or_, select, update

from cds.agreement import AgreementLine, Fate, Looked, WrittenReport
from cds.store_codec import decode_assessment
from cds.store_engine import insert_or_ignore, reading, writing
from cds.store_schema import assessments, signed_reports
from cds.values import Finding, ReportState


class AgreementRows:
    """The part of `cds.store.SqlAssessmentStore` that follows reports once they are written."""

    _engine: Engine
    _clock: Callable[[], datetime]

    def written_reports(self, limit: int) -> list[WrittenReport]:
        """Reports to be looked at: those never looked at first, then those due, the longest due first."""
        a, s = assessments.c, signed_reports.c
        due = (
            select(a.document, a.report_reference)
            .select_from(assessments.outerjoin(signed_reports, a.key == s.assessment_key))
            .where(a.report_state == ReportState.WRITTEN.value, a.report_reference.is_not(None))
            .where(or_(s.assessment_key.is_(None), s.due_at <= self._clock()))
            .order_by(s.due_at.is_not(None), s.due_at)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(due).all()
        return [_written(row.document, row.report_reference) for row in rows]

    def take_written(self, report: WrittenReport, pause_s: float) -> bool:
        """True for the one worker that may look at that report now; due again after the pause, unless it is told of."""
        now = self._clock()
        row = {
            "assessment_key": report.assessment_key,
            "pattern": report.pattern,
            "model_name": report.model_name,
            "model_version": report.model_version,
            "read_at": report.read_at,
            "fate": Fate.OPEN.value,
            "due_at": now + timedelta(seconds=pause_s),
        }
        with writing(self._engine) as connection:
            if connection.execute(insert_or_ignore(self._engine, signed_reports, row)).rowcount:
                return True
            taken = connection.execute(
                update(signed_reports)
                .where(signed_reports.c.assessment_key == report.assessment_key)
                .where(signed_reports.c.due_at <= now)
                .values(due_at=row["due_at"])
            )
            return taken.rowcount == 1

    def looked_at(self, key: str, looked: Looked, due_at: datetime | None) -> None:
        """Note what was found. due_at: when to look again; None: never."""
        with writing(self._engine) as connection:
            connection.execute(
                update(signed_reports)
                .where(signed_reports.c.assessment_key == key)
                .values(
                    fate=looked.fate.value, status=looked.status, conclusion=looked.conclusion,
                    looked_at=self._clock(), due_at=due_at,
                )
            )  # fmt: skip

    def agreement(self, since: datetime | None = None) -> tuple[AgreementLine, ...]:
        """Reports of readings made since then (None: ever), by pattern and model version."""
        s = signed_reports.c
        group = (s.pattern, s.model_name, s.model_version)
        signed = s.fate == Fate.SIGNED.value
        coded = signed & s.conclusion.is_not(None) & s.pattern.is_not(None)
        agreed = coded & (s.conclusion == s.pattern)
        superseded = s.fate == Fate.SUPERSEDED.value
        withdrawn = s.fate.in_([Fate.WITHDRAWN.value, Fate.DELETED.value])
        conditions = (signed, coded, agreed, superseded, withdrawn)
        counts = [func.sum(case((condition, 1), else_=0)) for condition in conditions]
        query = select(*group, func.count(), *counts).group_by(*group)
        if since is not None:
            query = query.where(s.read_at >= since)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        lines = [
            AgreementLine(
                pattern=pattern, model_name=name, model_version=version, reports=reports,
                signed=int(n_signed), coded=int(n_coded), agreed=int(n_agreed), superseded=int(n_superseded),
                withdrawn=int(n_withdrawn),
            )
            for pattern, name, version, reports, n_signed, n_coded, n_agreed, n_superseded, n_withdrawn in rows
        ]  # fmt: skip
        # Findings first, as in the table of feedback.
        return tuple(
            sorted(lines, key=lambda e: (e.pattern is None, e.pattern or "", e.model_name, e.model_version))
        )


def _written(document: str, reference: str) -> WrittenReport:
    assessment = decode_assessment(document)
    outcome = assessment.outcome
    return WrittenReport(
        assessment_key=assessment.key,
        reference=reference,
        pattern=outcome.pattern.value if isinstance(outcome, Finding) else None,
        model_name=assessment.model.name,
        model_version=assessment.model.version,
        read_at=assessment.read_at,
    )
