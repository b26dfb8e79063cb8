"""One HTTP exchange with a FHIR server or image archive, under a time-out, and every way it can fail named.

The clients of both kinds of server go through `send`, so that an outage never looks like an empty answer.
"""

import base64
import json
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from cds.deadline import Deadline
from cds.errors import (
    DeadlineExceeded,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnavailable,
)
from cds.language import Message, Text, message, said_by
from cds.settings import PREFIX
from cds.tls import Tls
from cds.transport import BoundedAdapter, bounded

#: Longest exchange where no deadline is given; it ends a server that sends a byte now and then for ever.
TOTAL_TIMEOUT_S = 600.0

_READ_SIZE = 1 << 16


def _tell_nobody(_server: str, _host: str, _error: str) -> None:
    """Until `tell_failures_to` is called."""


_observer: Callable[[str, str, str], None] = _tell_nobody


class Credentials(Protocol):
    """What Authorization says in every request to one server."""

    def authorization(self, deadline: Deadline | None) -> str | None:
        """The header's value, None for no header. Raises UpstreamError where it has to be fetched and cannot be."""
        ...

    def renewed(self, refused: str, deadline: Deadline | None) -> str | None:
        """Another value after the server answered 401 to that one; None when there is no other."""
        ...


class FixedCredentials:
    """A bearer token (RFC 6750), or a user name and a password (HTTP basic, RFC 7617), or nothing."""

    def __init__(self, *, token: str | None = None, user: str = "", password: str = "") -> None:
        self._authorization = f"Bearer {token}" if token else None
        if not token and user:
            self._authorization = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

    def authorization(self, deadline: Deadline | None) -> str | None:
        return self._authorization

    def renewed(self, refused: str, deadline: Deadline | None) -> str | None:
        return None


_SERVERS: Mapping[str, Message] = {
    "FHIR server": message("FHIR server"),
    "image archive": message("image archive"),
    "token endpoint": message("token endpoint"),
}


