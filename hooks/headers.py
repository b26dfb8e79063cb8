"""Headers of every answer: what browsers may do with it (also those of another origin), and the correlation id."""

import re
import uuid
from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, current_app, g, request

from cds.allowlist import is_loopback
from cds.settings import Settings
from hooks.limits import body_bytes
from hooks.logs import CORRELATION

#: Given back on every answer, and on every log line of the request and of the jobs that it made.
CORRELATION_HEADER = "X-Correlation-Id"
_HOOK_INSTANCE = re.compile(rb'"hookInstance"\s*:\s*"([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"')
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Pages and answers are about patients: no cache keeps them, not even the browser's.
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: Of pages: styles, scripts and images of our own, thumbnails inside the page, nothing written into its markup.
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors {}"
)
_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": f"{CORRELATION_HEADER}, Retry-After",
    "Access-Control-Max-Age": "600",
}


def is_api() -> bool:
    """Whether the request is for the CDS service: programs call it, also those in browsers of another origin."""
    return request.path == "/cds-services" or request.path.startswith("/cds-services/")


def wants_json() -> bool:
    """Whether a program asks, which can do nothing with a page: a script of our own pages, too."""
    accepts = request.headers.get("Accept", "")
    return is_api() or ("application/json" in accepts and "text/html" not in accepts)


def is_navigation() -> bool:
    """Whether a person's browser asks for a page to show, so that it can be led to another."""
    if request.method not in ("GET", "HEAD") or wants_json():
        return False
    target = request.headers.get("Sec-Fetch-Dest")
    if target is not None:
        return target in ("document", "frame", "iframe")
    return "text/html" in request.headers.get("Accept", "")


def from_this_machine() -> bool:
    """Whether the caller sits at this machine; a gateway here calls from loopback too, for whoever called it."""
    forwarded = any(name in request.headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"))
    return not forwarded and is_loopback(request.remote_addr or "")


def preflight() -> Response | None:
    """The answer to a browser's preflight. It comes before authentication: browsers send no Authorization with it
    (Fetch Standard, "CORS-preflight fetch"; CDS Hooks 2.0, "Cross-Origin Resource Sharing")."""
    if request.method == "OPTIONS" and is_api() and request.endpoint is not None:
        return current_app.make_default_options_response()
    return None


def correlate() -> None:
    """Put the correlation id on every log line of this request: `hookInstance` where the body has one, for it stands
    in the EHR's logs too, else the random one that it has."""
    if request.method == "POST" and is_api() and (match := _HOOK_INSTANCE.search(body_bytes())):
        _bind(match[1].decode().lower())


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
    origins, ancestors = settings.cors_origins, settings.frame_ancestors
    if not ancestors:
        security["X-Frame-Options"] = "DENY"
    page_security = {
        **security,
        "Content-Security-Policy": _PAGE_POLICY.format(" ".join(ancestors) or "'none'"),
        # A form that says nothing of where it comes from would be taken for another site's.
        "Referrer-Policy": "same-origin",
    }

    @app.after_request
    def add(response: Response) -> Response:
        headers = response.headers
        ours = page_security if response.mimetype == "text/html" else security
        if any(name in headers for name in ours):  # a page that has its own
            for name, value in ours.items():
                headers.setdefault(name, value)
        else:
            headers.extend(ours)
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
