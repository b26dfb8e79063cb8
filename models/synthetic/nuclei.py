"""Shapes of nuclei: each function gives the mask of one nucleus about (x, y) with radius r (µm).

`angle` points from the cell's centre to the nucleus; bays and bends open towards the cell's centre.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.synthetic.canvas import Mask, Window, blob


def _round(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    outline = blob(rng, x, y, r, wobble=wobble, aspect=rng.uniform(1, 1.12), angle=rng.uniform(0, np.pi))
    return window.soften(window.polygon(outline), 0.1)


def _oval(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    aspect = rng.uniform(1.15, 1.45)
    return window.soften(
        window.polygon(blob(rng, x, y, r, wobble=wobble, aspect=aspect, angle=angle + np.pi / 2)), 0.1
    )


def _notched(
    window: Window,
    rng: np.random.Generator,
    x: float,
    y: float,
    r: float,
    angle: float,
    depth: float,
    width: float,
) -> Mask:
    """A disc with a bay cut into it from the side away from `angle`; depth and width are shares of r."""
    disc = _oval(window, rng, x, y, r, angle, 0.05)
    reach = r * (1.25 - depth)
    bay = blob(rng, x - reach * np.cos(angle), y - reach * np.sin(angle), r * width, wobble=0.08)
    return window.soften(disc * (1 - window.soften(window.polygon(bay), 0.25)), 0.1)


def _kidney(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    return _notched(window, rng, x, y, r * 1.08, angle, rng.uniform(0.22, 0.45), rng.uniform(0.4, 0.6))


def _folded(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    """Kidney to horseshoe, with irregular outline: the monocyte's."""
    if rng.random() < 0.35:
        return _round(window, rng, x, y, r, angle, 0.16)
    return _notched(window, rng, x, y, r * 1.1, angle, rng.uniform(0.35, 0.8), rng.uniform(0.22, 0.42))


def _cleft(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    nucleus = _round(window, rng, x, y, r, angle, wobble)
    if rng.random() < 0.5:
        start = np.array([x + r * np.cos(angle), y + r * np.sin(angle)])
        line = start + (np.array([x, y]) - start) * np.linspace(0, rng.uniform(0.4, 0.9), 12)[:, None]
        crease = window.path(line, np.linspace(rng.uniform(0.5, 1.1), 0.2, 12))
        nucleus = nucleus * (1 - 0.6 * window.soften(crease, 0.15))
    return nucleus


def _arc(
    rng: np.random.Generator, x: float, y: float, reach: float, angle: float, sweep: float, n: int
) -> npt.NDArray[np.float64]:
    theta = angle + np.linspace(-sweep / 2, sweep / 2, n)
    bend = reach * (1 + 0.18 * np.sin(np.linspace(0, rng.uniform(2, 6), n) + rng.uniform(0, 6)))
    return np.stack([x + bend * np.cos(theta), y + bend * np.sin(theta)], axis=1)


def _band(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    points = _arc(rng, x, y, r * rng.uniform(0.75, 0.95), angle, rng.uniform(2.8, 4.4), 40)
    widths = r * rng.uniform(0.68, 0.88) * (1 - 0.16 * np.sin(np.linspace(0, np.pi, 40)) * rng.random())
    return window.soften(window.path(points, widths), 0.15)


def _segmented(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    lobes = int(rng.choice([2, 3, 4, 5], p=[0.12, 0.46, 0.32, 0.10]))
    return _lobed(window, rng, x, y, r, angle, lobes, rng.uniform(0.46, 0.56) if lobes < 5 else 0.42)


def _bilobed(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    return _lobed(window, rng, x, y, r, angle, 2 if rng.random() < 0.8 else 3, rng.uniform(0.52, 0.62))


def _lobed(
    window: Window,
    rng: np.random.Generator,
    x: float,
    y: float,
    r: float,
    angle: float,
    lobes: int,
    size: float,
) -> Mask:
    """Lobes strung on thin filaments along an arc; size: lobe radius as a share of r."""
    sweep = min(1.15 * lobes + 0.6, 5.4) * rng.uniform(0.85, 1.1)
    centres = _arc(rng, x, y, r * rng.uniform(0.75, 0.95), angle, sweep, lobes)
    mask = window.path(_arc_through(centres), np.full(30, rng.uniform(0.5, 0.9)))
    for cx, cy in centres:
        outline = blob(rng, cx, cy, r * size * rng.uniform(0.88, 1.12), wobble=0.1,
                       aspect=rng.uniform(1.0, 1.4), angle=rng.uniform(0, np.pi))  # fmt: skip
        mask = np.maximum(mask, window.polygon(outline))
    return window.soften(mask, 0.12)


def _arc_through(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    at = np.linspace(0, len(centres) - 1, 30)
    return np.stack([np.interp(at, np.arange(len(centres)), centres[:, i]) for i in (0, 1)], axis=1)


def _lumpy(
    window: Window, rng: np.random.Generator, x: float, y: float, r: float, angle: float, wobble: float
) -> Mask:
    mask = window.empty()
    for _ in range(rng.integers(2, 4)):
        dx, dy = rng.normal(0, r * 0.35, 2)
        mask = np.maximum(
            mask, window.polygon(blob(rng, x + dx, y + dy, r * rng.uniform(0.6, 0.75), wobble=0.1))
        )
    return window.soften(mask, 0.25)


#: Shape name to function.
NUCLEI: dict[str, Callable[[Window, np.random.Generator, float, float, float, float, float], Mask]] = {
    "round": _round, "oval": _oval, "kidney": _kidney, "folded": _folded, "cleft": _cleft, "cracked": _round,
    "band": _band, "segmented": _segmented, "bilobed": _bilobed, "lumpy": _lumpy,
}  # fmt: skip
