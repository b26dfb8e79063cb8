"""Drawing in optical density: shapes in micrometres, stains as densities, one conversion to RGB at the end.

Light through a stained film falls off exponentially (Beer and Lambert), so overlapping stains add as densities,
and a laboratory's stain is one set of density vectors and one colour of light, drawn apart from the cell type.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.float32]
Rgb = npt.NDArray[np.uint8]

#: Optical density (natural logarithm; R, G, B) of each component under a middling May-Grünwald-Giemsa stain.
_DENSITY = {
    "red_cell": (0.30, 0.62, 0.60),
    "nucleus": (0.95, 1.55, 0.62),
    "blue_cytoplasm": (0.50, 0.46, 0.14),
    "grey_cytoplasm": (0.38, 0.46, 0.18),
    "pink_cytoplasm": (0.16, 0.34, 0.20),
    "neutrophil_granule": (0.30, 0.62, 0.28),
    "azurophil_granule": (0.62, 1.45, 0.50),
    "eosinophil_granule": (0.14, 0.78, 0.98),
    "basophil_granule": (1.15, 1.75, 0.62),
    "platelet": (0.42, 0.80, 0.28),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stain:
    """One laboratory's colours. density: component to optical density (R, G, B); light: empty glass, 0 to 255."""

    density: dict[str, npt.NDArray[np.float32]]
    light: npt.NDArray[np.float32]
    blur_um: float
    noise: float


def random_stain(rng: np.random.Generator, *, spread: float = 1.0) -> Stain:
    """A stain, light and optics drawn at random, independently of anything that is later drawn with them.

    spread: 1 covers more than laboratories do (for training), 0.5 keeps to what they usually do.
    """
    strength = 1 + spread * rng.uniform(-0.22, 0.22)
    hue = rng.normal(1.0, 0.10 * spread, 3)
    acid = rng.normal(1.0, 0.14 * spread, 3)
    acidophil = {"red_cell", "pink_cytoplasm", "eosinophil_granule"}
    density = {}
    for name, base in _DENSITY.items():
        own = rng.normal(1.0, 0.04, 3) * hue * (acid if name in acidophil else 1.0)
        density[name] = (np.array(base) * strength * np.clip(own, 0.6, 1.5)).astype(np.float32)
    light = np.clip(
        rng.uniform(215, 250) * np.array([1.0, 0.96, 0.93]) * rng.normal(1.0, 0.025 * spread, 3), 170, 255
    )
    return Stain(
        density=density,
        light=light.astype(np.float32),
        blur_um=float(rng.uniform(0.05, 0.22)),
        noise=float(rng.uniform(0.5, 3.0)),
    )


class Canvas:
    """A film being drawn. Coordinates and lengths are in µm from the top left corner: x right, y down."""

    def __init__(self, height_px: int, width_px: int, um_per_px: float, stain: Stain) -> None:
        self.um_per_px = um_per_px
        self.stain = stain
        self.density = np.zeros((height_px, width_px, 3), np.float32)

    @property
    def size_um(self) -> tuple[float, float]:
        """Height and width in µm."""
        height, width = self.density.shape[:2]
        return height * self.um_per_px, width * self.um_per_px

    def window(self, x: float, y: float, radius: float) -> "Window | None":
        """The part of the film within `radius` (µm) of a point, or None where that lies outside the film."""
        height, width = self.density.shape[:2]
        left, right = (int((x + s * radius) / self.um_per_px) for s in (-1, 1))
        top, bottom = (int((y + s * radius) / self.um_per_px) for s in (-1, 1))
        left, top, right, bottom = max(left, 0), max(top, 0), min(right + 1, width), min(bottom + 1, height)
        if left >= right or top >= bottom:
            return None
        return Window(self, left, top, self.density[top:bottom, left:right])

    def to_rgb(self, rng: np.random.Generator) -> Rgb:
        """The photograph: uint8 (r, c, 3), with the stain's blur and noise."""
        sigma = self.stain.blur_um / self.um_per_px
        density = cv2.GaussianBlur(self.density, (0, 0), sigma) if sigma > 0.2 else self.density
        light = self.stain.light * np.exp(-density)
        light += rng.standard_normal(light.shape, np.float32) * np.float32(self.stain.noise)
        photograph: Rgb = np.clip(light + 0.5, 0, 255).astype(np.uint8)
        return photograph


