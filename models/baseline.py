"""The border-colour baseline: what the margin of a crop gives away about its label with no cell in view."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_MARGIN_PX = 8


def border_features(crops: npt.NDArray[np.uint8]) -> Floats:
    """Mean, deviation and 90th percentile of each channel in the outer 8 px of crops ``(n, s, s, 3)``: ``(n, 9)``."""
    m = _MARGIN_PX
    features = []
    for crop in crops:
        bands = (crop[:m], crop[-m:], crop[m:-m, :m], crop[m:-m, -m:])
        pixels = np.concatenate([band.reshape(-1, 3) for band in bands]) / 255
        features.append(np.concatenate([pixels.mean(0), pixels.std(0), np.percentile(pixels, 90, axis=0)]))
    return np.array(features)


def fit_logistic(
    features: Floats, labels: npt.NDArray[np.integer], classes: int, *, rounds: int = 600, decay: float = 1e-4
) -> Callable[[Floats], Floats]:
    """A class-balanced multinomial regression by gradient descent; returns features ``(n, f)`` to probabilities."""
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    weight = (1 / counts[labels])[:, None]
    weight /= weight.sum()
    target = np.eye(classes)[labels]
    x = _design((features - centre) / spread)
    coefficients, velocity = np.zeros((x.shape[1], classes)), np.zeros((x.shape[1], classes))
    for _ in range(rounds):
        gradient = x.T @ (weight * (_softmax(x @ coefficients) - target)) + decay * coefficients
        velocity = 0.9 * velocity - 1.0 * gradient
        coefficients = coefficients + velocity
    return lambda new: _softmax(_design((new - centre) / spread) @ coefficients)


def _design(x: Floats) -> Floats:
    return np.column_stack([np.ones(len(x)), x, np.clip(x, -4, 4) ** 2])


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
