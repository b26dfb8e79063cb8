"""Writing to FHIR servers that differ: by transaction, or one by one in an order that survives a crash at any point.

Callers always hand over a transaction bundle. Where the server does not take one, its entries are written one after the
other, what is referred to first. Each is found by its business identifier or tag before it is made, so that whoever was
interrupted does all of it again and ends with one of each (docs/decisions/0038).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from cds.contention import meeting_others
from cds.deadline import Deadline
from cds.errors import UpstreamError, UpstreamInvalid, UpstreamRefused
from cds.fhir_capabilities import Capabilities, Way
from cds.fhir_optional import not_taken, without
from cds.ports import FhirWriter, Resource
from cds.settings import PREFIX

#: Age from which a CapabilityStatement is read anew; a statement that could not be read is asked for again sooner.
REREAD_S = 3600.0
RETRY_S = 60.0


class AdaptingFhirServer:
    """The port `cds.ports.FhirServer` over any server that can read, search and create. May be used by several threads.

    way: how to write, whatever the server says; None: as its CapabilityStatement says.
    """

    def __init__(self, server: FhirWriter, way: Way | None = None) -> None:
        self._server, self._forced = server, way
        self._said: Capabilities | None = None
        self._read_again = 0.0

    @property
    def base_url(self) -> str:
        return self._server.base_url

    def read(self, reference: str, deadline: Deadline | None = None) -> Resource:
        return self._server.read(reference, deadline)

    def search(
        self, resource_type: str, params: Mapping[str, str], deadline: Deadline | None = None
    ) -> list[Resource]:
        return self._server.search(resource_type, params, deadline)

    def pages(
        self, resource_type: str, params: Mapping[str, str], deadline: Deadline | None = None
    ) -> Iterator[list[Resource]]:
        return self._server.pages(resource_type, params, deadline)

    def capabilities(self, deadline: Deadline | None = None) -> Resource:
        return self._server.capabilities(deadline)

    def create(
        self, resource: Resource, if_none_exist: str | None = None, deadline: Deadline | None = None
    ) -> str | None:
        return self._server.create(resource, if_none_exist, deadline)

    def update(
        self, resource: Resource, if_match: str | None = None, deadline: Deadline | None = None
    ) -> None:
        self._server.update(resource, if_match, deadline)

    def delete(self, reference: str, deadline: Deadline | None = None) -> None:
        self._server.delete(reference, deadline)

    def said(self, deadline: Deadline | None = None) -> Capabilities:
        """What the server says of itself, asked now and then; nothing where it cannot be asked."""
        if self._said is None or time.monotonic() >= self._read_again:
            try:
                self._said = Capabilities.of(self._server.capabilities(deadline))
                self._read_again = time.monotonic() + REREAD_S
            except UpstreamError:
                # What it does not say now is no reason not to write; the writing itself will tell.
                self._said = self._said or Capabilities()
                self._read_again = time.monotonic() + RETRY_S
        return self._said

    def way(self, deadline: Deadline | None = None) -> Way:
        """How reports are written. Asks the server unless the way is forced."""
        return self._forced or self.said(deadline).way

    def transaction(self, bundle: Resource, deadline: Deadline | None = None) -> Resource:
        """Write the bundle's entries, in whatever way the server takes them.

        Types of resources that a report can do without are left out where the server takes none (`cds.fhir_optional`).
        One by one, what a crash or a refusal leaves half done is completed by doing it again. Raises UpstreamRefused
        where the server takes nothing, and what the requests raise.
        """
        way, said = self.way(deadline), self.said(deadline)
        if way is Way.NONE:
            forced = f" ({PREFIX}FHIR_WRITE is none)" if self._forced else ", as its CapabilityStatement says"
            raise UpstreamRefused(
                f"nothing is written to the FHIR server {self.base_url}: it is read only{forced}"
            )
        bundle = {**bundle, "entry": without(bundle["entry"], not_taken(said))}
        if way is Way.SINGLE:
            return self._one_by_one(bundle["entry"], said, deadline)
        kinds = {entry["resource"]["resourceType"] for entry in bundle["entry"]}
        if any(said.creates_conditionally(kind) is False for kind in kinds):
            return self._transaction_of_the_rest(bundle, deadline)
        return self._server.transaction(bundle, deadline)

    def _transaction_of_the_rest(self, bundle: Resource, deadline: Deadline | None) -> Resource:
        """Without conditional create: search for each entry, and send what is not there in one transaction."""
        entries: Sequence[Resource] = bundle["entry"]
        found = {
            index: reference
            for index, entry in enumerate(entries)
            if (reference := self._found(entry, deadline)) is not None
        }
        answers = {index: _answer("200 OK", reference) for index, reference in found.items()}
        places = {entries[i]["fullUrl"]: r for i, r in found.items() if "fullUrl" in entries[i]}
        rest = [index for index in range(len(entries)) if index not in found]
        if rest:
            sent = [
                {
                    **entries[index],
                    "resource": _with_references(entries[index]["resource"], places),
                    "request": {k: v for k, v in entries[index]["request"].items() if k != "ifNoneExist"},
                }
                for index in rest
            ]
            response = self._server.transaction({**bundle, "entry": sent}, deadline)
            told = response.get("entry")
            answers |= dict(zip(rest, told if isinstance(told, list) else [], strict=False))
        return _response([answers.get(index, {}) for index in range(len(entries))])

    def _one_by_one(
        self, entries: Sequence[Resource], said: Capabilities, deadline: Deadline | None
    ) -> Resource:
        places: dict[str, str] = {}
        answers: dict[int, Resource] = {}
        for index in _order(entries):
            entry = entries[index]
            resolved = {**entry, "resource": _with_references(entry["resource"], places)}
            status, reference = self._place(resolved, said, deadline)
            if "fullUrl" in entry:
                places[entry["fullUrl"]] = reference
            answers[index] = _answer(status, reference)
        return _response([answers[index] for index in range(len(entries))])

    def _place(self, entry: Resource, said: Capabilities, deadline: Deadline | None) -> tuple[str, str]:
        """Write one entry, references resolved: status and `Type/id`."""
        request, resource = entry["request"], entry["resource"]
        if request["method"] == "PUT":
            # Not tried again: what others wrote meanwhile has to be read first.
            updated = {**resource, "id": request["url"].rpartition("/")[2]}
            self._server.update(updated, request.get("ifMatch"), deadline)
            return "200 OK", str(request["url"])
        conditional = said.creates_conditionally(resource["resourceType"]) is True
        for attempt in meeting_others():
            with attempt:
                # Who was refused over what others made at the same time looks what that is.
                if not conditional or attempt.retry_state.attempt_number > 1:
                    found = self._found(entry, deadline)
                    if found is not None:
                        return "200 OK", found
                criterion = _criterion(entry) if conditional else None
                reference = self._server.create(resource, criterion, deadline)
                if reference is None:
                    reference = self._found(entry, deadline)
                if reference is not None:
                    if not conditional:
                        reference = self._without_double(entry, reference, deadline)
                    return "201 Created", reference
        raise UpstreamInvalid(
            f"the FHIR server {self.base_url} took a {resource['resourceType']} and does not say where it keeps it"
        )

    def _without_double(self, entry: Resource, made: str, deadline: Deadline | None) -> str:
        """What is to be used: `made` or, where another writer was there first, the other's, and ours is deleted.

        Both search after they have created, so that at least the second sees both. A server that does not date its
        resources does not tell who was first, and one that deletes nothing keeps the double.
        """
        found = self._matches(entry, deadline)
        references = [f"{r['resourceType']}/{r['id']}" for r in found]
        dated = all(isinstance(r.get("meta", {}).get("lastUpdated"), str) for r in found)
        if not dated or made not in references or references[0] == made:
            return made
        try:
            self._server.delete(made, deadline)
        except UpstreamError as error:
            if error.retryable:
                raise
        return references[0]

    def _found(self, entry: Resource, deadline: Deadline | None) -> str | None:
        """What the entry's criterion finds; of several, which only parallel writers can have made, the first."""
        found = self._matches(entry, deadline)
        return f"{found[0]['resourceType']}/{found[0]['id']}" if found else None

    def _matches(self, entry: Resource, deadline: Deadline | None) -> list[Resource]:
        """What the entry's criterion finds, in an order that is the same for everybody."""
        criterion = _criterion(entry)
        if criterion is None:
            return []
        kind = entry["resource"]["resourceType"]
        wanted = dict(parse_qsl(criterion))
        # A server that ignores what it does not know would answer with everything.
        found = [
            r
            for r in self._server.search(kind, wanted, deadline)
            if r.get("resourceType") == kind and isinstance(r.get("id"), str) and _fits(r, wanted)
        ]
        return sorted(found, key=lambda r: (str(r.get("meta", {}).get("lastUpdated")), r["id"]))


