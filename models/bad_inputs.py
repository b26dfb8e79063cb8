"""Drawn studies that must never be read as blood: to measure the gates by, and to test them without real images.

Two families. `draw_bad` invents a study: empty glass, noise, photographs, pages, tissue, red cells without white ones.
`spoil_study` takes a good study and ruins it: out of focus, moved, wrongly lit, or in colours that no stain gives. The
same seed gives the same pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from cds.values import SmearImage
from models.bad_scenes import (
    Rgb,
    clip,
    cloud,
    draw_face,
    draw_fruit,
    draw_interior,
    draw_landscape,
    draw_page,
    draw_pattern,
    in_two_tones,
)
from models.synthetic.canvas import blob, random_stain
from models.synthetic.fields import draw_field

#: Images of one drawn study, and their usual side in pixels.
_IMAGES = 2
_SIDES = (320, 480, 640)
#: Scales that drawn images state; None leaves it to the reader to measure or assume one.
_SCALES = (None, 0.13, 0.25, 0.4)
#: A Gaussian blur from here on (sigma) hides chromatin and granules; a movement from here on smears them.
WORST_READABLE_BLUR_UM = 1.0
WORST_READABLE_MOVEMENT_UM = 4.0

Floats = npt.NDArray[np.float32]
_Rng = np.random.Generator


def draw_bad(kind: str, seed: int) -> tuple[SmearImage, ...]:
    """A study of one of DRAWN: uint8 RGB images. Raises ValueError for another kind."""
    if kind not in _DRAWN:
        raise ValueError(f"unknown kind of bad study {kind!r}: one of {', '.join(DRAWN)}")
    rng = np.random.default_rng((seed, DRAWN.index(kind)))
    draw = _DRAWN[kind]
    scale = _SCALES[int(rng.integers(len(_SCALES)))]
    side = int(rng.choice(_SIDES))
    images = []
    for number in range(_IMAGES):
        pixels, um_per_px = draw(rng, side, scale)
        images.append(SmearImage(source=f"{kind}-{seed}-{number}", pixels=pixels, um_per_px=um_per_px))
    return tuple(images)


def spoil_study(
    kind: str, images: Sequence[SmearImage], seed: int, um_per_px: float
) -> tuple[SmearImage, ...]:
    """`images` of true scale `um_per_px`, ruined all in the same way. Raises ValueError for a kind not in SPOILT.

    What each image states of its scale stays as it was.
    """
    if kind not in _SPOILT:
        raise ValueError(f"unknown way to spoil a study {kind!r}: one of {', '.join(SPOILT)}")
    spoil = _SPOILT[kind](np.random.default_rng((seed, SPOILT.index(kind))), um_per_px)
    return tuple(replace(image, pixels=spoil(image.pixels)) for image in images)


def gaussian_blur(sigma_um: float, um_per_px: float) -> Callable[[Rgb], Rgb]:
    """Out of focus by a Gaussian of `sigma_um`."""
    return lambda pixels: cv2.GaussianBlur(pixels, (0, 0), sigma_um / um_per_px).astype(np.uint8)


def motion_blur(length_um: float, angle: float, um_per_px: float) -> Callable[[Rgb], Rgb]:
    """Moved by `length_um` while exposed, in the direction `angle` (radians)."""
    half = length_um / um_per_px / 2
    middle = int(np.ceil(half)) + 1
    reach = np.array((np.cos(angle), np.sin(angle))) * half
    ends = [np.round((middle + sign * reach) * 16).astype(int).tolist() for sign in (-1, 1)]
    line = np.zeros((2 * middle + 1, 2 * middle + 1), np.uint8)
    cv2.line(line, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    kernel = line.astype(np.float32) / np.float32(line.sum())
    return lambda pixels: cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REFLECT_101).astype(np.uint8)


def _blank(rng: _Rng, side: int, scale: float | None) -> tuple[Rgb, float | None]:
    """White, grey or coloured glass, with a vignette or a gradient of light and the camera's noise."""
    kind = rng.integers(4)
    if kind == 0:
        colour = np.full(3, 255.0)
    elif kind == 1:
        colour = np.full(3, rng.uniform(0, 245))
    else:
        colour = rng.uniform(60, 250, 3)
    light = np.ones((side, side), np.float32)
    if rng.random() < 0.5:
        across = np.linspace(-1, 1, side, dtype=np.float32)
        light -= rng.uniform(0.1, 0.6) * (across[None] ** 2 + across[:, None] ** 2) / 2
    elif rng.random() < 0.5:
        light -= rng.uniform(0.05, 0.4) * np.linspace(0, 1, side, dtype=np.float32)[None]
    return clip(light[..., None] * colour + rng.normal(0, rng.uniform(0, 4), (side, side, 3))), scale


