"""The Flask app: every HTTP door, and the one table from errors to answers."""

import time
import traceback
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from cds.errors import (
    BadRequest,
    DeadlineExceeded,
    EndpointNotAllowed,
    LeukoError,
    MissingFhirData,
    NonconformantAnswer,
    NotAllowed,
    RequestTooLarge,
    ReviewChanged,
    SignInFailed,
    SignInNeeded,
    StoreError,
    TooManyRequests,
    Unauthenticated,
    UnknownService,
    UpstreamError,
    UpstreamUnavailable,
)
from cds.language import Text, message, said_by
from cds.settings import PREFIX, Settings
from hooks.authentication import Caller, require_client
from hooks.cds_requests import HookRequest, parse_request
from hooks.client_reports import hand_over
from hooks.context import Context
from hooks.cookies import set_language_cookie
from hooks.current import Application, current_request
from hooks.ehr_profile import Profile
from hooks.error_page import error_page, error_text
from hooks.feedback import feedback_routes
from hooks.headers import (
    add_headers,
    correlate,
    end_correlation,
    is_api,
    is_navigation,
    preflight,
    start_correlation,
    wants_json,
)
from hooks.health import health_routes
from hooks.hygiene import remember
from hooks.json_text import encode_json
from hooks.languages import page_languages
from hooks.limits import HeaderTooLarge, Limits, caller_profile, client
from hooks.metrics import count_cards, count_prefetch, metrics_routes
from hooks.notifications import notification_routes
from hooks.outgoing import checked_discovery, checked_response, response_text
from hooks.pages import page_routes
from hooks.picture_routes import picture_routes
from hooks.prefetch import adapted, spared
from hooks.report_routes import report_routes
from hooks.review_routes import review_routes
from hooks.services import SERVICE_ID, answer, discovery
from hooks.sign_in import sign_in_address, sign_in_routes
from hooks.study_page import study_routes
from hooks.visitors import guard_pages
from hooks.well_known import well_known_routes
from hooks.worklist import worklist_routes

_log = structlog.get_logger(__name__)

#: Error to HTTP status and FHIR issue type, the most particular first. Anything else is our bug: 500.
ERRORS: tuple[tuple[type[LeukoError], int, str], ...] = (
    (HeaderTooLarge, 431, "too-long"),
    (RequestTooLarge, 413, "too-costly"),
    (BadRequest, 400, "invalid"),
    (Unauthenticated, 401, "login"),
    (NotAllowed, 403, "forbidden"),
    (SignInFailed, 403, "login"),
    (UnknownService, 404, "not-found"),
    (ReviewChanged, 409, "conflict"),
    (MissingFhirData, 412, "incomplete"),
    (EndpointNotAllowed, 412, "security"),
    (UpstreamUnavailable, 503, "transient"),
    (UpstreamError, 502, "processing"),
    (DeadlineExceeded, 503, "timeout"),
    (StoreError, 503, "no-store"),
    (TooManyRequests, 429, "throttled"),
    (NonconformantAnswer, 500, "exception"),
)
_HTTP_ISSUES = {404: "not-found", 405: "not-supported", 413: "too-long", 415: "not-supported"}


def create_app(context: Context) -> Flask:
    app = Application(__name__)
    app.config["MAX_CONTENT_LENGTH"] = context.settings.max_request_bytes
    app.url_map.strict_slashes = False  # with and without the trailing slash
    # Otherwise `/cds-services//…` is redirected to an address made of the Host header, behind a gateway to plain http,
    # and a client that follows takes its token and the patient's data there.
    app.url_map.merge_slashes = False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    _guard(app, context)
    page_languages(
        app,
        context.settings.language,
        lambda response, language: set_language_cookie(response, context.settings, language),
    )

    @app.get("/cds-services")
    def discover() -> Response:
        document = discovery(context.settings, caller_profile(context.open_profile))
        return _json(checked_discovery(document) if context.settings.check_answers else document)

    @app.post("/cds-services/<service_id>")
    def call(service_id: str) -> Response:
        if service_id != SERVICE_ID:
            raise UnknownService("There is no CDS service of that id here; see /cds-services.")
        if request.mimetype != "application/json":
            raise UnsupportedMediaType
        began = time.perf_counter()
        profile = caller_profile(context.open_profile)
        hook_request = _hook_request(profile)
        count_prefetch(client(), spared(hook_request))
        cards = _answered(hook_request, profile, context)
        count_cards(cards)
        _log.info(
            "hook answered",
            hook=hook_request.hook,
            cards=len(cards["cards"]),
            ms=round(1000 * (time.perf_counter() - began), 1),
        )
        return Response(response_text(cards), mimetype="application/json")

    feedback_routes(app, context)
    sign_in_routes(app, context)
    page_routes(app, context)
    worklist_routes(app, context)
    study_routes(app, context)
    picture_routes(app, context)
    report_routes(app, context)
    review_routes(app, context)
    health_routes(app, context)
    well_known_routes(app, context)
    notification_routes(app, context)
    _handle_errors(app, context.settings)
    return app


