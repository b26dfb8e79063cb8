"""Pictures of a study's cells and images for the pages: cut from images that the archive gives, one at a time.

A browser gets tiles of 256 pixels and crops, never a whole image. It is made by `hooks.bootstrap` and handed to the
pages, which import nothing of it.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from cds.deadline import Deadline
from cds.errors import UnknownService, UpstreamUnavailable
from cds.kept import Kept
from cds.language import message
from cds.one_image import one_image
from cds.pixels import PixelLimits
from cds.ports import ImageArchive
from cds.values import (
    Assessment,
    Cell,
    Finding,
    ImageReading,
    ImageRef,
    ModelIdentity,
    RefusedImage,
    StudyRef,
)
from hooks.context import ImageSize
from hooks.image_cache import TILE_PX, ImageCache
from models.explanation import Explanation, overlay
from models.package import ModelCard

Rgb = npt.NDArray[np.uint8]

#: Side of a thumbnail, as the reader keeps them.
THUMBNAIL_PX = 96
#: Side of a close-up in original pixels: a cell and its neighbours.
CLOSEUP_UM = 24.0
_CLOSEUP_PX = (96, 512)
_JPEG_QUALITY = 90
#: Images that one process retrieves and decodes at the same time, and requests that may wait for them: the others of
#: its threads are left to the hooks.
_AT_ONCE = 2
_WAITING = 4
_LISTINGS = 32
#: Thumbnails of cells of which the reader kept none, about 4 kB each, that one process keeps.
_THUMBNAILS = 4000


class Explainer(Protocol):
    """What of `models.reader.PackageReader` is used here."""

    @property
    def identity(self) -> ModelIdentity: ...

    def explain(self, crop: Rgb, cell_type: str | None = None) -> Explanation: ...


class StudyPictures:
    """Fulfils `hooks.context.Pictures`. Safe for threads.

    archive: of a study. card: of the installed package, for the geometry of crops. reader: loads its networks at the
    first call; serves one thread at a time.
    """

    def __init__(
        self,
        *,
        archive: Callable[[StudyRef], ImageArchive],
        limits: PixelLimits,
        cache: ImageCache,
        card: Callable[[], ModelCard],
        reader: Callable[[], Explainer],
        deadline_s: float,
    ) -> None:
        self._archive, self._limits, self._cache = archive, limits, cache
        self._card, self._reader = card, reader
        self._deadline_s = deadline_s
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._seats = threading.BoundedSemaphore(_WAITING)
        self._reading = threading.Lock()
        self._listings: OrderedDict[str, dict[str, ImageRef]] = OrderedDict()
        self._guard = threading.Lock()
        self._thumbnails: Kept[str, bytes] = Kept(_THUMBNAILS)

    def size(self, assessment: Assessment, source: str) -> ImageSize:
        levels = self._levels(assessment, source)
        height, width = levels[-1].shape[:2]
        return ImageSize(width=width, height=height, levels=len(levels), tile_px=TILE_PX)

    def tile(self, assessment: Assessment, source: str, level: int, column: int, row: int) -> bytes:
        levels = self._levels(assessment, source)
        if not 0 <= level < len(levels):
            raise UnknownService("There is no such level of this image.")
        top, left = row * TILE_PX, column * TILE_PX
        pixels = levels[level][top : top + TILE_PX, left : left + TILE_PX]
        if row < 0 or column < 0 or not pixels.size:
            raise UnknownService("There is no such tile of this image.")
        return _jpeg(pixels)

    def thumbnail(self, assessment: Assessment, position: int) -> bytes:
        name = f"{assessment.key} {position}"
        if (kept := self._thumbnails.get(name)) is None:
            kept = self._thumbnail(assessment, _cell(assessment, position))
            self._thumbnails.put(name, kept)
        return kept

    def closeup(self, assessment: Assessment, position: int) -> bytes:
        cell = _cell(assessment, position)
        pixels = self._levels(assessment, cell.source)[-1]
        scale = _scale(assessment, cell.source, self._card().input_um_per_px)
        side = min(max(round(CLOSEUP_UM / scale), _CLOSEUP_PX[0]), _CLOSEUP_PX[1])
        top = _within(round(cell.row - side / 2), side, pixels.shape[0])
        left = _within(round(cell.column - side / 2), side, pixels.shape[1])
        ok, encoded = cv2.imencode(".png", _bgr(pixels[top : top + side, left : left + side]))
        if not ok:
            raise RuntimeError("OpenCV cannot encode a PNG")
        return encoded.tobytes()

    def activation(self, assessment: Assessment, position: int, thumbnail: bytes) -> bytes:
        cell = _cell(assessment, position)
        if self._card_digest() != assessment.model.digest:
            raise UnknownService(
                "Activation maps come from the package that read the study; another is installed."
            )
        picture = cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise UnknownService(message("The picture of this cell cannot be read."))
        crop = np.ascontiguousarray(picture[:, :, ::-1], np.uint8)
        with self._reading:
            explained = self._reader().explain(crop, cell.cell_type)
        return _jpeg(overlay(explained.crop, explained.map))

    def _thumbnail(self, assessment: Assessment, cell: Cell) -> bytes:
        from models.classifier import crop_about  # brings the networks' runtime, which serving starts without

        card = self._card()
        pixels = self._levels(assessment, cell.source)[-1]
        crop = crop_about(
            pixels, cell.row, cell.column, _scale(assessment, cell.source, card.input_um_per_px),
            size_px=card.input_px, scale=card.input_um_per_px,
        )  # fmt: skip
        small = cv2.resize(crop, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
        return _jpeg(small.astype(np.uint8))

    def _card_digest(self) -> str:
        with self._reading:
            return self._reader().identity.digest

    def _levels(self, assessment: Assessment, source: str) -> list[Rgb]:
        if _reading(assessment, source) is None:
            raise UnknownService(message("This study has no such image."))
        name = f"{assessment.study.archive_url}\n{assessment.study.study_uid}\n{source}"
        if (levels := self._cache.held(name)) is not None:
            return list(levels)
        if not self._seats.acquire(blocking=False):
            raise UpstreamUnavailable("too many images are being retrieved; try again in a moment")
        try:
            return list(self._cache.pyramid(name, lambda: self._decoded(assessment.study, source)))
        finally:
            self._seats.release()

    def _decoded(self, study: StudyRef, source: str) -> Rgb:
        with self._turns:
            deadline = Deadline(self._deadline_s)
            archive = self._archive(study)
            ref = self._ref(archive, study, source, deadline)
            image = one_image(archive, ref, source, self._limits, deadline)
        if image is None:
            raise UnknownService(message("The archive no longer holds this image as it was read."))
        if isinstance(image, RefusedImage):
            raise UnknownService(message("This image cannot be shown: {reason}", reason=image.reason))
        return image.pixels

    def _ref(self, archive: ImageArchive, study: StudyRef, source: str, deadline: Deadline) -> ImageRef:
        uid = source.partition("#")[0]
        with self._guard:
            listing = self._listings.get(study.study_uid, {})
        if uid not in listing:
            refs = archive.instances(study.study_uid, deadline)
            listing = {ref.sop_instance_uid: ref for ref in refs}
            with self._guard:
                self._listings[study.study_uid] = listing
                while len(self._listings) > _LISTINGS:
                    self._listings.popitem(last=False)
        if uid not in listing:
            raise UnknownService(message("The archive no longer holds this image."))
        return listing[uid]


def _cell(assessment: Assessment, position: int) -> Cell:
    cells = assessment.outcome.cells if isinstance(assessment.outcome, Finding) else ()
    if not 0 <= position < len(cells):
        raise UnknownService(message("This reading has no such cell."))
    return cells[position]


def _reading(assessment: Assessment, source: str) -> ImageReading | None:
    return next((image for image in assessment.images if image.source == source), None)


def _scale(assessment: Assessment, source: str, otherwise: float) -> float:
    """Micrometres per pixel as the reader took them."""
    image = _reading(assessment, source)
    return (image.um_per_px if image else None) or otherwise


def _within(start: int, side: int, length: int) -> int:
    return max(0, min(start, length - side))


def _bgr(pixels: Rgb) -> Rgb:
    return np.ascontiguousarray(pixels[:, :, ::-1])


def _jpeg(pixels: Rgb) -> bytes:
    ok, encoded = cv2.imencode(".jpg", _bgr(pixels), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise RuntimeError("OpenCV cannot encode a JPEG")
    return encoded.tobytes()