class Session(requests.Session):
    """A session that knows what it says in Authorization."""

    credentials: Credentials

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: otherwise `requests` prepares the next request, and reads the body without our deadline for it."""
        return None


def open_session(
    credentials: Credentials | None = None, *, tls: Tls | None = None, pool_size: int = 10
) -> Session:
    """A session that sends the given credentials and nothing that it picked up elsewhere.

    Cookies are not kept, and an entry in ~/.netrc does not replace the Authorization header, as it would by default.
    """
    session = Session()
    session.credentials = credentials or FixedCredentials()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = BoundedAdapter(tls or Tls(), pool_size=pool_size)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def send(
    session: Session,
    method: str,
    url: str,
    *,
    server: str,
    connect_timeout_s: float,
    read_timeout_s: float,
    deadline: Deadline | None = None,
    max_bytes: int | None = None,
    accept_statuses: Container[int] = (),
    **kwargs: Any,
) -> requests.Response:
    """Send and read the whole answer; `kwargs` go to `requests.Session.request`.

    server: its role in messages ("FHIR server", "image archive"). max_bytes: largest body, after decompression.
    accept_statuses: statuses besides 2xx that are returned to the caller instead of raised; which of them is a failure
    the caller knows, and tells (`failures_told`).

    Redirects are not followed: they would lead outside the allow-list, and take our credentials along. Where the
    answer is 401 and our credentials can be renewed, they are, and the request is sent once more.

    Raises DeadlineExceeded when the deadline was over before we began, UpstreamTimeout when it ends (or the server is
    silent) meanwhile, and the UpstreamError that fits otherwise; its message names server and host, never the query,
    which may hold a patient identifier. Whoever called `tell_failures_to` is told of each UpstreamError.
    """

    def exchange(authorization: str | None) -> requests.Response:
        with failures_told(server, url):
            return _exchange(
                session,
                method,
                url,
                server=server,
                timeouts_s=(connect_timeout_s, read_timeout_s),
                deadline=deadline,
                max_bytes=max_bytes,
                auth=_Authorization(authorization),
                **kwargs,
            )

    # Fetching credentials is an exchange of its own with another server: its failure is not told as this one's.
    authorization = session.credentials.authorization(deadline)
    response = exchange(authorization)
    if response.status_code == 401 and authorization is not None:
        renewed = session.credentials.renewed(authorization, deadline)
        if renewed is not None:
            response = exchange(renewed)
    if not (200 <= response.status_code < 300 or response.status_code in accept_statuses):
        with failures_told(server, url):
            raise status_error(response, server=server)
    return response


def tell_failures_to(observer: Callable[[str, str, str], None]) -> None:
    """Have every failed exchange of this process told to `observer`: role of the server, host, name of the error."""
    global _observer
    _observer = observer


def tell_failure(server: str, host: str, error: UpstreamError) -> None:
    """For exchanges that are not HTTP. host: with its port."""
    _observer(server, host, type(error).__name__)


@contextmanager
def failures_told(server: str, url: str, *, but: tuple[type[UpstreamError], ...] = ()) -> Iterator[None]:
    """Tell whoever called `tell_failures_to` of an UpstreamError that the block raises, as of a failed exchange.

    Around what a caller of `send` makes of the answer, once for each exchange. but: errors that are answers to it, such
    as a resource that is not there.
    """
    try:
        yield
    except but:
        raise
    except UpstreamError as error:
        _observer(server, _host(url), type(error).__name__)
        raise


def _exchange(
    session: Session,
    method: str,
    url: str,
    *,
    server: str,
    timeouts_s: tuple[float, float],
    deadline: Deadline | None,
    max_bytes: int | None,
    **kwargs: Any,
) -> requests.Response:
    connect_timeout_s, read_timeout_s = timeouts_s
    where = {"server": named(server), "host": _host(url)}
    total = Deadline(TOTAL_TIMEOUT_S if deadline is None else deadline.remaining(at_most=TOTAL_TIMEOUT_S))
    # The causes are left out of the traceback: they quote the whole address.
    try:
        with bounded(total, read_timeout_s):
            response = session.request(
                method,
                url,
                timeout=(min(connect_timeout_s, total.seconds), min(read_timeout_s, total.seconds)),
                allow_redirects=False,
                stream=True,
                **kwargs,
            )
            with response:
                # What `requests` does itself when it is not streaming; `content` and `json()` work from here on.
                response._content = _read_body(response, where, max_bytes)
                response._content_consumed = True  # type: ignore[attr-defined]
    except (requests.Timeout, urllib3.exceptions.TimeoutError, DeadlineExceeded, TimeoutError):
        raise UpstreamTimeout(message("the {server} {host} did not answer in time", **where)) from None
    except urllib3.exceptions.DecodeError:
        raise UpstreamInvalid(
            message("the answer of the {server} {host} is damaged (content encoding)", **where)
        ) from None
    except ValueError:  # InvalidURL, InvalidHeader and their like
        raise UpstreamInvalid(
            message(
                "the {server} {host} cannot be asked: its address or our credentials are malformed", **where
            )
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise UpstreamUnavailable(
            message("the {server} {host} cannot be reached: {cause}", cause=_cause(error), **where)
        ) from None
    return response


def status_error(response: requests.Response, *, server: str, detail: str = "") -> UpstreamError:
    """The error that an answer's status stands for (RFC 9110 section 15). `detail` ends the message."""
    status = response.status_code
    error = _meaning(status, {"server": named(server), "host": _host(response.url), "status": status})
    if detail:
        return type(error)(message("{said}: {detail}", said=said_by(error), detail=detail))
    return error


def json_object(response: requests.Response, *, server: str) -> dict[str, Any]:
    """The JSON object in the body. Raises UpstreamInvalid saying what came instead."""
    where = {"server": named(server), "host": _host(response.url)}
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError) as error:
        start = response.content[:200].lstrip().lower()
        if start.startswith((b"<!doctype html", b"<html")):
            instead = message(
                "the {server} {host} sent an HTML page instead of JSON; is the address right, or a login page in "
                "between?",
                **where,
            )
        elif not start:
            instead = message("the {server} {host} sent an empty body instead of JSON", **where)
        else:
            kind = response.headers.get("Content-Type", "no content type").partition(";")[0][:60]
            instead = message(
                "the {server} {host} sent something that is not JSON ({kind})", kind=kind, **where
            )
        raise UpstreamInvalid(instead) from error
    if not isinstance(value, dict):
        raise UpstreamInvalid(
            message(
                "the {server} {host} sent a JSON {kind} where an object belongs",
                kind=type(value).__name__,
                **where,
            )
        )
    return value


