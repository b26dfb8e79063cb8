"""Signing in and out: the page, SMART App Launch from an EHR or from here, and what a session begins with."""

import json
import secrets
import uuid
from datetime import timedelta
from urllib.parse import quote, urlsplit

import structlog
from flask import Flask, Response, g, render_template, request

from cds.access import AuditAction, AuditOutcome, PendingSignIn, Session
from cds.errors import BadRequest, LeukoError, SignInFailed, StoreError, UnknownService
from cds.language import message, said_by
from cds.tls import Tls
from cds.values import utc_now
from hooks.context import Context
from hooks.cookies import (
    SIGN_IN_S,
    clear_session_cookie,
    clear_sign_in_cookie,
    read_session_cookie,
    read_sign_in_cookie,
    set_session_cookie,
    set_sign_in_cookie,
)
from hooks.development import PEOPLE, development_session
from hooks.issuers import check_sign_in, load_issuers, public_key
from hooks.roles import session_of
from hooks.smart import Identity, SmartClient
from hooks.visitors import current_visitor, record

CALLBACK = "/sign-in/callback"
#: Where a launch from an EHR leads.
HOME = "/worklist"
_MAX_TARGET = 2000
_MAX_LAUNCH = 4000

_log = structlog.get_logger(__name__)


def sign_in_routes(app: Flask, context: Context) -> None:
    """Raises ConfigurationError naming what is wrong in the sign-in file, or where people could not sign in safely."""
    settings, store = context.settings, context.store
    check_sign_in(settings)
    issuers = load_issuers(settings)
    smart = SmartClient(f"{settings.base_url}{CALLBACK}", Tls.from_settings(settings))

    @app.context_processor
    def frame() -> dict[str, object]:
        try:
            visitor = current_visitor()
        except StoreError:
            visitor = None  # the page that says so is a page, too
        return {"visitor": visitor, "development": settings.development_login}

    @app.get("/sign-in")
    def sign_in() -> str:
        return render_template(
            "sign_in.html",
            issuers=[issuer for issuer in issuers.values() if issuer.standalone],
            configured=bool(issuers),
            people=PEOPLE if settings.development_login else {},
            target=safe_target(request.args.get("next")),
            signed_out="signed-out" in request.args,
        )

    @app.get("/sign-in/jwks.json")
    def jwks() -> dict[str, object]:
        """Our public keys, for EHRs that know us by one (SMART App Launch 2.2, "Asymmetric Authentication")."""
        keys = [key for issuer in issuers.values() if (key := public_key(issuer))]
        if not keys:
            raise UnknownService("No EHR of the sign-in file knows us by a key.")
        return {"keys": keys}

    @app.get("/sign-in/start")
    def start() -> Response:
        """Standalone launch (SMART App Launch 2.2, section 2.0.6)."""
        return begin(request.args.get("iss", ""), None, safe_target(request.args.get("next")))

    @app.get("/launch")
    def launch() -> Response:
        """EHR launch (SMART App Launch 2.2, section 2.0.5)."""
        handle = request.args.get("launch", "")
        if not handle or len(handle) > _MAX_LAUNCH or not handle.isprintable():
            raise BadRequest(
                message("launch is missing or malformed: this address is for EHRs (SMART App Launch)")
            )
        return begin(request.args.get("iss", ""), handle, HOME)

    def begin(iss: str, handle: str | None, target: str) -> Response:
        issuer = issuers.get(iss.rstrip("/"))
        if issuer is None or (handle is None and not issuer.standalone):
            # Nothing is fetched: whoever wrote the link chose the address.
            _log.warning("sign-in refused: issuer not configured")
            raise SignInFailed(
                message("This EHR is not among those that vouch for people here (LEUKOCDS_SIGN_IN).")
            )
        address, pending = smart.begin(issuer, handle, target)
        secret = secrets.token_urlsafe(32)
        store.begin_sign_in(secret, pending, utc_now() + timedelta(seconds=SIGN_IN_S))
        response = _to(address)
        set_sign_in_cookie(response, settings, secret)
        return response

    @app.get(CALLBACK)
    def callback() -> Response:
        secret, state = read_sign_in_cookie(settings), request.args.get("state", "")
        pending = store.take_sign_in(secret, state) if secret and state else None
        if pending is None:
            _log.warning("sign-in refused: not begun in this browser")
            raise SignInFailed(
                message(
                    "This sign-in was not begun in this browser, was used already, or is too old. Please begin again."
                )
            )
        try:
            identity, session = identified(pending)
        except LeukoError as error:
            _log.warning("sign-in failed", error=type(error).__name__, reason=str(error))
            record(AuditAction.SIGN_IN, None, AuditOutcome.DENIED)
            if isinstance(error, SignInFailed):
                raise SignInFailed(
                    message("You could not be signed in: {reason}", reason=said_by(error))
                ) from None
            raise
        response = opened(session, _study(identity.app_context) or pending.target)
        clear_sign_in_cookie(response, settings)
        return response

    def identified(pending: PendingSignIn) -> tuple[Identity, Session]:
        issuer = issuers.get(pending.issuer)
        if issuer is None:
            raise SignInFailed(message("the EHR is not configured any more"))
        smart.check_issuer(issuer, request.args.get("iss"))
        code = request.args.get("code", "")
        if not code:
            raise SignInFailed(message("the EHR did not let you in"))
        identity = smart.complete(issuer, pending, code)
        return identity, session_of(identity, issuer, settings, utc_now())

    def opened(session: Session, target: str) -> Response:
        """A new secret at each sign-in: whatever was in the browser before opens nothing."""
        close()
        secret = secrets.token_urlsafe(32)
        store.open_session(secret, session)
        record(AuditAction.SIGN_IN, session.patient, AuditOutcome.ALLOWED, session=session)
        _log.info("signed in", issuer=urlsplit(session.issuer).netloc or session.issuer)
        response = _to(target)
        set_session_cookie(response, settings, secret)
        return response

    def close() -> None:
        if secret := read_session_cookie(settings):
            store.close_session(secret)

    @app.post("/sign-out")
    def sign_out() -> Response:
        if current_visitor() is not None:
            record(AuditAction.SIGN_OUT, None, AuditOutcome.ALLOWED)
        close()
        g.visitor = g.visitor_session = None
        response = _to("/sign-in?signed-out")
        clear_session_cookie(response, settings)
        return response

    if settings.development_login:

        @app.post("/sign-in/development")
        def development() -> Response:
            session = development_session(request.form, settings, utc_now())
            return opened(session, safe_target(request.form.get("next")))


def sign_in_address() -> str:
    """Of the sign-in page that leads back to the page that is asked for now."""
    wanted = request.full_path.rstrip("?")
    return f"/sign-in?next={quote(wanted, safe='/')}"


def safe_target(text: str | None) -> str:
    """A path on our side, as it is; anything else (another host, a script) becomes the worklist."""
    text = text or HOME
    plain = len(text) <= _MAX_TARGET and text.isprintable() and "\\" not in text and text.isascii()
    if not plain or not text.startswith("/") or text.startswith("//"):
        return HOME
    path = urlsplit(text).path
    return HOME if path.startswith(("//", "/sign-in", "/launch", "/sign-out")) else text


def _study(app_context: str | None) -> str | None:
    """The page of the study that a card's link handed on, as `hooks.card_shape` writes it or by its key alone; anything
    else leads nowhere."""
    key: object = app_context
    try:
        if app_context and app_context.startswith("{"):
            key = json.loads(app_context).get("study")
        return f"/studies/{uuid.UUID(key if isinstance(key, str) else '')}"
    except (ValueError, RecursionError):
        return None


def _to(address: str) -> Response:
    return Response(status=303, headers={"Location": address})
