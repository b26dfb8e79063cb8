"""An authorization server with the client credentials grant, and a guard that lets its tokens through to a server.

It verifies what a real one verifies: the assertion's signature by the client's registered or published keys, `alg`,
`kid`, `iss`, `sub`, `aud`, `exp`, `iat`, and that a `jti` comes once (RFC 7523 section 3; SMART App Launch 2.2,
"Asymmetric Authentication", section 4.1), by code of its own and a clock that may be wrong.
"""

import base64
import json
import secrets
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote_plus, urlsplit

import jwt
import requests

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MAX_LIFETIME_S = 300
_TOLERANCE_S = 5


class _Refused(Exception):
    """code of RFC 6749 section 5.2, and why."""


class AuthorizationServer:
    """client_id: the one registered client; its keys: `jwks`, or what `jwks_url` gives; or `secret`.

    audience: `aud` that it wants; empty: its token endpoint. lifetime_s: of tokens. offset_s: how far its clock is
    before the right one. grants: scopes that it grants at most.
    status: answers with it and a page, as a broken proxy does. failing: as many requests are answered with 503. gate:
    answers wait until it is set. extra: overrides members of its answers. issued: tokens so far. refused: why requests
    were refused. ways: how clients proved themselves.
    """

    def __init__(
        self,
        *jwks: dict[str, Any],
        jwks_url: str | None = None,
        secret: str | None = None,
        client_id: str = "leukocds",
        lifetime_s: float = 300.0,
    ) -> None:
        self.jwks, self.jwks_url, self.secret, self.client_id = list(jwks), jwks_url, secret, client_id
        self.lifetime_s, self.offset_s = lifetime_s, 0.0
        self.audience = ""
        self.grants: set[str] | None = None
        self.status, self.failing = 200, 0
        self.extra: dict[str, Any] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0
        self.issued: list[str] = []
        self.refused: list[str] = []
        self.ways: list[str] = []
        self._ends: dict[str, float] = {}
        self._jtis: set[str] = set()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.up()

    @property
    def token_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/token"

    def now(self) -> float:
        return time.time() + self.offset_s

    def accepts(self, authorization: str | None) -> bool:
        """Whether a resource server lets the header through."""
        return self._ends.get((authorization or "").removeprefix("Bearer "), 0.0) > time.monotonic()

    def revoke(self) -> None:
        """All tokens issued so far."""
        self._ends.clear()

    def up(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with fake._lock:
                    fake.asked += 1
                fake.gate.wait(30)
                if fake.status != 200 or fake.failing > 0:
                    fake.failing -= 1
                    self._send(
                        fake.status if fake.status != 200 else 503, b"<html>Bad gateway</html>", "text/html"
                    )
                    return
                try:
                    answer = fake._issue(self.path, self.headers, body)
                    self._send(200, json.dumps({**answer, **fake.extra}).encode())
                except _Refused as refusal:
                    code, why = refusal.args
                    fake.refused.append(why)
                    said = {"error": code, "error_description": f"{why} ({body.decode()})"}
                    self._send(401 if code == "invalid_client" else 400, json.dumps(said).encode())

            def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(fake.now() if timestamp is None else timestamp, usegmt=True)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections until `up()`."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.set()
        self.down()

    def _issue(self, path: str, headers: Any, body: bytes) -> dict[str, Any]:
        if path != "/token" or headers.get("Content-Type") != "application/x-www-form-urlencoded":
            raise _Refused("invalid_request", "not a form at the token endpoint")
        form = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
        if form.get("grant_type") != "client_credentials":
            raise _Refused("unsupported_grant_type", "grant_type")
        if self.secret is not None:
            self._check_secret(form, headers.get("Authorization"))
        else:
            self._check_assertion(form)
        asked = set(form.get("scope", "").split())
        granted = asked if self.grants is None else asked & self.grants
        if asked and not granted:
            raise _Refused("invalid_scope", "scope")
        token = secrets.token_urlsafe(24)
        with self._lock:
            self.issued.append(token)
            self._ends[token] = time.monotonic() + self.lifetime_s
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": self.lifetime_s,
            "scope": " ".join(sorted(granted)),
        }

    def _check_secret(self, form: dict[str, str], authorization: str | None) -> None:
        if authorization is not None:
            self.ways.append("client_secret_basic")
            client_id, _, secret = (
                base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            )
            given = (unquote_plus(client_id), unquote_plus(secret))
        else:
            self.ways.append("client_secret_post")
            given = (form.get("client_id", ""), form.get("client_secret", ""))
        if given != (self.client_id, self.secret):
            raise _Refused("invalid_client", "secret")

    def _check_assertion(self, form: dict[str, str]) -> None:
        self.ways.append("private_key_jwt")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise _Refused("invalid_request", "client_assertion_type")
        try:
            claims = self._verified(form.get("client_assertion", ""))
        except jwt.PyJWTError as error:
            raise _Refused("invalid_client", type(error).__name__) from error
        now = self.now()
        if claims["iss"] != self.client_id or claims["sub"] != self.client_id:
            raise _Refused("invalid_client", "iss or sub")
        if claims["aud"] != (self.audience or self.token_url):
            raise _Refused("invalid_client", "aud")
        if claims["exp"] <= now:
            raise _Refused("invalid_client", "exp is past")
        if claims["exp"] > now + _MAX_LIFETIME_S:
            raise _Refused("invalid_client", "exp is too late")
        if claims["iat"] > now + _TOLERANCE_S:
            raise _Refused("invalid_client", "iat is in the future")
        with self._lock:
            if claims["jti"] in self._jtis:
                raise _Refused("invalid_client", "jti was used")
            self._jtis.add(claims["jti"])

    def _verified(self, assertion: str) -> dict[str, Any]:
        """Claims, by the key of that `kid`; which key is what decides the algorithm."""
        header = jwt.get_unverified_header(assertion)
        keys = requests.get(self.jwks_url, timeout=5).json()["keys"] if self.jwks_url else self.jwks
        if header.get("typ") != "JWT":
            raise jwt.InvalidTokenError("typ")
        for jwk in keys:
            if jwk["kid"] == header.get("kid"):
                assert "d" not in jwk, "a private key was published"
                alg = "ES384" if jwk["kty"] == "EC" else "RS384"
                return jwt.decode(
                    assertion,
                    jwt.PyJWK(jwk, alg),
                    algorithms=[alg],
                    options={
                        "verify_exp": False,
                        "verify_iat": False,
                        "verify_aud": False,
                        "require": ["iss", "sub", "aud", "exp", "iat", "jti"],
                    },
                )
        raise jwt.InvalidKeyError("kid is unknown")


