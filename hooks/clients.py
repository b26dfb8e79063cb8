"""The CDS clients that may call: who they are, their keys, what their tokens may say, and what their EHR can do.

One TOML file; an EHR's profile may stand in a file of its own beside it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cds.allowlist import is_loopback, why_not_confidential
from cds.errors import ConfigurationError
from cds.settings import PREFIX, Settings
from cds.tls import Tls
from cds.toml_files import read_toml
from hooks.client_keys import ConfiguredKeys, FetchedKeys, KeySetError, KeySource, parse_key_set
from hooks.ehr_profile import (
    STANDARD,
    Profile,
    ProfileError,
    check_audience,
    open_profile,
    read_profile,
)

VARIABLE = f"{PREFIX}CLIENTS"
_MEMBERS = ("name", "iss", "jwks", "jku", "audiences", "tenants", "trailing_slash", "profile")
_NO_SPACE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A CDS client (CDS Hooks 2.0, "Trusting CDS Clients").

    jku: the only address that its tokens may name. audiences: our addresses as it knows them, without the path.
    tenants: the `tenant`s that it may speak for; empty: it need not say.
    trailing_slash: its `aud` may end in one. profile: what its EHR does and shows.
    """

    name: str
    iss: str
    keys: KeySource
    jku: str | None
    audiences: tuple[str, ...]
    tenants: frozenset[str]
    trailing_slash: bool
    profile: Profile = STANDARD

    def accepts(self, aud: object, path: str) -> bool:
        """Whether `aud` (a string or a list of them) is the address of the endpoint at that path of ours."""
        named = [aud] if isinstance(aud, str) else aud
        if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
            return False
        if self.trailing_slash:
            named = [each.removesuffix("/") for each in named]
        return any(base + path in named for base in self.audiences)


def load_clients(settings: Settings) -> dict[str, Client]:
    """`iss` to client, from the configured file. Nothing is fetched.

    Raises ConfigurationError naming the client and the key of the line that is wrong.
    """
    try:
        document = read_toml(Path(settings.clients))
    except ValueError as error:
        raise ConfigurationError(f"{VARIABLE}: {settings.clients} {error}") from None
    tables = document.get("client")
    if set(document) != {"client"} or not isinstance(tables, list) or not tables:
        raise ConfigurationError(f"{VARIABLE}: {settings.clients} must consist of [[client]] tables")
    clients: dict[str, Client] = {}
    for number, table in enumerate(tables, 1):
        where = f"client {number}"
        if not isinstance(table, dict):
            raise _wrong(where, "must be a table")
        if isinstance(table.get("name"), str):
            where += f" ({table['name'][:60]})"
        client = _client(where, table, settings)
        if client.iss in clients:
            raise _wrong(where, "iss: an earlier client has the same")
        clients[client.iss] = client
    return clients


def check_door(settings: Settings) -> None:
    """Raises ConfigurationError where serving would let in whoever reaches the address, or nobody."""
    if settings.clients:
        if settings.allow_open:
            raise ConfigurationError(f"{PREFIX}ALLOW_OPEN=1 and {VARIABLE} contradict one another: unset one")
        if settings.open_profile:
            raise ConfigurationError(
                f"{PREFIX}OPEN_PROFILE is for open mode: with {VARIABLE}, give each client its profile there"
            )
        if not settings.public_url and not is_loopback(settings.host):
            raise ConfigurationError(
                f"{PREFIX}PUBLIC_URL is not set, and the `aud` of a client's JWT is compared with it: set it to our "
                "address as CDS clients know it"
            )
        load_clients(settings)
        return
    open_profile(settings)
    if not settings.allow_open and not is_loopback(settings.host):
        raise ConfigurationError(
            f"{PREFIX}HOST is {settings.host} and no CDS clients are configured: whoever reaches that address could "
            f"ask for any patient. Name the clients in {VARIABLE}; or listen on 127.0.0.1; or put a gateway that "
            f"authenticates in front and set {PREFIX}ALLOW_OPEN=1"
        )


def _client(where: str, table: Mapping[str, Any], settings: Settings) -> Client:
    for name in table:
        if name not in _MEMBERS:
            raise _wrong(where, f"{name}: is unknown; there are {', '.join(_MEMBERS)}")
    for name in ("name", "iss", "jku"):
        value = table.get(name)
        if name in table and not (isinstance(value, str) and value.strip()):
            raise _wrong(where, f"{name}: must be a text")
        if name not in table and name != "jku":
            raise _wrong(where, f"{name}: is missing")
    if not _NO_SPACE.fullmatch(table["iss"]):
        raise _wrong(where, "iss: must be a URI")
    profile = _profile(where, table, settings)
    trailing_slash = table.get("trailing_slash", profile.trailing_slash)
    if not isinstance(trailing_slash, bool):
        raise _wrong(where, "trailing_slash: must be true or false")
    return Client(
        name=table["name"],
        iss=table["iss"],
        keys=_keys(where, table, settings),
        jku=table.get("jku"),
        audiences=_audiences(where, table) or profile.audiences or (settings.base_url,),
        tenants=frozenset(_texts(where, table, "tenants")),
        trailing_slash=trailing_slash,
        profile=profile,
    )


def _profile(where: str, table: Mapping[str, Any], settings: Settings) -> Profile:
    try:
        return (
            read_profile(table["profile"], Path(settings.clients).parent) if "profile" in table else STANDARD
        )
    except ProfileError as error:
        raise _wrong(where, f"profile: {error}") from None


def _keys(where: str, table: Mapping[str, Any], settings: Settings) -> KeySource:
    """Keys in the file win over `jku`, which then only says what tokens may name and is never fetched."""
    jku = table.get("jku")
    if jku is not None and (problem := why_not_confidential(jku)):
        raise _wrong(where, f"jku: {problem}")
    if "jwks" in table:
        try:
            return ConfiguredKeys(parse_key_set(table["jwks"]))
        except KeySetError as error:
            raise _wrong(where, f"jwks.{error}") from None
    if jku is None:
        raise _wrong(where, "has neither jwks nor jku: its keys are not known")
    return FetchedKeys(
        jku, ttl_s=settings.jwks_ttl_s, max_age_s=settings.jwks_max_age_s, tls=Tls.from_settings(settings)
    )


def _audiences(where: str, table: Mapping[str, Any]) -> tuple[str, ...]:
    bases = tuple(base.rstrip("/") for base in _texts(where, table, "audiences"))
    for base in bases:
        if problem := check_audience(base):
            raise _wrong(where, f"audiences: {problem}")
    return bases


def _texts(where: str, table: Mapping[str, Any], name: str) -> list[str]:
    values = table.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        raise _wrong(where, f"{name}: must be a list of texts")
    if name in table and not values:
        raise _wrong(where, f"{name}: is empty; leave it out")
    return values


def _wrong(where: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{VARIABLE}: {where}: {problem}")
