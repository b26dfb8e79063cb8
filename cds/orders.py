"""Whose slide it is: the order on the FHIR server that carries an accession number (FHIR R4, ServiceRequest, Specimen).

A picture under the wrong patient is worse than one that waits. So there is one order, of one patient who agrees with
what the slide's label says, or a NoOrder that says in words for the laboratory why not.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cds.deadline import Deadline
from cds.errors import LeukoError, UpstreamNotFound
from cds.fhir_client import relative_reference
from cds.ports import FhirServer, Resource
from cds.slide import Slide, Subject

_ACCESSION_TYPE = "ACSN"
#: States in which a slide of that order can turn up (FHIR R4, request-status).
_LIVE = ("active", "completed")
#: FHIR R4, request-intent: authorizations, not ideas.
_ORDERS = ("order", "original-order", "reflex-order", "filler-order", "instance-order")
_WITHDRAWN_SPECIMENS = ("entered-in-error",)
_SEXES = {"male": "M", "female": "F", "other": "O"}


class NoOrder(LeukoError):
    """No order can be taken for the slide's; the message says why, without anything of a patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Where a slide belongs. References are relative to the FHIR server."""

    patient: str
    subject: Subject
    #: None where only the specimen carries the accession number.
    service_request: str | None
    specimen: str | None
    encounter: str | None


def find_order(
    fhir: FhirServer,
    slide: Slide,
    *,
    accession_system: str = "",
    codes: Sequence[str] = (),
    deadline: Deadline | None = None,
) -> Order:
    """The order that the slide's accession number belongs to.

    accession_system: identifiers of that system are accession numbers, and no others; empty: those of type ACSN.
    codes: an order carries one of them in `code`; empty: any. Raises NoOrder, and UpstreamError when the server fails.
    """
    number = slide.accession_number
    requests = _requests(fhir, number, accession_system, deadline)
    specimens = _specimens(fhir, number, accession_system, deadline)
    if not requests and not specimens:
        raise NoOrder("no order and no specimen on the FHIR server has this accession number")
    live = [r for r in requests if r.get("status") in _LIVE and r.get("intent", "order") in _ORDERS]
    if requests and not live:
        raise NoOrder(f"the order is not in force: {_states(requests)}")
    fitting = [r for r in live if not codes or _codes(r.get("code")) & set(codes)]
    if live and not fitting:
        raise NoOrder("the order is of another kind than those that LEUKOCDS_GATEWAY_ORDER_CODES names")
    if len(fitting) > 1:
        raise NoOrder(f"{len(fitting)} orders have this accession number")
    if len(specimens) > 1 and not fitting:
        raise NoOrder(f"{len(specimens)} specimens have this accession number, and no order")
    patients = {_patient(r, fhir.base_url) for r in (*fitting, *specimens)}
    if None in patients:
        raise NoOrder("the order does not name its patient on the same FHIR server")
    if len(patients) > 1:
        raise NoOrder("order and specimen of this accession number name different patients")
    patient = str(patients.pop())
    try:
        resource = fhir.read(patient, deadline)
    except UpstreamNotFound:
        raise NoOrder("the order's patient is not on the FHIR server") from None
    if isinstance(resource.get("link"), list) and resource.get("active") is False:
        raise NoOrder("the order's patient has been merged into another; the order must be corrected first")
    _check_label(slide, resource)
    request = fitting[0] if fitting else None
    return Order(
        patient=patient,
        subject=subject_of(resource),
        service_request=f"ServiceRequest/{request['id']}" if request else None,
        specimen=f"Specimen/{specimens[0]['id']}" if len(specimens) == 1 else None,
        encounter=_reference(request.get("encounter"), fhir.base_url, "Encounter") if request else None,
    )


def subject_of(patient: Resource) -> Subject:
    """Demographics of a Patient as DICOM writes them."""
    birth = str(patient.get("birthDate") or "").replace("-", "")
    return Subject(
        patient_id=record_number(patient),
        name=_person_name(_dicts(patient.get("name"))),
        birth_date=birth if len(birth) == 8 and birth.isdecimal() else "",
        sex=_SEXES.get(str(patient.get("gender")), ""),
    )


def record_number(patient: Resource) -> str:
    """Value for PatientID: the medical record number, else the first identifier, else the resource's id."""
    identifiers = [i for i in _dicts(patient.get("identifier")) if i.get("value")]
    typed = (i for i in identifiers if "MR" in _codes(i.get("type")))
    chosen = next(typed, identifiers[0] if identifiers else None)
    value = str(chosen["value"] if chosen else "").strip()
    # LO can hold neither a backslash nor control characters (PS3.5 section 6.2).
    usable = 0 < len(value) <= 64 and "\\" not in value and value.isprintable()
    return value if usable else str(patient.get("id", ""))


