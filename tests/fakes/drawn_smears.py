"""Plain drawings of smears for tests of geometry: round red cells, round nuclei, nothing learned from them."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]

BACKGROUND = (236, 228, 214)
RED_CELL = (214, 160, 158)
CYTOPLASM = (176, 166, 212)
NUCLEUS = (92, 48, 140)


def draw_smear(
    *,
    shape: tuple[int, int],
    um_per_px: float,
    nuclei: Sequence[tuple[float, float, float]] = (),
    red_cells: int | None = None,
    nucleus: tuple[int, int, int] = NUCLEUS,
    seed: int = 0,
) -> Rgb:
    """uint8 RGB of `shape`: red cells 7.5 µm across, apart from one another and from `nuclei` (row, column, radius in
    µm), on glass with a little grain. red_cells: how many at most; None: as many as fit."""
    rng = np.random.default_rng(seed)
    height, width = shape
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    taken = [(r, c, radius + 2.5) for r, c, radius in nuclei]
    for _ in range(4000):
        if red_cells is not None and len(taken) - len(nuclei) >= red_cells:
            break
        row, column = rng.uniform(0, height * um_per_px), rng.uniform(0, width * um_per_px)
        if all(np.hypot(row - r, column - c) > radius + 4.3 for r, c, radius in taken):
            taken.append((row, column, 3.75))
            _disc(image, row, column, 3.75, RED_CELL, um_per_px)
            _disc(image, row, column, 1.2, tuple((np.add(RED_CELL, BACKGROUND) // 2).tolist()), um_per_px)
    for row, column, radius in nuclei:
        _disc(image, row, column, radius + 1.2, CYTOPLASM, um_per_px)
    for row, column, radius in nuclei:
        _disc(image, row, column, radius, nucleus, um_per_px)
    noisy = cv2.GaussianBlur(image, (0, 0), max(0.3, 0.12 / um_per_px)) + rng.normal(0, 1.5, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _disc(
    image: Rgb, row: float, column: float, radius: float, colour: Sequence[int], um_per_px: float
) -> None:
    centre = (round(column / um_per_px * 16), round(row / um_per_px * 16))
    cv2.circle(
        image, centre, round(radius / um_per_px * 16), [int(v) for v in colour], cv2.FILLED, cv2.LINE_AA, 4
    )
