"""The configured FHIR server and archive, for commands that speak to them without the serving context."""

from cds.ports import FhirServer, ImageArchive
from cds.settings import Settings


def fhir_of(settings: Settings) -> FhirServer:
    from cds.fhir_client import HttpFhirServer

    return HttpFhirServer(
        settings.fhir_url,
        token=settings.fhir_token or None,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def archive_of(settings: Settings) -> ImageArchive:
    from cds.dicomweb import DicomWebArchive

    return DicomWebArchive(
        settings.archive_url,
        user=settings.archive_user,
        password=settings.archive_password,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        max_instance_bytes=settings.max_instance_mb * 1024 * 1024,
    )
