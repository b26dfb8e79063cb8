"""Single cells of every type, drawn from the features by which a hematologist names them.

Size, ratio of nucleus to cytoplasm, shape and lobes of the nucleus, chromatin, nucleoli, granules, colour of the
cytoplasm (Bain, Blood Cells, 5th edition, chapters 2, 3 and 9). The stain comes from outside and knows no cell type.
"""

import numpy as np

from models.synthetic.canvas import Canvas, Mask, Rgb, Stain, Window, blob, random_stain, smoothstep
from models.synthetic.nuclei import NUCLEI
from models.synthetic.plans import PLANS, Plan

RED_CELL_RADIUS_UM = 3.75


def draw_cell(
    cell_type: str,
    rng: np.random.Generator,
    *,
    size_px: int = 160,
    um_per_px: float = 0.167,
    stain: Stain | None = None,
) -> Rgb:
    """One cell of the type in the middle of a square crop with red cells about it: uint8 RGB (size_px, size_px, 3).

    Raises ValueError for a type that is not in `models.labels.CELL_TYPES`.
    """
    canvas = Canvas(size_px, size_px, um_per_px, stain or random_stain(rng))
    middle = size_px * um_per_px / 2
    if cell_type == "not_a_cell":
        _draw_without_centre(canvas, rng, middle)
    else:
        radius = cell_radius(cell_type, rng)
        draw_red_cells(canvas, rng, [(middle, middle, radius)])
        draw_cell_at(canvas, rng, cell_type, middle, middle, radius)
    return canvas.to_rgb(rng)


def cell_radius(cell_type: str, rng: np.random.Generator) -> float:
    """A plausible radius (µm) for the type."""
    if cell_type in PLANS:
        return float(rng.uniform(*PLANS[cell_type].radius))
    if cell_type == "smudge_cell":
        return float(rng.uniform(5.0, 8.5))
    if cell_type == "platelet_or_artifact":
        return float(rng.uniform(1.0, 1.9) if rng.random() < 0.6 else rng.uniform(2.2, 4.2))
    raise ValueError(f"no drawing for the cell type {cell_type!r}")


def draw_cell_at(
    canvas: Canvas, rng: np.random.Generator, cell_type: str, x: float, y: float, radius: float
) -> None:
    """Draw one nucleated cell, smudge or platelet with its centre at (x, y), all in µm."""
    window = canvas.window(x, y, radius * 1.7 + 1)
    if window is None:
        return
    if cell_type == "smudge_cell":
        _draw_smudge(window, rng, x, y, radius)
    elif cell_type == "platelet_or_artifact":
        _draw_platelets(window, rng, x, y, radius)
    else:
        _draw_planned(window, rng, PLANS[cell_type], x, y, radius)


def draw_red_cells(
    canvas: Canvas,
    rng: np.random.Generator,
    taken: list[tuple[float, float, float]],
    *,
    crowding: float | None = None,
) -> None:
    """Strew red cells (and a few platelets) over the film, mostly clear of the circles `taken` (x, y, radius in µm)."""
    height, width = canvas.size_um
    crowding = float(rng.uniform(0.25, 0.75)) if crowding is None else crowding
    radius = RED_CELL_RADIUS_UM * rng.normal(1.0, 0.03)
    pallor = rng.uniform(0.35, 0.85)
    circles = np.array(taken, np.float64).reshape(-1, 3)
    for _ in range(int(crowding * (height + 8) * (width + 8) / (np.pi * radius**2) * 1.6)):
        x, y = rng.uniform(-4, width + 4), rng.uniform(-4, height + 4)
        size = radius * np.clip(rng.normal(1, 0.06), 0.8, 1.2)
        gap = np.hypot(circles[:, 0] - x, circles[:, 1] - y) - circles[:, 2] - size
        if np.any(gap < rng.uniform(-0.8, 0.8)):
            continue
        circles = np.vstack([circles, (x, y, size)])
        _draw_red_cell(canvas, rng, x, y, size, pallor)
    for _ in range(rng.poisson(height * width / 900)):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.8, 1.6)
        window = canvas.window(x, y, size * 1.7 + 1)
        if window and np.all(np.hypot(circles[:, 0] - x, circles[:, 1] - y) > circles[:, 2] + size):
            _draw_platelet(window, rng, x, y, size)


