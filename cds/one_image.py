"""One image of a study again, as it was read: by its frames where the archive hands out such, else by its instance."""

import logging
from collections.abc import Sequence
from math import isqrt

from cds.deadline import Deadline
from cds.errors import UnreadableImage, UpstreamError
from cds.image_files import PixelLimits
from cds.language import message
from cds.pixels import decode_dicom
from cds.ports import FrameArchive, ImageArchive
from cds.slide_retrieval import field_image
from cds.slide_sampling import Field
from cds.slides import Level, Tile, lone_frame, read_level
from cds.values import ImageRef, RefusedImage, SmearImage

_log = logging.getLogger(__name__)


def one_image(
    archive: ImageArchive,
    ref: ImageRef,
    source: str,
    limits: PixelLimits,
    deadline: Deadline | None = None,
) -> SmearImage | RefusedImage | None:
    """The image that a reading calls `source`; None where the instance does not have it (any more).

    source: `uid`, `uid#frame`, or `uid#frame+frame+…` of a slide's field, frames from 1 on. ref: its instance. limits:
    those of the reading, for which frames an instance whole is read by depends on them.

    Raises UpstreamError, DeadlineExceeded.
    """
    numbers = _numbers(source)
    if numbers and isinstance(archive, FrameArchive):
        try:
            image = _by_frames(archive, ref, numbers, limits, deadline)
        except UnreadableImage as problem:
            _log.info("an image cannot be had by its frames", extra={"reason": str(problem)})
        except UpstreamError as failure:
            if failure.retryable:
                raise
            _log.info("the archive does not hand out frames; the instance is retrieved whole")
        else:
            if isinstance(image, SmearImage):
                return image
    for image in decode_dicom(archive.retrieve(ref, deadline), limits, expected=ref):
        if image.source == source:
            return image
        del image  # the next one is decoded without this one in memory
    return None


def _numbers(source: str) -> list[int]:
    """The frames that the name says; empty without any."""
    named = source.partition("#")[2].split("+")
    return [int(n) for n in named] if all(n.isascii() and n.isdecimal() for n in named) else []


def _by_frames(
    archive: FrameArchive,
    ref: ImageRef,
    numbers: Sequence[int],
    limits: PixelLimits,
    deadline: Deadline | None,
) -> SmearImage | RefusedImage:
    metadata = archive.metadata(ref, deadline)
    if len(numbers) == 1:
        level, field = lone_frame(ref, metadata, numbers[0]), Field(Tile(0, 0), 1)
    else:
        level = read_level(ref, metadata)
        field = _field(level, numbers)
    return field_image(archive, level, field, limits, deadline)


def _field(level: Level, numbers: Sequence[int]) -> Field:
    """The square of tiles whose frames those are, in that order. Raises UnreadableImage."""
    wanted = set(numbers)
    tiles = [tile for tile, address in level.tiles.items() if address.number in wanted]
    if tiles:
        field = Field(min(tiles), isqrt(len(numbers)))
        if [address.number for _, address in field.frames(level)] == list(numbers):
            return field
    raise UnreadableImage(message("its frames are no field of the slide as the archive describes it now"))
