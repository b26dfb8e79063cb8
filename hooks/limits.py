"""What one request and one client may cost us: sizes, shape of the JSON, requests a second.

The checks run before any handler. What needs no proof of who is calling comes first (`before`): size of the header, and
whether the address has used up its share by calls that were refused. Then comes authentication; then the share of the
client that is known by now (`share`), and the body (`body`). A refusal names the setting that it follows from.
"""

import math
import re
import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

from flask import Request, g
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import UnsupportedMediaType

from cds.errors import BadRequest, RequestTooLarge, TooManyRequests
from cds.settings import PREFIX, Settings
from hooks.current import current_request
from hooks.ehr_profile import STANDARD, Profile

#: Clients remembered at a time; who was forgotten starts with a full share.
MAX_CLIENTS = 10_000
#: Operators' paths, which a limit must not hide: they are answered without work for anyone.
_UNLIMITED = ("/health", "/ready", "/metrics")
#: What one page asks for by the hundred as it is scrolled; each is small, kept by the browser, and for signed-in users.
_PICTURES = ("static", "thumbnail", "closeup", "activation", "tile")

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_LEVELS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
#: All but brackets and quotes.
_NO_SHAPE = bytes(sorted(set(range(256)) - set(b'[{]}"')))


class HeaderTooLarge(RequestTooLarge):
    """HTTP 431 (RFC 6585 section 5)."""


class Shares:
    """A token bucket for each client: `rate` requests a second, `burst` at once. In this process's memory alone, so
    that several processes allow a client several shares. Safe for threads."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._shares: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(
        self, client: str, requests: int = 1, rate: float | None = None, burst: int | None = None
    ) -> None:
        """Count `requests` (0: only look). rate, burst: of a client that has its own. Raises TooManyRequests when the
        client's share is used up."""
        own = rate is not None
        rate = self._rate if rate is None else rate
        most = self._burst if burst is None else float(burst)
        with self._lock:
            now = self._clock()
            left, since = self._shares.pop(client, (most, now))
            left = min(most, left + (now - since) * rate)
            enough = left >= 1.0
            self._shares[client] = (left - requests if enough else left, now)
            while len(self._shares) > MAX_CLIENTS:
                self._shares.popitem(last=False)
        if not enough:
            raise TooManyRequests(
                f"More than {rate:g} requests a second "
                f"({'requests_per_s of its profile' if own else f'{PREFIX}RATE_LIMIT_PER_S'}) from this client.",
                retry_after_s=max(1, math.ceil((1.0 - left) / rate)),
            )


class Limits:
    """The limits of `Settings` for the request that Flask is handling."""

    def __init__(self, settings: Settings, open_profile: Profile = STANDARD) -> None:
        self._settings, self._open_profile = settings, open_profile
        self._shares = Shares(settings.rate_limit_per_s, settings.rate_limit_burst)

    def before(self) -> None:
        """Before authentication. Raises HeaderTooLarge, TooManyRequests."""
        request = current_request()
        largest = self._settings.max_header_bytes
        if _header_bytes(request.environ) > largest:
            raise HeaderTooLarge(f"The header is larger than {largest} bytes ({PREFIX}MAX_HEADER_BYTES).")
        if _counts(request):
            self._take(_address(request), self._open_profile, 0)

    def share(self) -> None:
        """After authentication. Raises TooManyRequests."""
        request = current_request()
        if _counts(request):
            g.counted = True
            self._take(client() or _address(request), caller_profile(self._open_profile))

    def body(self) -> None:
        """Before the body is parsed. Raises RequestTooLarge, and werkzeug's RequestEntityTooLarge for its bytes and
        UnsupportedMediaType where it is compressed: how much it holds would show only once it is not."""
        request = current_request()
        if (
            request.method == "POST"
            and request.endpoint is not None
            and request.mimetype == "application/json"
        ):
            if request.content_encoding not in (None, "identity"):
                raise UnsupportedMediaType  # RFC 9110, section 15.5.16
            check_json(body_bytes(), self._settings)

    def refused(self) -> None:
        """Count a call that authentication refused against its address."""
        request = current_request()
        if _counts(request) and not g.get("counted"):
            try:
                self._take(_address(request), self._open_profile)
            except TooManyRequests:
                pass  # it learns so at its next call

    def _take(self, client: str, profile: Profile, requests: int = 1) -> None:
        self._shares.take(client, requests, profile.requests_per_s, profile.burst)


