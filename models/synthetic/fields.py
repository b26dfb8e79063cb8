"""Whole fields and single-cell images of a film, with the places of the cells known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.synthetic.canvas import Canvas, Rgb, Stain, random_stain
from models.synthetic.cells import cell_radius, draw_cell_at, draw_red_cells


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCell:
    """Where a cell was drawn: centre in pixels of the image (row down, column right), radius in µm."""

    cell_type: str
    row: float
    column: float
    radius_um: float


def draw_field(
    cell_types: Sequence[str],
    rng: np.random.Generator,
    *,
    shape: tuple[int, int] = (768, 1024),
    um_per_px: float = 0.167,
    stain: Stain | None = None,
    crowding: float | None = None,
) -> tuple[Rgb, list[PlacedCell]]:
    """A field with these nucleated cells strewn among red cells: uint8 RGB ``(r, c, 3)``, and where each cell is.

    Cells do not overlap. Raises ValueError when they do not fit into the field.
    """
    canvas = Canvas(*shape, um_per_px, stain or random_stain(rng))
    circles: list[tuple[float, float, float]] = []
    for cell_type in cell_types:
        circles.append(_free_place(canvas, rng, cell_radius(cell_type, rng), circles))
    draw_red_cells(canvas, rng, circles, crowding=crowding)
    for cell_type, circle in zip(cell_types, circles, strict=True):
        draw_cell_at(canvas, rng, cell_type, *circle)
    placed = [
        PlacedCell(cell_type=t, row=y / um_per_px - 0.5, column=x / um_per_px - 0.5, radius_um=radius)
        for t, (x, y, radius) in zip(cell_types, circles, strict=True)
    ]
    return canvas.to_rgb(rng), placed


def draw_single_cell_image(
    cell_type: str,
    rng: np.random.Generator,
    *,
    size_px: int = 280,
    um_per_px: float = 0.105,
    stain: Stain | None = None,
    crowding: float | None = None,
) -> Rgb:
    """One cell near the middle of a square image, as a cell imager exports it: uint8 RGB (size_px, size_px, 3)."""
    canvas = Canvas(size_px, size_px, um_per_px, stain or random_stain(rng))
    x, y = size_px * um_per_px / 2 + rng.normal(0, 0.4, 2)
    radius = cell_radius(cell_type, rng)
    draw_red_cells(canvas, rng, [(x, y, radius)], crowding=crowding)
    draw_cell_at(canvas, rng, cell_type, x, y, radius)
    return canvas.to_rgb(rng)


def _free_place(
    canvas: Canvas, rng: np.random.Generator, radius: float, circles: list[tuple[float, float, float]]
) -> tuple[float, float, float]:
    height, width = canvas.size_um
    margin = radius + 0.5
    if min(height, width) <= 2 * margin:
        raise ValueError("the field is smaller than a cell")
    for _ in range(400):
        x, y = rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)
        if all(np.hypot(x - cx, y - cy) > radius + r + 2 for cx, cy, r in circles):
            return float(x), float(y), radius
    raise ValueError(f"{len(circles) + 1} cells do not fit into {height:.0f} x {width:.0f} µm")