def _noise(rng: _Rng, side: int, scale: float | None) -> tuple[Rgb, float | None]:
    """Gaussian, salt and pepper, uniform, or clouds of several octaves, grey or coloured or in the stain's tones."""
    kind = rng.integers(5)
    if kind == 0:
        image = rng.normal(rng.uniform(90, 200, 3), rng.uniform(15, 70), (side, side, 3))
    elif kind == 1:
        image = np.full((side, side, 3), 1.0) * rng.uniform(120, 240, 3)
        grains = rng.random((side, side))
        share = rng.uniform(0.05, 0.3)
        image[grains < share / 2], image[grains > 1 - share / 2] = 0, 255
    elif kind == 2:
        image = rng.uniform(0, 255, (side, side, 3))
    elif kind == 3:
        image = np.stack([128 + 90 * cloud(rng, side, side, rng.uniform(4, 60)) for _ in range(3)], axis=-1)
    else:
        grain = rng.uniform(4, 40)
        grey: Floats = np.clip(0.5 + 0.5 * cloud(rng, side, side, grain), 0, 1).astype(np.float32)
        return in_two_tones(rng, grey), scale
    return clip(image), scale


def _photograph(rng: _Rng, side: int, scale: float | None) -> tuple[Rgb, float | None]:
    scenes = (draw_landscape, draw_face, draw_interior, draw_fruit)
    return scenes[int(rng.integers(len(scenes)))](rng, side), scale


def _tinted_photograph(rng: _Rng, side: int, scale: float | None) -> tuple[Rgb, float | None]:
    """A photograph, page or pattern printed in the tones of the stain: dark purple to pale pink."""
    scenes = (draw_landscape, draw_face, draw_interior, draw_fruit, draw_page, draw_pattern)
    scene = scenes[int(rng.integers(len(scenes)))](rng, side)
    return in_two_tones(rng, cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255), scale


def _page(rng: _Rng, side: int, scale: float | None) -> tuple[Rgb, float | None]:
    return (draw_page if rng.random() < 0.6 else draw_pattern)(rng, side), scale


