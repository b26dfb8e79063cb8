"""A browser that somebody has signed in with, for tests of pages."""

import secrets
from datetime import timedelta

from flask.testing import FlaskClient

from cds.access import Session
from cds.values import utc_now
from hooks.context import Context
from hooks.visitors import csrf_token


def sign_in(
    client: FlaskClient,
    context: Context,
    *,
    user: str = "Practitioner/1",
    name: str = "Dr. Test",
    may_review: bool = True,
    may_operate: bool = False,
    patient: str | None = None,
    hours: float = 1.0,
) -> str:
    """Give the client a session of its own; the session's CSRF token."""
    secret = open_session(
        context,
        user=user,
        name=name,
        may_review=may_review,
        may_operate=may_operate,
        patient=patient,
        hours=hours,
    )
    secure = context.settings.base_url.startswith("https")
    client.set_cookie("__Host-leukocds" if secure else "leukocds", secret)
    return csrf_token(secret)


def open_session(
    context: Context,
    *,
    user: str = "Practitioner/1",
    name: str = "Dr. Test",
    may_review: bool = True,
    may_operate: bool = False,
    patient: str | None = None,
    hours: float = 1.0,
) -> str:
    """A session in the store; the secret that its browser holds in the cookie."""
    secret, now = secrets.token_urlsafe(32), utc_now()
    context.store.open_session(
        secret,
        Session(
            user=user,
            name=name,
            issuer="https://ehr.example/fhir",
            may_review=may_review,
            may_operate=may_operate,
            patient=patient,
            started_at=now,
            ends_at=now + timedelta(hours=hours),
        ),
    )
    return secret
