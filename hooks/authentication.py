"""Who calls: the JWT of a CDS client, verified on every call (CDS Hooks 2.0, "Trusting CDS Clients").

Whatever is wrong is answered by 401 without a body; the reason stands in our log, as a code and without anything that
the token said, and nowhere else.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from flask import Flask, Response, g, request
from jwt import PyJWS, PyJWTError

from cds.errors import Unauthenticated
from cds.ports import JtiStore
from cds.settings import Settings
from hooks.client_keys import ALGORITHMS
from hooks.clients import Client, load_clients
from hooks.ehr_profile import STANDARD, SURFACE, Profile

_log = structlog.get_logger(__name__)

#: Below what gunicorn takes for a header field; a token with an RSA signature of 4096 bits needs a sixth of it.
MAX_TOKEN_BYTES = 8000
REQUIRED_CLAIMS = ("iss", "aud", "exp", "iat", "jti")
#: A year beyond 5000 is no time that anybody means, and no date that Python has.
_LATEST = 1e11
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_JWS = PyJWS(algorithms=list(ALGORITHMS.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a verified token says is calling."""

    name: str
    iss: str
    tenant: str | None
    profile: Profile = STANDARD

    @property
    def account(self) -> str:
        """The issuer and the tenant that it speaks for: one organisation's EHR."""
        return f"{self.iss} {self.tenant}" if self.tenant else self.iss


class Authenticator:
    """Verifies tokens of the configured clients. Safe for threads."""

    def __init__(
        self,
        clients: Mapping[str, Client],
        store: JtiStore,
        *,
        clock_skew_s: float,
        max_lifetime_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients, self._store, self._clock = clients, store, clock
        self._skew_s, self._max_lifetime_s = clock_skew_s, max_lifetime_s

    @classmethod
    def from_settings(cls, settings: Settings, store: JtiStore) -> "Authenticator":
        """Raises ConfigurationError naming what is wrong in the clients file."""
        return cls(
            load_clients(settings),
            store,
            clock_skew_s=settings.jwt_clock_skew_s,
            max_lifetime_s=settings.jwt_max_lifetime_s,
        )

    def authenticate(self, authorization: str | None, path: str) -> Caller:
        """authorization: the header's value. path: of the endpoint that is called, without trailing slash.

        Raises Unauthenticated, whose message is a code for our log, and StoreError where the used tokens are not known.
        A token that got so far as to be used is used up, whatever becomes of the request.
        """
        token = _bearer(authorization)
        header, claims = _unverified(token)
        client = self._client_of(claims)
        # What costs nothing first: the signature costs computing, an unknown key a fetch, the jti a write.
        self._check_times(claims)
        jti, tenant = claims["jti"], claims.get("tenant")
        if not isinstance(jti, str) or not jti:
            raise Unauthenticated("jti")
        if not client.accepts(claims["aud"], path):
            raise Unauthenticated("aud")
        if not isinstance(tenant, str | None) or (client.tenants and tenant not in client.tenants):
            raise Unauthenticated("tenant")
        _verify_signature(token, header, client)
        # Remembered until it is refused as expired, also by a host whose clock is late.
        expires_at = _moment(claims["exp"] + 2 * self._skew_s)
        if not self._store.use_jti(client.iss, jti, expires_at, _moment(self._clock())):
            raise Unauthenticated("jti-reused")
        return Caller(name=client.name, iss=client.iss, tenant=tenant, profile=client.profile)

    def client_named(self, authorization: str | None) -> str | None:
        """Name of the configured client that an unverified token claims to be from: for the log alone."""
        try:
            return self._client_of(_unverified(_bearer(authorization))[1]).name
        except Unauthenticated:
            return None

    def _client_of(self, claims: Mapping[str, Any]) -> Client:
        for name in REQUIRED_CLAIMS:
            if claims.get(name) is None:
                raise Unauthenticated(f"{name}-missing")
        iss = claims["iss"]
        client = self._clients.get(iss) if isinstance(iss, str) else None
        if client is None:
            raise Unauthenticated("iss")
        return client

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        """RFC 7519, sections 4.1.4 to 4.1.6, each within the clock skew."""
        exp, iat, nbf = (_seconds(claims, name) for name in ("exp", "iat", "nbf"))
        now = self._clock()
        if now >= exp + self._skew_s:
            raise Unauthenticated("exp-past")
        if iat > now + self._skew_s:
            raise Unauthenticated("iat-future")
        if nbf > now + self._skew_s:
            raise Unauthenticated("nbf-future")
        if not 0 < exp - iat <= self._max_lifetime_s:
            raise Unauthenticated("lifetime")


def require_client(app: Flask, authenticator: Authenticator | None) -> None:
    """Nothing at or below /cds-services answers a caller without a valid token; None: open mode, everybody is let in.

    Handlers find the `Caller` in `flask.g.client` and its `iss` in `flask.g.client_issuer`. A browser's preflight
    passes: it cannot carry a token (Fetch standard, "CORS-preflight fetch") and gets no data.
    """
    if authenticator is None:
        return

    @app.before_request
    def authenticate() -> Response | None:
        if not request.path.startswith(SURFACE) or request.method == "OPTIONS":
            return None
        authorization = request.headers.get("Authorization")
        try:
            caller = authenticator.authenticate(authorization, request.path.rstrip("/"))
        except Unauthenticated as refusal:
            _log.warning(
                "client refused", reason=str(refusal), client=authenticator.client_named(authorization)
            )
            return Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        g.client, g.client_issuer = caller, caller.iss
        return None


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Unauthenticated("no-token")
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("not-bearer")
    if len(token) > MAX_TOKEN_BYTES:
        raise Unauthenticated("token-too-large")
    if not _COMPACT.fullmatch(token):
        raise Unauthenticated("malformed")
    return token


def _unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims, believed in nothing yet but in where to look for the key."""
    try:
        parts = _JWS.decode_complete(token, options={"verify_signature": False})
        header, claims = parts["header"], json.loads(parts["payload"])
    except (PyJWTError, ValueError, RecursionError):
        raise Unauthenticated("malformed") from None
    if not isinstance(claims, dict):
        raise Unauthenticated("malformed")
    return header, claims


def _verify_signature(token: str, header: Mapping[str, Any], client: Client) -> None:
    """RFC 7515, section 5.2, with the key that the client's own set has under that `kid` and with no other."""
    if header.get("alg") not in ALGORITHMS.values():
        raise Unauthenticated("alg")
    if header.get("typ") != "JWT":
        raise Unauthenticated("typ")
    if "crit" in header:
        raise Unauthenticated("crit")
    if "jku" in header and (client.jku is None or header["jku"] != client.jku):
        raise Unauthenticated("jku")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise Unauthenticated("kid-missing")
    key = client.keys.find(kid)
    if key is None:
        raise Unauthenticated("kid-unknown")
    if key.alg != header["alg"]:
        raise Unauthenticated("alg-of-key")
    try:
        _JWS.decode_complete(token, key.public_key, algorithms=[key.alg])
    except (PyJWTError, ValueError, TypeError):
        raise Unauthenticated("signature") from None


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519, section 2); 0 where an optional one is absent."""
    value = claims.get(name, 0)
    # The comparison is false for NaN as well, which JSON of some makers holds.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise Unauthenticated(name)
    return value


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
