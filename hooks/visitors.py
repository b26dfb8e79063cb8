"""Who looks at a page. A stand-in for sign-in: on loopback everybody is the visitor that the cookie names."""

from dataclasses import dataclass
from urllib.parse import unquote

from flask import request

from cds.errors import Forbidden

_COOKIE = "leukocds-visitor"


@dataclass(frozen=True)
class Visitor:
    """Who is signed in. user: FHIR reference such as `Practitioner/1`. patient: the only one who may be seen."""

    user: str
    name: str
    may_review: bool
    may_operate: bool
    patient: str | None
    csrf_token: str


def current_visitor() -> Visitor | None:
    """From the cookie `user|name|patient`, each part percent-encoded."""
    parts = unquote(request.cookies.get(_COOKIE, "")).split("|")
    user, name, patient = [*parts, "", "", ""][:3]
    return Visitor(
        user=user or "Practitioner/development",
        name=name or "Development",
        may_review=True,
        may_operate=True,
        patient=patient or None,
        csrf_token="development",
    )


def visitor_for(study_patient: str | None) -> Visitor:
    """The visitor, who may see that patient. Raises Forbidden where he may not."""
    visitor = current_visitor()
    if visitor is None or (visitor.patient is not None and visitor.patient != study_patient):
        raise Forbidden("This study is of another patient than the one whom you may see.")
    return visitor