def _requests(fhir: FhirServer, number: str, system: str, deadline: Deadline | None) -> list[Resource]:
    found = fhir.search("ServiceRequest", {"identifier": _token(number, system)}, deadline)
    return [
        r
        for r in found
        if r.get("resourceType") == "ServiceRequest"
        and any(_is_accession(i, number, system, typed=True) for i in _dicts(r.get("identifier")))
    ]


def _specimens(fhir: FhirServer, number: str, system: str, deadline: Deadline | None) -> list[Resource]:
    found = fhir.search("Specimen", {"accession": _token(number, system)}, deadline)
    return [
        r
        for r in found
        if r.get("resourceType") == "Specimen"
        and r.get("status") not in _WITHDRAWN_SPECIMENS
        and any(_is_accession(i, number, system, typed=False) for i in _dicts(r.get("accessionIdentifier")))
    ]


def _token(number: str, system: str) -> str:
    """A token search parameter; its separators are escaped (FHIR R4, search, section 3.1.1.4.2)."""
    escaped = number.replace("\\", "\\\\").replace("|", "\\|").replace(",", "\\,").replace("$", "\\$")
    return f"{system}|{escaped}" if system else escaped


def _is_accession(identifier: Resource, number: str, system: str, *, typed: bool) -> bool:
    """typed: only the type tells an accession number from the order's other numbers, unless the system does."""
    if identifier.get("value") != number or identifier.get("use") == "old":
        return False
    if system:
        return identifier.get("system") == system
    return not typed or _ACCESSION_TYPE in _codes(identifier.get("type"))


def _patient(resource: Resource, base_url: str) -> str | None:
    return _reference(resource.get("subject"), base_url, "Patient")


def _reference(element: Any, base_url: str, kind: str) -> str | None:
    reference = element.get("reference") if isinstance(element, dict) else None
    relative = relative_reference(reference, base_url) if isinstance(reference, str) else None
    return relative if relative is not None and relative.startswith(f"{kind}/") else None


def _states(requests: Iterable[Resource]) -> str:
    told = {
        str(r.get("status")) if r.get("status") not in _LIVE else f"its intent is {r.get('intent')}"
        for r in requests
    }
    return ", ".join(sorted(told))[:200]


def _check_label(slide: Slide, patient: Resource) -> None:
    """Raises NoOrder where the slide's label names another patient than the order does."""
    if slide.patient_id:
        known = {str(i.get("value")).strip() for i in _dicts(patient.get("identifier"))}
        if slide.patient_id not in known | {str(patient.get("id"))}:
            raise NoOrder(
                "the picture's data name another patient: patient_id is not one of the order's patient"
            )
    birth = str(patient.get("birthDate") or "")
    if slide.patient_birth_date and birth and not slide.patient_birth_date.isoformat().startswith(birth):
        raise NoOrder(
            "the picture's data name another patient: patient_birth_date is not the order's patient's"
        )
    if slide.patient_name:
        names = [_words(str(n.get("family") or n.get("text") or "")) for n in _dicts(patient.get("name"))]
        families = ["".join(words) for words in names if words]
        told = _words(slide.patient_name)
        if families and not any(_is_said(family, told) for family in families):
            raise NoOrder(
                "the picture's data name another patient: patient_name is not the order's patient's"
            )


def _words(text: str) -> list[str]:
    """For comparing names: the words, without accents and case."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(c if c.isalpha() else " " for c in decomposed if not unicodedata.combining(c))
    return letters.split()


def _is_said(family: str, told: Sequence[str]) -> bool:
    """Whether the words of a label hold that name. Scripts without case put given names right behind it."""
    without_case = family == family.upper()
    return family in _runs(told) or (without_case and any(word.startswith(family) for word in told))


def _runs(words: Sequence[str]) -> Iterator[str]:
    """Words that stand beside one another, written as one: labels write "van der Berg" in several ways."""
    for first in range(len(words)):
        for last in range(first, len(words)):
            yield "".join(words[first : last + 1])


def _person_name(names: Sequence[Resource]) -> str:
    """PN (PS3.5 section 6.2.1): the official name, else the first."""
    chosen = next((n for n in names if n.get("use") == "official"), names[0] if names else {})
    given = [_component(g) for g in chosen.get("given") or []]
    parts = [
        _component(chosen.get("family") or ("" if given else chosen.get("text"))),
        given[0] if given else "",
        " ".join(given[1:]),
        " ".join(_component(p) for p in chosen.get("prefix") or []),
        " ".join(_component(s) for s in chosen.get("suffix") or []),
    ]
    return "^".join(parts).rstrip("^")[:64]


def _component(value: Any) -> str:
    text = "".join(c if c.isprintable() else " " for c in str(value or ""))
    return " ".join(text.translate(str.maketrans("^=\\", "   ")).split())


def _codes(value: Any) -> set[str]:
    return {str(c["code"]) for one in _dicts(value) for c in _dicts(one.get("coding")) if c.get("code")}


def _dicts(value: Any) -> list[Resource]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
