"""The configured FHIR server and archive, for commands that speak to them without the serving context."""

from typing import TYPE_CHECKING

from cds.errors import ConfigurationError
from cds.ports import FhirWriter, ImageArchive
from cds.settings import PREFIX, Settings

if TYPE_CHECKING:
    from cds.pixels import PixelLimits


def fhir_of(settings: Settings) -> FhirWriter:
    from hooks.outbound import own_fhir_server

    return own_fhir_server(settings)


def archive_of(settings: Settings) -> ImageArchive:
    """The one for studies that name no endpoint. Raises ConfigurationError where there is none."""
    from hooks.outbound import archives, open_archive

    known = archives(settings)
    if not known:
        raise ConfigurationError(f"{PREFIX}ARCHIVE_URL is not set")
    return open_archive(known[0], settings)


def pixel_limits(settings: Settings) -> "PixelLimits":
    from cds.pixels import PixelLimits

    return PixelLimits(
        max_megapixels=settings.max_image_megapixels,
        max_frames=settings.max_frames_per_instance,
        max_tiles=settings.max_tiles_per_slide,
    )