class _Authorization(AuthBase):
    """Sets Authorization where there is something to say; being there at all keeps ~/.netrc out."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def _read_body(response: requests.Response, where: Mapping[str, Text], max_bytes: int | None) -> bytes:
    """Read whatever has arrived, piece by piece, so that a body that is too large ends early."""
    too_large = UpstreamTooLarge(
        message(
            "the answer of the {server} {host} is larger than the {most} bytes allowed",
            most=max_bytes,
            **where,
        )
    )
    announced = response.headers.get("Content-Length", "")
    if max_bytes is not None and announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    pieces: list[bytes] = []
    size = 0
    while True:
        piece = response.raw.read1(_READ_SIZE, decode_content=True)
        if not piece:
            return b"".join(pieces)
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise too_large
        pieces.append(piece)


def _cause(error: Exception) -> Text:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.exceptions.SSLError):
        return _tls_cause(str(error))
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return message("its name cannot be resolved")
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return message("it does not accept connections")
    return message("the connection broke off")


_CA_BUNDLE = f"{PREFIX}CA_BUNDLE, or in ca_bundle of its [[archive]]"
_CERTIFICATE = f"{PREFIX}CLIENT_CERTIFICATE, or client_certificate of its [[archive]]"
#: What OpenSSL says in an error, and what that means for whoever has to mend it; the first that fits.
_TLS_CAUSES = (
    ("certificate has expired", "its TLS certificate has expired; its operator has to renew it"),
    ("certificate is not yet valid", "its TLS certificate is not valid yet; compare the clocks"),
    ("Hostname mismatch", "its TLS certificate is for another host; ask it by a name in that certificate"),
    ("IP address mismatch", "its TLS certificate is for another host; ask it by a name in that certificate"),
    ("CERTIFICATE_VERIFY_FAILED", f"the CA of its TLS certificate is not trusted; name its file in {_CA_BUNDLE}"),
    ("CERTIFICATE_REQUIRED", f"it asks for a client certificate; name ours in {_CERTIFICATE}"),
    ("HANDSHAKE_FAILURE", f"it refused the TLS handshake; it may ask for a client certificate: {_CERTIFICATE}"),
    ("CERTIFICATE_EXPIRED", "it says that our client certificate has expired; have it renewed"),
    ("UNKNOWN_CA", "it does not trust the CA of our client certificate; have its operator issue us one"),
    ("ALERT", "it refused our client certificate, or the TLS handshake"),
    ("EOF occurred", f"it broke TLS off; it may ask for a client certificate, or refuse ours: {_CERTIFICATE}"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS at that port; should the address begin with http://?"),
    ("RECORD_LAYER_FAILURE", "it does not speak TLS at that port; should the address begin with http://?"),
)  # fmt: skip


def _tls_cause(said: str) -> str:
    said = said.replace(" ", "_").upper()
    for words, meaning in _TLS_CAUSES:
        if words.replace(" ", "_").upper() in said:
            return meaning
    return "its TLS certificate is not trusted, or it does not speak TLS"


def _meaning(status: int, where: Mapping[str, Any]) -> UpstreamError:
    """where: server, host and status."""
    if status in (401, 403):
        return UpstreamRefused(
            message("the {server} {host} refused our credentials (HTTP {status})", **where)
        )
    if status in (404, 410):
        return UpstreamNotFound(
            message("the {server} {host} does not know what was asked for (HTTP {status})", **where)
        )
    if status == 408:
        return UpstreamTimeout(
            message("the {server} {host} waited too long for our request (HTTP {status})", **where)
        )
    if status == 429:
        return UpstreamUnavailable(
            message("the {server} {host} asks for fewer requests (HTTP {status})", **where)
        )
    if 300 <= status < 400:
        return UpstreamInvalid(
            message(
                "the {server} {host} redirects to another address, which is not followed (HTTP {status})",
                **where,
            )
        )
    if status == 501:
        return UpstreamRefused(
            message("the {server} {host} does not support what was asked for (HTTP {status})", **where)
        )
    if status >= 500:
        return UpstreamUnavailable(
            message("the {server} {host} has an error of its own (HTTP {status})", **where)
        )
    return UpstreamRefused(message("the {server} {host} refused the request (HTTP {status})", **where))


def named(server: str) -> Text:
    """The role of a server in messages."""
    return _SERVERS.get(server, server)


def _host(url: str) -> str:
    """Host and port of `url`, without user name, path or query."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "(no host)"
    except ValueError:
        return "(unreadable address)"