def _draw_without_centre(canvas: Canvas, rng: np.random.Generator, middle: float) -> None:
    """No nucleated cell in the middle: red cells and gaps, now and then a nucleated neighbour at the edge."""
    taken = []
    if rng.random() < 0.4:
        cell_type = str(rng.choice(sorted(PLANS)))
        radius, angle = cell_radius(cell_type, rng), rng.uniform(0, 2 * np.pi)
        distance = radius + rng.uniform(3.0, 6.0)
        taken.append(
            (middle + distance * np.cos(angle), middle + distance * np.sin(angle), radius, cell_type)
        )
    draw_red_cells(canvas, rng, [t[:3] for t in taken], crowding=rng.uniform(0.1, 0.9))
    for x, y, radius, cell_type in taken:
        draw_cell_at(canvas, rng, cell_type, x, y, radius)


def _draw_red_cell(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, radius: float, pallor: float
) -> None:
    window = canvas.window(x, y, radius * 1.3)
    if window is None:
        return
    outline = blob(rng, x, y, radius, wobble=0.03, aspect=rng.uniform(1, 1.15), angle=rng.uniform(0, np.pi))
    disc = window.polygon(outline)
    centre = window.polygon((outline - (x, y)) * rng.uniform(0.48, 0.62) + (x, y))
    hollow = window.soften(centre, radius * 0.17) * pallor
    window.paint(
        window.soften(disc, 0.12), "red_cell", (1 - hollow) * float(rng.normal(0.66, 0.05)), cover=0.35
    )


def _draw_planned(
    window: Window, rng: np.random.Generator, plan: Plan, x: float, y: float, radius: float
) -> None:
    body_outline = blob(
        rng, x, y, radius, wobble=plan.wobble, aspect=rng.uniform(1, 1.12), angle=rng.uniform(0, np.pi)
    )
    body = window.soften(window.polygon(body_outline), 0.12)
    share = rng.uniform(*plan.nucleus)
    room = radius * (1 - share) * plan.eccentric
    angle = rng.uniform(0, 2 * np.pi)
    nx, ny = x + room * np.cos(angle), y + room * np.sin(angle)

    tint = rng.uniform(*plan.tint)
    cloud = 1 + 0.10 * window.noise(rng, 1.0)
    window.paint(body, plan.cytoplasm, tint * cloud, cover=0.97)
    if plan.dark_rim:
        inner = window.soften(window.polygon((body_outline - (x, y)) * 0.82 + (x, y)), 0.6)
        window.paint(body * (1 - inner), plan.cytoplasm, plan.dark_rim, cover=0)
    if plan.hof:
        hof = window.polygon(blob(rng, nx - 0.75 * share * radius * np.cos(angle),
                                  ny - 0.75 * share * radius * np.sin(angle), radius * 0.28))  # fmt: skip
        window.thin(window.soften(hof, 0.5) * body, rng.uniform(0.15, 0.4))
    if not plan.over_nucleus:
        _draw_granules(window, rng, plan, body, x, y, radius)

    nucleus = NUCLEI[plan.shape](window, rng, nx, ny, radius * share, angle, plan.nucleus_wobble)
    nucleus = nucleus * np.maximum(body, 0.0)
    _paint_chromatin(window, rng, plan, nucleus)
    for _ in range(rng.integers(plan.nucleoli[0], plan.nucleoli[1] + 1)):
        reach, turn = radius * share * 0.6 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        spot = window.polygon(
            blob(rng, nx + reach * np.cos(turn), ny + reach * np.sin(turn), rng.uniform(0.55, 0.95))
        )
        window.thin(window.soften(spot, 0.15) * nucleus, rng.uniform(0.22, 0.42))
    if plan.over_nucleus:
        _draw_granules(window, rng, plan, body, x, y, radius)
    for _ in range(rng.integers(0, plan.vacuoles + 1)):
        reach, turn = radius * rng.uniform(0.5, 0.9), rng.uniform(0, 2 * np.pi)
        hole = window.polygon(
            blob(rng, x + reach * np.cos(turn), y + reach * np.sin(turn), rng.uniform(0.25, 0.6))
        )
        window.thin(window.soften(hole, 0.1) * body, rng.uniform(0.5, 0.85))


