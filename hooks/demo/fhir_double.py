"""TEST DOUBLE of a FHIR R4 server: the interactions and search parameters that the demo and the tests need, in memory.

It validates nothing beyond what keeps a mistake from passing unseen: an unknown search parameter, a dangling
reference, a conditional create with several matches and a wrong resource type are refused, as HAPI does.
"""

import copy
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

Resource = dict[str, Any]

JSON = "application/fhir+json"
_REFERENCE = re.compile(r"(?:^|/)([A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64})$")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


class FhirRefusal(Exception):
    """An OperationOutcome with its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    @property
    def outcome(self) -> Resource:
        issue = {"severity": "error", "code": "processing", "diagnostics": str(self)}
        return {"resourceType": "OperationOutcome", "issue": [issue]}


class FhirDouble:
    """Resources by type and id. Thread-safe: one lock about every interaction, so a transaction is all or nothing."""

    def __init__(self) -> None:
        self._resources: dict[str, dict[str, Resource]] = {}
        self._lock = threading.RLock()

    def put(self, resource: Resource) -> Resource:
        """Create or replace under the resource's own id."""
        kind, rid = resource.get("resourceType"), resource.get("id")
        if not isinstance(kind, str) or not isinstance(rid, str) or not _ID.fullmatch(rid):
            raise FhirRefusal(400, "a resource needs a resourceType and a valid id")
        with self._lock:
            stored = copy.deepcopy(resource)
            old = self._resources.get(kind, {}).get(rid)
            version = int(old["meta"]["versionId"]) + 1 if old else 1
            stored["meta"] = {**stored.get("meta", {}), "versionId": str(version)}
            self._resources.setdefault(kind, {})[rid] = stored
            return copy.deepcopy(stored)

    def _check_version(self, resource: Resource, if_match: str | None) -> None:
        """Version-aware update (FHIR R4, Managing Resource Contention)."""
        held = self._resources.get(resource["resourceType"], {}).get(resource["id"], {})
        if if_match is not None and if_match != f'W/"{held.get("meta", {}).get("versionId")}"':
            raise FhirRefusal(412, f"{if_match} is not the current version")

    def create(self, resource: Resource, if_none_exist: str | None = None) -> tuple[Resource, bool]:
        """The resource stored under a new id and True; or, with a match of `if_none_exist`, that match and False."""
        with self._lock:
            if if_none_exist:
                kind = resource["resourceType"]
                query = if_none_exist.split("?", 1)[-1]
                matches = self.search(kind, dict(parse_qsl(query, keep_blank_values=True)))
                if len(matches) > 1:
                    raise FhirRefusal(412, f"ifNoneExist matches {len(matches)} resources")
                if matches:
                    return matches[0], False
            return self.put({**resource, "id": uuid.uuid4().hex[:12]}), True

    def read(self, kind: str, rid: str) -> Resource:
        with self._lock:
            try:
                return copy.deepcopy(self._resources[kind][rid])
            except KeyError:
                raise FhirRefusal(404, f"{kind}/{rid} is not known") from None

    def search(self, kind: str, params: Mapping[str, str]) -> list[Resource]:
        """Matches, in the order of creation unless `_sort` (by date, `-` for newest first) says otherwise."""
        with self._lock:
            found = [
                r
                for r in self._resources.get(kind, {}).values()
                if all(_matches(r, *p) for p in params.items())
            ]
        if sort := params.get("_sort"):
            found.sort(key=_date, reverse=sort.startswith("-"))
        return copy.deepcopy(found)

    def transaction(self, bundle: Resource) -> Resource:
        """All entries or none: POST (with ifNoneExist), PUT and GET are understood; `urn:uuid:` references resolved."""
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
            raise FhirRefusal(400, "a Bundle of type transaction was expected")
        with self._lock:
            before = copy.deepcopy(self._resources)
            try:
                return self._transact(bundle.get("entry") or [])
            except Exception:
                self._resources = before
                raise

    def counts(self) -> dict[str, int]:
        """Resource type to number held."""
        with self._lock:
            return {kind: len(held) for kind, held in self._resources.items()}

    def everything(self) -> Iterator[Resource]:
        with self._lock:
            yield from [copy.deepcopy(r) for held in self._resources.values() for r in held.values()]

    def _transact(self, entries: list[Resource]) -> Resource:
        # Ids first, so that entries may refer to one another whatever their order (FHIR R4, http.html#trules).
        ids: dict[str, str] = {}
        outcomes: list[tuple[str, Resource]] = []
        for entry in entries:
            request, resource = entry.get("request", {}), entry.get("resource")
            if not isinstance(resource, dict):
                raise FhirRefusal(400, "an entry without a resource is beyond this test double")
            if request.get("method") == "POST" and request.get("url") == resource.get("resourceType"):
                stored, made = self.create(resource, request.get("ifNoneExist"))
            elif request.get("method") == "PUT":
                self._check_version(resource, request.get("ifMatch"))
                stored, made = self.put(resource), True
            else:
                raise FhirRefusal(
                    400, f"{request.get('method')} {request.get('url')} is beyond this test double"
                )
            outcomes.append(("201 Created" if made else "200 OK", stored))
            if "fullUrl" in entry:
                ids[entry["fullUrl"]] = f"{stored['resourceType']}/{stored['id']}"
        for status, stored in outcomes:
            if status.startswith("201"):
                resolved = _resolve(stored, ids)
                self._check_references(resolved)
                self._resources[stored["resourceType"]][stored["id"]] = resolved
        return {
            "resourceType": "Bundle",
            "type": "transaction-response",
            "entry": [
                {"response": {"status": status, "location": f"{r['resourceType']}/{r['id']}/_history/1"}}
                for status, r in outcomes
            ],
        }

    def _check_references(self, resource: Resource) -> None:
        for reference in references(resource):
            kind, _, rid = reference.partition("/_history/")[0].partition("/")
            absolute = reference.startswith(("#", "http://", "https://", "urn:oid:"))
            if not absolute and rid not in self._resources.get(kind, {}):
                raise FhirRefusal(
                    400, f"{resource['resourceType']} refers to {reference}, which is not known"
                )


