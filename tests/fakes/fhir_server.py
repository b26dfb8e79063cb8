"""A FHIR server in a thread, on a real socket, that misbehaves on request.

It knows as much of FHIR as the tests need: read, search by a few parameters, paging, conditional create in a
transaction. What it accepts proves nothing about validity: tests/servers meet a real server for that.

    with FakeFhirServer(patient, study) as fhir:
        fhir.fault = Fault.SLOW
"""

import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit


class Fault(Enum):
    """How it misbehaves, at every request until told otherwise. `down()` is the one that has no answer at all."""

    NONE = auto()
    SLOW = auto()  # answers after `delay_s`
    DRIP = auto()  # a byte every 50 ms, for longer than any test waits
    DRIP_HEADER = auto()  # the same, and the header never ends
    CUT_OFF = auto()  # ends in the middle of the body
    UNAUTHORIZED = auto()
    BROKEN = auto()  # 500, an HTML page as proxies send it
    OUTCOME = auto()  # 422 with an OperationOutcome that quotes a patient
    HTML = auto()  # 200 and a login page
    NOT_JSON = auto()
    WRONG_TYPE = auto()  # a resource of another type than asked for
    REDIRECT = auto()  # to another host


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


class FakeFhirServer:
    """url: service base. received: requests so far. resources: `Type/id` to resource.

    page_size: entries of a page. next_base: address that `next` links begin with. sorts: whether it heeds `_sort`.
    collisions: writes still to be refused with 409. abilities: what it can do ("transaction", "conditional", "write");
    it says so where `statement`, another CapabilityStatement, is None. unknown_kinds: resource types that it does not
    have. location: form of Location after a create: "relative", "absolute", "other-name", "body" or "none".
    crash_after: number of requests that are still answered; those after it are done, and their answers lost.
    """

    def __init__(self, *resources: dict[str, Any]) -> None:
        self.resources = {f"{r['resourceType']}/{r['id']}": r for r in resources}
        self.received: list[Received] = []
        self.fault = Fault.NONE
        self.delay_s = 5.0
        self.page_size: int | None = None
        self.next_base: str | None = None
        self.collisions = 0
        self.abilities = {"transaction", "conditional", "write"}
        self.statement: dict[str, Any] | None = {
            "resourceType": "CapabilityStatement", "status": "active", "fhirVersion": "4.0.1"
        }  # fmt: skip
        self.location = "relative"
        self.sorts = True
        self.unknown_kinds: set[str] = set()
        self.crash_after: int | None = None
        self.redirect_to = "http://elsewhere.invalid/fhir"
        self._numbers: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/fhir"

    def up(self) -> None:
        """Listen, at the same port as before."""
        fake = self
        self._closing.clear()

        class Handler(_Handler):
            server_of = fake

        self._server = _Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections until `up()`."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def of_type(self, resource_type: str) -> list[dict[str, Any]]:
        with self._lock:
            return [r for r in self.resources.values() if r["resourceType"] == resource_type]

    def search(self, resource_type: str, query: dict[str, list[str]]) -> dict[str, Any]:
        hits = [r for r in self.of_type(resource_type) if _all_match(r, query)]
        if query.get("_sort") == ["_lastUpdated"] and self.sorts:
            hits.sort(key=lambda r: str(r.get("meta", {}).get("lastUpdated")))
        start = int(query.get("_offset", ["0"])[0])
        page = hits[start : start + self.page_size] if self.page_size else hits
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": len(hits)}
        bundle["entry"] = [{"resource": r, "search": {"mode": "match"}} for r in page]
        if self.page_size and start + self.page_size < len(hits):
            following = urlencode({**{k: v[0] for k, v in query.items()}, "_offset": start + self.page_size})
            url = f"{self.next_base or self.url}/{resource_type}?{following}"
            bundle["link"] = [{"relation": "next", "url": url}]
        return bundle

    def transact(self, bundle: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if self.collisions > 0:
                self.collisions -= 1
                return 409, outcome("conflict", "HAPI-0550: HAPI-0823: a constraint was violated")
            if stale := self._stale(bundle):
                return 412, outcome("conflict", f"HAPI-0974: {stale} is not the current version")
            locations, answers = {}, []
            for entry in bundle["entry"]:
                status, reference = self._place(entry)
                locations[entry.get("fullUrl", reference)] = reference
                answers.append({"response": {"status": status, "location": f"{reference}/_history/1"}})
            text = json.dumps(self.resources)
            for full_url, reference in locations.items():
                text = text.replace(f'"{full_url}"', f'"{reference}"')
            self.resources = json.loads(text)
        return 200, {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def capability_statement(self) -> dict[str, Any]:
        """What it is told to say, or what it can do."""
        if self.statement is not None:
            return self.statement
        kinds = ("AuditEvent", "Device", "DiagnosticReport", "DocumentReference", "ImagingStudy", "Media",
                 "Observation", "Provenance", "Subscription", "Task")  # fmt: skip
        codes = ["read", "search-type", *(["create", "update"] if "write" in self.abilities else [])]
        resources = [
            {
                "type": kind,
                "interaction": [{"code": code} for code in codes],
                "conditionalCreate": "conditional" in self.abilities,
            }
            for kind in kinds
            if kind not in self.unknown_kinds
        ]
        system = [{"code": "transaction"}] if "transaction" in self.abilities else []
        rest = {"mode": "server", "resource": resources, "interaction": system}
        return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]}

    def write_one(self, method: str, path: str, headers: Any, resource: Any) -> tuple[int, Any, str | None]:
        """A create, update or delete of one resource: status, body, Location."""
        if "write" not in self.abilities:
            return 405, outcome("not-supported", "this server is read only"), None
        request = {"method": method, "url": path}
        if "If-Match" in headers:
            request["ifMatch"] = headers["If-Match"]
        if "If-None-Exist" in headers and "conditional" in self.abilities:
            request["ifNoneExist"] = headers["If-None-Exist"]
        with self._lock:
            if self.collisions > 0:
                self.collisions -= 1
                return 409, outcome("conflict", "HAPI-0550: HAPI-0823: a constraint was violated"), None
            if method == "DELETE":
                gone = self.resources.pop(path, None)
                return (204, "", None) if gone else (404, outcome("not-found", "not known"), None)
            entry = {"resource": resource, "request": request}
            if unresolved := re.findall(r'"reference": "urn:uuid:[^"]*"', json.dumps(resource)):
                return 422, outcome("processing", f"unresolved references: {len(unresolved)}"), None
            if stale := self._stale({"entry": [entry]}):
                return 412, outcome("conflict", f"HAPI-0974: {stale} is not the current version"), None
            status, reference = self._place(entry)
            held = self.resources[reference]
        location = {
            "relative": f"{reference}/_history/1",
            "absolute": f"{self.url}/{reference}/_history/1",
            "other-name": f"https://inner.example/r4/{reference}",
        }.get(self.location)
        return int(status[:3]), held if self.location == "body" else "", location

    def lose_the_answer(self) -> bool:
        """Whether the answer to this request is lost, as when either side dies; counts down."""
        with self._lock:
            if self.crash_after is None:
                return False
            self.crash_after -= 1
            return self.crash_after < 0

    def _stale(self, bundle: dict[str, Any]) -> str | None:
        """The first `ifMatch` that does not name the version held."""
        for request in (entry["request"] for entry in bundle["entry"]):
            held = self.resources.get(request["url"], {}).get("meta", {}).get("versionId")
            if "ifMatch" in request and request["ifMatch"] != f'W/"{held}"':
                return str(request["ifMatch"])
        return None

    def _place(self, entry: dict[str, Any]) -> tuple[str, str]:
        """Create the entry's resource, unless `ifNoneExist` finds it: status and `Type/id`."""
        resource, request = entry["resource"], entry["request"]
        kind = resource["resourceType"]
        if request["method"] == "PUT":
            reference = request["url"]
        else:
            criterion = parse_qs(request.get("ifNoneExist", "").rpartition("?")[2])
            for reference, known in self.resources.items():
                if criterion and known["resourceType"] == kind and _all_match(known, criterion):
                    return "200 OK", reference
            self._numbers[kind] += 1
            reference = f"{kind}/{kind.lower()}-{self._numbers[kind]}"
        held = self.resources.get(reference, {}).get("meta", {}).get("versionId", "0")
        meta = {**resource.get("meta", {}), "versionId": str(int(held) + 1)}
        if "lastUpdated" not in meta:
            meta["lastUpdated"] = datetime.now(UTC).isoformat(timespec="microseconds")
        self.resources[reference] = {**resource, "id": reference.partition("/")[2], "meta": meta}
        return "201 Created", reference


