"""Headers of every answer: what browsers may do with it (also those of another origin), and the correlation id."""

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, current_app, request

from cds.allowlist import is_loopback
from cds.settings import Settings
from hooks.current import current_request
from hooks.limits import body_bytes
from hooks.logs import CORRELATION

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Given back on every answer, and on every log line of the request and of the jobs that it made.
CORRELATION_HEADER = "X-Correlation-Id"
_CORRELATION = "leukocds.correlation_id"
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
    path = current_request().path
    return path == "/cds-services" or path.startswith("/cds-services/")


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
    request = current_request()
    if request.method == "OPTIONS" and is_api() and request.endpoint is not None:
        return current_app.make_default_options_response()
    return None


def correlate() -> None:
    """Put the correlation id on every log line of this request: `hookInstance` where the body has one, for it stands
    in the EHR's logs too, else the random one that it has."""
    request = current_request()
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

    app.wsgi_app = _Headers(app.wsgi_app, security, page_security)  # type: ignore[method-assign]
    if not origins:
        return

    @app.after_request
    def add(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin and is_api():
            response.vary.add("Origin")
            if "*" in origins or origin in origins:
                response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
                response.headers.update(_CORS)
        return response


class _Headers:
    """Puts the same headers on every answer, but where it has its own. Around Flask: there each of them costs as much
    as all of them here."""

    def __init__(
        self, app: "WSGIApplication", of_all: Mapping[str, str], of_pages: Mapping[str, str]
    ) -> None:
        self._app = app
        self._of_all = [(name.lower(), (name, value)) for name, value in of_all.items()]
        self._of_pages = [(name.lower(), (name, value)) for name, value in of_pages.items()]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], error: Any = None
        ) -> Callable[[bytes], object]:
            known = {name.lower(): value for name, value in headers}
            is_page = known.get("content-type", "").partition(";")[0].strip().lower() == "text/html"
            added = [
                line for name, line in (self._of_pages if is_page else self._of_all) if name not in known
            ]
            if status.startswith("503") and "retry-after" not in known:
                added.append(("Retry-After", "5"))
            if correlation_id := environ.get(_CORRELATION):
                added.append((CORRELATION_HEADER, correlation_id))
            return start_response(status, [*headers, *added], error)

        return self._app(environ, start)


def _bind(correlation_id: str) -> None:
    current_request().environ[_CORRELATION] = correlation_id
    structlog.contextvars.bind_contextvars(**{CORRELATION: correlation_id})
