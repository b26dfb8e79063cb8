"""The servers that LeukoCDS calls by itself, as the settings name them: our FHIR server and the archives, with our
credentials and certificates. What is built here is built once a process, since it keeps access tokens.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cds.allowlist import why_not_confidential
from cds.archives import Archive, load_archives
from cds.deadline import Deadline
from cds.dicomweb import DicomWebArchive
from cds.errors import ConfigurationError
from cds.fhir_capabilities import Way
from cds.fhir_client import HttpFhirServer
from cds.fhir_writing import AdaptingFhirServer
from cds.oauth import ClientCredentials, PrivateKeyJwt, SmartDiscovery
from cds.orthanc import OrthancArchive
from cds.ports import ImageArchive
from cds.settings import PREFIX, Settings
from cds.signing_key import SigningKey, load_signing_keys, may_be_read_by_all
from cds.tls import Tls
from cds.upstream import Credentials, FixedCredentials
from cds.values import StudyRef
from cds.wado_uri import WadoUriArchive


def check_outbound(settings: Settings) -> None:
    """Raises ConfigurationError where what is configured for calling others cannot be used. Nothing is contacted."""
    signing_keys(settings)
    fhir_credentials(settings)
    for archive in archives(settings):
        if settings.dicom_results and archive.kind == "wado-uri" and not archive.qido_url:
            raise ConfigurationError(
                f"{PREFIX}DICOM_RESULTS is set, but {archive.name} takes none: WADO-URI only reads; give its qido_url"
            )


def signing_keys(settings: Settings) -> tuple[SigningKey, ...]:
    """Ours; none where none is configured. Raises ConfigurationError."""
    return load_signing_keys(settings.signing_key, f"{PREFIX}SIGNING_KEY") if settings.signing_key else ()


def open_private_keys(settings: Settings) -> list[str]:
    """A sentence for each of our private keys that every user of this machine may read, and so sign with or show.

    Whether a group may is left to the administrator: secrets are often handed to a service by its group.
    """
    files = {"SIGNING_KEY": settings.signing_key, "CLIENT_KEY": settings.client_key}
    return [
        f"{PREFIX}{name}: every user of this machine may read {path}"
        for name, path in files.items()
        if path and may_be_read_by_all(path)
    ]


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
        PrivateKeyJwt(settings.fhir_client_id, key, audience=settings.fhir_token_audience),
        settings.asked_scopes,
        tls=tls,
        connect_timeout_s=settings.connect_timeout_s,
    )


def own_fhir_server(settings: Settings) -> AdaptingFhirServer:
    """The configured FHIR server, with our own credentials, written to in the way that it takes. Raises
    ConfigurationError."""
    server = fhir_server(settings, settings.fhir_url, fhir_credentials(settings), Tls.from_settings(settings))
    return AdaptingFhirServer(server, None if settings.fhir_write == "auto" else Way(settings.fhir_write))


def fhir_server(settings: Settings, url: str, credentials: Credentials, tls: Tls) -> HttpFhirServer:
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
        endpoint=url,
        credentials=FixedCredentials(),
        authentication="none",
        tls=tls,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def open_archive(archive: Archive, settings: Settings, study: StudyRef | None = None) -> ImageArchive:
    """study: the one to be read, for archives that cannot list it themselves."""
    return ADAPTERS[archive.kind](archive, settings, study)


def _dicomweb(archive: Archive, settings: Settings, _study: StudyRef | None = None) -> DicomWebArchive:
    return DicomWebArchive(archive.url, **_http(archive, settings))


def _wado_uri(archive: Archive, settings: Settings, study: StudyRef | None) -> ImageArchive:
    listing = DicomWebArchive(archive.qido_url, **_http(archive, settings)) if archive.qido_url else None
    return WadoUriArchive(
        archive.url, listing=listing, study=study, endpoint=archive.endpoint, **_http(archive, settings)
    )


def _orthanc(archive: Archive, settings: Settings, _study: StudyRef | None) -> ImageArchive:
    return OrthancArchive(archive.url, endpoint=archive.endpoint, **_http(archive, settings))


def _dimse(archive: Archive, settings: Settings, _study: StudyRef | None) -> ImageArchive:
    from cds.dimse import DimseArchive  # pynetdicom is an extra

    if archive.site is None:
        raise ConfigurationError(f"{archive.name}: host and port are missing")
    return DimseArchive(archive.site, endpoint=archive.endpoint, **_patience(archive, settings))


def _http(archive: Archive, settings: Settings) -> dict[str, Any]:
    return {"credentials": archive.credentials, **_patience(archive, settings)}


def _patience(archive: Archive, settings: Settings) -> dict[str, Any]:
    return {
        "tls": archive.tls,
        "connect_timeout_s": archive.connect_timeout_s,
        "read_timeout_s": archive.read_timeout_s,
        "max_instance_bytes": settings.max_instance_mb * 1024 * 1024,
    }


#: One for each of `cds.archives.KINDS`.
ADAPTERS: Mapping[str, Callable[[Archive, Settings, StudyRef | None], ImageArchive]] = {
    "dicomweb": _dicomweb,
    "wado-uri": _wado_uri,
    "orthanc": _orthanc,
    "dimse": _dimse,
}


def _fixed(url: str, _deadline: Deadline) -> str:
    return url
