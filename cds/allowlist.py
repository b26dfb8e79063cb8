"""Which servers an address that someone else wrote may name: a hook's `fhirServer`, an Endpoint's `address`.

Without it anyone who can write an Endpoint could make us call any machine in the hospital (request forgery).
"""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit, urlunsplit

from cds.errors import ConfigurationError, EndpointNotAllowed
from cds.language import message
from cds.settings import Settings

_DEFAULT_PORTS = {"http": 80, "https": 443}
# RFC 3986 characters, less the userinfo's "@", the query and the fragment: what an address of ours can consist of.
# No backslash, white space or control character: parsers disagree about them, and so about the host.
_PLAIN = re.compile(r"[A-Za-z0-9\-._~:/\[\]!$&'()*+,;=%]+")
_VISIBLE = re.compile(r"[!-~]+")
_NAME = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class AllowList:
    """Hosts that may be contacted. An entry is `host` (the default ports 80 and 443) or `host:port`.

    Names are compared as text, without looking them up: 127.0.0.1, localhost and 2130706433 are three entries.
    Raises ConfigurationError for an entry that is not a host.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._entries = frozenset(_entry(host) for host in hosts)

    @classmethod
    def from_settings(cls, settings: Settings, archives: Iterable[str] = ()) -> "AllowList":
        """The configured hosts and, with their ports, those of our own FHIR server and archives.

        archives: addresses of those in LEUKOCDS_ARCHIVES.
        """
        own = [_authority(url) for url in (settings.fhir_url, settings.archive_url, *archives) if url]
        return cls([*settings.allowed_hosts, *own])

    def check(self, url: str) -> str:
        """`url` in normal form, without trailing slash. Raises EndpointNotAllowed, naming the host and no more."""
        scheme, host, port, _ = _parse(url)
        default = _DEFAULT_PORTS[scheme]
        effective = default if port is None else port
        if (host, effective) not in self._entries and not (
            effective == default and (host, None) in self._entries
        ):
            shown = host if effective == default else f"{host}:{effective}"
            raise EndpointNotAllowed(message("{host} is not among the allowed hosts", host=shown[:100]))
        return normal(url)


def normal(url: str) -> str:
    """`url` without trailing slash and default port. Raises EndpointNotAllowed where it is no plain http(s) address."""
    scheme, host, port, path = _parse(url)
    netloc = _bracketed(host) if port in (None, _DEFAULT_PORTS[scheme]) else f"{_bracketed(host)}:{port}"
    return urlunsplit((scheme, netloc, path.rstrip("/"), "", ""))


def is_loopback(host: str) -> bool:
    """Whether only this machine can be behind that name or address; no name but localhost is looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def why_not_confidential(url: str) -> str | None:
    """What keeps an address from being given keys to rely on or secrets to keep, as the end of a sentence; or None.

    https, or http on loopback, without user name or fragment.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "has no valid host or port"
    if not _VISIBLE.fullmatch(url) or not host or "@" in parts.netloc or parts.fragment:
        return "must be a plain address, without user name or fragment"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return "must begin with https:// (http:// on loopback only)"
    return None


def _parse(url: str) -> tuple[str, str, int | None, str]:
    if not _PLAIN.fullmatch(url):
        raise EndpointNotAllowed(
            message("an address must be plain http(s), without user name, query or odd characters")
        )
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _host(parts.hostname or "")
    except ValueError:
        raise EndpointNotAllowed(message("an address has no valid host or port")) from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise EndpointNotAllowed(message("an address must begin with http:// or https://"))
    if port == 0 or parts.netloc.endswith(":"):
        raise EndpointNotAllowed(message("an address has no valid port"))
    return parts.scheme, host, port, parts.path


def _entry(text: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{text.strip()}")
        if parts.netloc != text.strip() or "@" in parts.netloc or parts.netloc.endswith(":"):
            raise ValueError
        return _host(parts.hostname or ""), parts.port
    except ValueError:
        raise ConfigurationError(f"not a host or host:port: {text!r}") from None


def _authority(url: str) -> str:
    parts = urlsplit(url)
    return f"{_bracketed(_host(parts.hostname or ''))}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"


def _host(name: str) -> str:
    """Lower case, without the root's trailing dot; an IPv6 address in its shortest form (RFC 5952)."""
    if ":" in name:
        if "%" in name:
            raise ValueError("a zone has no meaning outside this machine")
        return IPv6Address(name).compressed
    name = name.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise ValueError("not a host name")
    return name


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
