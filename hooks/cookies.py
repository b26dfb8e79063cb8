"""The cookies: the session's and that of a sign-in under way, which hold a random secret and nothing else; and the
language that a reader chose."""

from urllib.parse import urlsplit

from flask import Response, request

from cds.settings import Settings
from hooks.languages import LANGUAGE_COOKIE, LANGUAGE_S

#: A sign-in that takes longer than this begins again.
SIGN_IN_S = 600
#: Longest value that is looked up; ours have 43 characters.
_MAX = 100


def read_session_cookie(settings: Settings) -> str:
    return _read(_session_name(settings))


def set_session_cookie(response: Response, settings: Settings, secret: str) -> None:
    """No Max-Age: it goes with the browser; how long the session lives is for the store to say."""
    _set(response, settings, _session_name(settings), secret, None)


def clear_session_cookie(response: Response, settings: Settings) -> None:
    _set(response, settings, _session_name(settings), "", 0)


def read_sign_in_cookie(settings: Settings) -> str:
    return _read(_sign_in_name(settings))


def set_sign_in_cookie(response: Response, settings: Settings, secret: str) -> None:
    _set(response, settings, _sign_in_name(settings), secret, SIGN_IN_S)


def clear_sign_in_cookie(response: Response, settings: Settings) -> None:
    _set(response, settings, _sign_in_name(settings), "", 0)


def set_language_cookie(response: Response, settings: Settings, language: str) -> None:
    _set(response, settings, LANGUAGE_COOKIE, language, LANGUAGE_S)


def _session_name(settings: Settings) -> str:
    # The prefix: no other host and no http page can have set it (RFC 6265bis, section 4.1.3.2).
    return "__Host-leukocds" if _secure(settings) else "leukocds"


def _sign_in_name(settings: Settings) -> str:
    return "__Host-leukocds-sign-in" if _secure(settings) else "leukocds-sign-in"


def _read(name: str) -> str:
    value = request.cookies.get(name, "")
    return value if len(value) <= _MAX else ""


def _set(response: Response, settings: Settings, name: str, value: str, max_age: int | None) -> None:
    # Lax, not Strict: a card's link and an EHR's launch are navigations from another site, and the session must come
    # along. In a frame of another site neither would: there it is None, in a jar of that site's own (CHIPS).
    framed = bool(settings.frame_ancestors)
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        path="/",
        secure=_secure(settings),
        httponly=True,
        samesite="None" if framed else "Lax",
        partitioned=framed,
    )


def _secure(settings: Settings) -> bool:
    return urlsplit(settings.base_url).scheme == "https"
