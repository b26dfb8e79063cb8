"""What a report can do without, on servers that do not take every type of resource.

Audit, provenance, pictures and model card are left out where the server says that it creates none of their type; the
report and its Observations stay, less what refers to them.
"""

from collections.abc import Collection, Sequence
from typing import Any

from cds.fhir_capabilities import Capabilities
from cds.ports import Resource

OPTIONAL = ("AuditEvent", "DocumentReference", "Media", "Provenance")


def not_taken(said: Capabilities) -> tuple[str, ...]:
    """The optional types that the server does not create. One that does not tell of DiagnosticReports tells too little
    to be believed."""
    if said.has("DiagnosticReport") is not True:
        return ()
    return tuple(kind for kind in OPTIONAL if said.has(kind) is False)


def without(entries: Sequence[Resource], kinds: Collection[str]) -> list[Resource]:
    """The entries of other types, without what refers to those that are left out."""
    gone = {e["fullUrl"] for e in entries if e["resource"]["resourceType"] in kinds and "fullUrl" in e}
    kept = [e for e in entries if e["resource"]["resourceType"] not in kinds]
    return [{**e, "resource": _members(e["resource"], gone)} for e in kept] if gone else kept


def _members(element: Resource, gone: Collection[str]) -> Resource:
    pruned = {name: _pruned(value, gone) for name, value in element.items()}
    return {name: value for name, value in pruned.items() if value is not None}


def _pruned(value: Any, gone: Collection[str]) -> Any:
    """None where the element is, or cannot be without, a reference to what is gone."""
    if isinstance(value, list):
        items = [item for item in (_pruned(one, gone) for one in value) if item is not None]
        return items if items or not value else None
    if not isinstance(value, dict):
        return value
    members = {name: _pruned(one, gone) for name, one in value.items()}
    if value.get("reference") in gone or any(one is None for one in members.values()):
        return None
    return members
