"""Who looks at a page, and whether they may. Every page asks here first, and what it shows is recorded here.

Sessions lie in the store, under the digest of a secret that the browser holds in a cookie; see
`docs/decisions/0034-sessions-of-the-pages.md`.
"""

import hashlib
import hmac
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import structlog
from flask import Flask, current_app, g, request

from cds.access import AuditAction, AuditEntry, AuditOutcome, Session
from cds.allowlist import is_loopback
from cds.errors import NotAllowed, SignInNeeded
from cds.identifiers import derived_uuid
from cds.language import message
from cds.ports import VisitorStore
from cds.settings import Settings
from cds.values import utc_now
from hooks.cookies import read_session_cookie
from hooks.headers import is_api

_log = structlog.get_logger(__name__)

CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"
#: Sent with what a page asks by itself, so that a page left open does not keep its session alive.
POLL_HEADER = "X-Poll"
_SAFE = ("GET", "HEAD", "OPTIONS")
_EXTENSION = "leukocds.visitors"
_UNKNOWN = object()
#: Entries about parts of pages that one process remembers to have stored.
_RECENT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who signed in and whose session goes on."""

    #: FHIR reference such as `Practitioner/1`.
    user: str = field(repr=False)
    name: str = field(repr=False)
    may_review: bool
    may_operate: bool
    #: Only this patient may be seen, when set.
    patient: str | None = field(repr=False)
    csrf_token: str = field(repr=False)


class _Door:
    """What every page needs to know of sessions and audit, once for the app. Safe for threads."""

    def __init__(self, settings: Settings, store: VisitorStore) -> None:
        self.settings, self.store = settings, store
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def is_known(self, entry_id: str) -> bool:
        """Whether this process has stored an entry of that id lately."""
        with self._lock:
            return entry_id in self._recent

    def is_stored(self, entry_id: str) -> None:
        with self._lock:
            self._recent[entry_id] = None
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)


def guard_pages(app: Flask, settings: Settings, store: VisitorStore) -> None:
    """Before any route of a page: what changes something must come from a page of ours, in its session."""
    app.extensions[_EXTENSION] = _Door(settings, store)

    @app.before_request
    def refuse_forgery() -> None:
        if request.method in _SAFE or is_api() or request.endpoint is None:
            return
        check_origin(settings)
        visitor = current_visitor()
        if visitor is None:
            return  # a page that needs none says so itself; one that needs one asks for it
        given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
        if not hmac.compare_digest(given.encode(), visitor.csrf_token.encode()):
            raise NotAllowed(
                message("This page is out of date or was not made here: reload it and try again.")
            )


def current_visitor() -> Visitor | None:
    """Who looks at this page; None: nobody has signed in, or the session is over."""
    found = g.get("visitor", _UNKNOWN)
    if found is _UNKNOWN:
        g.visitor_session, g.visitor = _look_up()
    visitor: Visitor | None = g.visitor
    return visitor


def visitor_for(study_patient: str | None, *, look: bool = True) -> Visitor:
    """Who looks at a page about that patient's smear (None: of a smear without a known patient).

    The look is recorded, or that it was refused; look: False when nothing new is shown. Raises SignInNeeded when nobody
    signed in, NotAllowed when they may not see that patient, and StoreError when it cannot be recorded: then nothing
    may be shown.
    """
    visitor = current_visitor()
    if visitor is None:
        raise SignInNeeded(message("Sign in to see this page."))
    action = AuditAction.VIEW if request.method in _SAFE else AuditAction.CHANGE
    allowed = visitor.patient is None or visitor.patient == study_patient
    if look or not allowed:
        record(action, study_patient, AuditOutcome.ALLOWED if allowed else AuditOutcome.DENIED)
    if not allowed:
        _log.warning("page refused: another patient's", page=request.endpoint)
        raise NotAllowed(message("You are signed in for one patient, and this page is about another."))
    return visitor


def any_visitor(*, operator: bool = False, staff: bool = False, look: bool = True) -> Visitor:
    """Who looks at a page about no patient in particular. Raises SignInNeeded, NotAllowed, StoreError.

    operator: only operators may. staff: only reviewers and operators may. look: False when nothing new is shown, so
    that there is nothing to record.
    """
    visitor = current_visitor()
    if visitor is None:
        raise SignInNeeded(message("Sign in to see this page."))
    allowed = visitor.may_operate if operator else True
    if staff:
        allowed = visitor.may_operate or visitor.may_review
    if look or not allowed:
        action = AuditAction.LIST if request.method in _SAFE else AuditAction.CHANGE
        record(action, None, AuditOutcome.ALLOWED if allowed else AuditOutcome.DENIED)
    if not allowed:
        _log.warning("page refused: not in that role", page=request.endpoint)
        raise NotAllowed(message("Your role does not let you do this."))
    return visitor


def record(
    action: AuditAction, patient: str | None, outcome: AuditOutcome, *, session: Session | None = None
) -> None:
    """Store who does this to which page; parts of a page (its images) count once a minute. Raises StoreError."""
    door, now = _door(), utc_now()
    who: Session | None = session or g.get("visitor_session")
    arguments = request.view_args or {}
    what = " ".join(filter(None, (request.endpoint, str(arguments.get("key", "")))))
    if set(arguments) - {"key"} and action is AuditAction.VIEW and outcome is AuditOutcome.ALLOWED:
        # Hundreds of images make one page: which of them the browser had in its memory means nothing.
        user = who.user if who else ""
        entry_id = derived_uuid("audit", user, what, patient or "", f"{now:%Y-%m-%dT%H:%M}")
        if door.is_known(entry_id):
            return
    else:
        entry_id = str(uuid.uuid4())
    door.store.record(
        AuditEntry(
            id=entry_id,
            at=now,
            user=who.user if who else None,
            name=who.name if who else None,
            issuer=who.issuer if who else None,
            action=action,
            what=what,
            patient=patient,
            outcome=outcome,
            address=request.remote_addr,
        )
    )
    door.is_stored(entry_id)


def check_origin(settings: Settings) -> None:
    """Raises NotAllowed when a page of another site sends this (Fetch standard, "Origin" and "Sec-Fetch-Site")."""
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    ours = {_origin(settings.base_url)}
    if is_loopback(urlsplit(settings.base_url).hostname or ""):
        ours.add(_origin(request.host_url))  # localhost and 127.0.0.1 are the same machine
    if origin is not None and origin not in ours:
        raise NotAllowed(message("This was sent by a page of another site."))
    if origin is None and site not in (None, "same-origin", "none"):
        raise NotAllowed(message("This was sent by a page of another site."))


def csrf_token(secret: str) -> str:
    """The token of a session's pages: who has the page has it, who has it cannot tell the session's secret."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def _look_up() -> tuple[Session | None, Visitor | None]:
    door = _door()
    secret = read_session_cookie(door.settings)
    if not secret:
        return None, None
    idle_s, in_use = 60.0 * door.settings.session_idle_min, POLL_HEADER not in request.headers
    session = door.store.session(secret, idle_s, in_use=in_use)
    if session is None:
        return None, None
    return session, Visitor(
        user=session.user,
        name=session.name,
        may_review=session.may_review,
        may_operate=session.may_operate,
        patient=session.patient,
        csrf_token=csrf_token(secret),
    )


def _door() -> _Door:
    door: _Door = current_app.extensions[_EXTENSION]
    return door


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
