"""Access tokens for our own calls: the client credentials grant (RFC 6749 section 4.4), with a signed assertion
(RFC 7523; SMART App Launch 2.2, "Backend Services") or a shared secret.

No message and no log line holds a token, an assertion or a secret.
"""

import base64
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, Protocol
from urllib.parse import quote_plus, urlsplit

import requests
import tenacity

from cds.allowlist import why_not_confidential
from cds.deadline import Deadline
from cds.errors import (
    DeadlineExceeded,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cds.settings import PREFIX
from cds.signing_key import SigningKey
from cds.tls import Tls
from cds.upstream import failures_told, json_object, open_session, send, status_error

_log = logging.getLogger(__name__)

SERVER = "token endpoint"
#: Longest time for one token, all attempts together.
FETCH_S = 15.0
_ATTEMPTS = 3
_MAX_BYTES = 256 * 1024
#: Of our assertions. SMART allows five minutes; less leaves room for clocks that differ, either way.
ASSERTION_LIFETIME_S = 120
#: Where a server does not say how long its token lasts, which SMART requires.
_UNSTATED_LIFETIME_S = 300.0
#: A token is renewed that long before it ends, or in its last fifth.
_RENEWAL_MARGIN_S = 30.0
#: Pause between two vain renewals while the old token still serves.
_RENEWAL_PAUSE_S = 5.0
_DISCOVERY_TTL_S = 3600.0
_TOLERATED_SKEW_S = 30.0
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_CODE = re.compile(r"[a-z_]{1,60}")
#: RFC 6749 section 5.2, for whoever has to mend it.
_REMEDIES = {
    "invalid_client": "our client id, key or secret is not what it has registered",
    "invalid_scope": "it does not grant us the scopes that are asked for",
    "unauthorized_client": "our client may not use the grant client_credentials there",
    "unsupported_grant_type": "it does not offer the grant client_credentials",
    "invalid_request": "it does not accept this way of client authentication",
    "invalid_grant": "it does not accept the assertion",
}
#: Not of section 5.2, but sent by servers that mean an outage.
_PASSING = ("temporarily_unavailable", "server_error")


class ClientAuthentication(Protocol):
    """How we prove to a token endpoint who we are."""

    client_id: str
    #: What must not be repeated, should the endpoint quote it.
    secrets: tuple[str, ...]

    def prove(self, token_url: str) -> tuple[Mapping[str, str], str | None]:
        """What goes into the form, and into Authorization."""
        ...


class PrivateKeyJwt:
    """A new assertion for every request (SMART App Launch 2.2, "Asymmetric Authentication", section 3.2).

    audience: what it is addressed to, for servers that want another name than the address of their token endpoint
    (RFC 7523 section 3 allows any by which they know themselves); empty: that address.
    """

    secrets: tuple[str, ...] = ()

    def __init__(
        self, client_id: str, key: SigningKey, *, audience: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self.client_id, self._key, self._audience, self._clock = client_id, key, audience, clock

    def prove(self, token_url: str) -> tuple[Mapping[str, str], str | None]:
        now = int(self._clock())
        assertion = self._key.sign(
            {
                "iss": self.client_id,
                "sub": self.client_id,
                "aud": self._audience or token_url,
                "iat": now,
                "exp": now + ASSERTION_LIFETIME_S,
                "jti": str(uuid.uuid4()),
            }
        )
        return {
            "client_id": self.client_id,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion,
        }, None


class ClientSecret:
    """A shared secret, in the header or in the form (RFC 6749 section 2.3.1)."""

    def __init__(self, client_id: str, secret: str, *, in_form: bool = False) -> None:
        self.client_id, self._secret, self._in_form = client_id, secret, in_form
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        self._basic = base64.b64encode(pair.encode()).decode()
        self.secrets: tuple[str, ...] = (secret, quote_plus(secret), self._basic)

    def prove(self, token_url: str) -> tuple[Mapping[str, str], str | None]:
        if self._in_form:
            return {"client_id": self.client_id, "client_secret": self._secret}, None
        return {}, f"Basic {self._basic}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What a token endpoint issued. scopes: those granted, None where it does not say."""

    value: str = field(repr=False)
    lifetime_s: float
    scopes: frozenset[str] | None


class ClientCredentials:
    """The port `cds.upstream.Credentials` by the client credentials grant. Safe for threads, which share one token.

    token_url: gives the token endpoint's address. A token is kept until shortly before it ends; one thread fetches the
    next while the others go on with the old one, or wait for it where there is none. While the endpoint gives no new
    one the old token serves to its end.
    """

    def __init__(
        self,
        token_url: Callable[[Deadline], str],
        client: ClientAuthentication,
        scopes: Sequence[str] = (),
        *,
        tls: Tls | None = None,
        connect_timeout_s: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token_url, self._client, self._scopes = token_url, client, tuple(scopes)
        self._connect_timeout_s, self._clock = connect_timeout_s, clock
        self._session = open_session(tls=tls)
        self._fetching = threading.Lock()
        self._kept: _Kept | None = None
        #: How often a fetch has ended, and how the last one failed.
        self._fetched = 0
        self._failure: UpstreamError | None = None
        self._pause_until = 0.0

    def authorization(self, deadline: Deadline | None) -> str:
        return f"Bearer {self._token(deadline)}"

    def renewed(self, refused: str, deadline: Deadline | None) -> str | None:
        value = f"Bearer {self._token(deadline, refused)}"
        return None if value == refused else value

    def fetch(self, deadline: Deadline | None = None) -> AccessToken:
        """A new token, which is not kept. Raises UpstreamRefused where the client is not accepted, UpstreamUnavailable
        and its like where there is no usable answer."""
        total = Deadline(FETCH_S if deadline is None else deadline.remaining(at_most=FETCH_S))
        attempts = tenacity.Retrying(
            # A time-out is not tried again: the next one would only double the wait.
            retry=tenacity.retry_if_exception(
                lambda e: isinstance(e, UpstreamUnavailable) and not isinstance(e, UpstreamTimeout)
            ),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=1),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        try:
            token: AccessToken = attempts(self._fetch_once, total)
        except DeadlineExceeded:
            raise UpstreamTimeout(f"the {SERVER} did not answer in time") from None
        return token

    def _token(self, deadline: Deadline | None, refused: str | None = None) -> str:
        kept, seen = self._usable(refused), self._fetched
        if kept is not None and (self._clock() < max(kept.renew_at, self._pause_until)):
            return kept.value
        wait_s = 0.0 if kept else FETCH_S if deadline is None else deadline.remaining(at_most=FETCH_S)
        if not self._fetching.acquire(timeout=wait_s):
            if kept is not None:
                return kept.value
            raise UpstreamTimeout(f"the {SERVER} did not answer in time: its answer is waited for")
        try:
            if (newer := self._usable(refused)) is not None and self._clock() < newer.renew_at:
                return newer.value
            if self._fetched != seen and self._failure is not None:
                # The fetch that we waited for failed, and ours would now too.
                raise type(self._failure)(str(self._failure))
            return self._refresh(deadline)
        except UpstreamError as error:
            if kept is None:
                raise
            _log.warning("access token not renewed, the old one serves: %s", error)
            self._pause_until = self._clock() + _RENEWAL_PAUSE_S
            return kept.value
        finally:
            self._fetching.release()

    def _usable(self, refused: str | None) -> "_Kept | None":
        kept = self._kept
        if kept is None or self._clock() >= kept.ends_at or f"Bearer {kept.value}" == refused:
            return None
        return kept

    def _refresh(self, deadline: Deadline | None) -> str:
        asked_at, self._failure = self._clock(), None
        try:
            token = self.fetch(deadline)
        except UpstreamError as error:
            self._failure = error
            raise
        else:
            margin_s = min(_RENEWAL_MARGIN_S, token.lifetime_s / 5)
            ends_at = asked_at + token.lifetime_s
            self._kept = _Kept(value=token.value, ends_at=ends_at, renew_at=ends_at - margin_s)
            return token.value
        finally:
            self._fetched += 1

    def _fetch_once(self, total: Deadline) -> AccessToken:
        url = self._token_url(total)
        form, authorization = self._client.prove(url)
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        if authorization is not None:
            headers["Authorization"] = authorization
        response = send(
            self._session,
            "POST",
            url,
            server=SERVER,
            connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=FETCH_S,
            deadline=total,
            max_bytes=_MAX_BYTES,
            accept_statuses=(400, 401, 403),
            headers=headers,
            data={
                "grant_type": "client_credentials",
                **({"scope": " ".join(self._scopes)} if self._scopes else {}),
                **form,
            },
        )
        with failures_told(SERVER, url):
            if not response.ok:
                _refuse(response, self._client)
            return _access_token(json_object(response, server=SERVER), urlsplit(url).netloc)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Times by the clock of its keeper."""

    value: str = field(repr=False)
    ends_at: float
    renew_at: float


class SmartDiscovery:
    """Token endpoint of a FHIR server, from its `.well-known/smart-configuration` (SMART App Launch 2.2, "Discovery"),
    read when first needed and kept for an hour. Safe for threads."""

    def __init__(
        self, fhir_url: str, *, alg: str, tls: Tls | None = None, connect_timeout_s: float = 3.0
    ) -> None:
        self._url = f"{fhir_url.rstrip('/')}/.well-known/smart-configuration"
        self._alg, self._connect_timeout_s = alg, connect_timeout_s
        self._session = open_session(tls=tls)
        self._kept: tuple[str, float] | None = None

    def __call__(self, deadline: Deadline) -> str:
        """Raises UpstreamError; UpstreamInvalid where the server does not offer what we need, saying what."""
        kept = self._kept
        if kept is not None and time.monotonic() < kept[1]:
            return kept[0]
        server = "SMART configuration at"
        try:
            response = send(
                self._session,
                "GET",
                self._url,
                server=server,
                connect_timeout_s=self._connect_timeout_s,
                read_timeout_s=FETCH_S,
                deadline=deadline,
                max_bytes=_MAX_BYTES,
                headers={"Accept": "application/json"},
            )
        except UpstreamNotFound:
            raise UpstreamNotFound(
                f"there is no {self._url}; name the token endpoint in {PREFIX}FHIR_TOKEN_URL"
            ) from None
        url = self._token_endpoint(json_object(response, server=server))
        self._kept = (url, time.monotonic() + _DISCOVERY_TTL_S)
        return url

    def _token_endpoint(self, configuration: Mapping[str, Any]) -> str:
        url = configuration.get("token_endpoint")
        if not isinstance(url, str):
            raise UpstreamInvalid(f"{self._url} names no token_endpoint")
        if problem := why_not_confidential(url):
            raise UpstreamInvalid(f"{self._url}: its token_endpoint {problem}")
        for name, needed in (
            ("grant_types_supported", "client_credentials"),
            ("token_endpoint_auth_methods_supported", "private_key_jwt"),
            ("token_endpoint_auth_signing_alg_values_supported", self._alg),
        ):
            offered = configuration.get(name)
            if isinstance(offered, list) and offered and needed not in offered:
                raise UpstreamInvalid(f"{self._url}: {name} does not hold {needed}, which we need")
        return url


def _refuse(response: requests.Response, client: ClientAuthentication) -> NoReturn:
    """Raises the error that an error answer of a token endpoint stands for (RFC 6749 section 5.2)."""
    code, description = "", ""
    try:
        said = json_object(response, server=SERVER)
        code, description = str(said.get("error", "")), str(said.get("error_description", ""))
    except UpstreamInvalid:
        pass  # a proxy's page: the status says enough
    if not _CODE.fullmatch(code):
        raise status_error(response, server=SERVER)
    parts = [f"the {SERVER} {urlsplit(response.url).netloc} refuses client {client.client_id!r} ({code})"]
    if remedy := _REMEDIES.get(code):
        parts.append(remedy)
    # Some quote what we sent: our secret goes, and whatever is long enough for an assertion or a token.
    for secret in client.secrets:
        description = description.replace(secret, "…")
    if words := " ".join(re.sub(r"[^\s'\"(),;]{25,}", "…", description).split())[:200]:
        parts.append(f"it says: {words}")
    skew_s = _skew_s(response)
    if abs(skew_s) > _TOLERATED_SKEW_S:
        parts.append(f"its clock and ours differ by {abs(skew_s):.0f} s: set both by NTP")
    raise (UpstreamUnavailable if code in _PASSING else UpstreamRefused)("; ".join(parts))


def _skew_s(response: requests.Response) -> float:
    """How far the server's clock is before ours, by its `Date` (RFC 9110 section 6.6.1); 0 where it sends none."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()
    except (KeyError, ValueError, TypeError):
        return 0.0


def _access_token(answer: Mapping[str, Any], host: str) -> AccessToken:
    """RFC 6749 section 5.1. Raises UpstreamInvalid naming the member that is wrong."""
    value, kind, scope = answer.get("access_token"), answer.get("token_type"), answer.get("scope")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise UpstreamInvalid(f"the {SERVER} {host} sent no usable access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise UpstreamInvalid(f"the {SERVER} {host} sent a token_type other than Bearer")
    try:
        lifetime_s = float(answer.get("expires_in", _UNSTATED_LIFETIME_S))
    except (TypeError, ValueError):
        lifetime_s = -1.0
    if not 0 < lifetime_s < 1e9:
        raise UpstreamInvalid(f"the {SERVER} {host} sent an expires_in that is no number of seconds")
    return AccessToken(
        value=value,
        lifetime_s=lifetime_s,
        scopes=frozenset(scope.split()) if isinstance(scope, str) and scope else None,
    )
