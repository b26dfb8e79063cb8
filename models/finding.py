"""Find the nucleated cells of a smear image of any scale, single-cell export or field."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from models.nuclei import WORK_UM_PER_PX, Nucleus, segment_nuclei
from models.stain import Rgb

#: Areas of whole nuclei: a platelet is smaller, a clump that cannot be divided or a whole tissue is larger.
MIN_NUCLEUS_UM2 = 14.0
MAX_NUCLEUS_UM2 = 420.0
#: Lobes of which none is as large as this are platelets in a row: of a thousand lobed nuclei in training images the
#: smallest had a largest lobe of 13 µm².
_SMALLEST_LARGEST_LOBE_UM2 = 9.0
#: What is smaller than this and paler than that share of the image's larger nuclei is a giant platelet or debris: small
#: nuclei (of erythroblasts and lymphocytes) are the dense ones.
_SMALL_NUCLEUS_UM2 = 35.0
_PALE_FOR_SMALL = 0.75
#: An image no wider or higher than this may be one cell's own image, as cell imagers export them.
SINGLE_CELL_IMAGE_UM = 45.0
#: From this close to the middle of its own image, a cell is taken where the imager put it.
_IMAGER_CENTRED_WITHIN_UM = 3.0
#: How far from the middle of its own image a cell's nucleus may lie.
CENTRED_WITHIN_UM = 6.0

_BORDER_UM = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCell:
    """A nucleated cell. row, column: centre in pixels of the image; area_um2: of its nucleus."""

    row: float
    column: float
    area_um2: float
    #: Mean nuclear signal over the nucleus, optical density.
    signal: float


@dataclass(frozen=True, slots=True)
class FoundCells:
    """What one image holds: cells to classify, and how many were set aside (cut off, neighbours, clumps)."""

    cells: tuple[FoundCell, ...]
    set_aside: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Every nucleus of a cell's size in an image, whatever kind of image it is: whole, or cut off by the border."""

    whole: tuple[FoundCell, ...]
    cut_off: tuple[FoundCell, ...]
    #: Objects too large for one nucleus that nothing divides.
    clumps: int


def find_cells(pixels: Rgb, um_per_px: float) -> FoundCells:
    """Nucleated cells of ``(r, c, 3)`` RGB `pixels`.

    A cell cut by the border is set aside. In an image of one cell's size with a cell in its middle, that cell is found
    once (even when it reaches the border) and its neighbours are set aside: they have images of their own.
    """
    candidates = find_candidates(pixels, um_per_px)
    cut_off = len(candidates.cut_off)
    middle = _centred([*candidates.whole, *candidates.cut_off], pixels.shape, um_per_px)
    if middle is not None:
        return FoundCells((middle,), candidates.clumps + len(candidates.whole) + cut_off - 1)
    return FoundCells(candidates.whole, candidates.clumps + cut_off)


def find_candidates(pixels: Rgb, um_per_px: float) -> Candidates:
    """Nuclei of ``(r, c, 3)`` RGB `pixels`, each where it lies, before what the kind of image says about them."""
    factor = um_per_px / WORK_UM_PER_PX
    size = (max(8, round(pixels.shape[1] * factor)), max(8, round(pixels.shape[0] * factor)))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    work: Rgb = cv2.resize(pixels, size, interpolation=interpolation).astype(np.uint8)
    whole: list[FoundCell] = []
    cut_off: list[FoundCell] = []
    clumps = 0
    for nucleus in _without_debris(segment_nuclei(work)):
        if nucleus.area_um2 > MAX_NUCLEUS_UM2:
            clumps += 1
        elif nucleus.area_um2 >= MIN_NUCLEUS_UM2:
            cell = FoundCell(
                row=nucleus.row * pixels.shape[0] / work.shape[0],
                column=nucleus.column * pixels.shape[1] / work.shape[1],
                area_um2=nucleus.area_um2,
                signal=nucleus.signal,
            )
            (cut_off if _touches_border(nucleus, work.shape) else whole).append(cell)
    return Candidates(tuple(whole), tuple(cut_off), clumps)


def _without_debris(nuclei: list[Nucleus]) -> list[Nucleus]:
    large = [n.signal for n in nuclei if _SMALL_NUCLEUS_UM2 <= n.area_um2 <= MAX_NUCLEUS_UM2]
    least = _PALE_FOR_SMALL * float(np.median(large)) if large else 0.0
    return [
        n
        for n in nuclei
        if n.largest_lobe_um2 >= _SMALLEST_LARGEST_LOBE_UM2
        and (n.area_um2 >= _SMALL_NUCLEUS_UM2 or n.signal >= least)
    ]


def _touches_border(nucleus: Nucleus, shape: tuple[int, ...]) -> bool:
    top, left, bottom, right = nucleus.box
    margin = _BORDER_UM / WORK_UM_PER_PX
    return min(top, left) < margin or bottom > shape[0] - margin or right > shape[1] - margin


def _centred(cells: list[FoundCell], shape: tuple[int, ...], um_per_px: float) -> FoundCell | None:
    """The cell whose own image this is, or None when the image is a field."""
    height, width = shape[:2]
    if max(height, width) * um_per_px > SINGLE_CELL_IMAGE_UM or not cells:
        return None

    def off_centre_um(cell: FoundCell) -> float:
        return math.hypot(cell.row - height / 2, cell.column - width / 2) * um_per_px

    nearest = min(cells, key=off_centre_um)
    if off_centre_um(nearest) > CENTRED_WITHIN_UM:
        return None
    if off_centre_um(nearest) <= _IMAGER_CENTRED_WITHIN_UM:
        return replace(nearest, row=height / 2, column=width / 2)
    return nearest
