"""What an EHR is known to do and to understand: its profile, from a TOML file or from a table in the clients file.

A profile narrows what CDS Hooks 2.0 allows: which hooks are offered, what the prefetch of that EHR means, what a card
may hold. Without one a client is taken to keep to the specification in full.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cds.allowlist import is_loopback
from cds.errors import ConfigurationError
from cds.settings import PREFIX, Settings
from cds.toml_files import read_toml
from hooks.cds_requests import hooks
from hooks.conformance import MAX_SUMMARY

#: Keys of the prefetch templates, see `hooks.prefetch.templates`.
PREFETCH_KEYS = ("patient", "studies", "reports", "orders")
LINKS = ("absolute", "smart", "none")
#: Below it a summary no longer holds the pattern, the date and the share that the verdict rests on.
MIN_SUMMARY = 40
#: Where our address ends and the CDS Hooks surface begins.
SURFACE = "/cds-services"
_ABOUT, _BASE = "about", "base"


class ProfileError(ValueError):
    """What is wrong with a profile, beginning with the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of EHR. The defaults are the specification's.

    hooks: those offered in discovery and answered. audiences, trailing_slash: see `hooks.clients.Client`; what the
    client's own entry says goes before. prefetch: keys of the templates offered. prefetch_page: entries from which a
    prefetched Bundle counts as a first page, for EHRs that cut it without saying so. null_is_absent: it writes null
    for what it did not fetch. ask_fhir_server: whether missing data may be asked of `fhirServer`. links: type of a
    card's links. launch_url: where smart links launch. override_reasons, markdown: whether it shows them.
    max_summary: characters of a summary. system_actions: whether it agreed to them. requests_per_s, burst: instead of
    the settings of that name.
    """

    name: str = "standard"
    hooks: tuple[str, ...] = hooks()
    audiences: tuple[str, ...] = ()
    trailing_slash: bool = False
    prefetch: tuple[str, ...] = PREFETCH_KEYS
    prefetch_page: int | None = None
    null_is_absent: bool = False
    ask_fhir_server: bool = True
    links: str = "absolute"
    launch_url: str | None = None
    override_reasons: bool = True
    markdown: bool = True
    max_summary: int = MAX_SUMMARY
    system_actions: bool = False
    requests_per_s: float | None = None
    burst: int | None = None


STANDARD = Profile()
_FIELDS = tuple(f.name for f in fields(Profile) if f.name != "name")


def read_profile(value: object, folder: Path) -> Profile:
    """A profile as a clients file gives it: the name of a shipped one, the path of a file (from `folder`), or a table
    of fields with the `base` that they change. Raises ProfileError."""
    if isinstance(value, str):
        return _named(value, folder)
    if isinstance(value, dict):
        return _changed(value, "inline", folder)
    raise ProfileError("must be the name of a shipped profile, the path of a TOML file, or a table")


def open_profile(settings: Settings) -> Profile:
    """The profile of whoever calls in open mode. Raises ConfigurationError."""
    variable = f"{PREFIX}OPEN_PROFILE"
    if not settings.open_profile:
        return STANDARD
    try:
        profile = read_profile(settings.open_profile, Path())
    except ProfileError as error:
        raise ConfigurationError(f"{variable}: {error}") from None
    if profile.system_actions:
        # Whoever reaches the address would be told to write into the chart.
        raise ConfigurationError(f"{variable}: system_actions: nobody has agreed to them in open mode")
    return profile


def shipped_profiles() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _shipped_folder().glob("*.toml")))


def check_audience(base: str) -> str | None:
    """What is wrong with an address of ours as a client knows it, or None."""
    if not re.match(r"https?://[^/]", base):
        return f"must list addresses of this service, not {base[:100]!r}"
    if SURFACE in base:
        return f"give our address without {SURFACE}, which is appended"
    return None


def _shipped_folder() -> Path:
    return Path(__file__).with_name("ehr_profiles")


def _named(name: str, folder: Path) -> Profile:
    if not name.endswith(".toml"):
        if name not in shipped_profiles():
            raise ProfileError(
                f"{name[:60]!r} is not shipped; there are {', '.join(shipped_profiles())}, and files ending in .toml"
            )
        return _changed(_toml(_shipped_folder() / f"{name}.toml"), name, None)
    path = folder / name
    try:
        return _changed(_toml(path), path.stem, path.parent)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except ValueError as error:
        raise ProfileError(str(error)) from None


def _changed(table: Mapping[str, Any], name: str, folder: Path | None) -> Profile:
    """folder: None for a shipped one, which stands on the defaults alone."""
    known = (*_FIELDS, _ABOUT, *([_BASE] if folder is not None else []))
    for key in table:
        if key not in known:
            raise ProfileError(f"{key[:60]}: is unknown; there are {', '.join(known)}")
    if not isinstance(table.get(_ABOUT, ""), str):
        raise ProfileError(f"{_ABOUT}: must be a text")
    base = STANDARD
    if _BASE in table:
        if not isinstance(table[_BASE], str) or table[_BASE].endswith(".toml"):
            raise ProfileError(
                f"{_BASE}: must be the name of a shipped profile: {', '.join(shipped_profiles())}"
            )
        try:
            base = _named(table[_BASE], Path())
        except ProfileError as error:
            raise ProfileError(f"{_BASE}: {error}") from None
    values = {field: getattr(base, field) for field in _FIELDS}
    values |= {field: _CHECKS[field](field, table[field]) for field in _FIELDS if field in table}
    profile = Profile(name=name, **values)
    if (profile.links == "smart") != (profile.launch_url is not None):
        raise ProfileError(
            'launch_url: belongs to links = "smart", which needs it: where the SMART app launches'
        )
    if profile.burst is not None and profile.requests_per_s is None:
        raise ProfileError("burst: needs requests_per_s")
    return profile


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ProfileError(f"{field}: must be true or false")
    return value


def _some_hooks(field: str, value: object) -> tuple[str, ...]:
    chosen = _choices(field, value, hooks())
    if not chosen:
        raise ProfileError(f"{field}: is empty; a client that is offered nothing needs no entry")
    return chosen


def _keys(field: str, value: object) -> tuple[str, ...]:
    return _choices(field, value, PREFETCH_KEYS)


def _choices(field: str, value: object, known: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each in known for each in value):
        raise ProfileError(f"{field}: must be a list of {', '.join(known)}")
    return tuple(each for each in known if each in value)


def _audiences(field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise ProfileError(f"{field}: must be a list of texts that is not empty")
    bases = tuple(base.rstrip("/") for base in value)
    for base in bases:
        if problem := check_audience(base):
            raise ProfileError(f"{field}: {problem}")
    return bases


def _links(field: str, value: object) -> str:
    if not isinstance(value, str) or value not in LINKS:
        raise ProfileError(f"{field}: must be {', '.join(LINKS)}")
    return value


def _address(field: str, value: object) -> str:
    problem = ProfileError(f"{field}: must be an https address (http on loopback only)")
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise problem
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        raise problem from None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise problem
    return value


def _whole(least: int, most: int | None = None) -> Any:
    def check(field: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least or (most and value > most):
            raise ProfileError(
                f"{field}: must be a whole number from {least} {f'to {most}' if most else 'on'}"
            )
        return value

    return check


def _rate(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ProfileError(f"{field}: must be a number above zero")
    return float(value)


_CHECKS: Mapping[str, Any] = {
    "hooks": _some_hooks,
    "audiences": _audiences,
    "trailing_slash": _flag,
    "prefetch": _keys,
    "prefetch_page": _whole(1),
    "null_is_absent": _flag,
    "ask_fhir_server": _flag,
    "links": _links,
    "launch_url": _address,
    "override_reasons": _flag,
    "markdown": _flag,
    "max_summary": _whole(MIN_SUMMARY, MAX_SUMMARY),
    "system_actions": _flag,
    "requests_per_s": _rate,
    "burst": _whole(1),
}
