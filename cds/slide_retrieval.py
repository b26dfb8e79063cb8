"""Whole slides out of an archive that hands out single frames: a look at a coarse level, then the fields chosen."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from cds.deadline import Deadline
from cds.errors import UnreadableImage, UpstreamError
from cds.frames import decode_frame, frame_header
from cds.image_files import PixelLimits, check_colour
from cds.language import Message, message, said_by
from cds.pixels import NOT_CELLS
from cds.ports import FrameSource
from cds.slide_sampling import Field, NucleusMap, choose_fields
from cds.slides import (
    FrameAddress,
    Level,
    Tile,
    joined,
    level_to_read,
    level_to_seek_on,
    read_level,
    slides,
)
from cds.values import ImageRef, RefusedImage, SmearImage, StoredFrame

_log = logging.getLogger(__name__)

Image = SmearImage | RefusedImage

#: Frames asked for in one request.
BATCH = 16
#: Of a small slide, one tile in so many is read, but no fewer than this: a sample, not the slide, is fetched.
_ONE_IN, _FEWEST_FRAMES = 40, 24


def open_slides(
    archive: FrameSource, refs: Sequence[ImageRef], limits: PixelLimits, deadline: Deadline | None
) -> Iterator[Image]:
    """The fields of the whole slides in one series, at most `limits.max_tiles` tiles, or one in 40, of each slide.

    What the instances are is asked before this returns; the frames are fetched as the images are taken. Only encoded
    frames of one request, one field and, at the beginning, one coarse level are in memory.

    Raises UpstreamError, from here or while the images are taken, when the archive fails in a way that may pass, or
    does not describe instances or hand out frames at all.
    """
    levels, refused = [], []
    for ref in refs:
        try:
            levels.append(read_level(ref, archive.metadata(ref, deadline)))
        except UnreadableImage as reason:
            refused.append(RefusedImage(source=ref.sop_instance_uid, reason=said_by(reason)))
    return _images(archive, joined(levels), refused, limits, deadline)


def field_image(
    archive: FrameSource, level: Level, field: Field, limits: PixelLimits, deadline: Deadline | None
) -> Image:
    """One field alone, by one request for each instance that it lies in. Raises UpstreamError that may pass."""
    wanted = [address for _, address in field.frames(level)]
    return _field_image(level, field, _fetch(archive, wanted, deadline), limits)


def _images(
    archive: FrameSource,
    levels: Sequence[Level],
    refused: Sequence[RefusedImage],
    limits: PixelLimits,
    deadline: Deadline | None,
) -> Iterator[Image]:
    yield from refused
    for level in levels:
        if level.flavour in NOT_CELLS and level.tiles:
            uid = next(iter(level.tiles.values())).ref.sop_instance_uid
            yield RefusedImage(source=uid, reason=NOT_CELLS[level.flavour])
    for pyramid in slides(levels):
        read = level_to_read(pyramid)
        if read is not None:
            yield from _fields(archive, pyramid, read, limits, deadline)


def _fields(
    archive: FrameSource,
    pyramid: Sequence[Level],
    read: Level,
    limits: PixelLimits,
    deadline: Deadline | None,
) -> Iterator[Image]:
    coarse = level_to_seek_on(pyramid, read)
    nuclei = None if coarse is None else _look(archive, coarse, limits, deadline)
    at_most = min(limits.max_tiles, max(_FEWEST_FRAMES, len(read.tiles) // _ONE_IN))
    fields = choose_fields(read, at_most, nuclei)
    left_out = len(read.tiles) - sum(len(f.frames(read)) for f in fields)
    per_request = max(1, BATCH // fields[0].side ** 2) if fields else 1
    for start in range(0, len(fields), per_request):
        together = fields[start : start + per_request]
        wanted = [address for field in together for _, address in field.frames(read)]
        fetched = _fetch(archive, wanted, deadline)
        for field in together:
            image = _field_image(read, field, fetched, limits)
            if isinstance(image, SmearImage):
                image = replace(image, frames_left_out=left_out)
            yield image
            del image  # a generator waiting for its next turn must not keep the image alive
        del fetched


def _look(
    archive: FrameSource, level: Level, limits: PixelLimits, deadline: Deadline | None
) -> NucleusMap | None:
    """The nuclei that the coarse level shows; None where it cannot be decoded, and nothing is known of them then."""

    def pieces() -> Iterator[tuple[Tile, npt.NDArray[np.uint8]]]:
        tiles = sorted(level.tiles.items())
        for start in range(0, len(tiles), BATCH):
            batch = tiles[start : start + BATCH]
            fetched = _fetch(archive, [address for _, address in batch], deadline)
            for tile, address in batch:
                frame = fetched[address]
                if isinstance(frame, RefusedImage):
                    raise UnreadableImage(frame.reason)
                yield tile, _decoded(level, frame, limits)[0]

    try:
        return NucleusMap(level, pieces())
    except UnreadableImage:
        _log.info("a slide's coarse level cannot be read; its tiles are sampled evenly")
        return None


def _fetch(
    archive: FrameSource, wanted: Sequence[FrameAddress], deadline: Deadline | None
) -> dict[FrameAddress, StoredFrame | RefusedImage]:
    """The frames, asked for by instance; what the archive will never deliver is refused, as `cds.retrieve` has it."""
    fetched: dict[FrameAddress, StoredFrame | RefusedImage] = {}
    by_instance = sorted(wanted, key=lambda a: (a.ref.sop_instance_uid, a.number))
    for _, group in groupby(by_instance, key=lambda a: a.ref.sop_instance_uid):
        addresses = list(group)
        ref = addresses[0].ref
        try:
            frames = archive.frames(ref, [a.number for a in addresses], deadline)
        except UpstreamError as failure:
            if failure.retryable:
                raise
            reason = not_delivered(failure)
            fetched |= {a: RefusedImage(source=ref.sop_instance_uid, reason=reason) for a in addresses}
        else:
            fetched |= dict(zip(addresses, frames, strict=True))
    return fetched


def not_delivered(failure: UpstreamError) -> Message:
    """Why an image is left out that the archive will not deliver."""
    return message("the archive did not deliver it: {failure}", failure=said_by(failure))


def _field_image(
    level: Level, field: Field, fetched: dict[FrameAddress, StoredFrame | RefusedImage], limits: PixelLimits
) -> Image:
    """The tiles of the field beside one another as one image."""
    frames = field.frames(level)
    first = frames[0][1]
    numbers = "+".join(str(address.number) for _, address in frames)
    source = f"{first.ref.sop_instance_uid}#{numbers}"
    shape = (field.side * level.tile_rows, field.side * level.tile_columns)
    try:
        limits.check(*shape)
        pixels = np.empty((*shape, 3), np.uint8)
        for tile, address in frames:
            frame = fetched[address]
            if isinstance(frame, RefusedImage):
                return replace(frame, source=source)
            top = (tile.row - field.tile.row) * level.tile_rows
            left = (tile.column - field.tile.column) * level.tile_columns
            syntax = frame.transfer_syntax_uid
            decoded, decoder = _decoded(level, frame, limits)
            pixels[top : top + level.tile_rows, left : left + level.tile_columns] = decoded
        check_colour(pixels)
    except UnreadableImage as refusal:
        return RefusedImage(source=source, reason=said_by(refusal))
    return SmearImage(
        source=source,
        pixels=pixels,
        um_per_px=level.um_per_px,
        photometric_interpretation=str(level.attributes.PhotometricInterpretation),
        transfer_syntax_uid=syntax,
        decoder=decoder,
    )


def _decoded(level: Level, frame: StoredFrame, limits: PixelLimits) -> tuple[npt.NDArray[np.uint8], str]:
    """The frame in the frame of its instance's attributes. Raises UnreadableImage."""
    dataset = Dataset()
    dataset.update(level.attributes)
    syntax = UID(frame.transfer_syntax_uid)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.NumberOfFrames = 1
    try:
        dataset.PixelData = encapsulate([frame.data]) if syntax.is_encapsulated else frame.data
        if not syntax.is_encapsulated and str(dataset.PhotometricInterpretation).startswith("YBR_"):
            # An archive that decompressed it has undone what only compressed data have, and nobody says what else.
            raise UnreadableImage(message("the archive decompressed it and does not say into which colours"))
        return decode_frame(dataset, frame_header(dataset, limits), 0)
    except UnreadableImage:
        raise
    except Exception as error:
        _log.info("image refused", extra={"error": type(error).__name__})
        raise UnreadableImage(message("it is damaged and cannot be decoded")) from error
