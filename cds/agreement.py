"""What became of the reports that we wrote, and how often those that a human signed agree with the readings."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cds.values import wilson_interval


class Fate(StrEnum):
    """State of a report of ours on the FHIR server."""

    OPEN = "open"
    #: A human has made it final, amended, corrected or appended.
    SIGNED = "signed"
    #: Cancelled by us: a newer reading of the same study has taken its place (`cds.supersession`).
    SUPERSEDED = "superseded"
    #: entered-in-error or cancelled, by somebody else.
    WITHDRAWN = "withdrawn"
    #: The server no longer has it.
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """A report whose turn it is to be looked at. pattern: ours; None: not analysed."""

    assessment_key: str
    reference: str
    pattern: str | None
    model_name: str
    model_version: str
    read_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What the FHIR server says of it. conclusion: pattern that the signed report codes; None: none that we know."""

    fate: Fate
    status: str | None = None
    conclusion: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementLine:
    """Reports of one pattern and model version. signed = coded + those whose conclusion is in words alone."""

    pattern: str | None
    model_name: str
    model_version: str
    reports: int
    signed: int
    coded: int
    agreed: int
    #: Replaced by our own newer reading: neither signed nor withdrawn by anybody.
    superseded: int
    #: entered-in-error, cancelled or deleted.
    withdrawn: int

    @property
    def share(self) -> float | None:
        """Agreed of coded; None where nothing is coded."""
        return self.agreed / self.coded if self.coded else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the share (Wilson)."""
        return wilson_interval(self.agreed, self.coded) if self.coded else None
