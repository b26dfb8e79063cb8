"""The EHRs whose users may see the pages: how we are registered with each, and who may do what. One TOML file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

from cds.allowlist import is_loopback, normal, why_not_confidential
from cds.errors import ConfigurationError
from cds.settings import PREFIX, Settings
from cds.toml_files import read_toml

VARIABLE = f"{PREFIX}SIGN_IN"
#: Least privilege: who it is, and which patient. We read nothing with the EHR's token.
LAUNCH_SCOPES = ("openid", "fhirUser", "launch")
STANDALONE_SCOPES = ("openid", "fhirUser", "launch/patient")
_TEXTS = ("name", "iss", "client_id", "client_secret_file", "private_key_file", "key_id")
_LISTS = ("launch_scopes", "standalone_scopes", "reviewers", "operators", "all_patients", "fhir_servers")
_SWITCHES = ("same_ids", "standalone")
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749, section 3.3
_RULE = re.compile(r"(Practitioner|PractitionerRole|Person)/(\*|[A-Za-z0-9\-.]{1,64})|[^\s=]+=\S.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """An EHR's FHIR server with SMART App Launch 2 in front of it.

    reviewers, operators, all_patients: rules, of which one must hold: a `fhirUser` (`Practitioner/1`), any of a type
    (`Practitioner/*`), or `claim=value` of the id_token (a value in a list counts).
    """

    name: str
    #: FHIR base, without trailing slash.
    iss: str
    client_id: str
    secret: str | RSAKey | ECKey | None = field(repr=False)
    key_id: str | None
    launch_scopes: tuple[str, ...]
    standalone_scopes: tuple[str, ...]
    #: Whether ids of its patients and users are those of our own FHIR server.
    same_ids: bool
    #: Whether people may begin at our sign-in page.
    standalone: bool
    reviewers: tuple[str, ...]
    operators: tuple[str, ...]
    all_patients: tuple[str, ...]
    #: Other addresses of that FHIR server, as hooks name it.
    fhir_servers: tuple[str, ...] = ()


def load_issuers(settings: Settings) -> dict[str, Issuer]:
    """`iss` to issuer; empty without a file. Nothing is fetched.

    Raises ConfigurationError naming file, issuer and the key of the line that is wrong.
    """
    if not settings.sign_in:
        return {}
    path = Path(settings.sign_in)
    document = _document(path)
    tables = document.get("issuer")
    if set(document) != {"issuer"} or not isinstance(tables, list) or not tables:
        raise ConfigurationError(f"{VARIABLE}: {path} must consist of [[issuer]] tables")
    issuers: dict[str, Issuer] = {}
    for number, table in enumerate(tables, 1):
        where = f"{path}: issuer {number}"
        if not isinstance(table, dict):
            raise _wrong(where, "must be a table")
        if isinstance(table.get("name"), str):
            where += f" ({table['name'][:60]})"
        issuer = _issuer(where, table, settings, path.parent)
        if issuer.iss in issuers:
            raise _wrong(where, "iss: an earlier issuer has the same")
        issuers[issuer.iss] = issuer
    return issuers


def one_numbering(settings: Settings) -> frozenset[str]:
    """FHIR bases whose patients have the numbers of our own FHIR server: that server, and what the sign-in file says.

    Raises ConfigurationError as `load_issuers`.
    """
    same = [issuer for issuer in load_issuers(settings).values() if issuer.same_ids]
    named = [settings.fhir_url, *(url for issuer in same for url in (issuer.iss, *issuer.fhir_servers))]
    return frozenset(normal(url) for url in named if url)


def public_key(issuer: Issuer) -> dict[str, Any] | None:
    """The public half of our key there, as a JSON Web Key; None where we have none."""
    if not isinstance(issuer.secret, RSAKey | ECKey):
        return None
    algorithm = "ES384" if isinstance(issuer.secret, ECKey) else "RS384"
    return {
        **issuer.secret.as_dict(private=False),
        "kid": issuer.key_id,
        "alg": algorithm,
        "use": "sig",
        "key_ops": ["verify"],
    }


def check_sign_in(settings: Settings) -> None:
    """Raises ConfigurationError where people would sign in to what cannot be trusted."""
    base = urlsplit(settings.base_url)
    if settings.development_login:
        if settings.sign_in:
            raise ConfigurationError(
                f"{PREFIX}DEVELOPMENT_LOGIN=1 and {VARIABLE} contradict one another: unset one"
            )
        if not is_loopback(settings.host) or not is_loopback(base.hostname or ""):
            raise ConfigurationError(
                f"{PREFIX}DEVELOPMENT_LOGIN=1 lets anybody be anybody and is for loopback alone: set {PREFIX}HOST to "
                f"127.0.0.1 and unset {PREFIX}PUBLIC_URL, or name the EHRs that vouch for people in {VARIABLE}"
            )
    if settings.sign_in and base.scheme != "https" and not is_loopback(base.hostname or ""):
        raise ConfigurationError(
            f"{PREFIX}PUBLIC_URL must begin with https:// where people sign in ({VARIABLE}): else their sessions "
            "could be read on the way"
        )
    if settings.frame_ancestors and base.scheme != "https":
        raise ConfigurationError(
            f"{PREFIX}FRAME_ANCESTORS needs an https:// address of ours ({PREFIX}PUBLIC_URL): browsers keep no "
            "session in a frame otherwise"
        )
    load_issuers(settings)


def _document(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except ValueError as error:
        raise ConfigurationError(f"{VARIABLE}: {path} {error}") from None


def _issuer(where: str, table: Mapping[str, Any], settings: Settings, folder: Path) -> Issuer:
    _check_shape(where, table)
    iss = table["iss"].rstrip("/")
    if (problem := why_not_confidential(iss)) or "?" in iss:
        raise _wrong(where, f"iss: {problem or 'must have no query'}")
    lists = {name: tuple(table.get(name, ())) for name in _LISTS}
    for name in ("launch_scopes", "standalone_scopes"):
        for scope in lists[name]:
            if not _SCOPE.fullmatch(scope):
                raise _wrong(where, f"{name}: {scope[:60]!r} is no scope")
        if lists[name] and not {"openid", "fhirUser"} <= set(lists[name]):
            raise _wrong(where, f"{name}: must hold openid and fhirUser, which say who it is")
    for name in ("reviewers", "operators", "all_patients"):
        for rule in lists[name]:
            if not _RULE.fullmatch(rule):
                raise _wrong(
                    where, f"{name}: {rule[:60]!r} is neither Practitioner/ID, Practitioner/* nor claim=value"
                )
    for url in lists["fhir_servers"]:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname or "?" in url:
            raise _wrong(where, f"fhir_servers: {url[:60]!r} is no address of a FHIR server")
    return Issuer(
        name=table["name"],
        iss=iss,
        client_id=table["client_id"],
        secret=_secret(where, table, folder),
        key_id=table.get("key_id"),
        launch_scopes=lists["launch_scopes"] or LAUNCH_SCOPES,
        standalone_scopes=lists["standalone_scopes"] or STANDALONE_SCOPES,
        same_ids=table.get("same_ids", bool(settings.fhir_url) and iss == settings.fhir_url),
        fhir_servers=lists["fhir_servers"],
        standalone=table.get("standalone", True),
        reviewers=lists["reviewers"],
        operators=lists["operators"],
        all_patients=lists["all_patients"],
    )


def _check_shape(where: str, table: Mapping[str, Any]) -> None:
    for name, value in table.items():
        if name in _TEXTS:
            if not isinstance(value, str) or not value.strip():
                raise _wrong(where, f"{name}: must be a text")
        elif name in _LISTS:
            if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
                raise _wrong(where, f"{name}: must be a list of texts")
        elif name in _SWITCHES:
            if not isinstance(value, bool):
                raise _wrong(where, f"{name}: must be true or false")
        else:
            raise _wrong(where, f"{name}: is unknown; there are {', '.join((*_TEXTS, *_LISTS, *_SWITCHES))}")
    for name in ("name", "iss", "client_id"):
        if name not in table:
            raise _wrong(where, f"{name}: is missing")


def _secret(where: str, table: Mapping[str, Any], folder: Path) -> str | RSAKey | ECKey | None:
    """The client's secret or private key; None for a public client. Paths are relative to the file that names them."""
    if "client_secret_file" in table and "private_key_file" in table:
        raise _wrong(where, "client_secret_file and private_key_file: there can be one of them")
    if "client_secret_file" in table:
        secret = _read(where, "client_secret_file", folder / table["client_secret_file"]).strip()
        return secret or _raise(_wrong(where, "client_secret_file: is empty"))
    if "private_key_file" not in table:
        return None
    if "key_id" not in table:
        raise _wrong(where, "key_id: is missing: the EHR finds our public key by it")
    pem = _read(where, "private_key_file", folder / table["private_key_file"])
    for kind, fits in (("EC", lambda key: key.curve_name == "P-384"), ("RSA", lambda key: True)):
        try:
            key: Any = import_key(pem, kind)  # type: ignore[call-overload]
        except (JoseError, ValueError, TypeError):
            continue
        if key.is_private and fits(key):
            found: RSAKey | ECKey = key
            return found
    raise _wrong(where, "private_key_file: must hold a private key in PEM, RSA or EC on P-384")


def _read(where: str, name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise _wrong(where, f"{name}: {path} cannot be read: {reason}") from None


def _raise(error: ConfigurationError) -> Any:
    raise error


def _wrong(where: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{VARIABLE}: {where}: {problem}")
