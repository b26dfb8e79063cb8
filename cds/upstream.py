"""One HTTP exchange with a FHIR server or image archive, under a time-out, and every way it can fail named.

The clients of both kinds of server go through `send`, so that an outage never looks like an empty answer.
"""

import json
from collections.abc import Callable, Container
from http.cookiejar import DefaultCookiePolicy
from typing import Any
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
    UpstreamUnavailable,
)

#: Longest exchange where no deadline is given; it ends a server that sends a byte now and then for ever.
TOTAL_TIMEOUT_S = 600.0

_READ_SIZE = 1 << 16


def _tell_nobody(_server: str, _host: str, _error: str) -> None:
    """Until `tell_failures_to` is called."""


_observer: Callable[[str, str, str], None] = _tell_nobody


def open_session(
    *, token: str | None = None, user: str = "", password: str = "", pool_size: int = 10
) -> requests.Session:
    """A session that sends the given credentials and nothing that it picked up elsewhere.

    Cookies are not kept, and an entry in ~/.netrc does not replace the Authorization header, as it would by default.
    """
    session = _Session()
    session.auth = _Credentials(token, user, password)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=pool_size)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def send(
    session: requests.Session,
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
    accept_statuses: statuses besides 2xx that are returned to the caller instead of raised.

    Redirects are not followed: they would lead outside the allow-list. Raises DeadlineExceeded when the deadline was
    over before we began, UpstreamTimeout when it ends (or the server is silent) meanwhile, and the UpstreamError that
    fits otherwise; its message names server and host, never the query, which may hold a patient identifier. Whoever
    called `tell_failures_to` is told of each UpstreamError.
    """
    try:
        return _exchange(
            session,
            method,
            url,
            server=server,
            timeouts_s=(connect_timeout_s, read_timeout_s),
            deadline=deadline,
            max_bytes=max_bytes,
            accept_statuses=accept_statuses,
            **kwargs,
        )
    except UpstreamError as error:
        _observer(server, _host(url), type(error).__name__)
        raise


def tell_failures_to(observer: Callable[[str, str, str], None]) -> None:
    """Have every failed exchange of this process told to `observer`: role of the server, host, name of the error."""
    global _observer
    _observer = observer


def _exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    server: str,
    timeouts_s: tuple[float, float],
    deadline: Deadline | None,
    max_bytes: int | None,
    accept_statuses: Container[int],
    **kwargs: Any,
) -> requests.Response:
    connect_timeout_s, read_timeout_s = timeouts_s
    where = f"{server} {_host(url)}"
    total = Deadline(TOTAL_TIMEOUT_S if deadline is None else deadline.remaining(at_most=TOTAL_TIMEOUT_S))
    # The causes are left out of the traceback: they quote the whole address.
    try:
        response = session.request(
            method,
            url,
            timeout=(min(connect_timeout_s, total.seconds), min(read_timeout_s, total.seconds)),
            allow_redirects=False,
            stream=True,
            **kwargs,
        )
        with response:
            # What `requests` does itself when it is not streaming; `content`, `text` and `json()` work from here on.
            response._content = _read_body(response, where, total, read_timeout_s, max_bytes)
            response._content_consumed = True  # type: ignore[attr-defined]
    except (requests.Timeout, urllib3.exceptions.TimeoutError, DeadlineExceeded):
        raise UpstreamTimeout(f"the {where} did not answer in time") from None
    except urllib3.exceptions.DecodeError:
        raise UpstreamInvalid(f"the answer of the {where} is damaged (content encoding)") from None
    except ValueError:  # InvalidURL, InvalidHeader and their like
        raise UpstreamInvalid(
            f"the {where} cannot be asked: its address or our credentials are malformed"
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise UpstreamUnavailable(f"the {where} cannot be reached: {_cause(error)}") from None
    if not (200 <= response.status_code < 300 or response.status_code in accept_statuses):
        raise status_error(response, server=server)
    return response


def status_error(response: requests.Response, *, server: str, detail: str = "") -> UpstreamError:
    """The error that an answer's status stands for (RFC 9110 section 15). `detail` ends the message."""
    status = response.status_code
    kind, meaning = _meaning(status)
    message = f"the {server} {_host(response.url)} {meaning} (HTTP {status})"
    return kind(f"{message}: {detail}" if detail else message)


def json_object(response: requests.Response, *, server: str) -> dict[str, Any]:
    """The JSON object in the body. Raises UpstreamInvalid saying what came instead."""
    where = f"{server} {_host(response.url)}"
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError) as error:
        start = response.content[:200].lstrip().lower()
        if start.startswith((b"<!doctype html", b"<html")):
            instead = "an HTML page instead of JSON; is the address right, or a login page in between?"
        elif not start:
            instead = "an empty body instead of JSON"
        else:
            kind = response.headers.get("Content-Type", "no content type").partition(";")[0][:60]
            instead = f"something that is not JSON ({kind})"
        raise UpstreamInvalid(f"the {where} sent {instead}") from error
    if not isinstance(value, dict):
        raise UpstreamInvalid(f"the {where} sent a JSON {type(value).__name__} where an object belongs")
    return value


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: otherwise `requests` prepares the next request, and reads the body without our deadline for it."""
        return None


class _Credentials(AuthBase):
    """Sets Authorization where there is something to send; being there at all keeps ~/.netrc out."""

    def __init__(self, token: str | None, user: str, password: str) -> None:
        self._token, self._user, self._password = token, user, password

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        elif self._user:
            requests.auth.HTTPBasicAuth(self._user, self._password)(request)
        return request


def _read_body(
    response: requests.Response, where: str, total: Deadline, read_timeout_s: float, max_bytes: int | None
) -> bytes:
    """Read whatever has arrived, piece by piece, so that a body that drips meets the deadline as well."""
    too_large = UpstreamInvalid(f"the answer of the {where} is larger than the {max_bytes} bytes allowed")
    announced = response.headers.get("Content-Length", "")
    if max_bytes is not None and announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    pieces: list[bytes] = []
    size = 0
    while True:
        _limit_next_read(response, total.remaining(at_most=read_timeout_s))
        piece = response.raw.read1(_READ_SIZE, decode_content=True)
        if not piece:
            return b"".join(pieces)
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise too_large
        pieces.append(piece)


def _limit_next_read(response: requests.Response, seconds: float) -> None:
    """Shorten the socket's time-out; where urllib3 has let go of the socket the one set at the start stays."""
    sock = getattr(getattr(response.raw, "connection", None), "sock", None)
    if sock is not None:
        sock.settimeout(seconds)


def _cause(error: Exception) -> str:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate is not trusted, or it does not speak TLS"
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return "its name cannot be resolved"
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return "it does not accept connections"
    return "the connection broke off"


def _meaning(status: int) -> tuple[type[UpstreamError], str]:
    if status in (401, 403):
        return UpstreamRefused, "refused our credentials"
    if status in (404, 410):
        return UpstreamNotFound, "does not know what was asked for"
    if status == 408:
        return UpstreamTimeout, "waited too long for our request"
    if status == 429:
        return UpstreamUnavailable, "asks for fewer requests"
    if 300 <= status < 400:
        return UpstreamInvalid, "redirects to another address, which is not followed"
    if status == 501:
        return UpstreamRefused, "does not support what was asked for"
    if status >= 500:
        return UpstreamUnavailable, "has an error of its own"
    return UpstreamRefused, "refused the request"


def _host(url: str) -> str:
    """Host and port of `url`, without user name, path or query."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "(no host)"
    except ValueError:
        return "(unreadable address)"
