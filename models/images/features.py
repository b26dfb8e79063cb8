"""Classical features of a whole image: colour, texture and the nuclei, as support-vector machines were fed before.

NumPy and OpenCV alone, so that a packaged machine answers without the training libraries.
"""

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rgb = npt.NDArray[np.uint8]

#: Side at which features are taken, whatever the package's input: texture depends on the scale.
_SIDE_PX = 128
_LEVELS = 16
_DISTANCES = (1, 3)
#: Purpleness, as log10 of blue over green above that of the background, below which nothing is chromatin; and
#: the area in pixels of the smallest piece.
_CHROMATIN_FLOOR = 0.05
_PIECE_PX = 12


def classical_features(squares: Rgb) -> Floats:
    """Features ``(n, len(FEATURE_NAMES))`` of pictures uint8 RGB ``(n, s, s, 3)``; all are finite."""
    rows = []
    for square in squares:
        picture = cv2.resize(square, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.uint8)
        rows.append(np.concatenate([_colour(picture), _texture(picture), _nuclei(picture)]))
    return np.array(rows, np.float64).reshape(len(squares), len(FEATURE_NAMES))


def _colour(picture: Rgb) -> Floats:
    """Histograms of hue, saturation and lightness (8 bins each); mean, deviation and skewness in RGB and L*a*b*."""
    hsv, lab = (cv2.cvtColor(picture, code) for code in (cv2.COLOR_RGB2HSV, cv2.COLOR_RGB2LAB))
    planes = ((hsv[..., 0], 180), (hsv[..., 1], 256), (lab[..., 0], 256))
    histograms = [
        np.bincount((plane.astype(np.int64) * 8 // top).ravel(), minlength=8) / plane.size
        for plane, top in planes
    ]
    values = np.concatenate([picture, lab], axis=2).reshape(-1, 6).astype(np.float64) / 255
    mean, spread = values.mean(axis=0), values.std(axis=0)
    apart = values - mean
    skew = (apart * apart * apart).mean(axis=0) / np.maximum(spread, 1e-3) ** 3
    return np.concatenate([*histograms, mean, spread, skew])


def _texture(picture: Rgb) -> Floats:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    return np.concatenate(
        [*(_cooccurrence(grey, d) for d in _DISTANCES), *(_binary_patterns(grey, r) for r in (1, 3))]
    )


def _cooccurrence(grey: npt.NDArray[np.uint8], distance: int) -> Floats:
    """Haralick's (1973) contrast, dissimilarity, homogeneity, energy, correlation and entropy of grey levels at a
    distance, mean of four directions."""
    levels = (grey.astype(np.int64) * _LEVELS) // 256
    side, d = levels.shape[0], distance
    matrix = np.zeros((_LEVELS, _LEVELS))
    for down, across in ((0, d), (d, 0), (d, d), (d, -d)):
        here = levels[: side - down, max(0, -across) : side - max(0, across)]
        there = levels[down:, max(0, across) : side + min(0, across)]
        counts = np.bincount((here * _LEVELS + there).ravel(), minlength=_LEVELS**2).reshape(_LEVELS, _LEVELS)
        matrix += counts + counts.T
    p = matrix / matrix.sum()
    i, j = np.indices(p.shape)
    mean = float((i * p).sum())
    variance = float(((i - mean) ** 2 * p).sum())
    correlation = float(((i - mean) * (j - mean) * p).sum()) / variance if variance > 1e-9 else 1.0
    entropy = float(-(p[p > 0] * np.log2(p[p > 0])).sum())
    return np.array([
        ((i - j) ** 2 * p).sum(), (abs(i - j) * p).sum(), (p / (1 + (i - j) ** 2)).sum(), np.sqrt((p * p).sum()),
        correlation, entropy,
    ])  # fmt: skip


def _binary_patterns(grey: npt.NDArray[np.uint8], radius: int) -> Floats:
    """Histogram of uniform, rotation-invariant local binary patterns of eight neighbours (Ojala 2002): ten bins."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.5 * radius).astype(np.float32)
    side, r = grey.shape[0], radius
    middle = smooth[r : side - r, r : side - r]
    ring = ((0, r), (r, r), (r, 0), (r, -r), (0, -r), (-r, -r), (-r, 0), (-r, r))
    above = np.stack([smooth[r + y : side - r + y, r + x : side - r + x] >= middle for y, x in ring])
    changes = (above != np.roll(above, 1, axis=0)).sum(axis=0)
    code = np.where(changes <= 2, above.sum(axis=0), 9)
    return np.bincount(code.ravel(), minlength=10) / code.size


def _nuclei(picture: Rgb) -> Floats:
    """How much chromatin there is, in how many pieces, of what shape the largest is, and its colour; zeros for none."""
    nothing = np.zeros(len(_NUCLEUS_NAMES))
    signal = _purpleness(picture)
    # Otsu's threshold between chromatin and the rest.
    scaled = np.clip(signal * 512, 0, 255).astype(np.uint8)
    threshold = max(
        cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0] / 512, _CHROMATIN_FLOOR
    )
    mask = cv2.morphologyEx((signal > threshold).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pieces = [c for c in contours if cv2.contourArea(c) >= _PIECE_PX]
    if not pieces:
        return nothing
    largest = max(pieces, key=cv2.contourArea)
    area, around = float(cv2.contourArea(largest)), float(cv2.arcLength(largest, True))
    hull = cv2.convexHull(largest)
    long, short = _axes(largest)
    inside = mask > 0
    colours = picture[inside].astype(np.float64) / 255
    return np.array([
        inside.mean(), len(pieces), area / mask.size, 4 * np.pi * area / max(around, 1.0) ** 2,
        area / max(float(cv2.contourArea(hull)), 1.0), np.sqrt(max(0.0, 1 - (short / max(long, 1e-6)) ** 2)),
        float(cv2.arcLength(hull, True)) / max(around, 1.0), signal[inside].mean(), signal[inside].std(),
        *colours.mean(axis=0), *colours.std(axis=0),
    ])  # fmt: skip


def _purpleness(picture: Rgb) -> npt.NDArray[np.float32]:
    """log10 of blue over green, above the picture's brighter half's: shape ``(s, s)``.

    The rule of `models.stain` without its tuning: a packaged machine must meet the features that it was fitted on.
    """
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.0).astype(np.float32) + 6.0
    signal = np.log10(smooth[..., 2] / smooth[..., 1])
    bright = smooth[..., 1] >= np.median(smooth[..., 1])
    return np.asarray(signal - np.median(signal[bright]), np.float32)


def _axes(contour: npt.NDArray[np.number]) -> tuple[float, float]:
    """Long and short axis of a contour's points, as the square roots of their variances."""
    points = contour.reshape(-1, 2).astype(np.float64)
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(points.T))) if len(points) > 2 else np.zeros(2)
    low, high = np.sqrt(np.maximum(values, 0))
    return float(high), float(low)


_NUCLEUS_NAMES = (
    "chromatin_share", "pieces", "largest_share", "circularity", "solidity", "eccentricity", "convexity", "signal_mean",
    "signal_deviation", *(f"nuclear_{what}_{c}" for what in ("mean", "deviation") for c in "rgb"),
)  # fmt: skip

#: In the order of the columns.
FEATURE_NAMES = (
    *(f"{plane}_{k}" for plane in ("hue", "saturation", "lightness") for k in range(8)),
    *(
        f"{what}_{c}"
        for what in ("mean", "deviation", "skewness")
        for c in ("red", "green", "blue", "l", "a", "b")
    ),
    *(
        f"{what}_at_{d}"
        for d in _DISTANCES
        for what in ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")
    ),
    *(f"pattern_{k}_radius_{r}" for r in (1, 3) for k in range(10)),
    *_NUCLEUS_NAMES,
)
