"""An entry of the audit as FHIR R4 AuditEvent, in the form of IHE BALP (Basic Audit Log Patterns, 1.1).

Looks are its "Patient Read", changes its "Patient Update" (refusals have no profile there and take the same form);
signing in and out is DICOM's user authentication (PS3.15, "User Authentication"). Nothing of what was shown is in it.
"""

from cds.access import AuditAction, AuditEntry, AuditOutcome
from cds.identifiers import is_reference
from cds.ports import Resource
from fhir_profiles.codes import DCM

AUDIT_SYSTEM = "urn:leukocds:audit"
_EVENT_TYPE = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_RESTFUL = "http://hl7.org/fhir/restful-interaction"
_ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_OBJECT_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE_TYPE = "http://terminology.hl7.org/CodeSystem/security-source-type"
_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_REST = {"system": _EVENT_TYPE, "code": "rest", "display": "RESTful Operation"}
_SOURCE = {"system": DCM, "code": "110153", "display": "Source Role ID"}
_DESTINATION = {"system": DCM, "code": "110152", "display": "Destination Role ID"}
_RECIPIENT = {"system": _PARTICIPATION, "code": "IRCP", "display": "information recipient"}
_AUTHOR = {"system": _PARTICIPATION, "code": "AUT", "display": "author (originator)"}
_AUTHENTICATION = {"system": DCM, "code": "110114", "display": "User Authentication"}
#: Action to type, subtype and `AuditEvent.action`.
_KINDS: dict[AuditAction, tuple[Resource, Resource, str]] = {
    AuditAction.VIEW: (_REST, {"system": _RESTFUL, "code": "read", "display": "read"}, "R"),
    AuditAction.LIST: (_REST, {"system": _RESTFUL, "code": "search-type", "display": "search-type"}, "E"),
    AuditAction.CHANGE: (_REST, {"system": _RESTFUL, "code": "update", "display": "update"}, "U"),
    AuditAction.SIGN_IN: (_AUTHENTICATION, {"system": DCM, "code": "110122", "display": "Login"}, "E"),
    AuditAction.SIGN_OUT: (_AUTHENTICATION, {"system": DCM, "code": "110123", "display": "Logout"}, "E"),
}
_OUTCOMES = {AuditOutcome.ALLOWED: "0", AuditOutcome.DENIED: "4"}


def audit_bundle(entry: AuditEntry, site: str, *, literal: bool = True) -> Resource:
    """A transaction of one entry that may be sent any number of times: R4's AuditEvent has no identifier, so that a tag
    takes its place, as in the Provenance.

    site: our address. literal: refer to user and patient by reference; False: by identifier, for a server that does
    not hold them.
    """
    request = {
        "method": "POST",
        "url": "AuditEvent",
        "ifNoneExist": f"_tag={AUDIT_SYSTEM}|{entry.id}",
    }
    event = audit_event(entry, site, literal=literal)
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": event, "request": request}],
    }


def audit_event(entry: AuditEntry, site: str, *, literal: bool = True) -> Resource:
    kind, subtype, action = _KINDS[entry.action]
    event: Resource = {
        "resourceType": "AuditEvent",
        "meta": {"tag": [{"system": AUDIT_SYSTEM, "code": entry.id}]},
        "type": kind,
        "subtype": [subtype],
        "action": action,
        "recorded": entry.at.isoformat(timespec="milliseconds"),
        "outcome": _OUTCOMES[entry.outcome],
        "agent": [_user(entry, literal), *_systems(entry, site)],
        "source": {
            "observer": {"display": "LeukoCDS"},
            "type": [{"system": _SOURCE_TYPE, "code": "4", "display": "Application Server"}],
        },
        "entity": _entities(entry, literal),
    }
    if entry.outcome is AuditOutcome.DENIED:
        event["outcomeDesc"] = "refused"
    return event


def _user(entry: AuditEntry, literal: bool) -> Resource:
    """BALP's agent:user: who asks for the page and receives it, or who changes something."""
    part = _AUTHOR if entry.action is AuditAction.CHANGE else _RECIPIENT
    agent: Resource = {"type": {"coding": [part]}, "requestor": True}
    if entry.user is None:
        return {**agent, "who": {"display": "somebody who did not sign in"}}
    who: Resource = {"display": entry.name or entry.user}
    if literal and not entry.user.startswith(("https://", "http://")):
        who["reference"] = entry.user
    else:
        system = entry.issuer if entry.issuer and ":" in entry.issuer else "urn:leukocds:user"
        who["identifier"] = {"system": system, "value": entry.user}
    return {**agent, "who": who}


def _systems(entry: AuditEntry, site: str) -> list[Resource]:
    """BALP's agent:client and agent:server; the data flow from the one to the other."""
    client: Resource = {"who": {"display": "Web browser"}, "requestor": False}
    if entry.address:
        client["network"] = {"address": entry.address, "type": "2"}  # an IP address
    server = {
        "who": {"display": "LeukoCDS"},
        "requestor": False,
        "network": {"address": site, "type": "5"},  # a URI
    }
    changes = entry.action is AuditAction.CHANGE
    client["type"] = {"coding": [_SOURCE if changes else _DESTINATION]}
    server["type"] = {"coding": [_DESTINATION if changes else _SOURCE]}
    return [client, server]


def _entities(entry: AuditEntry, literal: bool) -> list[Resource]:
    page: Resource = {
        "what": {"identifier": {"system": AUDIT_SYSTEM, "value": entry.what}},
        "type": {"system": _ENTITY_TYPE, "code": "2", "display": "System Object"},
        "role": {"system": _OBJECT_ROLE, "code": "4", "display": "Domain Resource"},
    }
    if entry.patient is None:
        return [page]
    what = (
        {"reference": entry.patient}
        if literal and is_reference(entry.patient)
        else {"type": "Patient", "identifier": {"system": "urn:leukocds:patient", "value": entry.patient}}
    )
    patient = {
        "what": what,
        "type": {"system": _ENTITY_TYPE, "code": "1", "display": "Person"},
        "role": {"system": _OBJECT_ROLE, "code": "1", "display": "Patient"},
    }
    return [patient, page]