class Window:
    """A rectangle of the canvas on which one object is drawn; everything outside it is left alone."""

    def __init__(self, canvas: Canvas, left: int, top: int, density: npt.NDArray[np.float32]) -> None:
        self.scale = canvas.um_per_px
        self.stain = canvas.stain
        self._offset = np.array([left, top], np.float64)
        self._density = density

    def empty(self) -> Mask:
        return np.zeros(self._density.shape[:2], np.float32)

    def polygon(self, points: npt.NDArray[np.float64]) -> Mask:
        """Filled polygon, antialiased. points: (n, 2) in µm."""
        return self._draw(lambda image: cv2.fillPoly(image, [self._fixed(points)], 255, cv2.LINE_AA, 4))

    def path(self, points: npt.NDArray[np.float64], widths: npt.NDArray[np.float64]) -> Mask:
        """A rope of discs along `points` (n, 2), `widths` (n,) across, all in µm."""

        def rope(image: Rgb) -> None:
            for centre, width in zip(self._fixed(points), widths, strict=True):
                radius = max(1, int(width / 2 / self.scale * 16))
                cv2.circle(image, (int(centre[0]), int(centre[1])), radius, 255, -1, cv2.LINE_AA, 4)

        return self._draw(rope)

    def noise(self, rng: np.random.Generator, grain_um: float) -> Mask:
        """Smooth noise of mean 0 and deviation near 1, with grains of about `grain_um`."""
        height, width = self._density.shape[:2]
        rows, columns = (max(3, int(n * self.scale / grain_um) + 2) for n in (height, width))
        coarse = rng.standard_normal((rows, columns), np.float32)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)

    def soften(self, mask: Mask, sigma_um: float) -> Mask:
        sigma = sigma_um / self.scale
        return cv2.GaussianBlur(mask, (0, 0), sigma).astype(np.float32) if sigma > 0.15 else mask

    def paint(self, mask: Mask, component: str, strength: Mask | float = 1.0, *, cover: float = 1.0) -> None:
        """Put `component` where `mask` is; `cover` 1 hides what lies beneath, 0 adds to it (thin layers add)."""
        weight = mask[..., None]
        colour = self.stain.density[component]
        amount = np.maximum(strength, 0)[..., None] if isinstance(strength, np.ndarray) else strength
        self._density *= 1 - cover * weight
        self._density += weight * (colour * amount)

    def thin(self, mask: Mask, share: float) -> None:
        """Take away `share` of the density where `mask` is: vacuoles, nucleoli, halos."""
        self._density *= 1 - share * mask[..., None]

    def _fixed(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        return np.round((points / self.scale - self._offset) * 16).astype(np.int32)

    def _draw(self, draw: Callable[[Rgb], object]) -> Mask:
        image = np.zeros(self._density.shape[:2], np.uint8)
        draw(image)
        return image.astype(np.float32) / np.float32(255)


def blob(
    rng: np.random.Generator,
    x: float,
    y: float,
    radius: float,
    *,
    wobble: float = 0.05,
    aspect: float = 1.0,
    angle: float = 0.0,
) -> npt.NDArray[np.float64]:
    """A closed, roughly round outline: (72, 2) points in µm. wobble: relative unevenness; aspect: length to width."""
    theta = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    r = np.ones_like(theta)
    for order in range(2, 7):
        r += wobble * rng.normal() / (order - 0.5) * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
    stretch = np.sqrt(aspect)
    px, py = radius * r * np.cos(theta) * stretch, radius * r * np.sin(theta) / stretch
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + px * cos - py * sin, y + px * sin + py * cos], axis=1)


def smoothstep(low: float, high: float, values: Mask) -> Mask:
    t = np.clip((values - low) / (high - low), 0, 1)
    step: Mask = (t * t * (3 - 2 * t)).astype(np.float32)
    return step
