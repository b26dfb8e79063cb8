"""The image archives that we have credentials for: LEUKOCDS_ARCHIVES, one TOML file, or LEUKOCDS_ARCHIVE_URL alone.

Values only; nothing is contacted. Secrets are read from files or from the environment, never from the TOML file.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cds.allowlist import normal, why_not_confidential
from cds.dimse_site import WAYS, DimseSite, Reception, why_no_dimse
from cds.errors import ConfigurationError, EndpointNotAllowed
from cds.oauth import ClientAuthentication, ClientCredentials, ClientSecret, PrivateKeyJwt
from cds.settings import PREFIX, Settings
from cds.signing_key import load_signing_keys
from cds.tls import Tls
from cds.toml_files import read_toml
from cds.upstream import Credentials, FixedCredentials

VARIABLE = f"{PREFIX}ARCHIVES"
#: Ways to reach an archive. Each has its adapter in `hooks.outbound`.
KINDS = ("dicomweb", "wado-uri", "orthanc", "dimse")
#: Fields that a kind has besides; `url` is for all that speak HTTP.
_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "dicomweb": ("url",),
    "wado-uri": ("url", "qido_url", "endpoint"),
    "orthanc": ("url", "endpoint"),
    "dimse": (
        *("host", "port", "ae_title", "own_ae_title", "tls", "retrieve", "endpoint"),
        *("receive_host", "receive_port", "receive_from"),
    ),
}
_SECRETS = ("password", "token", "client_secret")
#: Fields that every table may have, and those that go with its `authentication`.
_COMMON = (
    "name", "kind", "authentication", "ca_bundle", "client_certificate", "client_key", "connect_timeout_s",
    "read_timeout_s",
)  # fmt: skip
_BY_AUTHENTICATION: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "basic": ("user", "password"),
    "bearer": ("token",),
    "oauth2": (
        "token_url",
        "client_id",
        "client_authentication",
        "client_secret",
        "signing_key",
        "token_audience",
        "scopes",
    ),
}
_CLIENT_AUTHENTICATION = ("client_secret_basic", "client_secret_post", "private_key_jwt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One configured archive. url: in normal form, without trailing slash; for messages only where it speaks DIMSE.
    credentials: for it alone; they keep the token that they fetch, so an Archive is built once a process.

    endpoint: the address by which Endpoints name it; empty: none does. qido_url: DICOMweb service root that lists what
    WADO-URI retrieves; empty: none. site: of one that speaks DIMSE.
    """

    name: str
    url: str
    kind: str = "dicomweb"
    endpoint: str
    qido_url: str = ""
    site: DimseSite | None = None
    credentials: Credentials = field(repr=False)
    authentication: str
    tls: Tls
    connect_timeout_s: float
    read_timeout_s: float


def load_archives(
    settings: Settings, tls: Tls, environ: Mapping[str, str] | None = None
) -> tuple[Archive, ...]:
    """The one for studies that name no endpoint comes first. tls: where a table has none of its own.

    Raises ConfigurationError naming the file, the table and the field.
    """
    environ = os.environ if environ is None else environ
    listed = _from_file(settings, tls, environ) if settings.archives else ()
    if not settings.archive_url:
        return listed
    simple = Archive(
        name="archive",
        url=_normal(settings.archive_url),
        endpoint=_normal(settings.archive_url),
        credentials=FixedCredentials(user=settings.archive_user, password=settings.archive_password),
        authentication="basic" if settings.archive_user else "none",
        tls=tls,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )
    same = [archive for archive in listed if archive.url == simple.url]
    if same and settings.archive_user:
        raise ConfigurationError(
            f"{PREFIX}ARCHIVE_USER is set, but {same[0].name} in {VARIABLE} says how to log in at that address"
        )
    return (*(same or [simple]), *(archive for archive in listed if archive not in same))


def _from_file(settings: Settings, tls: Tls, environ: Mapping[str, str]) -> tuple[Archive, ...]:
    path = Path(settings.archives)
    try:
        document = read_toml(path)
    except ValueError as error:
        raise ConfigurationError(f"{VARIABLE}: {path} {error}") from None
    tables = document.get("archive")
    if set(document) != {"archive"} or not isinstance(tables, list) or not tables:
        raise ConfigurationError(f"{VARIABLE}: {path} must consist of [[archive]] tables")
    archives: list[Archive] = []
    for number, table in enumerate(tables, 1):
        reader = _Table(path, number, table, environ)
        archive = _archive(reader, settings, tls)
        for other in archives:
            if other.name == archive.name:
                raise reader.wrong("name", "another table has the same")
            if other.url == archive.url:
                raise reader.wrong("host" if archive.site else "url", f"{other.name} has the same")
            if archive.endpoint and other.endpoint == archive.endpoint:
                raise reader.wrong("endpoint", f"{other.name} has the same")
        archives.append(archive)
    return tuple(archives)


