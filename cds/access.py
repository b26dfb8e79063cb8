"""Who sits before the pages and what they saw: what passes between doors and store. Times are aware and in UTC."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who signed in. Its secret, which the browser holds in a cookie, is not part of it."""

    #: FHIR reference: `Practitioner/1` on our FHIR server, an absolute address on another.
    user: str = field(repr=False)
    name: str = field(repr=False)
    #: `iss` of the EHR that vouched for them, or what else did.
    issuer: str
    may_review: bool
    may_operate: bool
    #: `Patient/…`: the only patient that may be seen; None: every patient.
    patient: str | None = field(repr=False)
    started_at: datetime
    #: After that it is over, whatever is done in it.
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSignIn:
    """A sign-in that was begun and for whose answer we wait (RFC 6749, section 4.1; RFC 7636)."""

    issuer: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    #: Path on our side to show afterwards.
    target: str


class AuditAction(StrEnum):
    VIEW = "view"
    LIST = "list"
    CHANGE = "change"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"


class AuditOutcome(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One look at, or change of, something; or one that was refused."""

    id: str
    at: datetime
    #: None: nobody had signed in (a sign-in that failed).
    user: str | None = field(repr=False)
    name: str | None = field(repr=False)
    issuer: str | None
    action: AuditAction
    #: Page and key, as `study 3f0c…`; never a name.
    what: str
    patient: str | None = field(repr=False)
    outcome: AuditOutcome
    #: Network address that the browser (or a gateway for it) called from.
    address: str | None = field(default=None, repr=False)
    #: Times that the FHIR server refused it.
    refusals: int = 0