def body_bytes() -> bytes:
    """The request's body, kept for whoever asks again.

    Raises BadRequest where it is not chunked as it says (RFC 9112, section 7.1), and werkzeug's HTTPException for its
    size or where it breaks off.
    """
    try:
        return current_request().get_data(cache=True)
    except ParseException:
        raise BadRequest("The body is not in the chunks that its Transfer-Encoding announces.") from None


def client() -> str | None:
    """The issuer that authentication found, in `flask.g.client_issuer`; None where clients are not authenticated."""
    found: str | None = g.get("client_issuer")
    return found


def caller_profile(open_profile: Profile) -> Profile:
    """Profile of the client that authentication found; where clients are not authenticated, that of open mode."""
    caller = g.get("client")
    return caller.profile if caller is not None else open_profile


def check_json(body: bytes, settings: Settings) -> None:
    """Raises RequestTooLarge when parsing `body` would build more levels or elements than the settings allow.

    Only brackets and commas are looked at: whether it is JSON at all is for the parser to say.
    """
    too_many = RequestTooLarge(
        f"The body holds more than {settings.max_json_elements} elements ({PREFIX}MAX_JSON_ELEMENTS)."
    )
    bare = _ESCAPED.sub(b"", body) if b"\\" in body else body
    # A name and a value for each element, two quotes each.
    if bare.count(b'"') > 4 * (settings.max_json_elements + 1):
        raise too_many
    if _elements(bare) > settings.max_json_elements:  # also counts what stands in strings, so it may be fewer
        bare = _outside_strings(bare)
        if _elements(bare) > settings.max_json_elements:
            raise too_many
    brackets = bare.translate(None, _NO_SHAPE).replace(b'""', b"")
    if b'"' in brackets:
        # Some stand in a string: else there would be two quotes or none between any two brackets.
        brackets = _outside_strings(bare).translate(None, _NO_SHAPE)
    if _levels(brackets, settings.max_json_depth) > settings.max_json_depth:
        raise RequestTooLarge(
            f"The body is nested deeper than {settings.max_json_depth} levels ({PREFIX}MAX_JSON_DEPTH)."
        )


def _header_bytes(environ: Mapping[str, Any]) -> int:
    """Of the header's lines, less Authorization: the size of a token is for authentication to judge, which answers 401
    whatever is wrong with it. gunicorn bounds both."""
    total = 0
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            if name != "HTTP_AUTHORIZATION":
                total += len(name) + len(value) - 1  # `Name: value` on a line of its own, without HTTP_
        elif name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            total += len(name) + len(value) + 4
    return total


def _levels(brackets: bytes, enough: int) -> int:
    """How deep they nest; `enough` or less for all that nest no deeper than that."""
    left = brackets
    for taken_off in range(2, 10, 2):
        # Each replacement takes off one level at the most, and of lists of small things nearly everything.
        left = left.replace(b"{}", b"").replace(b"[]", b"")
        if len(left) + taken_off <= enough:
            return enough
    return max(accumulate(array("b", brackets.translate(_LEVELS))), default=0)


def _outside_strings(bare: bytes) -> bytes:
    """bare: JSON without escaped characters."""
    return b"".join(bare.split(b'"')[::2])


def _elements(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _counts(request: Request) -> bool:
    if request.method == "OPTIONS":
        return (
            False  # a preflight that is refused looks like a wall to the browser, and costs nothing to answer
        )
    return request.path.rstrip("/") not in _UNLIMITED and request.endpoint not in _PICTURES


def _address(request: Request) -> str:
    return request.remote_addr or "unknown"
