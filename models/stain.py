"""What the Romanowsky stains leave in an image, whatever the laboratory: background, stained matter, chromatin.

Chromatin is purple: it takes out green far more than blue. Red cells, from salmon to slate grey, take out both
alike, and so do shadows, vignettes and tinted lamps. The signal used throughout is therefore
``log10(blue / green)`` above its value in the background.
"""

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Signal = npt.NDArray[np.float32]

#: Nuclear signal (optical density) below which nothing is taken for chromatin.
CHROMATIN_FLOOR = 0.08


def background_mask(pixels: Rgb) -> npt.NDArray[np.bool_]:
    """Where ``(r, c, 3)`` RGB `pixels` show empty glass, by brightness relative to the surroundings."""
    density = green_density(pixels)
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
    signal = np.log10(smooth[..., 2] / smooth[..., 1])
    return np.asarray(signal - _level_of_glass(signal, background_mask(pixels)), np.float32)


def _level_of_glass(signal: Signal, empty: npt.NDArray[np.bool_]) -> Signal | float:
    """What `signal` would be without the smear: its mean over the empty glass about, its median where none is near."""
    overall = float(np.median(signal[empty] if empty.any() else signal))
    share = cv2.resize(empty.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(empty, signal - overall, 0.0), (64, 64), interpolation=cv2.INTER_AREA)
    share, total = cv2.GaussianBlur(share, (0, 0), 8), cv2.GaussianBlur(total, (0, 0), 8)
    local = (total / (share + 0.1)).astype(np.float32)
    return overall + cv2.resize(local, signal.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)


def chromatin_threshold(signal: Signal, empty: npt.NDArray[np.bool_], nucleus_px: float) -> float | None:
    """Signal that separates nuclei from red cells; None when nothing as large as a nucleus stands out.

    signal, empty: what `nuclear_signal` and `background_mask` say, shape ``(r, c)``. nucleus_px: area in pixels of
    the smallest nucleus looked for. Where nuclei are a fair part of the stained matter, Otsu's threshold over that
    matter; where one pixel in a thousand is nucleus, Otsu's method would divide the red cells, and the middle between
    them and the darkest nucleus serves.
    """
    top = float(np.quantile(signal, 1.0 - min(0.5, 0.6 * nucleus_px / signal.size)))
    if top < CHROMATIN_FLOOR:
        return None
    rest = signal[signal < 0.45 * top]
    level = float(np.quantile(rest, 0.75)) if rest.size else 0.0
    threshold = level + 0.45 * (top - level)
    stained = np.clip(signal[~empty], 0.0, top)
    if stained.size > nucleus_px:
        divide = _otsu(stained)
        low, high = stained[stained <= divide], stained[stained > divide]
        apart = high.size > 0.02 * stained.size and high.mean() > max(1.5 * low.mean() + 0.02, 0.45 * top)
        if apart:
            threshold = min(threshold, divide)
    return threshold if threshold >= 0.6 * CHROMATIN_FLOOR else None


def _otsu(values: Signal) -> float:
    low, high = float(values.min()), float(values.max())
    scaled = np.round((values - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)
    level, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return low + level * (high - low) / 255.0