class Guard:
    """In front of a server, `upstream`: passes on what carries a token of `authority`, and answers 401 to the rest.

    url: as upstream's, on another port. It publishes its SMART configuration. seen: (method, path, let through).
    """

    def __init__(self, upstream: str, authority: AuthorizationServer) -> None:
        self.seen: list[tuple[str, str, bool]] = []
        self.configuration: dict[str, Any] = {
            "token_endpoint": authority.token_url,
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        }
        fake, parts = self, urlsplit(upstream)
        origin = f"{parts.scheme}://{parts.netloc}"

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            kept: ClassVar = ("Content-Type", "Accept", "Prefer", "Cache-Control", "If-None-Exist")

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path == f"{parts.path}/.well-known/smart-configuration":
                    self._send(200, "application/json", json.dumps(fake.configuration).encode())
                    return
                through = authority.accepts(self.headers.get("Authorization"))
                fake.seen.append((self.command, self.path, through))
                if not through:
                    self._send(401, "application/json", b"{}")
                    return
                answer = requests.request(
                    self.command,
                    f"{origin}{self.path}",
                    data=body or None,
                    headers={name: self.headers[name] for name in self.kept if name in self.headers},
                    timeout=60,
                )
                self._send(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)

            def do_POST(self) -> None:
                self.do_GET()

            def _send(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{parts.path}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ran out of patience is what the tests are about: no traceback for it."""
