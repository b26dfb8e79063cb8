"""Development login: on this machine alone, anybody is whoever they choose. `hooks.issuers` refuses it elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cds.access import Session
from cds.errors import BadRequest, NotAllowed
from cds.identifiers import is_reference
from cds.language import Message, message
from cds.settings import Settings
from hooks.headers import from_this_machine

ISSUER = "development"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    name: str
    #: What they do, as the page says it.
    work: Message
    may_review: bool = False
    may_operate: bool = False
    #: Whether they see one patient alone.
    one_patient: bool = False


PEOPLE: Mapping[str, Person] = {
    "reviewer-1": Person(
        name="Dr. Ada Reviewer", work=message("hematologist, every patient"), may_review=True
    ),
    "reviewer-2": Person(
        name="Dr. Ben Reviewer", work=message("hematologist, every patient"), may_review=True
    ),
    "operator-1": Person(name="Olga Operator", work=message("operator, every patient"), may_operate=True),
    "clinician-1": Person(
        name="Dr. Carl Clinician", work=message("clinician, one patient"), one_patient=True
    ),
}


def development_session(form: Mapping[str, str], settings: Settings, now: datetime) -> Session:
    """Raises NotAllowed for who does not sit at this machine, BadRequest naming the field that is wrong."""
    if not from_this_machine():
        raise NotAllowed(message("The development login is for whoever sits at this machine."))
    key = form.get("person", "")
    person = PEOPLE.get(key)
    if person is None:
        raise BadRequest("person: is nobody on the sign-in page")
    patient = None
    if person.one_patient:
        patient = f"Patient/{form.get('patient', '').strip().removeprefix('Patient/')}"
        if not is_reference(patient):
            raise BadRequest(message("patient: must be the id of a patient, for whoever may see one alone"))
    return Session(
        user=f"Practitioner/{key}",
        name=person.name,
        issuer=ISSUER,
        may_review=person.may_review,
        may_operate=person.may_operate,
        patient=patient,
        started_at=now,
        ends_at=now + timedelta(hours=settings.session_max_h),
    )
