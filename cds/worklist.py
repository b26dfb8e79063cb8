"""The worklist: what state a smear is in, and what one page of the list shows."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cds.language import Text
from cds.values import Assessment, Job, ReportState


class WorkState(StrEnum):
    QUEUED = "queued"
    READING = "reading"
    READ = "read"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    REPORT = "report"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistQuery:
    """patient: only this one's smears (who may see no other), as `StudyRef.person`. search: an accession number, or a
    patient's id or reference. state: None for all that are not signed."""

    patient: str | None = None
    search: str = ""
    state: WorkState | None = None
    limit: int = 25
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistRow:
    """One smear: its newest job and its newest reading."""

    job: Job
    #: Without its cells.
    assessment: Assessment | None
    state: WorkState
    #: When the smear was first asked about.
    since: datetime
    report_state: ReportState | None
    report_problem: Text | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistPage:
    rows: tuple[WorklistRow, ...]
    #: Rows on all pages.
    total: int
