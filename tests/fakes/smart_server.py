"""A SMART authorization server on a real socket of 127.0.0.1, in front of no FHIR server.

It checks what a real one checks: client, redirect_uri, aud, launch, PKCE, the code's age, client and single use, the
client's secret or signed assertion. It signs id_tokens that a knob can spoil (`claims`, `header`, `signing_key`).
Whoever comes is let in: there is no page in between.
"""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from flask import Flask, Response, redirect, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response as AnyResponse

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Registered:
    """A client as it is registered here: public, with a secret, or with its public keys."""

    redirect_uri: str
    secret: str | None = None
    keys: KeySet | None = None


@dataclass(slots=True)
class _Code:
    client_id: str
    redirect_uri: str
    challenge: str
    nonce: str
    scope: frozenset[str]
    launch: str | None
    expires_at: float


@dataclass
class AuthorizationServer:
    """asked: paths in the order in which they were asked for. launches: handle of an EHR launch to its patient.

    app_context: handed on from a card's link. fhir_user, patient: who signs in,
    and the patient chosen in a standalone launch. claims: laid over those of an
    id_token (None: left out). algorithm: of id_tokens; `none` sends them unsigned, HS256 signs with the public key.
    """

    algorithm: str = "RS256"
    clients: dict[str, Registered] = field(default_factory=dict)
    launches: dict[str, str | None] = field(default_factory=dict)
    fhir_user: str | None = "Practitioner/1"
    patient: str | None = None
    app_context: Any = None
    claims: dict[str, Any] = field(default_factory=dict)
    signing_key: RSAKey | ECKey | None = None
    configuration: dict[str, Any] = field(default_factory=dict)
    token_answer: Mapping[str, Any] | None = None
    code_age_s: float = 60.0
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        kid = {"kid": "key-1"}
        self.rsa = RSAKey.generate_key(2048, kid)
        self.ec = ECKey.generate_key("P-384", kid)
        self._codes: dict[str, _Code] = {}
        self._used_assertions: set[str] = set()
        self._server = make_server("127.0.0.1", 0, self._app(), threaded=True, request_handler=_Quiet)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        #: Address of the FHIR server that it stands in front of.
        self.iss = f"{self.base}/fhir"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def key(self) -> RSAKey | ECKey:
        return self.ec if self.algorithm.startswith("ES") else self.rsa

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _app(self) -> Flask:
        app = Flask(__name__)

        @app.before_request
        def remember() -> None:
            self.asked.append(request.path)

        @app.get("/fhir/.well-known/smart-configuration")
        def configuration() -> dict[str, Any]:
            said = {
                "issuer": self.base,
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token",
                "jwks_uri": f"{self.base}/jwks",
                "code_challenge_methods_supported": ["S256"],
                "capabilities": ["launch-ehr", "launch-standalone", "sso-openid-connect"],
            }
            return {name: value for name, value in (said | self.configuration).items() if value is not None}

        @app.get("/jwks")
        def jwks() -> dict[str, Any]:
            # A stranger's key beside it: clients choose by kid.
            other = RSAKey.generate_key(2048, {"kid": "key-0"})
            return {"keys": [other.as_dict(private=False), self.key.as_dict(private=False)]}

        @app.get("/authorize")
        def authorize() -> AnyResponse:
            return self._authorize(request.args)

        @app.post("/token")
        def token() -> Response:
            return self._token(request.form)

        return app

    def _authorize(self, asked: Mapping[str, str]) -> AnyResponse:
        client = self.clients.get(asked.get("client_id", ""))
        if client is None or asked.get("redirect_uri") != client.redirect_uri:
            return Response(
                "unknown client or redirect_uri", 400
            )  # never redirected (RFC 6749, section 4.1.2.1)

        def back(**answer: str) -> AnyResponse:
            return redirect(f"{client.redirect_uri}?{urlencode(answer | {'state': asked.get('state', '')})}")

        launch = asked.get("launch")
        scope = frozenset(asked.get("scope", "").split())
        if asked.get("response_type") != "code" or asked.get("aud") != self.iss or "openid" not in scope:
            return back(error="invalid_request")
        if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != 43:
            return back(error="invalid_request")
        if (launch is None) == ("launch" in scope) or (launch is not None and launch not in self.launches):
            return back(error="invalid_request")
        code = secrets.token_urlsafe(16)
        self._codes[code] = _Code(
            client_id=asked["client_id"],
            redirect_uri=client.redirect_uri,
            challenge=asked["code_challenge"],
            nonce=asked.get("nonce", ""),
            scope=scope,
            launch=launch,
            expires_at=time.time() + self.code_age_s,
        )
        return back(code=code)

    def _token(self, form: Mapping[str, str]) -> Response:
        client_id = self._client(form)
        if client_id is None:
            return _json({"error": "invalid_client"}, 401)
        code = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            form.get("grant_type") != "authorization_code"
            or code is None
            or code.client_id != client_id
            or code.redirect_uri != form.get("redirect_uri")
            or code.challenge != base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            or code.expires_at <= time.time()
        ):
            return _json(
                {"error": "invalid_grant", "error_description": "p-1 said eyJhbGciOiJub25lIn0.e30."}, 400
            )
        if self.token_answer is not None:
            return _json(dict(self.token_answer))
        answer: dict[str, Any] = {
            "access_token": "some-opaque-access-token",
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": " ".join(sorted(code.scope)),
            "id_token": self._id_token(client_id, code),
        }
        patient = self.launches.get(code.launch) if code.launch is not None else self.patient
        if self.app_context is not None:
            answer["appContext"] = self.app_context
        if patient is not None:
            answer["patient"] = patient
        return _json(answer)

    def _client(self, form: Mapping[str, str]) -> str | None:
        """RFC 6749, section 2.3.1; RFC 7523, section 2.2: by the one way that it is registered for."""
        basic = request.authorization
        if basic is not None and basic.type == "basic":
            client = self.clients.get(basic.username or "")
            secret = basic.password
            return basic.username if client and client.secret and secret == client.secret else None
        if form.get("client_assertion_type") == ASSERTION:
            return self._asserted(form.get("client_assertion", ""))
        client = self.clients.get(form.get("client_id", ""))
        return form["client_id"] if client and client.secret is None and client.keys is None else None

    def _asserted(self, assertion: str) -> str | None:
        for client_id, client in self.clients.items():
            if client.keys is None:
                continue
            try:
                claims = jwt.decode(assertion, client.keys, algorithms=["RS384", "ES384"]).claims
            except (JoseError, ValueError):
                continue
            fresh = claims.get("jti") and claims["jti"] not in self._used_assertions
            named = claims.get("iss") == claims.get("sub") == client_id
            if fresh and named and claims.get("aud") == f"{self.base}/token" and claims["exp"] > time.time():
                self._used_assertions.add(claims["jti"])
                return client_id
        return None

    def _id_token(self, client_id: str, code: _Code) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.base,
            "sub": "user-1",
            "aud": client_id,
            "exp": now + 300,
            "iat": now,
            "nonce": code.nonce,
            "name": "Dr. Grace Example",
            "fhirUser": self.fhir_user and f"{self.iss}/{self.fhir_user}",
        } | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            parts = [_base64({"alg": "none", "kid": "key-1"}), _base64(claims), ""]
            return ".".join(parts)
        if self.algorithm == "HS256":  # the public key as a shared secret
            signed = f"{_base64({'alg': 'HS256', 'kid': 'key-1'})}.{_base64(claims)}"
            digest = hmac.digest(self.rsa.as_pem(private=False), signed.encode(), "sha256")
            return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
        key = self.signing_key or self.key
        return jwt.encode({"alg": self.algorithm, "kid": "key-1"}, claims, key, algorithms=[self.algorithm])


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return


def _base64(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(
        json.dumps(body), status, mimetype="application/json", headers={"Cache-Control": "no-store"}
    )
