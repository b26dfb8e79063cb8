"""What the chart's pages ask of the EHR's own server: a signature for one call, access to the FHIR server, Markdown.

The private key stays here (decision 0041): a page gets a JWT for one endpoint of the service, good for one call. Every
request must come from the chart's own pages, by its Origin and by the token that they hold.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any, NoReturn

from flask import Flask, Response, abort, jsonify, make_response, request
from markdown_it import MarkdownIt

from hooks.demo.authorization import AuthorizationDouble, Launch
from hooks.demo.hospital import Hospital
from hooks.demo.patients import STAFF
from hooks.signing import Signer

CSRF_HEADER = "X-Chart-Token"
#: Texts of one call, and characters of a text: a card has one detail.
_MAX_TEXTS, _MAX_TEXT = 50, 50_000
_ACCESS_S = 300

#: A card's detail is GitHub Markdown written by someone else: HTML in it stays text, and no image is fetched for it.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The EHR as the chart's pages know it.

    fhir_token: what the EHR lends to its pages and to the services that they call. system_actions: whether this EHR
    has agreed to systemActions (CDS Hooks 2.0, "System Action"). authorization: for SMART launches, where it has any.
    """

    service_url: str
    signer: Signer
    fhir_token: str = field(repr=False)
    system_actions: bool = False
    authorization: AuthorizationDouble | None = None
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def configuration(self, hospital: Hospital, patient_id: str) -> dict[str, Any]:
        """What a page of that patient has to know; nothing secret but the token against forged requests."""
        return {
            "service": self.service_url,
            "fhir": hospital.fhir_url,
            "patient": patient_id,
            "people": dict(STAFF),
            "csrf": self.csrf,
            "systemActions": self.system_actions,
            "smart": self.authorization is not None,
        }


def add_desk(app: Flask, hospital: Hospital, desk: Desk) -> None:
    if desk.authorization is not None:
        desk.authorization.add_to(app)
    surface = f"{desk.service_url}/cds-services"

    def guarded() -> dict[str, Any]:
        given = request.headers.get(CSRF_HEADER, "").encode()
        if request.headers.get("Origin") != hospital.url or not hmac.compare_digest(
            given, desk.csrf.encode()
        ):
            _refuse(403, "this is for the chart's own pages")
        content = request.get_json(silent=True)
        if not isinstance(content, dict):
            _refuse(400, "a JSON object was expected")
        return content

    @app.post("/ehr/jwt")
    def sign() -> Response:
        """A JWT of this EHR for the endpoint `aud` of the one service that it trusts."""
        aud = guarded().get("aud")
        if not isinstance(aud, str) or not (aud == surface or aud.startswith(f"{surface}/")):
            _refuse(400, "aud: must be an endpoint of the service")
        return jsonify(token=desk.signer.token(aud))

    @app.post("/ehr/access")
    def access() -> Response:
        """A token for the hospital's FHIR server, as a hook's fhirAuthorization has it."""
        guarded()
        return jsonify(
            access_token=desk.fhir_token,
            token_type="Bearer",
            expires_in=_ACCESS_S,
            scope="patient/*.read patient/ServiceRequest.write",
            subject="leukocds-demo",
        )

    @app.post("/ehr/launch")
    def launch() -> Response:
        """A handle with which the app of a smart link is launched (SMART App Launch 2.2, "EHR Launch")."""
        asked = guarded()
        person, patient, app_context = (asked.get(name) for name in ("person", "patient", "appContext"))
        if desk.authorization is None:
            _refuse(404, "this hospital offers no SMART launch")
        if not isinstance(person, str) or person not in STAFF:
            _refuse(400, "person: must be somebody of the staff")
        if not isinstance(patient, str) or not isinstance(app_context, str | None):
            _refuse(400, "patient, appContext: must be texts")
        handle = desk.authorization.launch(Launch(person=person, patient=patient, app_context=app_context))
        return jsonify(launch=handle)

    @app.post("/ehr/markdown")
    def markdown() -> Response:
        """HTML of each of `texts`, in their order."""
        texts = guarded().get("texts")
        if not isinstance(texts, list) or len(texts) > _MAX_TEXTS:
            _refuse(400, f"texts: must be a list of at most {_MAX_TEXTS}")
        if not all(isinstance(text, str) and len(text) <= _MAX_TEXT for text in texts):
            _refuse(400, f"texts: must be texts of at most {_MAX_TEXT} characters")
        return jsonify(html=[to_html(text) for text in texts])

    @app.after_request
    def keep_to_ourselves(response: Response) -> Response:
        """Scripts, styles and images of our own; nothing is called but this server and the service."""
        if response.mimetype == "text/html":
            response.headers["Content-Security-Policy"] = (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                f"connect-src 'self' {desk.service_url}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
            response.headers["Referrer-Policy"] = "no-referrer"
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def to_html(text: str) -> str:
    """CommonMark with tables; every other character that HTML would understand is escaped."""
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        # The alignment of a table's column is written as a style, which the pages' policy forbids.
        if style := token.attrs.pop("style", None):
            token.attrs["class"] = str(style).replace("text-align:", "align-")
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def _refuse(status: int, why: str) -> NoReturn:
    abort(make_response(jsonify(error=why), status))
