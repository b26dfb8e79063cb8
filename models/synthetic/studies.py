"""Whole synthetic studies: a differential of one pattern, drawn as the images that a cell imager or camera sends."""

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np

from cds.values import SmearImage
from models.synthetic.canvas import Rgb, random_stain
from models.synthetic.fields import draw_field, draw_single_cell_image

#: Middling differential of each pattern (shares of all nucleated cells shown), and how closely a study follows it
#: (concentration of the Dirichlet distribution: higher is closer). Shares after Bain, Blood Cells, and for CML the
#: chronic phase of the WHO classification: a left shift through every stage, a bulge at the myelocyte, basophils,
#: few blasts.
_PATTERNS: dict[str, tuple[float, dict[str, float]]] = {
    "healthy": (60, {
        "segmented_neutrophil": 0.56, "band_neutrophil": 0.03, "lymphocyte": 0.30, "monocyte": 0.065,
        "eosinophil": 0.03, "basophil": 0.007, "reactive_lymphocyte": 0.008,
    }),
    "ALL": (30, {
        "lymphoblast": 0.68, "lymphocyte": 0.16, "segmented_neutrophil": 0.10, "monocyte": 0.02,
        "erythroblast": 0.02, "smudge_cell": 0.02,
    }),
    "AML": (30, {
        "myeloblast": 0.60, "promyelocyte": 0.03, "myelocyte": 0.01, "monocyte": 0.07, "lymphocyte": 0.14,
        "segmented_neutrophil": 0.11, "band_neutrophil": 0.01, "erythroblast": 0.03,
    }),
    "CLL": (50, {
        "cll_lymphocyte": 0.74, "lymphocyte": 0.05, "smudge_cell": 0.10, "segmented_neutrophil": 0.09,
        "monocyte": 0.02,
    }),
    "CML": (80, {
        "segmented_neutrophil": 0.36, "band_neutrophil": 0.14, "metamyelocyte": 0.10, "myelocyte": 0.17,
        "promyelocyte": 0.03, "myeloblast": 0.02, "basophil": 0.06, "eosinophil": 0.04, "lymphocyte": 0.05,
        "monocyte": 0.02, "erythroblast": 0.01,
    }),
}  # fmt: skip

PATTERNS = (*_PATTERNS, "unreadable")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticStudy:
    """Images of one invented patient, and what was drawn in them (image by image)."""

    pattern: str
    images: tuple[SmearImage, ...]
    cell_types: tuple[tuple[str, ...], ...]

    @property
    def differential(self) -> dict[str, int]:
        """Cell type to the number drawn."""
        return dict(Counter(t for image in self.cell_types for t in image))


def compose_study(
    pattern: str,
    seed: int,
    *,
    cells: int = 100,
    layout: str = "single",
    um_per_px: float | None = None,
    cells_per_field: int = 8,
) -> SyntheticStudy:
    """A study of one of PATTERNS; the same seed gives the same pixels.

    layout: "single" draws one cell an image (0.105 µm/px), "field" about `cells_per_field` in one (0.167 µm/px).
    An "unreadable" study is a healthy one, blurred, over-exposed or both. Raises ValueError for other names.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"unknown pattern {pattern!r}: one of {', '.join(PATTERNS)}")
    if layout not in ("single", "field"):
        raise ValueError(f"unknown layout {layout!r}: single or field")
    rng = np.random.default_rng((seed, PATTERNS.index(pattern)))
    types = draw_differential("healthy" if pattern == "unreadable" else pattern, rng, cells)
    stain, crowding = random_stain(rng, spread=0.5), float(rng.uniform(0.3, 0.6))
    scale = um_per_px or (0.105 if layout == "single" else 0.167)
    size = 1 if layout == "single" else cells_per_field
    groups = [tuple(types[i : i + size]) for i in range(0, len(types), size)]
    images = []
    for number, group in enumerate(groups):
        if layout == "single":
            side = round(29.4 / scale)
            pixels = draw_single_cell_image(
                group[0], rng, size_px=side, um_per_px=scale, stain=stain, crowding=crowding
            )
        else:
            shape = (round(100 / scale), round(133 / scale))
            pixels, _ = draw_field(group, rng, shape=shape, um_per_px=scale, stain=stain, crowding=crowding)
        if pattern == "unreadable":
            pixels = spoil(pixels, rng, um_per_px=scale)
        images.append(SmearImage(source=f"synthetic-{number:03d}", pixels=pixels, um_per_px=scale))
    return SyntheticStudy(pattern=pattern, images=tuple(images), cell_types=tuple(groups))


def draw_differential(pattern: str, rng: np.random.Generator, cells: int) -> list[str]:
    """Types of `cells` nucleated cells of a patient with that pattern, in random order.

    The patient's own shares vary about the pattern's (Dirichlet), the cells are drawn from them (multinomial).
    """
    concentration, shares = _PATTERNS[pattern]
    own = rng.dirichlet(concentration * np.array(list(shares.values())))
    counts = rng.multinomial(cells, own)
    types = [t for t, count in zip(shares, counts, strict=True) for _ in range(count)]
    return [types[i] for i in rng.permutation(len(types))]


def spoil(pixels: Rgb, rng: np.random.Generator, *, um_per_px: float) -> Rgb:
    """Out of focus by 2.5 to 4 µm and over-exposed: uint8 RGB of the same shape, in which no one could name a cell."""
    side = 2 * round(2.4 * rng.uniform(2.5, 4.0) / um_per_px / 2) + 1
    # Two box filters come near a Gaussian and cost the same for any width.
    blurred = cv2.blur(cv2.blur(pixels, (side, side)), (side, side)).astype(np.float32)
    spoiled: Rgb = np.clip(255 - (255 - blurred) * rng.uniform(0.25, 0.5), 0, 255).astype(np.uint8)
    return spoiled
