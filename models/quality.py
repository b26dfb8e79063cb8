"""The gate before the reader: an image that is no smear, or too poor to read, is refused with a reason a person
understands.

The limits were set by looking at training groups of the real sources, at the whole fields and boxed images at hand, and
at the same images blurred, at noise, photographs and tissue sections: no figure here is one of images never seen.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.stain import Rgb, background_mask, nuclear_signal

#: Coarser than this a nucleus is a few pixels wide and no cell type can be told.
MAX_UM_PER_PX = 0.8
#: Smallest image: half a white cell.
MIN_SIDE_UM = 8.0
MIN_SIDE_PX = 24

_GATE_UM_PER_PX = 0.22
_LARGEST_SIDE_PX = 1200

#: Grey levels between the darkest and the brightest hundredth; 38 in the palest real field.
_MIN_CONTRAST = 22.0
#: Grey level that the background must reach; 108 in the darkest real source.
_MIN_BACKGROUND = 70.0
#: Share of pixels that may be saturated in all three channels while nothing else is to be seen.
_MAX_BURNT = 0.97
#: Steepest edges as a share of the contrast per pixel; 0.096 in the worst real field, 0.071 at a blur of 1 µm.
_MIN_SHARPNESS = 0.085
_SHARP = 0.16
#: Detail finer than 0.2 µm as a share of the contrast; 0.10 at most in smears, 0.67 in noise.
_MAX_GRAIN = 0.3
#: Share of pixels greener or yellower than any stain makes them; 0.017 in the worst real field.
_MAX_UNSTAINED_HUE = 0.035
#: Mean excess of blue over green absorption in the stained matter; at most -0.008 in smears, 0 in anything grey.
_MAX_BLUE_EXCESS = -0.004


@dataclass(frozen=True, slots=True)
class Quality:
    """score: 0 (useless) to 1 (sharp and full of contrast); refused: why the image is not read, or None."""

    score: float
    refused: str | None = None


def check_quality(pixels: Rgb, um_per_px: float) -> Quality:
    """Judge ``(r, c, 3)`` RGB `pixels` of known or estimated scale."""
    if um_per_px > MAX_UM_PER_PX:
        return Quality(
            0.0, f"magnification too low: {um_per_px:.3g} µm per pixel, at most {MAX_UM_PER_PX} can be read"
        )
    shortest = min(pixels.shape[:2])
    if shortest < MIN_SIDE_PX or shortest * um_per_px < MIN_SIDE_UM:
        return Quality(0.0, f"smaller than a cell: {pixels.shape[1]} x {pixels.shape[0]} pixels")
    work = _at_gate_scale(pixels, um_per_px)
    grey = cv2.cvtColor(work, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dark, bright = (float(v) for v in np.percentile(grey, (1, 99)))
    contrast = bright - dark
    if bright < _MIN_BACKGROUND:
        return Quality(0.0, "under-exposed: even its brightest parts are dark")
    if float(np.mean(work.min(axis=2) >= 254)) > _MAX_BURNT:
        return Quality(0.0, "over-exposed or blank: almost all of it is pure white")
    if contrast < _MIN_CONTRAST:
        return Quality(0.0, "blank: nothing in it stands out from the background")
    if (grain := _grain(grey)) > _MAX_GRAIN:
        return Quality(0.0, f"not a smear: it is mostly noise (grain {grain:.2f})")
    if (reason := _not_stained(work)) is not None:
        return Quality(0.0, reason)
    sharpness = _sharpness(grey) / contrast
    if sharpness < _MIN_SHARPNESS:
        return Quality(0.0, f"blurred: edges are too soft to tell cell types (sharpness {sharpness:.2f})")
    ramp = min(1.0, (sharpness - _MIN_SHARPNESS) / (_SHARP - _MIN_SHARPNESS))
    return Quality(round((0.3 + 0.7 * ramp) * min(1.0, 0.4 + contrast / 100.0), 3))


def _at_gate_scale(pixels: Rgb, um_per_px: float) -> Rgb:
    """The image, or the middle of a very large one, at the scale that the limits were measured at."""
    limit = round(_LARGEST_SIDE_PX * _GATE_UM_PER_PX / um_per_px)
    top, left = (max(0, (side - limit) // 2) for side in pixels.shape[:2])
    middle = pixels[top : top + limit, left : left + limit]
    factor = um_per_px / _GATE_UM_PER_PX
    size = (max(8, round(middle.shape[1] * factor)), max(8, round(middle.shape[0] * factor)))
    resized: Rgb = cv2.resize(
        middle, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    ).astype(np.uint8)
    return resized


def _grain(grey: npt.NDArray[np.float32]) -> float:
    fine = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.0))
    return float(fine.mean()) / max(float(grey.std()), 1.0)


def _sharpness(grey: npt.NDArray[np.float32]) -> float:
    """Slope in grey levels per pixel that the steepest hundredth of the image exceeds."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.7)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return float(np.percentile(np.hypot(across, down), 99)) / 8.0


def _not_stained(work: Rgb) -> str | None:
    """Why the colours are not those of a Romanowsky stain, or None."""
    empty = background_mask(work)
    if empty.all() or not empty.any():
        return "blank: nothing in it stands out from the background"
    clear = np.median(work[empty], axis=0) + 6.0
    density = np.log10(clear / (work[~empty].astype(np.float32) + 6.0))
    if float((density[:, 2] - density[:, 1]).mean()) > _MAX_BLUE_EXCESS:
        return "not a smear: its colours are not those of a stained blood film"
    if float(np.mean(nuclear_signal(work) < -0.12)) > _MAX_UNSTAINED_HUE:
        return "not a smear: it has colours that no blood stain gives"
    return None
