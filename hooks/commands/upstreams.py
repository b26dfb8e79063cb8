"""The configured FHIR server and archive, for commands that speak to them without the serving context."""

from typing import TYPE_CHECKING

from cds.ports import FhirServer, ImageArchive
from cds.settings import Settings

if TYPE_CHECKING:
    from cds.pixels import PixelLimits


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


def pixel_limits(settings: Settings) -> "PixelLimits":
    from cds.pixels import PixelLimits

    return PixelLimits(
        max_megapixels=settings.max_image_megapixels,
        max_frames=settings.max_frames_per_instance,
        max_tiles=settings.max_tiles_per_slide,
    )
