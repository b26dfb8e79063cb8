"""Micrometres per pixel from the red cells, where neither the image nor the caller states it.

A red cell on a smear is about 7.5 µm across, and every smear is full of them: the only ruler that is always there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from cds.values import RefusedImage, SmearImage
from models.stain import CHROMATIN_FLOOR, Signal, background_mask, green_density, nuclear_signal

#: Diameter of a red cell on a dried smear, as this module measures it in images of known scale (7.5 to 8.2).
RED_CELL_UM = 7.8
#: An image this small, with no scale and no measurable red cell, is taken for a cell imager's export of this width.
SINGLE_CELL_IMAGE_PX = 512
SINGLE_CELL_IMAGE_UM = 38.0
#: What any other image is taken for: a camera behind an oil immersion objective.
FIELD_UM_PER_PX = 0.13

#: How many images of unknown scale, and how many of their pixels, may wait in memory until red cells are measured.
LOOK_AHEAD = 24
_LOOK_AHEAD_PX = 40_000_000
#: Red cells that make an estimate, and images whose red cells are measured at most.
_ENOUGH_RED_CELLS = 6
_ENOUGH_IMAGES = 24

#: Images are brought to no more than this size, and small ones are doubled: outlines of 16 pixels are no outlines.
_LONGEST_SIDE_PX = 900
_DOUBLED_BELOW_PX = 300
_MIN_DIAMETER_PX = 7.0
#: Densities in green (above the glass) at which outlines are sought: one level joins the dense cells of a smear, or
#: leaves crescents of the pale ones.
_LEVELS = (0.03, 0.045, 0.065, 0.095, 0.14, 0.2)
#: Round objects that make up less than this share of all that is stained and not nucleus are platelets or dirt.
_MIN_SHARE = 0.06


@dataclass(frozen=True, slots=True)
class RedCells:
    """Red cells measured in one image: median diameter in pixels of that image, and how many were measured."""

    diameter_px: float
    count: int

    @property
    def um_per_px(self) -> float:
        return RED_CELL_UM / self.diameter_px


@dataclass(frozen=True, slots=True, eq=False)
class ScaledImage:
    """An image with the scale that it is read at, and where that came from: stated, estimated or assumed."""

    image: SmearImage
    um_per_px: float
    origin: str


def with_scale(images: Iterable[SmearImage | RefusedImage]) -> Iterator[ScaledImage | RefusedImage]:
    """The images in their order, each with a scale; at most LOOK_AHEAD of them wait in memory.

    What an image states is believed. Images that state nothing share, with those of about their size (one camera), the
    median of what the red cells say; without any red cell the scale is assumed, and said to be.
    """
    ruler = _Ruler()
    waiting: list[SmearImage | RefusedImage] = []
    waiting_px = 0
    for image in images:
        waiting.append(image)
        if isinstance(image, SmearImage):
            if image.um_per_px is None:
                ruler.look_at(image.pixels)
            waiting_px += image.pixels.shape[0] * image.pixels.shape[1]
        if len(waiting) >= LOOK_AHEAD or waiting_px > _LOOK_AHEAD_PX or all(ruler.ready(w) for w in waiting):
            yield from (ruler.scale(w) for w in waiting)
            waiting, waiting_px = [], 0
    yield from (ruler.scale(w) for w in waiting)


@dataclass(slots=True)
class _Ruler:
    """Red cells seen so far, each with the shape of the image it was seen in."""

    seen: list[tuple[tuple[int, ...], RedCells]] = field(default_factory=list)
    looks: int = 0

    def look_at(self, pixels: npt.NDArray[np.uint8]) -> None:
        if self.looks >= _ENOUGH_IMAGES and len(self._like(pixels.shape)) >= _ENOUGH_IMAGES:
            return
        self.looks += 1
        if (red_cells := measure_red_cells(pixels)) is not None:
            self.seen.append((pixels.shape, red_cells))

    def ready(self, image: SmearImage | RefusedImage) -> bool:
        """Whether waiting would tell nothing more about that image's scale."""
        if isinstance(image, RefusedImage) or image.um_per_px is not None:
            return True
        return sum(m.count for m in self._like(image.pixels.shape)) >= _ENOUGH_RED_CELLS

    def scale(self, image: SmearImage | RefusedImage) -> ScaledImage | RefusedImage:
        if isinstance(image, RefusedImage):
            return image
        if image.um_per_px is not None:
            return ScaledImage(image, image.um_per_px, "stated")
        estimated = study_scale(self._like(image.pixels.shape))
        if estimated is None:
            return ScaledImage(image, assumed_scale(image.pixels.shape), "assumed")
        return ScaledImage(image, estimated, "estimated")

    def _like(self, shape: tuple[int, ...]) -> list[RedCells]:
        """Red cells of images of about that size (an imager's crops vary by a few pixels)."""
        return [m for s, m in self.seen if all(0.9 <= a / b <= 1.11 for a, b in zip(s, shape, strict=True))]