def outcome(code: str, diagnostics: str, severity: str = "error") -> dict[str, Any]:
    issue = {"severity": severity, "code": code, "diagnostics": diagnostics}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def _all_match(resource: dict[str, Any], query: dict[str, list[str]]) -> bool:
    return all(_matches(resource, name, values[0]) for name, values in query.items())


def _matches(resource: dict[str, Any], name: str, value: str) -> bool:
    """Whether a search parameter selects the resource; parameters that only shape the answer always do."""
    if name == "_id":
        return str(resource["id"]) == value
    if name in ("patient", "subject"):
        reference = resource.get("subject", resource.get("patient", {})).get("reference", "")
        return str(reference).endswith(value if "/" in value else f"/{value}")
    if name == "identifier":
        found = resource.get("identifier", [])
        pairs = [(i.get("system", ""), i["value"]) for i in (found if isinstance(found, list) else [found])]
        return any(value in (f"{system}|{text}", text) for system, text in pairs)
    if name == "_lastUpdated":
        changed = resource.get("meta", {}).get("lastUpdated")
        return changed is None or datetime.fromisoformat(changed) >= datetime.fromisoformat(value[2:])
    if name == "_tag" and value.endswith("|"):
        return any(value == f"{t['system']}|" for t in resource.get("meta", {}).get("tag", []))
    if name == "_tag":
        return any(value == f"{t['system']}|{t['code']}" for t in resource.get("meta", {}).get("tag", []))
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ran out of patience is what the tests are about: no traceback for it."""


class _Handler(BaseHTTPRequestHandler):
    server_of: FakeFhirServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: 40 ms each otherwise

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _handle(self) -> None:
        fake = self.server_of
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fake._closing.is_set():  # down: a connection kept alive from before has no answer either
            self.close_connection = True
            return
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        fake.received.append(Received(self.command, url.path, query, dict(self.headers.items()), body))
        if fake.fault is Fault.SLOW:
            fake.wait(fake.delay_s)
        if self._misbehave(fake.fault):
            return
        path = url.path.removeprefix("/fhir").strip("/")
        location = None
        if self.command != "GET" and path:
            resource = json.loads(body) if body else None
            if path in fake.unknown_kinds:
                self._send(404, outcome("not-supported", "no such type"))
                return
            status, content, location = fake.write_one(self.command, path, self.headers, resource)
        else:
            status, content = self._answer(path, query, body)
        if path != "metadata" and fake.lose_the_answer():
            self.close_connection = True
            return
        self._send(status, content, location=location)

    def _answer(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, dict[str, Any]]:
        fake = self.server_of
        if self.command == "POST" and not path:
            if not {"transaction", "write"} <= fake.abilities:
                return 405, outcome("not-supported", "this server takes no transactions")
            bundle = json.loads(body)
            if fake.unknown_kinds & {entry["resource"]["resourceType"] for entry in bundle["entry"]}:
                return 400, outcome("not-supported", "no such type")
            if "conditional" not in fake.abilities:
                for entry in bundle["entry"]:
                    entry["request"].pop("ifNoneExist", None)
            return fake.transact(bundle)
        if path == "metadata":
            return 200, fake.capability_statement()
        if path in fake.unknown_kinds:
            return 404, outcome("not-supported", "no such type")
        if "/" not in path:
            return 200, fake.search(path, query)
        if path in fake.resources:
            return 200, fake.resources[path]
        return 404, outcome("not-found", f"HAPI-2001: Resource {path} is not known")

    def _misbehave(self, fault: Fault) -> bool:
        """Send the faulty answer, if the fault is one of those."""
        if fault is Fault.UNAUTHORIZED:
            self._send(401, outcome("login", "no valid token"))
        elif fault is Fault.BROKEN:
            self._send(500, "<html><body>Internal Server Error</body></html>", "text/html")
        elif fault is Fault.OUTCOME:
            self._send(422, outcome("processing", 'HAPI-0099: "Doe" of Patient/secret-7 has number 12345678'))
        elif fault is Fault.HTML:
            self._send(200, "<!DOCTYPE html><html><form>Please log in</form></html>", "text/html")
        elif fault is Fault.NOT_JSON:
            self._send(200, "resourceType: Bundle", "text/plain")
        elif fault is Fault.WRONG_TYPE:
            self._send(200, {"resourceType": "Basic", "id": "1"})
        elif fault is Fault.REDIRECT:
            self._send(302, "", location=self.server_of.redirect_to)
        elif fault is Fault.DRIP_HEADER:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            until = time.monotonic() + 60
            while time.monotonic() < until and not self.server_of._closing.is_set():
                self.wfile.write(b"a")
                self.server_of.wait(0.05)
            self.close_connection = True
        elif fault in (Fault.DRIP, Fault.CUT_OFF):
            self.send_response(200)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b'{"resourceType": "Bundle"')
            until = time.monotonic() + (60 if fault is Fault.DRIP else 0)
            while time.monotonic() < until and not self.server_of._closing.is_set():
                self.wfile.write(b" ")
                self.server_of.wait(0.05)
            self.close_connection = True
        else:
            return False
        return True

    def _send(
        self,
        status: int,
        body: dict[str, Any] | str,
        content_type: str = "application/fhir+json",
        location: str | None = None,
    ) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        if location is not None:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(data)
