"""Who may come in: a camera or browser with the token; without one configured, this machine alone.

Browsers show the token as the password of HTTP basic authentication, and send it along with whatever other pages make
them send; hence the second check of every form (OWASP, "Cross-Site Request Forgery Prevention": signed double-submit
cookie, and the Origin header).
"""

import hmac
import secrets
from urllib.parse import urlsplit

from flask import Response, g, request

from cds.allowlist import is_loopback
from cds.errors import BadRequest, ConfigurationError, Unauthenticated, UnknownService
from cds.settings import PREFIX, Settings

COOKIE = "leukocds-gateway"
FIELD = "proof"
MIN_TOKEN = 16
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")


def check_door(settings: Settings) -> None:
    """Raises ConfigurationError where whoever reaches the address could leave images, or release them."""
    if settings.gateway_token:
        if len(settings.gateway_token) < MIN_TOKEN:
            raise ConfigurationError(f"{PREFIX}GATEWAY_TOKEN has fewer than {MIN_TOKEN} characters")
    elif not is_loopback(settings.gateway_host):
        raise ConfigurationError(
            f"{PREFIX}GATEWAY_HOST is {settings.gateway_host} and {PREFIX}GATEWAY_TOKEN is not set: whoever reaches "
            "that address could leave images and release them. Set a token, or listen on 127.0.0.1"
        )


class Door:
    """The checks of one serving process."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.gateway_token
        self._secret = secrets.token_bytes(32)

    def admit(self) -> None:
        """Raises Unauthenticated for a wrong token and, where none is set, UnknownService for whoever calls from
        elsewhere."""
        if self._token:
            shown = _shown_token()
            if shown is None or not hmac.compare_digest(shown.encode(), self._token.encode()):
                raise Unauthenticated("the gateway's token is needed")
            return
        # A proxy on this machine calls from loopback too, for whoever called it; and a page of another site can give
        # its own name our address (DNS rebinding).
        forwarded = any(name in request.headers for name in _FORWARDED)
        named = urlsplit(f"//{request.host}").hostname or ""
        if forwarded or not is_loopback(request.remote_addr or "") or not is_loopback(named):
            raise UnknownService("There is nothing at this address.")

    def check_origin(self) -> None:
        """Raises BadRequest for what a page of another site makes a browser send."""
        origin = request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != request.host
        if foreign or request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            raise BadRequest("The request comes from a page of another site.")

    def check_form(self) -> None:
        """Raises BadRequest unless the form came from a page of ours that this browser had loaded."""
        self.check_origin()
        cookie, proof = request.cookies.get(COOKIE, ""), request.form.get(FIELD, "")
        if not cookie or not hmac.compare_digest(proof.encode(), self._proof(cookie).encode()):
            raise BadRequest("The form has expired: load the page again and send it once more.")

    def proof(self) -> str:
        """For the hidden field of a form."""
        if "form_cookie" not in g:
            g.form_cookie = request.cookies.get(COOKIE) or secrets.token_urlsafe(24)
        return self._proof(g.form_cookie)

    def keep_cookie(self, response: Response) -> Response:
        """After a page with a form."""
        if "form_cookie" in g and request.cookies.get(COOKIE) != g.form_cookie:
            response.set_cookie(
                COOKIE, g.form_cookie, httponly=True, samesite="Strict", secure=request.is_secure
            )
        return response

    def _proof(self, cookie: str) -> str:
        return hmac.digest(self._secret, cookie.encode(), "sha256").hex()


def _shown_token() -> str | None:
    authorization = request.authorization
    if authorization is None:
        return None
    return authorization.password if authorization.type == "basic" else authorization.token