def _criterion(entry: Resource) -> str | None:
    """The query of `ifNoneExist`, which may be written with the type before it."""
    criterion = entry["request"].get("ifNoneExist")
    return None if criterion is None else str(criterion).rpartition("?")[2]


def _fits(resource: Resource, wanted: Mapping[str, str]) -> bool:
    """Whether it has the identifier or tag that was asked for; our criteria ask for nothing else."""
    identifiers = resource.get("identifier", [])
    held = {
        "identifier": [
            f"{i.get('system')}|{i.get('value')}"
            for i in (identifiers if isinstance(identifiers, list) else [identifiers])
        ],
        "_tag": [f"{t.get('system')}|{t.get('code')}" for t in resource.get("meta", {}).get("tag", [])],
    }
    return all(value in held[name] for name, value in wanted.items() if name in held)


def _order(entries: Sequence[Resource]) -> list[int]:
    """The entries' numbers, those first that others refer to; otherwise as they stand."""
    numbers = {entry["fullUrl"]: index for index, entry in enumerate(entries) if "fullUrl" in entry}
    ordered: dict[int, None] = {}
    begun: set[int] = set()

    def put(index: int) -> None:
        if index in begun:
            return
        begun.add(index)
        for target in _references(entries[index]["resource"]):
            if target in numbers:
                put(numbers[target])
        ordered[index] = None

    for index in range(len(entries)):
        put(index)
    return list(ordered)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for item in value.values():
            yield from _references(item)


def _with_references(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_with_references(item, places) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: places.get(item, item)
        if name == "reference" and isinstance(item, str)
        else _with_references(item, places)
        for name, item in value.items()
    }


def _answer(status: str, reference: str) -> Resource:
    return {"response": {"status": status, "location": reference}}


def _response(answers: Sequence[Resource]) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": list(answers)}
