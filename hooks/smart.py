"""SMART App Launch 2.2 as a client: discovery, the authorization request, the code's exchange, the id_token.

OAuth 2.0 is Authlib's, JOSE is joserfc's (which Authlib stands on). Only the configured issuers, and what their own
configuration names, are ever contacted; nothing is asked for with the access token, which is dropped.
"""

import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from cds.access import PendingSignIn
from cds.allowlist import why_not_confidential
from cds.deadline import Deadline
from cds.errors import SignInFailed
from cds.language import message
from cds.tls import Tls
from cds.upstream import Session, json_object, open_session, send
from hooks.issuers import Issuer

#: Algorithms of id_tokens: each with a key pair. `none` and shared secrets are none of them.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
CONFIGURATION_TTL_S = 600.0
LEEWAY_S = 30
_SERVER = "EHR's sign-in at"
_TIMEOUT_S = 5.0
_MAX_BYTES = 256 * 1024
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who an EHR says it is, and which patient it shows."""

    claims: Mapping[str, Any] = field(repr=False)
    #: `Type/id` on the EHR's server, or an absolute address elsewhere.
    fhir_user: str = field(repr=False)
    #: `Patient/id` on the EHR's server; None: it names none.
    patient: str | None = field(repr=False)
    #: What a card's link asked the EHR to hand on (CDS Hooks 2.0, `link.appContext`), whoever wrote it.
    app_context: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Configuration:
    """What `.well-known/smart-configuration` says, as far as we need it."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    fetched_at: float


