"""Whole images as the classifiers take them: the whole picture in a square of one size."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cds.errors import UnreadableImage
from cds.image_files import PixelLimits, decode_image
from models.images.image_set import LabelledImage
from models.images.kinds import ImageSetError

Squares = npt.NDArray[np.uint8]


def load_squares(images: Sequence[LabelledImage], side_px: int) -> Squares:
    """All images in memory: uint8 RGB ``(n, side_px, side_px, 3)``.

    Raises ImageSetError naming the first that cannot be read, and how many cannot.
    """
    squares = np.empty((len(images), side_px, side_px, 3), np.uint8)
    refused: list[str] = []
    for i, image in enumerate(images):
        try:
            squares[i] = to_square(read_pixels(image.path), side_px)
        except UnreadableImage as error:
            refused.append(f"{image.name}: {error}")
    if refused:
        more = f" ({len(refused)} images cannot be read)" if len(refused) > 1 else ""
        raise ImageSetError(f"unreadable image {refused[0]}{more}")
    return squares


def read_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """uint8 RGB ``(r, c, 3)`` of a JPEG, PNG or TIFF file. Raises UnreadableImage with the reason."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"it cannot be opened ({error.strerror})") from error
    return decode_image(data, PixelLimits(), source=path.name).pixels


def to_square(pixels: npt.NDArray[np.uint8], side_px: int) -> npt.NDArray[np.uint8]:
    """The whole picture ``(r, c, 3)``, unstretched, in a square of that side; the rest mirrors its edges."""
    rows, columns = pixels.shape[:2]
    scale = side_px / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(pixels, size, interpolation=interpolation)
    down, across = side_px - size[1], side_px - size[0]
    if down or across:
        # BORDER_REFLECT also where the missing part is wider than the picture.
        small = cv2.copyMakeBorder(
            small, down // 2, down - down // 2, across // 2, across - across // 2, cv2.BORDER_REFLECT
        )
    return small.astype(np.uint8)
