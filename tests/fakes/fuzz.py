"""Requests of every shape to every endpoint of an app, and what must be true of each answer. Hypothesis draws them.

Endpoints are taken from the app itself, so that a new one is tried without a word here. `tests/unit/hooks/test_fuzz.py`
draws some hundreds, `benchmarks/fuzz.py` as many as one likes.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from flask import Flask
from flask.testing import FlaskClient
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from hooks.cds_requests import hooks
from hooks.headers import CORRELATION_HEADER
from tests.fakes.hook_requests import SERVICE, bundle, emptiness, hook_request, imaging_study, patient

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "BREW")
#: Nobody listens there: what must be fetched cannot be had.
NOWHERE = "http://127.0.0.1:1/fhir"

_FEEDBACK = {
    "feedback": [
        {
            "card": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
            "outcome": "accepted",
            "outcomeTimestamp": "2026-03-01T10:00:00Z",
            "acceptedSuggestions": [{"id": "0f1b5c2e-6d0c-4a0b-9d57-3f1f3f0a7f11"}],
        },
        {
            "card": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
            "outcome": "overridden",
            "outcomeTimestamp": "2026-03-01T10:00:00Z",
            "overrideReason": {"reason": {"code": "x", "system": "urn:x"}, "userComment": "no"},
        },
    ]
}
_WORDS = st.sampled_from(
    ["", " ", "\ud800", "\x00", "../..", "<b>", "Patient/p-1", "ImagingStudy/study-1", "http://", NOWHERE,
     "https://elsewhere.example/r4", "{{context.patientId}}", "Bearer", "é" * 300, "2026-02-30", "urn:oid:1.2"]
)  # fmt: skip
_ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | _WORDS
JSON = st.recursive(
    _ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["resourceType", "reference", "entry", "x", ""]), inner, max_size=4)
    ),
    max_leaves=8,
)
_VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60
)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def valid_bodies() -> list[dict[str, Any]]:
    """One for each hook, with everything in the prefetch and with nothing, and feedback."""
    studies = bundle(imaging_study(1), imaging_study(2, endpoint=[{"reference": "Endpoint/1"}]))
    report = {"resourceType": "DiagnosticReport", "identifier": [{"system": "urn:leukocds:a", "value": "x"}]}
    full = {"patient": patient(), "studies": studies, "reports": bundle(report)}
    bodies = [hook_request(hook, prefetch=full) for hook in hooks()]
    bodies += [hook_request(hook, fhir_server=NOWHERE) for hook in hooks()]
    return [*bodies, copy.deepcopy(_FEEDBACK)]


_VALID = [json.dumps(body) for body in valid_bodies()]
# Made once: a strategy is costly to make, and cheap to draw from.
_ANY = st.integers(0, 1 << 16)
_HALF = st.booleans()
_CHANGES = st.lists(st.tuples(_ANY, st.booleans(), JSON), max_size=3)
_ENDINGS = st.sampled_from(["", "", "/", "?a=1", "?patient=%00"])
_METHODS = st.just("POST") | st.sampled_from(METHODS)
_KINDS = st.just("application/json") | st.sampled_from(["application/json; charset=x", "text/plain", ""])
_ARGUMENTS = st.sampled_from(
    ["leukemia-smear", "other", "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", "leukocds.css"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAMES = st.sampled_from(
    ["Origin", "Authorization", "Accept", "Content-Encoding", "X-Forwarded-For", "Access-Control-Request-Method"]
)  # fmt: skip
_HEADERS = st.dictionaries(_NAMES, _VALUES, max_size=2)


def _mangled(text: str, changes: list[tuple[int, bool, Any]]) -> bytes:
    """A valid body in which up to three things are left out or replaced."""
    body = json.loads(text)
    for where, leave_out, value in changes:
        places = list(_places(body)) or [("x",)]
        *way, last = places[where % len(places)]
        parent = body
        for key in way:
            parent = parent[key]
        if isinstance(parent, dict) and leave_out:
            parent.pop(last, None)
        else:
            parent[last] = value
    return json.dumps(body).encode()


_MANGLED = st.builds(_mangled, st.sampled_from(_VALID), _CHANGES)
_OTHERS = st.one_of(
    JSON.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda body, at: body[: at % len(body)], _MANGLED, _ANY),
    st.builds(
        lambda opening, n: opening * n, st.sampled_from([b"[", b'{"a":', b'"\\', b"[{"]), st.integers(1, 5000)
    ),
    st.binary(max_size=200),
)
_BODIES = _MANGLED | _OTHERS


def requests_to(app: Flask) -> st.SearchStrategy[Request]:
    """Any request to any rule of the app, and some to none. Half of them are nearly valid, and so come further."""
    rules = sorted(rule.rule for rule in app.url_map.iter_rules())
    paths = st.sampled_from([*rules, "/nothing"])
    feedback = f"{SERVICE}/feedback" if "/cds-services/<service_id>/feedback" in rules else SERVICE

    @st.composite
    def draw_one(draw: st.DrawFn) -> Request:
        if draw(_HALF):
            body = draw(_MANGLED)
            place = feedback if body.startswith(b'{"feedback"') else SERVICE
            return Request("POST", place, body, {"Content-Type": "application/json"})
        path = ""
        for part in draw(paths).split("/")[1:]:
            path += "/" + (quote(draw(_ARGUMENTS), safe="") if part.startswith("<") else part)
        headers = {**draw(_HEADERS), "Content-Type": draw(_KINDS)}
        return Request(draw(_METHODS), path + draw(_ENDINGS), draw(_BODIES), headers)

    return draw_one()


def send(client: FlaskClient, request: Request) -> TestResponse:
    return client.open(request.path, method=request.method, data=request.body, headers=request.headers)


def wrong_with(response: TestResponse) -> Iterator[str]:
    """What must not be so, whatever was asked."""
    if response.status_code >= 500:
        yield f"status {response.status_code}"
    if CORRELATION_HEADER not in response.headers:
        yield "no correlation id"
    if response.headers.get("X-Content-Type-Options") != "nosniff":
        yield "no security headers"
    if response.is_json and response.data:
        yield from (f"null or empty at {path}" for path in emptiness(response.json))
        if response.status_code >= 400 and response.json.get("resourceType") != "OperationOutcome":
            yield "an error that is no OperationOutcome"


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield from _places(child, (*path, key))