class SmartClient:
    """Our side of a sign-in at any of the configured issuers. Safe for threads.

    redirect_uri: our address that they send the browser back to. tls: whom we trust. clock: seconds since 1970.
    """

    def __init__(
        self, redirect_uri: str, tls: Tls | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._redirect_uri, self._clock = redirect_uri, clock
        self._session = open_session(tls=tls)
        self._known: dict[str, _Configuration] = {}
        self._lock = threading.Lock()

    def begin(self, issuer: Issuer, launch: str | None, target: str) -> tuple[str, PendingSignIn]:
        """The address to send the browser to, and what to remember until it comes back.

        launch: the EHR's handle (EHR launch); None: standalone. Raises SignInFailed, UpstreamError.
        """
        configuration = self._configuration(issuer)
        pending = PendingSignIn(
            issuer=issuer.iss,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            code_verifier=secrets.token_urlsafe(64),
            target=target,
        )
        scopes = issuer.standalone_scopes if launch is None else issuer.launch_scopes
        asked = {"aud": issuer.iss, "nonce": pending.nonce} | ({"launch": launch} if launch else {})
        address, _ = self._oauth(issuer, configuration, scopes).create_authorization_url(
            configuration.authorization_endpoint,
            state=pending.state,
            code_verifier=pending.code_verifier,
            **asked,
        )
        return str(address), pending

    def complete(self, issuer: Issuer, pending: PendingSignIn, code: str) -> Identity:
        """Exchange the code and believe the id_token if it can be believed. Raises SignInFailed, UpstreamError."""
        configuration = self._configuration(issuer)
        try:
            token = self._oauth(issuer, configuration, ()).fetch_token(
                configuration.token_endpoint,
                grant_type="authorization_code",
                code=code,
                code_verifier=pending.code_verifier,
            )
        except (AuthlibBaseError, requests.RequestException, ValueError) as error:
            raise SignInFailed(f"the code was refused: {_code(getattr(error, 'error', None))}") from None
        claims = self._claims(token, issuer, pending, configuration)
        patient = token.get("patient")
        if patient is not None and not (isinstance(patient, str) and _ID.fullmatch(patient)):
            raise SignInFailed("the patient of the launch is no FHIR id")
        app_context = token.get("appContext")
        return Identity(
            claims=claims,
            fhir_user=_fhir_user(claims.get("fhirUser"), issuer),
            patient=f"Patient/{patient}" if patient is not None else None,
            app_context=app_context if isinstance(app_context, str) else None,
        )

    def check(self, issuer: Issuer) -> None:
        """Raises SignInFailed, UpstreamError where that EHR offers no sign-in that we can use."""
        self._keys(self._configuration(issuer))

    def check_issuer(self, issuer: Issuer, given: str | None) -> None:
        """RFC 9207: the answer says whose it is, where the server says so at all. Raises SignInFailed."""
        if given is not None and given != self._configuration(issuer).issuer:
            raise SignInFailed("the answer is another authorization server's")

    def _claims(
        self,
        token: Mapping[str, Any],
        issuer: Issuer,
        pending: PendingSignIn,
        configuration: _Configuration,
    ) -> Mapping[str, Any]:
        """OpenID Connect Core 1.0, section 3.1.3.7."""
        id_token = token.get("id_token")
        if not isinstance(id_token, str):
            raise SignInFailed("there is no id_token; is openid among the scopes that the EHR grants?")
        keys = self._keys(configuration)
        try:
            verified = jwt.decode(id_token, keys, algorithms=list(ALGORITHMS))
            claims = CodeIDToken(
                verified.claims,
                verified.header,
                options={
                    "iss": {"essential": True, "value": configuration.issuer},
                    "aud": {"essential": True, "value": issuer.client_id},
                },
                params={
                    "nonce": pending.nonce,
                    "client_id": issuer.client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(now=int(self._clock()), leeway=LEEWAY_S)
        except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError) as error:
            reason = _code(getattr(error, "error", None))
            # joserfc names the claim, and no value, in the description of these.
            claim = getattr(error, "claim", None)
            raise SignInFailed(
                f"the id_token cannot be believed: {reason}{f' ({claim})' if claim else ''}"
            ) from None
        return dict(claims)

    def _oauth(self, issuer: Issuer, configuration: _Configuration, scopes: tuple[str, ...]) -> OAuth2Client:
        method = "none" if issuer.secret is None else "client_secret_basic"
        if isinstance(issuer.secret, RSAKey | ECKey):
            method = PrivateKeyJWT.name
        client = OAuth2Client(
            _Exchange(self._session),
            client_id=issuer.client_id,
            client_secret=issuer.secret,
            token_endpoint_auth_method=method,
            scope=" ".join(scopes),
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )
        if method == PrivateKeyJWT.name:
            algorithm = "ES384" if isinstance(issuer.secret, ECKey) else "RS384"
            header = {"kid": issuer.key_id}
            client.register_client_auth_method(
                PrivateKeyJWT(configuration.token_endpoint, headers=header, alg=algorithm)
            )
        return client

    def _configuration(self, issuer: Issuer) -> _Configuration:
        with self._lock:
            known = self._known.get(issuer.iss)
        now = self._clock()
        if known is None or not 0 <= now - known.fetched_at < CONFIGURATION_TTL_S:
            document = self._fetch(f"{issuer.iss}/.well-known/smart-configuration")
            known = _read_configuration(document, now)
            with self._lock:
                self._known[issuer.iss] = known
        return known

    def _keys(self, configuration: _Configuration) -> KeySet:
        """Fetched at each sign-in: they are few, and a key that was withdrawn must not open the door."""
        found = self._fetch(configuration.jwks_uri).get("keys")
        usable = [
            jwk
            for jwk in (found if isinstance(found, list) else [])
            if isinstance(jwk, dict) and jwk.get("kty") in ("RSA", "EC") and jwk.get("use", "sig") == "sig"
        ]
        keys: list[OctKey | RSAKey | ECKey | OKPKey] = []
        for jwk in usable:
            try:
                keys.append((RSAKey if jwk["kty"] == "RSA" else ECKey).import_key(jwk))
            except (JoseError, ValueError, TypeError):
                continue  # a key of a kind that we do not know is no reason not to use another
        if not keys:
            raise SignInFailed("the EHR publishes no key that its id_tokens could be verified with")
        return KeySet(keys)

    def _fetch(self, url: str) -> dict[str, Any]:
        response = _send(self._session, "GET", url, headers={"Accept": "application/json"})
        return json_object(response, server=_SERVER)


class _Exchange:
    """What Authlib takes for a session of `requests`: under our time-outs, our limits, and without redirects."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def post(
        self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: ClientAuth
    ) -> requests.Response:
        url, headers, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        # An OAuth error is an answer (RFC 6749, section 5.2).
        return _send(self._session, "POST", url, accept_statuses=(400, 401), headers=headers, data=body)


def _send(session: Session, method: str, url: str, **kwargs: Any) -> requests.Response:
    return send(
        session,
        method,
        url,
        server=_SERVER,
        connect_timeout_s=_TIMEOUT_S,
        read_timeout_s=_TIMEOUT_S,
        deadline=Deadline(2 * _TIMEOUT_S),
        max_bytes=_MAX_BYTES,
        **kwargs,
    )


def _read_configuration(document: Mapping[str, Any], now: float) -> _Configuration:
    """SMART App Launch 2.2, section 2.10. Raises SignInFailed naming what is missing."""
    values = {}
    for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"):
        value = document.get(name)
        if not isinstance(value, str) or why_not_confidential(value):
            raise SignInFailed(f"the EHR's smart-configuration has no usable {name}")
        values[name] = value
    methods = document.get("code_challenge_methods_supported")
    if not isinstance(methods, list) or "S256" not in methods:
        raise SignInFailed("the EHR does not offer PKCE with S256, which SMART App Launch 2 asks for")
    return _Configuration(**values, fetched_at=now)


def _fhir_user(claim: object, issuer: Issuer) -> str:
    """Raises SignInFailed unless it is a reference to somebody who works there."""
    if not isinstance(claim, str):
        raise SignInFailed("the id_token has no fhirUser; is that scope among those that the EHR grants?")
    user = claim.removeprefix(f"{issuer.iss}/")
    kind, _, number = "/".join(user.rsplit("/", 2)[-2:]).partition("/")
    absolute = user.startswith(("https://", "http://"))
    if not _ID.fullmatch(number) or not (absolute or user == f"{kind}/{number}"):
        raise SignInFailed("fhirUser is no reference to a FHIR resource")
    if kind not in ("Practitioner", "PractitionerRole", "Person"):
        raise SignInFailed(
            message("fhirUser is nobody who works at the hospital; these pages are for clinicians")
        )
    return user


def _code(error: object) -> str:
    """An error's code. Descriptions are free text of another server: they could quote anything."""
    return error if isinstance(error, str) and _CODE.fullmatch(error) else "unreadable answer"