def _histology(rng: _Rng, side: int, scale: float | None) -> tuple[Rgb, float | None]:
    """A section stained with hematoxylin and eosin: nuclei packed in pink fibres, gaps and lumens."""
    um_per_px = float(rng.choice([0.25, 0.35, 0.5]))
    size_um = side * um_per_px
    angle = rng.uniform(0, np.pi)
    fibres = cloud(rng, side, side, rng.uniform(8, 20) / um_per_px, stretch=rng.uniform(2, 8), angle=angle)
    fine = cloud(rng, side, side, 2.0 / um_per_px, stretch=3, angle=angle)
    eosin = np.clip(0.55 + 0.25 * fibres + 0.12 * fine, 0.02, 1.2)
    lumen = cloud(rng, side, side, rng.uniform(15, 40) / um_per_px) > rng.uniform(0.5, 1.2)
    eosin[lumen] = 0.03
    eosin = cv2.GaussianBlur(eosin, (0, 0), 0.4 / um_per_px).astype(np.float32)
    hematoxylin = np.zeros((side, side), np.float32)
    packing = rng.uniform(0.25, 0.7)
    radius = rng.uniform(2.8, 4.6)
    chromatin = 1 + 0.3 * cloud(rng, side, side, 1.2 / um_per_px)
    for _ in range(int(packing * size_um**2 / (np.pi * radius**2))):
        x, y = rng.uniform(0, size_um, 2)
        if lumen[min(side - 1, int(y / um_per_px)), min(side - 1, int(x / um_per_px))]:
            continue
        size, turn = radius * rng.normal(1, 0.15), angle + rng.normal(0, 0.5)
        outline = blob(rng, x, y, size, wobble=0.1, aspect=rng.uniform(1, 2.2), angle=turn)
        nucleus = np.zeros((side, side), np.uint8)
        cv2.fillPoly(nucleus, [np.round(outline / um_per_px * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        hematoxylin = np.maximum(
            hematoxylin, nucleus.astype(np.float32) / 255 * np.float32(rng.uniform(0.5, 1.1))
        )
    density = (
        (hematoxylin * chromatin)[..., None] * rng.normal((1.25, 1.35, 0.62), 0.06)
        + eosin[..., None] * rng.normal((0.12, 0.72, 0.42), 0.04) * rng.uniform(0.7, 1.2)
    )  # fmt: skip
    section = clip(rng.uniform(225, 250) * np.exp(-density) + rng.normal(0, 2, density.shape))
    return cv2.GaussianBlur(section, (0, 0), 0.15 / um_per_px).astype(np.uint8), um_per_px if scale else None


def _red_cells_only(rng: _Rng, side: int, scale: float | None) -> tuple[Rgb, float | None]:
    """A film without a white cell: not healthy blood, but nothing to count."""
    um_per_px = scale or 0.167
    stain, crowding = random_stain(rng, spread=0.5), float(rng.uniform(0.2, 0.7))
    pixels, _ = draw_field((), rng, shape=(side, side), um_per_px=um_per_px, stain=stain, crowding=crowding)
    return pixels, scale


def _blurred(rng: _Rng, um_per_px: float) -> Callable[[Rgb], Rgb]:
    return gaussian_blur(WORST_READABLE_BLUR_UM * rng.uniform(1.0, 3.0), um_per_px)


def _moved(rng: _Rng, um_per_px: float) -> Callable[[Rgb], Rgb]:
    return motion_blur(WORST_READABLE_MOVEMENT_UM * rng.uniform(1.0, 3.0), rng.uniform(0, np.pi), um_per_px)


def _exposed(rng: _Rng, um_per_px: float) -> Callable[[Rgb], Rgb]:
    """Burnt out until only the darkest nuclei are left, or so dark that the glass is nearly black."""
    if rng.random() < 0.5:
        gain = rng.uniform(3.5, 8.0)
        return lambda pixels: clip(pixels.astype(np.float32) * gain)
    gain = rng.uniform(0.05, 0.22)
    return lambda pixels: clip(pixels.astype(np.float32) * gain)


def _recoloured(rng: _Rng, um_per_px: float) -> Callable[[Rgb], Rgb]:
    """Colours that no laboratory makes: see `recolourings`."""
    ways = list(recolourings(rng).values())
    return ways[int(rng.integers(len(ways)))]


def recolourings(rng: _Rng) -> Mapping[str, Callable[[Rgb], Rgb]]:
    """The ways that a study of the kind ``stain_shift`` may be recoloured, with amounts drawn from `rng`."""
    turn = int(rng.integers(30, 150))
    orders = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    order = orders[int(rng.integers(len(orders)))]
    green = (rng.uniform(0.2, 0.5), 1.0, rng.uniform(0.2, 0.5))
    blue = (rng.uniform(0.15, 0.4), rng.uniform(0.3, 0.6), 1.0)

    def hue(pixels: Rgb) -> Rgb:
        turned = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
        turned[..., 0] = (turned[..., 0].astype(int) + turn) % 180
        return cv2.cvtColor(turned, cv2.COLOR_HSV2RGB).astype(np.uint8)

    def grey(pixels: Rgb) -> Rgb:
        return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)

    def tinted(tint: tuple[float, float, float]) -> Callable[[Rgb], Rgb]:
        # A dyed slide: what was grey takes on the tint, so that no white balance undoes it.
        return lambda pixels: clip(grey(pixels).astype(np.float32) * np.array(tint, np.float32))

    return {
        "hue": hue,
        "channels": lambda pixels: np.ascontiguousarray(pixels[..., order]),
        "inverted": lambda pixels: (255 - pixels).astype(np.uint8),
        "grey": grey,
        "green": tinted(green),
        "blue": tinted(blue),
    }


_DRAWN: Mapping[str, Callable[[_Rng, int, float | None], tuple[Rgb, float | None]]] = {
    "blank": _blank,
    "noise": _noise,
    "photograph": _photograph,
    "tinted_photograph": _tinted_photograph,
    "page": _page,
    "histology": _histology,
    "red_cells_only": _red_cells_only,
}
_SPOILT: Mapping[str, Callable[[_Rng, float], Callable[[Rgb], Rgb]]] = {
    "blurred": _blurred,
    "moved": _moved,
    "exposure": _exposed,
    "stain_shift": _recoloured,
}
#: Kinds that `draw_bad` invents, and those that `spoil_study` makes of a good study.
DRAWN = tuple(_DRAWN)
SPOILT = tuple(_SPOILT)
