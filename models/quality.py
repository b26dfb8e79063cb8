"""The gate before the reader: an image that is no smear, or too poor to read, is refused with a reason a person
understands.

The limits were set by looking at training groups of the real sources, at the whole fields and boxed images at hand, and
at the same images blurred, at noise, photographs and tissue sections: no figure here is one of images never seen.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cds.language import Message, message
from models.stain import Rgb, background_mask, nuclear_signal

#: Kinds of refusal (what stands before the colon) that say something about the other images of a study too: one
#: microscope out of focus, one stain, one subject. A blank image is only an empty place on the slide.
DISCREDITING = ("blurred", "not a smear")

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
#: Share of its steepest slopes that an image keeps when it is blurred once more, by a Gaussian of _PROBE_UM, in the
#: direction where it keeps most: 0.59 at most in real images in focus (0.4 µm/px), 0.70 at least at a blur of 1 µm and
#: 0.64 at movements of 4 µm. It is the same for pale and dark stains and for one cell and many.
_MAX_KEPT = 0.62
_SHARP_KEPT = 0.3
_PROBE_UM = 1.0
_DIRECTIONS = 8
#: Slopes are looked at where they stay above this share of the steepest when blurred, at edges, however few there are;
#: that percentile of them is the crest of those edges that run across the direction.
_EDGE_SHARE = 0.2
_STEEPEST = 99.5
_SLOPES = 40_000
#: Detail finer than 0.2 µm as a share of the contrast; 0.10 at most in smears, 0.67 in noise.
_MAX_GRAIN = 0.3
#: Share of pixels greener or yellower than any stain makes them; 0.017 in the worst real field.
_MAX_UNSTAINED_HUE = 0.035
#: Mean excess of blue over green absorption in the stained matter; at most -0.008 in smears, 0 in anything grey.
_MAX_BLUE_EXCESS = -0.004
#: Darkest channel of empty glass as a share of the brightest (0.79 at least in real images, 0.5 at most under a dye)
#: and its green as a share of the mean of red and blue (1.07 at most in real images): no lamp is green.
_MIN_GLASS_BALANCE = 0.6
_MAX_GLASS_GREEN = 1.15
#: Chromatin takes out most of the green and least of the blue, in every Romanowsky stain: how much of the red for the
#: green (0.31 to 0.76 but for some soft fields) and for the blue (1.08 at least).
_RED_FOR_GREEN = (0.2, 1.05)
_MIN_RED_FOR_BLUE = 0.85
#: Chromatin is judged where the nuclear signal exceeds this share of its peak, in at least so many pixels at the gate's
#: scale (a lobe of a nucleus), and only where there is any: optical density.
_CHROMATIN_SHARE = 0.5
_FEWEST_CHROMATIN_PX = 60
_MIN_CHROMATIN_SIGNAL = 0.04


@dataclass(frozen=True, slots=True)
class Quality:
    """score: 0 (useless) to 1 (sharp and full of contrast); refused: why the image is not read, or None."""

    score: float
    refused: Message | None = None


_BLANK = message("blank: nothing in it stands out from the background")


def check_quality(pixels: Rgb, um_per_px: float) -> Quality:
    """Judge ``(r, c, 3)`` RGB `pixels` of known or estimated scale."""
    if um_per_px > MAX_UM_PER_PX:
        return _refused(
            message(
                "magnification too low: {scale} µm per pixel, at most {most} can be read",
                scale=f"{um_per_px:.3g}",
                most=MAX_UM_PER_PX,
            )
        )
    shortest = min(pixels.shape[:2])
    if shortest < MIN_SIDE_PX or shortest * um_per_px < MIN_SIDE_UM:
        return _refused(
            message(
                "smaller than a cell: {width} x {height} pixels",
                width=pixels.shape[1],
                height=pixels.shape[0],
            )
        )
    work = _at_gate_scale(pixels, um_per_px)
    grey = cv2.cvtColor(work, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dark, bright = (float(v) for v in np.percentile(grey, (1, 99)))
    contrast = bright - dark
    if bright < _MIN_BACKGROUND:
        return _refused(message("under-exposed: even its brightest parts are dark"))
    if float(np.mean(work.min(axis=2) >= 254)) > _MAX_BURNT:
        return _refused(message("over-exposed or blank: almost all of it is pure white"))
    if contrast < _MIN_CONTRAST:
        return _refused(_BLANK)
    if (grain := _grain(grey)) > _MAX_GRAIN:
        return _refused(message("not a smear: it is mostly noise (grain {grain:decimal2})", grain=grain))
    if (reason := _not_stained(work)) is not None:
        return _refused(reason)
    kept = _kept_slopes(grey)
    if kept > _MAX_KEPT:
        return _refused(
            message(
                "blurred: edges are too soft to tell cell types (sharpness {sharpness:decimal2})",
                sharpness=1 - kept,
            )
        )
    ramp = min(1.0, (_MAX_KEPT - kept) / (_MAX_KEPT - _SHARP_KEPT))
    return Quality(round((0.3 + 0.7 * ramp) * min(1.0, 0.4 + contrast / 100.0), 3))


def _refused(why: Message) -> Quality:
    return Quality(0.0, why)


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


def _kept_slopes(grey: npt.NDArray[np.float32]) -> float:
    """Share of the steepest slopes that another blur leaves, in the direction where it leaves most: 0 sharp to 1 soft.

    After Crete et al. 2007, who blur again to see what there was to lose; a movement shows in its own direction alone.
    """
    fine = cv2.GaussianBlur(grey, (0, 0), 0.7)
    soft = cv2.GaussianBlur(fine, (0, 0), _PROBE_UM / _GATE_UM_PER_PX)
    before, after = (
        [cv2.Sobel(image, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1))] for image in (fine, soft)
    )
    steepness = cv2.magnitude(*after)
    edges = np.flatnonzero(steepness > _EDGE_SHARE * float(steepness.max()))
    edges = edges[:: max(1, len(edges) // _SLOPES)]
    if not len(edges):
        return 1.0
    before, after = ([slope.ravel()[edges] for slope in slopes] for slopes in (before, after))
    kept = []
    for angle in np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS:
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        was, left = (float(np.percentile(np.abs(cos * x + sin * y), _STEEPEST)) for x, y in (before, after))
        kept.append(left / max(was, 1e-3))
    return max(kept)


def _not_stained(work: Rgb) -> Message | None:
    """Why the colours are not those of a Romanowsky stain, or None."""
    empty = background_mask(work)
    if empty.all() or not empty.any():
        return _BLANK
    clear = np.median(work[empty], axis=0) + 6.0
    density = np.log10(clear / (work[~empty].astype(np.float32) + 6.0))
    if float((density[:, 2] - density[:, 1]).mean()) > _MAX_BLUE_EXCESS:
        return message("not a smear: its colours are not those of a stained blood film")
    signal = nuclear_signal(work)
    if float(np.mean(signal < -0.12)) > _MAX_UNSTAINED_HUE:
        return message("not a smear: it has colours that no blood stain gives")
    if clear.min() < _MIN_GLASS_BALANCE * clear.max() or clear[1] > _MAX_GLASS_GREEN * np.sqrt(
        clear[0] * clear[2]
    ):
        return message("not a smear: the glass is tinted beyond any lamp")
    peak = float(np.quantile(signal, 0.995))
    chromatin = signal[~empty] > max(_CHROMATIN_SHARE * peak, _MIN_CHROMATIN_SIGNAL)
    if np.count_nonzero(chromatin) >= _FEWEST_CHROMATIN_PX:
        red, green, blue = np.maximum(density[chromatin].mean(axis=0), 1e-3)
        low, high = _RED_FOR_GREEN
        if not low * green < red < high * green or red < _MIN_RED_FOR_BLUE * blue:
            return message("not a smear: its nuclei have a colour that no blood stain gives")
    return None
