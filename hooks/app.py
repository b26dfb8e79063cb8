"""The Flask app: every HTTP door, and the one table from errors to answers."""

import json
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from cds.errors import (
    BadRequest,
    DeadlineExceeded,
    EndpointNotAllowed,
    LeukoError,
    MissingFhirData,
    StoreError,
    Unauthenticated,
    UnknownService,
    UpstreamError,
    UpstreamUnavailable,
)
from hooks.authentication import require_client
from hooks.cds_requests import parse_request
from hooks.context import Context
from hooks.feedback import feedback_routes
from hooks.health import health_routes
from hooks.pages import error_page, page_routes
from hooks.services import SERVICE_ID, answer, discovery

_log = structlog.get_logger(__name__)

#: Error to HTTP status and FHIR issue type, the most particular first. Anything else is our bug: 500.
ERRORS: tuple[tuple[type[LeukoError], int, str], ...] = (
    (BadRequest, 400, "invalid"),
    (Unauthenticated, 401, "login"),
    (UnknownService, 404, "not-found"),
    (MissingFhirData, 412, "incomplete"),
    (EndpointNotAllowed, 412, "security"),
    (UpstreamUnavailable, 503, "transient"),
    (UpstreamError, 502, "processing"),
    (DeadlineExceeded, 503, "timeout"),
    (StoreError, 503, "no-store"),
)
_HTTP_ISSUES = {404: "not-found", 405: "not-supported", 413: "too-long", 415: "not-supported"}

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}


def create_app(context: Context) -> Flask:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = context.settings.max_request_bytes
    app.url_map.strict_slashes = False  # with and without the trailing slash
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    require_client(app, context.authenticator)

    @app.get("/cds-services")
    def discover() -> Response:
        return _json(discovery(context.settings))

    @app.post("/cds-services/<service_id>")
    def call(service_id: str) -> Response:
        if service_id != SERVICE_ID:
            raise UnknownService("There is no CDS service of that id here; see /cds-services.")
        if request.mimetype != "application/json":
            return _outcome(415, "not-supported", "The Content-Type must be application/json.")
        began = time.perf_counter()
        hook_request = parse_request(request.get_data(cache=False))
        cards = answer(hook_request, context)
        _log.info(
            "hook answered",
            hook=hook_request.hook,
            instance=str(hook_request.hook_instance),
            cards=len(cards["cards"]),
            ms=round(1000 * (time.perf_counter() - began), 1),
        )
        return _json(cards)

    feedback_routes(app, context)
    page_routes(app, context)
    health_routes(app, context)
    _handle_errors(app)
    _add_headers(app, context.settings.cors_origins)
    return app


def _handle_errors(app: Flask) -> None:
    @app.errorhandler(LeukoError)
    def on_error(error: LeukoError) -> Response:
        known = next((row for row in ERRORS if isinstance(error, row[0])), None)
        if known is None:
            return on_bug(error)
        _, status, code = known
        _log.warning("request not answered", status=status, error=type(error).__name__)
        if status == 401:
            return Response(status=401)
        return _answer(status, code, str(error))

    @app.errorhandler(HTTPException)
    def on_http(error: HTTPException) -> Response | HTTPException:
        status = error.code or 500
        if status < 400:
            return error  # a redirect
        words = {
            404: "There is nothing at this address.",
            405: "This address does not take that method.",
            413: "The body is larger than this service accepts.",
        }.get(status, f"{error.name}.")
        response = _answer(status, _HTTP_ISSUES.get(status, "processing"), words)
        if allow := dict(error.get_headers()).get("Allow"):
            response.headers["Allow"] = allow
        return response

    @app.errorhandler(Exception)
    def on_bug(error: Exception) -> Response:
        reference = str(uuid.uuid4())
        # Where it happened, not the error's text: that may quote what was sent.
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        where = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
        _log.error("bug", reference=reference, error=type(error).__name__, where=where)
        return _answer(500, "exception", f"Internal error. Reference: {reference}.")


def _add_headers(app: Flask, cors_origins: tuple[str, ...]) -> None:
    @app.after_request
    def add(response: Response) -> Response:
        for name, value in _SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        if response.status_code == 503:
            response.headers.setdefault("Retry-After", "5")
        origin = request.headers.get("Origin")
        if origin and cors_origins and _of_api():
            response.vary.add("Origin")
            if "*" in cors_origins or origin in cors_origins:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
                response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
                response.headers["Access-Control-Max-Age"] = "600"
        return response


def _of_api() -> bool:
    return request.path.startswith("/cds-services")


def _answer(status: int, code: str, text: str) -> Response:
    return _outcome(status, code, text) if _of_api() else error_page(status, text)


def _outcome(status: int, code: str, text: str) -> Response:
    issue = {"severity": "error", "code": code, "diagnostics": text}
    return _json({"resourceType": "OperationOutcome", "issue": [issue]}, status)


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(content), status, mimetype="application/json")
