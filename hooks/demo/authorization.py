"""TEST DOUBLE of a SMART authorization server (SMART App Launch 2.2) in front of the simulated hospital.

Whoever sits at the chart is who they say they are: there is no password. What a client could get wrong is refused as a
real server refuses it: client, redirect_uri, aud, scope, launch, PKCE, the code's age and single use.
"""

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from cds.signing_key import SigningKey
from hooks.demo.patients import STAFF

CLIENT_ID = "leukocds"
CODE_S = 60.0
_TOKEN_S = 300
#: Launches and codes remembered; the oldest are forgotten.
_MAX_HELD = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What an app is launched with: who sits at the chart, whose chart it is, and what the card's link hands on."""

    person: str
    patient: str | None = None
    app_context: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    launch: Launch
    challenge: str
    nonce: str
    scope: str
    until: float


class AuthorizationDouble:
    """base: address of the hospital. redirect_uri: of the one app registered, a public client. Safe for threads."""

    def __init__(self, base: str, redirect_uri: str) -> None:
        self._base, self._redirect_uri = base, redirect_uri
        self._key = SigningKey.new()
        self._launches: dict[str, Launch] = {}
        self._codes: dict[str, _Code] = {}
        self._lock = threading.Lock()

    def launch(self, launch: Launch) -> str:
        """A handle for an EHR launch."""
        handle = secrets.token_urlsafe(16)
        with self._lock:
            _keep(self._launches, handle, launch)
        return handle

    def add_to(self, app: Flask) -> None:
        @app.get("/fhir/.well-known/smart-configuration")
        def configuration() -> Response:
            return jsonify(
                issuer=self._base,
                authorization_endpoint=f"{self._base}/oauth/authorize",
                token_endpoint=f"{self._base}/oauth/token",
                jwks_uri=f"{self._base}/oauth/jwks",
                grant_types_supported=["authorization_code"],
                code_challenge_methods_supported=["S256"],
                capabilities=["launch-ehr", "launch-standalone", "client-public", "sso-openid-connect"],
            )

        @app.get("/oauth/jwks")
        def jwks() -> Response:
            return jsonify(keys=[self._key.jwk])

        @app.get("/oauth/authorize")
        def authorize() -> AnyResponse:
            return self._authorize(request.args.to_dict())

        @app.post("/oauth/token")
        def token() -> Response:
            answer, status = self._token(request.form)
            response = make_response(jsonify(answer), status)
            response.headers["Cache-Control"] = "no-store"
            return response

    def _authorize(self, asked: Mapping[str, str]) -> AnyResponse:
        if asked.get("client_id") != CLIENT_ID or asked.get("redirect_uri") != self._redirect_uri:
            # Never led back to an address that is not registered (RFC 6749, section 4.1.2.1).
            return Response("This app is not registered here.", 400, mimetype="text/plain")

        def back(**answer: str) -> AnyResponse:
            state = {"state": asked.get("state", "")}
            return redirect(f"{self._redirect_uri}?{urlencode(answer | state)}", 303)

        scopes, handle = asked.get("scope", "").split(), asked.get("launch")
        if (
            asked.get("response_type") != "code"
            or asked.get("aud") != f"{self._base}/fhir"
            or not {"openid", "fhirUser"} <= set(scopes)
            or asked.get("code_challenge_method") != "S256"
            or len(asked.get("code_challenge", "")) != 43
        ):
            return back(error="invalid_request")
        if handle is None:
            person = asked.get("person")
            if person is None:
                # Standalone: nobody sits at a chart, so somebody says who they are.
                choices = [(f"?{urlencode({**asked, 'person': each})}", name) for each, name in STAFF.items()]
                return make_response(render_template("authorize.html", choices=choices))
            launch = Launch(person=person) if person in STAFF else None
        else:
            with self._lock:
                launch = self._launches.get(handle)
        if launch is None:
            return back(error="invalid_request")
        code = secrets.token_urlsafe(24)
        held = _Code(
            launch=launch,
            challenge=asked["code_challenge"],
            nonce=asked.get("nonce", ""),
            scope=" ".join(scopes),
            until=time.monotonic() + CODE_S,
        )
        with self._lock:
            _keep(self._codes, code, held)
        return back(code=code)

    def _token(self, form: Mapping[str, str]) -> tuple[dict[str, Any], int]:
        if form.get("client_id") != CLIENT_ID:
            return {"error": "invalid_client"}, 401
        with self._lock:
            code = self._codes.pop(form.get("code", ""), None)
        if (
            form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != self._redirect_uri
            or code is None
            or code.until < time.monotonic()
            or code.challenge != _challenge(form.get("code_verifier", ""))
        ):
            return {"error": "invalid_grant"}, 400
        launch = code.launch
        answer: dict[str, Any] = {
            # Good for nothing: this app reads nothing with it.
            "access_token": secrets.token_urlsafe(16),
            "token_type": "Bearer",
            "expires_in": _TOKEN_S,
            "scope": code.scope,
            "id_token": self._id_token(code),
        }
        if launch.patient is not None:
            answer["patient"] = launch.patient
        if launch.app_context is not None:
            answer["appContext"] = launch.app_context
        return answer, 200

    def _id_token(self, code: _Code) -> str:
        now, person = int(time.time()), code.launch.person
        return self._key.sign(
            {
                "iss": self._base,
                "sub": person,
                "aud": CLIENT_ID,
                "iat": now,
                "exp": now + _TOKEN_S,
                "nonce": code.nonce,
                "name": STAFF[person],
                "fhirUser": f"{self._base}/fhir/Practitioner/{person}",
            }
        )


def _challenge(verifier: str) -> str:
    """RFC 7636, section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _keep(held: dict[str, Any], key: str, value: Any) -> None:
    while len(held) >= _MAX_HELD:
        del held[next(iter(held))]
    held[key] = value