def references(value: Any) -> Iterator[str]:
    """Every `reference` within a resource."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def searchset(resources: list[Resource], base_url: str) -> Resource:
    entries = [
        {"fullUrl": f"{base_url}/{r['resourceType']}/{r['id']}", "resource": r, "search": {"mode": "match"}}
        for r in resources
    ]
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(resources)}
    return {**bundle, "entry": entries} if entries else bundle


def capability_statement(base_url: str) -> Resource:
    interactions = [{"code": code} for code in ("read", "create", "update", "search-type")]
    kinds = (
        "Patient", "ImagingStudy", "Endpoint", "DiagnosticReport", "Observation", "Device", "DocumentReference",
        "Media", "Provenance", "AuditEvent", "Task", "ServiceRequest", "Practitioner",
    )  # fmt: skip
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "software": {"name": "LeukoCDS simulated hospital (test double)"},
        "implementation": {"description": "A test double, not a FHIR server", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [
            {
                "mode": "server",
                "resource": [{"type": kind, "interaction": interactions} for kind in kinds],
                "interaction": [{"code": "transaction"}],
            }
        ],
    }


def _resolve(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            k: ids.get(v, v) if k == "reference" and isinstance(v, str) else _resolve(v, ids)
            for k, v in value.items()
        }
    return [_resolve(v, ids) for v in value] if isinstance(value, list) else value


def _matches(resource: Resource, parameter: str, wanted: str) -> bool:
    name, _, modifier = parameter.partition(":")
    if name in ("_sort", "_count", "_format", "_pretty", "_summary", "_total"):
        return True
    if name == "_id":
        return resource["id"] in wanted.split(",")
    if name in ("patient", "subject", "based-on", "encounter") and modifier in ("", "Patient"):
        field = {"based-on": "basedOn", "patient": "patient" if "patient" in resource else "subject"}.get(
            name, name
        )
        held = {_relative(r) for r in references(resource.get(field))}
        asked = [w if "/" in w or name != "patient" else f"Patient/{w}" for w in wanted.split(",")]
        return any(_relative(w) in held for w in asked)
    if modifier == "":
        tokens = _TOKENS.get(name)
        if tokens is not None:
            return any(_token_matches(t, w) for t in tokens(resource) for w in wanted.split(","))
    raise FhirRefusal(400, f"search parameter {parameter} is beyond this test double")


def _relative(reference: str) -> str:
    match = _REFERENCE.search(reference)
    return match[1] if match else reference


def _token_matches(token: tuple[str, str], wanted: str) -> bool:
    system, bar, value = wanted.rpartition("|")
    if not bar:
        return token[1] == value
    return token[0] == system and (not value or token[1] == value)


def _codings(value: Any) -> Iterator[tuple[str, str]]:
    """Tokens of a code, Coding, CodeableConcept, Identifier, or list of these."""
    if isinstance(value, str):
        yield "", value
    elif isinstance(value, list):
        for item in value:
            yield from _codings(item)
    elif isinstance(value, dict):
        if "coding" in value:
            yield from _codings(value["coding"])
        elif "code" in value or "value" in value:
            yield value.get("system", ""), str(value.get("code", value.get("value")))


_TOKENS = {
    "identifier": lambda r: list(_codings(r.get("identifier"))),
    "accession": lambda r: list(_codings(r.get("accessionIdentifier"))),
    "status": lambda r: list(_codings(r.get("status"))),
    "code": lambda r: list(_codings(r.get("code"))),
    "category": lambda r: list(_codings(r.get("category"))),
    "modality": lambda r: (
        [t for s in r.get("series", []) for t in _codings(s.get("modality"))]
        + list(_codings(r.get("modality")))
    ),
    "_tag": lambda r: list(_codings(r.get("meta", {}).get("tag"))),
    "_security": lambda r: list(_codings(r.get("meta", {}).get("security"))),
}


def _date(resource: Resource) -> str:
    for field in ("started", "effectiveDateTime", "issued", "authoredOn", "recorded"):
        if isinstance(resource.get(field), str):
            return str(resource[field])
    return ""