class _Table:
    """One [[archive]]; whatever is asked for is of the right type, or a ConfigurationError names it."""

    def __init__(self, path: Path, number: int, table: object, environ: Mapping[str, str]) -> None:
        self._folder, self._environ = path.parent, environ
        self._where = f"{VARIABLE}: {path}: archive {number}"
        if not isinstance(table, dict):
            raise ConfigurationError(f"{self._where}: must be a table")
        self.fields: Mapping[str, Any] = table
        if isinstance(table.get("name"), str):
            self._where += f" ({table['name'][:60]})"

    def wrong(self, name: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._where}: {name}: {problem}")

    def text(self, name: str, default: str | None = None) -> str:
        value = self.fields.get(name, default)
        if value is None:
            raise self.wrong(name, "is missing")
        if not isinstance(value, str) or not (value.strip() or value == default):
            raise self.wrong(name, "must be a text")
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise self.wrong(name, f"must be one of {', '.join(choices)}")
        return value

    def file(self, name: str, default: str = "") -> str:
        """A path; relative to the folder of the TOML file."""
        return str(self._folder / self.text(name)) if name in self.fields else default

    def seconds(self, name: str, default: float) -> float:
        value = self.fields.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 86_400:
            raise self.wrong(name, "must be a number of seconds above zero")
        return float(value)

    def number(self, name: str) -> int:
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, "is missing" if value is None else "must be a whole number")
        return value

    def address(self, name: str, default: str | None = None) -> str:
        """In normal form."""
        url = self.text(name, default)
        try:
            return _normal(url) if url else ""
        except ConfigurationError as error:
            raise self.wrong(name, str(error)) from None

    def texts(self, name: str) -> list[str]:
        values = self.fields.get(name, [])
        if not isinstance(values, list) or not all(
            isinstance(v, str) and re.fullmatch(r"[!-~]+", v) for v in values
        ):
            raise self.wrong(name, "must be a list of texts without spaces")
        return values

    def secret(self, name: str) -> str:
        """From the file that `<name>_file` names, or the environment variable that `<name>_env` names."""
        given = [source for source in (f"{name}_file", f"{name}_env") if source in self.fields]
        if len(given) != 1:
            raise self.wrong(f"{name}_file", f"give either it or {name}_env")
        source = given[0]
        if source.endswith("_env"):
            variable = self.text(source)
            value = self._environ.get(variable, "").strip()
            if not value:
                raise self.wrong(source, f"the environment variable {variable} is empty or not set")
            return value
        path = Path(self.file(source))
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise self.wrong(source, f"{path} cannot be read: {why}") from None
        if not value:
            raise self.wrong(source, f"{path} is empty")
        return value


def _archive(table: _Table, settings: Settings, tls: Tls) -> Archive:
    authentication = table.choice("authentication", tuple(_BY_AUTHENTICATION), "none")
    kind = table.choice("kind", KINDS, "dicomweb")
    _check_names(table, kind, authentication)
    name = table.text("name")
    site = _site(table) if kind == "dimse" else None
    url = table.address("url") if site is None else f"dicom://{site.label}"
    endpoint = url if kind == "dicomweb" else table.address("endpoint", "")
    if "client_key" in table.fields and "client_certificate" not in table.fields:
        raise table.wrong("client_key", "client_certificate is missing")
    own = replace(tls, ca_bundle=table.file("ca_bundle", tls.ca_bundle))
    if "client_certificate" in table.fields:
        own = replace(own, certificate=table.file("client_certificate"), key=table.file("client_key"))
    if own != tls:
        try:
            own.check("ca_bundle", "client_certificate", "client_key")
        except ConfigurationError as error:
            field_name, _, problem = str(error).partition(": ")
            raise table.wrong(field_name, problem) from None
    if site is not None and site.tls and site.reception is not None and not own.certificate:
        raise table.wrong("tls", "our port needs a client_certificate to show")
    connect_timeout_s = table.seconds("connect_timeout_s", settings.connect_timeout_s)
    return Archive(
        name=name,
        url=url,
        kind=kind,
        endpoint=endpoint,
        qido_url=table.address("qido_url", "") if kind == "wado-uri" else "",
        site=site,
        credentials=_credentials(table, authentication, settings, own, connect_timeout_s),
        authentication=authentication,
        tls=own,
        connect_timeout_s=connect_timeout_s,
        read_timeout_s=table.seconds("read_timeout_s", settings.read_timeout_s),
    )


