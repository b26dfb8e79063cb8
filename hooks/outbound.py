"""The servers that LeukoCDS calls by itself, as the settings name them: our FHIR server and the archives, with our
credentials and certificates. What is built here is built once a process, since it keeps access tokens.
"""

from collections.abc import Callable, Mapping
from functools import partial

from cds.allowlist import why_not_confidential
from cds.archives import Archive, load_archives
from cds.deadline import Deadline
from cds.dicomweb import DicomWebArchive
from cds.errors import ConfigurationError
from cds.fhir_client import HttpFhirServer
from cds.oauth import ClientCredentials, PrivateKeyJwt, SmartDiscovery
from cds.ports import FhirServer, ImageArchive
from cds.settings import PREFIX, Settings
from cds.signing_key import SigningKey, load_signing_keys
from cds.tls import Tls
from cds.upstream import Credentials, FixedCredentials


def check_outbound(settings: Settings) -> None:
    """Raises ConfigurationError where what is configured for calling others cannot be used. Nothing is contacted."""
    signing_keys(settings)
    fhir_credentials(settings)
    archives(settings)


def signing_keys(settings: Settings) -> tuple[SigningKey, ...]:
    """Ours; none where none is configured. Raises ConfigurationError."""
    return load_signing_keys(settings.signing_key, f"{PREFIX}SIGNING_KEY") if settings.signing_key else ()


def fhir_credentials(settings: Settings) -> Credentials:
    """Ours at the configured FHIR server. Raises ConfigurationError."""
    if not settings.fhir_client_id:
        return FixedCredentials(token=settings.fhir_token or None)
    tls, key = Tls.from_settings(settings), signing_keys(settings)[0]
    if settings.fhir_token_url:
        if problem := why_not_confidential(settings.fhir_token_url):
            raise ConfigurationError(f"{PREFIX}FHIR_TOKEN_URL {problem}")
        token_url: Callable[[Deadline], str] = partial(_fixed, settings.fhir_token_url)
    else:
        token_url = SmartDiscovery(
            settings.fhir_url, alg=key.alg, tls=tls, connect_timeout_s=settings.connect_timeout_s
        )
    return ClientCredentials(
        token_url,
        PrivateKeyJwt(settings.fhir_client_id, key),
        settings.fhir_scopes.split(),
        tls=tls,
        connect_timeout_s=settings.connect_timeout_s,
    )


def own_fhir_server(settings: Settings) -> FhirServer:
    """The configured FHIR server, with our own credentials. Raises ConfigurationError."""
    return fhir_server(settings, settings.fhir_url, fhir_credentials(settings), Tls.from_settings(settings))


def fhir_server(settings: Settings, url: str, credentials: Credentials, tls: Tls) -> FhirServer:
    """Any FHIR server. The address has been checked, and `credentials` are meant for it."""
    return HttpFhirServer(
        url,
        credentials=credentials,
        tls=tls,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def archives(settings: Settings) -> tuple[Archive, ...]:
    """Those that we have credentials for; the first is for studies that name no endpoint. Raises ConfigurationError."""
    return load_archives(settings, Tls.from_settings(settings))


def stranger(url: str, settings: Settings, tls: Tls) -> Archive:
    """An archive that an Endpoint names and no setting does: it gets no credentials."""
    return Archive(
        name="(by its Endpoint)",
        url=url,
        credentials=FixedCredentials(),
        authentication="none",
        tls=tls,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def open_archive(archive: Archive, settings: Settings) -> ImageArchive:
    return ADAPTERS[archive.kind](archive, settings)


def _dicomweb(archive: Archive, settings: Settings) -> ImageArchive:
    return DicomWebArchive(
        archive.url,
        credentials=archive.credentials,
        tls=archive.tls,
        connect_timeout_s=archive.connect_timeout_s,
        read_timeout_s=archive.read_timeout_s,
        max_instance_bytes=settings.max_instance_mb * 1024 * 1024,
    )


#: One for each of `cds.archives.KINDS`.
ADAPTERS: Mapping[str, Callable[[Archive, Settings], ImageArchive]] = {"dicomweb": _dicomweb}


def _fixed(url: str, _deadline: Deadline) -> str:
    return url
