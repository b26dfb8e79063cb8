"""What the Romanowsky stains leave in an image, whatever the laboratory: background, stained matter, chromatin.

Chromatin is purple: it takes out green far more than blue, and no less than red. Red cells, from salmon to slate grey,
take out green and blue alike, and so do shadows, vignettes and tinted lamps; where a stain leaves red cells blue, they
take out red more than green. The signal used throughout is therefore ``log10(blue / green)`` above its value in the
background, less what red lacks against green.
"""

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Signal = npt.NDArray[np.float32]

#: Nuclear signal (optical density) below which nothing is taken for chromatin.
CHROMATIN_FLOOR = 0.08

#: As much as a lack of red can take from the signal: nuclei that a camera shows pure blue remain nuclei.
_MOST_BLUE = 0.1
#: Density in green from which a place is surely no glass.
_SMEAR_DENSITY = 0.03
#: Where dark nuclei are far above the red cells, pale ones may lie this many standard deviations above the red cells,
#: but not below that share of what the dark ones ask for.
_DEVIATIONS = 3.0
_PALE_SHARE = 0.5
#: Pixels, evenly taken, from which a median or a quantile of an image is read.
_ENOUGH_PX = 20_000


def background_mask(pixels: Rgb) -> npt.NDArray[np.bool_]:
    """Where ``(r, c, 3)`` RGB `pixels` show empty glass, by brightness relative to the surroundings."""
    return _glass(green_density(pixels))


def _glass(density: Signal) -> npt.NDArray[np.bool_]:
    # Clipped where red cells are dark enough: else nuclei would decide, and pale red cells pass for glass.
    return density <= _otsu(np.clip(density, 0.0, 0.22))


def green_density(pixels: Rgb) -> Signal:
    """Optical density in green above the local background, shape ``(r, c)``: every stained object is dark in green."""
    green = pixels[..., 1].astype(np.float32) + 4.0
    small = cv2.resize(green, (64, 64), interpolation=cv2.INTER_AREA)
    # The brightest part of each neighbourhood, smoothed: a vignette or a tinted lamp goes, objects stay.
    bright = cv2.GaussianBlur(cv2.dilate(small, np.ones((17, 17), np.uint8)), (0, 0), 8)
    background = cv2.resize(bright, green.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.log10(background / green).astype(np.float32)


def nuclear_signal(pixels: Rgb, sigma_px: float = 1.0) -> Signal:
    """Purple-ness of ``(r, c, 3)`` RGB `pixels` in units of optical density, 0 in the background; shape ``(r, c)``.

    The background is that of the neighbourhood: a lamp may be pink in one corner and green in another.
    """
    smooth = cv2.GaussianBlur(pixels, (0, 0), sigma_px).astype(np.float32) + 6.0
    red, green, blue = np.log10(smooth[..., 0]), np.log10(smooth[..., 1]), np.log10(smooth[..., 2])
    above = _above_glass(np.dstack([blue - green, red - green]), background_mask(pixels))
    signal, lack = above[..., 0], np.clip(above[..., 1], -_MOST_BLUE, 0.0)
    # What is no chromatin anyway keeps its value.
    return np.where(signal > 0, np.maximum(signal + lack, 0.0), signal).astype(np.float32)


def _above_glass(values: Signal, empty: npt.NDArray[np.bool_]) -> Signal:
    """`values` ``(r, c, 2)`` less their mean over the empty glass about, or their median where none is near."""
    thin = values[empty] if empty.any() else values.reshape(-1, 2)
    values = values - np.median(thin[:: 1 + len(thin) // _ENOUGH_PX], axis=0).astype(np.float32)
    weighed = np.dstack([values * empty[..., None], empty]).astype(np.float32)
    small = cv2.GaussianBlur(cv2.resize(weighed, (64, 64), interpolation=cv2.INTER_AREA), (0, 0), 8)
    level = small[..., :2] / (small[..., 2:] + 0.1)
    return np.asarray(
        values - cv2.resize(level, empty.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
    )


def chromatin_threshold(signal: Signal, density: Signal, nucleus_px: float) -> float | None:
    """Signal that separates nuclei from red cells; None when nothing as large as a nucleus stands out.

    signal, density: what `nuclear_signal` and `green_density` say, shape ``(r, c)``. nucleus_px: area in pixels of
    the smallest nucleus looked for. Where nuclei are a fair part of the stained matter, Otsu's threshold over that
    matter; where one pixel in a thousand is nucleus, Otsu's method would divide the red cells, and the middle between
    them and the darkest nucleus serves. Either is lowered for the sake of pale nuclei as far as the red cells allow.
    """
    top = float(np.quantile(signal, 1.0 - min(0.5, 0.6 * nucleus_px / signal.size)))
    if top < CHROMATIN_FLOOR:
        return None
    rest = signal[signal < 0.45 * top]
    level = float(np.quantile(rest[:: 1 + rest.size // _ENOUGH_PX], 0.75)) if rest.size else 0.0
    threshold = level + 0.45 * (top - level)
    stained = np.clip(signal[~_glass(density)], 0.0, top)
    if stained.size > nucleus_px:
        divide = _otsu(stained)
        low, high = stained[stained <= divide], stained[stained > divide]
        apart = high.size > 0.02 * stained.size and high.mean() > max(1.5 * low.mean() + 0.02, 0.45 * top)
        if apart:
            threshold = min(threshold, divide)
    lowered = max(_end_of_red_cells(signal, density, threshold), _PALE_SHARE * threshold, CHROMATIN_FLOOR)
    threshold = min(threshold, lowered)
    return threshold if threshold >= 0.6 * CHROMATIN_FLOOR else None


def _end_of_red_cells(signal: Signal, density: Signal, threshold: float) -> float:
    """Signal that hardly a red cell exceeds, from what is stained and below `threshold`.

    Their spread is read below their median: above it, pale nuclei and cytoplasm lie among them.
    """
    others = signal[(density > _SMEAR_DENSITY) & (signal < threshold)]
    if not others.size:
        return threshold
    tenth, median = np.quantile(others[:: 1 + others.size // _ENOUGH_PX], [0.1, 0.5])
    return float(median + _DEVIATIONS * (median - tenth) / 1.28)


def _otsu(values: Signal) -> float:
    low, high = float(values.min()), float(values.max())
    scaled = np.round((values - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)
    level, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return low + level * (high - low) / 255.0
