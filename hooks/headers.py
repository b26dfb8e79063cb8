"""Headers of every answer: what browsers may do with it (also those of another origin), and the correlation id."""

import re
import uuid
from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, current_app, g, request

from cds.settings import Settings
from hooks.logs import CORRELATION

#: Given back on every answer, and on every log line of the request and of the jobs that it made.
CORRELATION_HEADER = "X-Correlation-Id"
_HOOK_INSTANCE = re.compile(rb'"hookInstance"\s*:\s*"([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"')
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    # Pages and answers are about patients: no cache keeps them, not even the browser's.
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": f"{CORRELATION_HEADER}, Retry-After",
    "Access-Control-Max-Age": "600",
}


def is_api() -> bool:
    """Whether the request is for the CDS service: programs call it, also those in browsers of another origin."""
    return request.path == "/cds-services" or request.path.startswith("/cds-services/")


def is_data() -> bool:
    """Whether the request is one of our own pages' for data: its errors are OperationOutcomes too."""
    return request.path.startswith("/api/")


def preflight() -> Response | None:
    """The answer to a browser's preflight. It comes before authentication: browsers send no Authorization with it
    (Fetch Standard, "CORS-preflight fetch"; CDS Hooks 2.0, "Cross-Origin Resource Sharing")."""
    if request.method == "OPTIONS" and is_api() and request.endpoint is not None:
        return current_app.make_default_options_response()
    return None


def correlate() -> None:
    """Put the correlation id on every log line of this request: `hookInstance` where the body has one, for it stands
    in the EHR's logs too, else a random one."""
    body = request.get_data(cache=True) if request.method == "POST" and is_api() else b""
    match = _HOOK_INSTANCE.search(body)
    _bind(match[1].decode().lower() if match else str(uuid.uuid4()))


def start_correlation() -> None:
    """A random id until `correlate` knows better."""
    _bind(str(uuid.uuid4()))


def end_correlation(_error: BaseException | None) -> None:
    """The thread goes on to other requests, and to lines that belong to none."""
    structlog.contextvars.unbind_contextvars(CORRELATION)


def add_headers(app: Flask, settings: Settings) -> None:
    """Security headers on every answer, CORS headers on those of the CDS service for the configured origins.

    Access-Control-Allow-Credentials is never sent: a client names itself by its JWT, never by a browser's cookies.
    """
    security = dict(_SECURITY)
    if urlsplit(settings.base_url).scheme == "https":
        security["Strict-Transport-Security"] = "max-age=31536000"
    origins = settings.cors_origins

    @app.after_request
    def add(response: Response) -> Response:
        for name, value in security.items():
            response.headers.setdefault(name, value)
        if response.status_code == 503:
            response.headers.setdefault("Retry-After", "5")
        if "correlation_id" in g:
            response.headers[CORRELATION_HEADER] = g.correlation_id
        origin = request.headers.get("Origin")
        if origin and origins and is_api():
            response.vary.add("Origin")
            if "*" in origins or origin in origins:
                response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
                response.headers.update(_CORS)
        return response


def _bind(correlation_id: str) -> None:
    g.correlation_id = correlation_id
    structlog.contextvars.bind_contextvars(**{CORRELATION: correlation_id})