def _hook_request(profile: Profile) -> HookRequest:
    """The request as that kind of EHR means it. Raises BadRequest, also for a hook that it is not offered."""
    parsed = parse_request(current_request().get_data(), client())
    if parsed.hook not in profile.hooks:
        raise BadRequest(f"hook is not offered to this client, which is offered {', '.join(profile.hooks)}.")
    return adapted(parsed, profile)


def _answered(hook_request: HookRequest, profile: Profile, context: Context) -> dict[str, Any]:
    """The answer that leaves. What was shown and handed over is remembered after the last check: an answer that does
    not pass it was seen by nobody."""
    caller: Caller | None = g.get("client")
    account = caller.account if caller is not None else None
    answered = answer(hook_request, context, profile, account)
    response = answered.response
    if context.settings.check_answers:
        response = checked_response(
            response, system_actions=profile.system_actions, max_summary=profile.max_summary
        )
    if account is not None:
        response = hand_over(response, answered.reports, account, context)
    remember(answered.offers, SERVICE_ID, hook_request, context)
    return response


def _guard(app: Flask, context: Context) -> None:
    """What happens before any handler, in this order, and to every answer."""
    limits = Limits(context.settings, context.open_profile)
    app.before_request(start_correlation)
    app.teardown_request(end_correlation)
    metrics_routes(app, context.settings, context.store)
    app.before_request(limits.before)
    app.before_request(preflight)
    require_client(app, context.authenticator)
    app.before_request(limits.share)
    app.before_request(correlate)
    app.before_request(limits.body)
    guard_pages(app, context.settings, context.store)
    add_headers(app, context.settings)

    @app.after_request
    def count_refusal(response: Response) -> Response:
        if response.status_code == 401:
            limits.refused()
        return response


def _handle_errors(app: Flask, settings: Settings) -> None:
    @app.errorhandler(SignInNeeded)
    def on_stranger(error: SignInNeeded) -> Response:
        if is_navigation():
            return Response(status=303, headers={"Location": sign_in_address()})
        return _answer(401, "login", said_by(error))

    @app.errorhandler(LeukoError)
    def on_error(error: LeukoError) -> Response:
        known = next((row for row in ERRORS if isinstance(error, row[0])), None)
        if known is None:
            return on_bug(error)
        _, status, code = known
        _log.warning("request not answered", status=status, error=type(error).__name__)
        if status == 401:
            return Response(status=401)
        response = _answer(status, code, said_by(error))
        if isinstance(error, TooManyRequests):
            response.headers["Retry-After"] = str(error.retry_after_s)
        return response

    @app.errorhandler(HTTPException)
    def on_http(error: HTTPException) -> Response | HTTPException:
        status = error.code or 500
        if status < 400:
            return error  # a redirect
        said: Mapping[int, Text] = {
            404: message("There is nothing at this address."),
            405: message("This address does not take that method."),
            415: "The Content-Type must be application/json, and the body not compressed (Content-Encoding).",
            413: f"The body is larger than {settings.max_request_bytes} bytes ({PREFIX}MAX_REQUEST_BYTES).",
        }
        issue = _HTTP_ISSUES.get(status, "processing")
        response = _answer(status, issue, said.get(status, f"{error.name}."))
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
        return _answer(
            500, "exception", message("Internal error. Reference: {reference}.", reference=reference)
        )


def _answer(status: int, code: str, said: Text) -> Response:
    if not wants_json():
        return error_page(status, said)
    # Who calls the CDS service is a program, and reads English.
    return _outcome(status, code, str(said) if is_api() else error_text(status, said))


def _outcome(status: int, code: str, text: str) -> Response:
    issue = {"severity": "error", "code": code, "diagnostics": text}
    return _json({"resourceType": "OperationOutcome", "issue": [issue]}, status)


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(encode_json(content), status, mimetype="application/json")