def measure_red_cells(pixels: npt.NDArray[np.uint8]) -> RedCells | None:
    """Diameter of the red cells that stand alone in ``(r, c, 3)`` RGB `pixels`; None when there are none."""
    longest = max(pixels.shape[:2])
    factor = 2.0 if longest < _DOUBLED_BELOW_PX else min(1.0, _LONGEST_SIDE_PX / longest)
    if factor != 1:
        interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=interpolation).astype(np.uint8)
    density = cv2.medianBlur(green_density(pixels), 3).astype(np.float32)
    stained = ~background_mask(pixels)
    nuclear = nuclear_signal(pixels)
    chromatin = nuclear > max(0.6 * float(np.quantile(nuclear, 0.995)), CHROMATIN_FLOOR)
    diameters = _round_objects(density, chromatin, _MIN_DIAMETER_PX * max(1.0, factor))
    if not diameters:
        return None
    if sum(np.pi / 4 * d * d for d in diameters) < _MIN_SHARE * np.count_nonzero(stained & ~chromatin):
        return None
    typical = _area_weighted_median(np.array(diameters))
    alike = [d for d in diameters if 0.75 <= d / typical <= 1.33]
    return RedCells(float(np.median(alike)) / factor, len(alike))


def study_scale(measured: Sequence[RedCells]) -> float | None:
    """µm/px of a study from its images' red cells (median weighted by their number); None when none was measured."""
    if not measured:
        return None
    diameters = np.repeat([m.diameter_px for m in measured], [min(m.count, 20) for m in measured])
    return RED_CELL_UM / float(np.median(diameters))


def assumed_scale(shape: tuple[int, ...]) -> float:
    """µm/px of an image of that shape when nothing could be measured: documented assumptions, not knowledge."""
    longest = max(shape[:2])
    return SINGLE_CELL_IMAGE_UM / longest if longest <= SINGLE_CELL_IMAGE_PX else FIELD_UM_PER_PX


def _round_objects(density: Signal, chromatin: npt.NDArray[np.bool_], smallest_px: float) -> list[float]:
    """Diameters in pixels of separate, round, whole objects without a nucleus, each measured once.

    An object counts at the lowest of the levels at which its outline is that of one cell.
    """
    taken = np.zeros(density.shape, np.uint8)
    found = []
    for level in _LEVELS:
        mask = cv2.medianBlur((density > level).astype(np.uint8), 3)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            left, top, w, h = cv2.boundingRect(contour)
            if not _may_be_one_cell(contour, density.shape, smallest_px):
                continue
            window = np.s_[top : top + h, left : left + w]
            filled = np.zeros((h, w), np.uint8)
            cv2.drawContours(filled, [contour - np.array([[left, top]])], -1, 1, cv2.FILLED)
            inside = filled > 0
            if np.any(taken[window][inside]) or np.mean(chromatin[window][inside]) > 0.1:
                continue
            taken[window][inside] = 1
            found.append(_diameter(density[window], inside))
    return found


def _may_be_one_cell(contour: MatLike, shape: tuple[int, ...], smallest_px: float) -> bool:
    """Whether an outline is whole, convex and about round, and of a size that can be."""
    height, width = shape[:2]
    left, top, w, h = cv2.boundingRect(contour)
    if min(w, h) < smallest_px or max(w, h) > 0.5 * max(height, width):
        return False
    if left <= 1 or top <= 1 or left + w >= width - 1 or top + h >= height - 1:
        return False
    _, (minor, major), _ = cv2.minAreaRect(contour)
    if min(minor, major) < 0.72 * max(minor, major):
        return False
    return bool(cv2.contourArea(contour) >= 0.92 * cv2.contourArea(cv2.convexHull(contour)))


def _area_weighted_median(diameters: npt.NDArray[np.float64]) -> float:
    """The diameter up to which half of the covered area lies: many platelets do not outweigh a few red cells."""
    ordered = np.sort(diameters)
    areas = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(areas, areas[-1] / 2)])


def _diameter(density: Signal, inside: npt.NDArray[np.bool_]) -> float:
    """Diameter of an object at half its own density, where its edge is, however blurred; pale middle included."""
    dark = (inside & (density > 0.5 * float(np.median(density[inside])))).astype(np.uint8)
    contours, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # The outline runs through the middles of the outermost pixels: half a pixel is added all around.
    return 2.0 * float(np.sqrt(max(cv2.contourArea(c) for c in contours) / np.pi)) + 1.0
