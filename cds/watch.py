"""How far the FHIR server's ImagingStudies have been looked at, and what its Subscription needs."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the store remembers of one FHIR server's ImagingStudies."""

    #: Names this installation's Subscription among those of others.
    installation: str
    #: What a notification of that Subscription has to say.
    secret: str = field(repr=False)
    #: Everything that changed until then, by the server's clock, has been looked at; None: nothing yet.
    cursor: datetime | None = None
    looked_at: datetime | None = None
    notified_at: datetime | None = None
    #: What was last seen of the Subscription; None: there is none.
    subscription: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyChange:
    """One version of one ImagingStudy, and when the server says that it came to be."""

    #: sha256 of what names it.
    version: str
    changed_at: datetime