def _site(table: _Table) -> DimseSite:
    if problem := why_no_dimse():
        raise table.wrong("kind", problem)
    if table.text("authentication", "none") != "none":
        raise table.wrong(
            "authentication", "DIMSE has none: AE titles, addresses and, with tls, certificates"
        )
    reception = None
    if table.choice("retrieve", WAYS, WAYS[0]) == "c-move":
        reception = Reception(
            host=table.text("receive_host", "0.0.0.0"),
            port=table.number("receive_port"),
            senders=tuple(table.texts("receive_from")),
        )
    else:
        for name in ("receive_host", "receive_port", "receive_from"):
            if name in table.fields:
                raise table.wrong(name, "goes with retrieve = 'c-move'")
    secure = table.fields.get("tls", False)
    if not isinstance(secure, bool):
        raise table.wrong("tls", "must be true or false")
    try:
        return DimseSite(
            host=table.text("host"),
            port=table.number("port"),
            ae_title=table.text("ae_title"),
            own_ae_title=table.text("own_ae_title", "LEUKOCDS"),
            tls=secure,
            reception=reception,
        )
    except ConfigurationError as error:
        name, _, problem = str(error).partition(": ")
        raise table.wrong(name, problem) from None


def _check_names(table: _Table, kind: str, authentication: str) -> None:
    for secret in _SECRETS:
        if secret in table.fields:
            raise table.wrong(secret, f"secrets do not stand here; give {secret}_file or {secret}_env")
    known = [*_COMMON, *_BY_KIND[kind]]
    for name in _BY_AUTHENTICATION[authentication]:
        known += [f"{name}_file", f"{name}_env"] if name in _SECRETS else [name]
    for name in table.fields:
        if name not in known:
            kinds = [k for k, names in _BY_KIND.items() if name in names]
            if kinds:
                raise table.wrong(name, f"goes with kind = {' or '.join(map(repr, kinds))}")
            others = [
                a
                for a, names in _BY_AUTHENTICATION.items()
                if name.removesuffix("_file").removesuffix("_env") in names
            ]
            raise table.wrong(
                name,
                f"goes with authentication = {' or '.join(map(repr, others))}" if others else "is not known",
            )


def _credentials(
    table: _Table, authentication: str, settings: Settings, tls: Tls, connect_timeout_s: float
) -> Credentials:
    if authentication == "none":
        return FixedCredentials()
    if authentication == "basic":
        user = table.text("user")
        if ":" in user:  # RFC 7617 section 2
            raise table.wrong("user", "must not hold a colon")
        return FixedCredentials(user=user, password=table.secret("password"))
    if authentication == "bearer":
        token = table.secret("token")
        if not re.fullmatch(r"[!-~]+", token):
            raise table.wrong(
                "token_file" if "token_file" in table.fields else "token_env", "is no bearer token"
            )
        return FixedCredentials(token=token)
    token_url = table.text("token_url")
    if problem := why_not_confidential(token_url):
        raise table.wrong("token_url", problem)
    return ClientCredentials(
        lambda deadline: token_url,
        _client(table, settings),
        table.texts("scopes"),
        tls=tls,
        connect_timeout_s=connect_timeout_s,
    )


def _client(table: _Table, settings: Settings) -> ClientAuthentication:
    client_id, way = table.text("client_id"), table.choice("client_authentication", _CLIENT_AUTHENTICATION)
    if way != "private_key_jwt":
        for name in ("signing_key", "token_audience"):
            if name in table.fields:
                raise table.wrong(name, "goes with client_authentication = 'private_key_jwt'")
        return ClientSecret(client_id, table.secret("client_secret"), in_form=way == "client_secret_post")
    for name in ("client_secret_file", "client_secret_env"):
        if name in table.fields:
            raise table.wrong(
                name, "goes with client_authentication = 'client_secret_basic' or 'client_secret_post'"
            )
    path = table.file("signing_key", settings.signing_key)
    if not path:
        raise table.wrong("signing_key", f"is missing, and {PREFIX}SIGNING_KEY is not set")
    try:
        key = load_signing_keys(path, "signing_key")[0]
    except ConfigurationError as error:
        raise table.wrong("signing_key", str(error).partition(": ")[2]) from None
    return PrivateKeyJwt(client_id, key, audience=table.text("token_audience", ""))


def _normal(url: str) -> str:
    """As `AllowList.check` gives the addresses that Endpoints name, so that the two can be compared."""
    try:
        return normal(url)
    except EndpointNotAllowed as error:
        raise ConfigurationError(str(error)) from None