def _paint_chromatin(window: Window, rng: np.random.Generator, plan: Plan, nucleus: Mask) -> None:
    contrast = rng.uniform(*plan.contrast)
    texture = window.noise(rng, plan.grain) + 0.5 * window.noise(rng, plan.grain * 0.45)
    if plan.contrast[1] >= 0.12:
        texture = smoothstep(-0.6, 0.6, texture) * 2.4 - 1.2
    if plan.shape == "cracked":
        # Clumps parted by pale lines, the "soccer ball" of CLL: where two of three noise fields meet.
        fields = np.sort(np.stack([window.noise(rng, 1.5) for _ in range(3)]), axis=0)
        texture = texture * 0.4 + 2.6 * smoothstep(0.0, 0.5, (fields[2] - fields[1]).astype(np.float32)) - 1.6
    edge = 1 - window.soften(nucleus, 0.5)
    strength = rng.uniform(*plan.density) * (1 + contrast * texture + 0.25 * edge)
    window.paint(nucleus, "nucleus", strength.astype(np.float32), cover=0.95)


def _draw_granules(
    window: Window, rng: np.random.Generator, plan: Plan, body: Mask, x: float, y: float, radius: float
) -> None:
    if plan.granule is None:
        return
    count = int(rng.uniform(*plan.granules) * np.pi * radius**2)
    reach, turn = radius * 0.97 * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    points = np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], axis=1)
    widths = 2 * rng.uniform(*plan.granule_radius, count)
    mask = window.soften(window.path(points, widths), 0.06) * body
    window.paint(mask, plan.granule, rng.uniform(*plan.granule_strength), cover=0.45)


def _draw_smudge(window: Window, rng: np.random.Generator, x: float, y: float, radius: float) -> None:
    """A burst nucleus: no cytoplasm, frayed edge, washed-out chromatin in strands."""
    angle = rng.uniform(0, np.pi)
    core = window.polygon(
        blob(rng, x, y, radius * 0.8, wobble=0.22, aspect=rng.uniform(1.0, 1.9), angle=angle)
    )
    fray = window.soften(core, rng.uniform(0.5, 1.3))
    fray = fray * smoothstep(-0.9, 0.9, window.noise(rng, 1.3) + 2.2 * (fray - 0.45))
    strands = 1 + 0.28 * window.noise(rng, 0.7) + 0.22 * window.noise(rng, 2.2)
    component = "nucleus" if rng.random() < 0.75 else "azurophil_granule"
    window.paint(fray, component, (rng.uniform(0.42, 0.85) * strands).astype(np.float32), cover=0.8)


def _draw_platelets(window: Window, rng: np.random.Generator, x: float, y: float, radius: float) -> None:
    if radius > 2.8 and rng.random() < 0.5:
        for _ in range(rng.integers(4, 9)):
            dx, dy = rng.normal(0, radius * 0.45, 2)
            _draw_platelet(window, rng, x + dx, y + dy, rng.uniform(0.9, 1.5))
    else:
        _draw_platelet(window, rng, x, y, radius)


def _draw_platelet(window: Window, rng: np.random.Generator, x: float, y: float, radius: float) -> None:
    body = window.polygon(
        blob(rng, x, y, radius, wobble=0.14, aspect=rng.uniform(1, 1.4), angle=rng.uniform(0, 3))
    )
    body = window.soften(body, 0.15)
    window.paint(body, "platelet", rng.uniform(0.6, 1.0), cover=0.6)
    grains = smoothstep(-0.3, 0.9, window.noise(rng, 0.45)) * window.soften(body, radius * 0.35)
    window.paint(grains, "azurophil_granule", rng.uniform(0.4, 0.9), cover=0.3)
