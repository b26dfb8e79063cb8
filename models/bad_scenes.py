"""Scenes that are no smears, drawn: landscapes, faces, rooms, fruit, pages, patterns. uint8 RGB ``(side, side, 3)``."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
_Rng = np.random.Generator

_WORDS = "the patient was seen in clinic today with fever and weight loss platelets 43 hemoglobin 8.1 g/dL see note"


def draw_landscape(rng: _Rng, side: int) -> Rgb:
    """Sky with clouds, hills, grass or lavender, trees."""
    rows = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    dusk = rng.random() < 0.3
    top, low = ((70, 60, 140), (240, 170, 150)) if dusk else ((90, 140, 225), (200, 220, 245))
    image = (1 - rows) * np.array(top) + rows * np.array(low) + np.zeros((side, side, 3))
    clouds = np.clip(cloud(rng, side, side, side / 4, stretch=3), 0, 1)[..., None] * rng.uniform(0.3, 1)
    image = image * (1 - clouds) + 250 * clouds
    if rng.random() < 0.5:
        _disc(
            image,
            rng.uniform(0.1, 0.9, 2) * (side, side / 3),
            side * rng.uniform(0.03, 0.08),
            (255, 245, 200),
        )
    for level in np.sort(rng.uniform(0.35, 0.6, int(rng.integers(1, 4)))):
        height = level * side + side * 0.12 * cloud(rng, 1, side, side / 3)[0]
        hill = np.arange(side)[:, None] > height[None]
        image[hill] = np.array((60, 90, 110)) * rng.uniform(0.6, 1.3) + rng.normal(0, 8, 3)
    horizon = int(rng.uniform(0.55, 0.75) * side)
    ground = ((70, 130, 45), (150, 140, 60), (125, 90, 170))[int(rng.integers(3))]
    blades = cloud(rng, side - horizon, side, rng.uniform(3, 12), stretch=4, angle=np.pi / 2)[..., None]
    image[horizon:] = np.array(ground) * (1 + 0.3 * blades)
    for _ in range(int(rng.integers(0, 25))):
        x, y = rng.uniform(0, side), rng.uniform(horizon - side * 0.1, side)
        green = np.array((40, 90, 35)) * rng.uniform(0.6, 1.5)
        for _ in range(12):
            _disc(
                image,
                rng.normal((x, y), side * 0.02),
                side * rng.uniform(0.008, 0.03),
                green * rng.uniform(0.8, 1.2),
            )
    return _as_photographed(rng, image)


def draw_face(rng: _Rng, side: int) -> Rgb:
    """Heads of ellipses before a wall: skin, hair, eyes, mouth, shoulders."""
    image = np.array(rng.uniform(80, 230, 3)) * (1 + 0.15 * cloud(rng, side, side, side / 2)[..., None])
    for _ in range(int(rng.integers(1, 7))):
        skin = np.array(
            ((235, 195, 175), (200, 150, 120), (130, 90, 70), (245, 200, 200))[int(rng.integers(4))]
        )
        hair = np.array(((40, 30, 25), (120, 80, 40), (200, 170, 110), (110, 60, 120))[int(rng.integers(4))])
        size = side * rng.uniform(0.08, 0.3)
        at = rng.uniform(0.15, 0.85, 2) * side
        _ellipse(image, _moved(at, 0, 1.9 * size), (1.5 * size, size), rng.uniform(20, 230, 3))
        _ellipse(image, at - (0, 0.2 * size), (0.9 * size, 1.1 * size), hair)
        _ellipse(image, at, (0.72 * size, 0.98 * size), skin)
        for dx in (-0.3, 0.3):
            _ellipse(image, _moved(at, dx * size, -0.15 * size), (0.14 * size, 0.08 * size), (245, 245, 245))
            _disc(image, _moved(at, dx * size, -0.15 * size), 0.07 * size, rng.uniform(10, 120, 3))
        _ellipse(image, _moved(at, 0, 0.2 * size), (0.08 * size, 0.2 * size), skin * 0.9)
        _ellipse(image, _moved(at, 0, 0.55 * size), (0.28 * size, 0.09 * size), (180, 70, 80))
    return _as_photographed(rng, image)


def draw_interior(rng: _Rng, side: int) -> Rgb:
    """A room: wall and floor, a window, furniture, books, a lamp's light."""
    wall, floor = rng.uniform(120, 240, 3), rng.uniform(50, 180, 3)
    image = np.ones((side, side, 3)) * wall
    edge = int(side * rng.uniform(0.55, 0.8))
    grain = cloud(rng, side - edge, side, rng.uniform(4, 15), stretch=10)
    image[edge:] = floor * (1 + 0.2 * grain[..., None])
    x, y = (int(v) for v in rng.uniform(0.05, 0.5, 2) * (side, side / 2))
    image[y : y + side // 4, x : x + side // 4] = (200, 225, 250)
    image[y : y + side // 4, x + side // 8 : x + side // 8 + 3] = wall * 0.5
    for _ in range(int(rng.integers(3, 10))):
        left, top = rng.uniform(0, side, 2) * (1, 0.6)
        width, height = side * rng.uniform(0.08, 0.4), side * rng.uniform(0.08, 0.4)
        corners = np.array(
            [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        )
        cv2.fillPoly(
            image,
            [np.round(corners + rng.normal(0, side * 0.01, (4, 2))).astype(np.int32)],
            rng.uniform(20, 230, 3).tolist(),
        )
    shelf = int(rng.uniform(0.1, 0.6) * side)
    book = int(rng.uniform(0, 0.4) * side)
    while book < side * 0.9 and rng.random() < 0.96:
        width = int(rng.integers(4, 16))
        image[shelf : shelf + side // 8, book : book + width] = rng.uniform(20, 220, 3)
        book += width + 1
    down, across = np.mgrid[:side, :side] / side
    lamp = rng.random(2)
    light = 0.6 + 0.6 * np.exp(-4 * ((down - lamp[0]) ** 2 + (across - lamp[1]) ** 2))
    return _as_photographed(rng, image * light[..., None])


def draw_fruit(rng: _Rng, side: int) -> Rgb:
    """Round things, shaded and shining: grapes, berries, pebbles, beads, buttons, on cloth or leaves; often purple."""
    ground = ((235, 215, 225), (90, 130, 60), (225, 220, 205), (150, 120, 90))[int(rng.integers(4))]
    image = np.array(ground) * (1 + 0.12 * cloud(rng, side, side, rng.uniform(5, 40))[..., None])
    hues = ((95, 50, 130), (120, 40, 90), (60, 60, 140), (190, 40, 50), (110, 130, 60), (140, 135, 130))
    colour = np.array(hues[int(rng.integers(len(hues)))])
    radius = side * rng.uniform(0.02, 0.1)
    centres = rng.uniform(0, side, (int(rng.integers(10, 80)), 2))
    for centre in centres:
        own, size = colour * rng.uniform(0.7, 1.3) + rng.normal(0, 8, 3), radius * rng.normal(1, 0.1)
        for step in np.linspace(1, 0.15, 8):
            _disc(image, centre - (1 - step) * 0.35 * size, size * step, own * (0.55 + 0.75 * (1 - step)))
        _disc(image, centre - 0.4 * size, 0.12 * size, (250, 250, 250))
    return _as_photographed(rng, image)


def draw_page(rng: _Rng, side: int) -> Rgb:
    """Printed lines, a table or a chart, in black or in colours, on paper or on a dark screen."""
    dark = rng.random() < 0.2
    image = np.full((side, side, 3), 30 if dark else rng.integers(225, 256), np.uint8)
    inks = ((20, 20, 20), (30, 60, 160), (120, 30, 120), (160, 30, 40), (20, 110, 60))
    ink = (230, 230, 230) if dark else inks[int(rng.integers(len(inks)))]
    kind = rng.integers(3)
    if kind == 0:
        words, size = _WORDS.split(), rng.uniform(0.35, 1.0)
        for y in range(int(30 * size), side, int(34 * size)):
            line = " ".join(rng.permutation(words)[: int(rng.integers(3, 14))])
            cv2.putText(
                image, line, (8, y), cv2.FONT_HERSHEY_SIMPLEX, size, ink, max(1, int(2 * size)), cv2.LINE_AA
            )
    elif kind == 1:
        bars = int(rng.integers(4, 12))
        for i in range(bars):
            tall, left = rng.uniform(0.1, 0.8) * side, int((i + 0.15) * side / bars)
            colour = np.clip(np.array(ink) * rng.uniform(0.8, 2.2), 0, 255).tolist()
            cv2.rectangle(
                image,
                (left, int(side - tall)),
                (left + int(0.7 * side / bars), side - 12),
                colour,
                cv2.FILLED,
            )
        cv2.line(image, (4, side - 10), (side, side - 10), ink, 2)
    else:
        for _ in range(int(rng.integers(1, 4))):
            colour = inks[int(rng.integers(len(inks)))]
            heights = side * (0.5 + 0.25 * cloud(rng, 1, side, side / 6)[0])
            curve = np.stack([np.arange(side), heights], axis=1)
            cv2.polylines(image, [np.round(curve).astype(np.int32)], False, colour, 2, cv2.LINE_AA)
            for x in range(10, side, int(rng.integers(15, 40))):
                _disc(image, (x, heights[x] + rng.normal(0, side * 0.08)), rng.uniform(2, 9), colour)
    return _as_photographed(rng, image)


def draw_pattern(rng: _Rng, side: int) -> Rgb:
    """Checks, stripes, dots, bricks, in two colours."""
    step = int(rng.integers(6, 60))
    down, across = np.mgrid[:side, :side]
    kind = rng.integers(4)
    if kind == 0:
        on = (down // step + across // step) % 2 == 0
    elif kind == 1:
        angle = rng.uniform(0, np.pi)
        on = ((down * np.sin(angle) + across * np.cos(angle)) // step).astype(int) % 2 == 0
    elif kind == 2:
        on = np.hypot(down % step - step / 2, across % step - step / 2) < step * rng.uniform(0.2, 0.45)
    else:
        joint = max(1, step // 8)
        row = down // step
        on = (down % step >= joint) & ((across + row % 2 * step) % (2 * step) >= joint)
    colours = rng.uniform(20, 250, (2, 3))
    image = np.where(on[..., None], colours[0], colours[1]) * (
        1 + 0.05 * cloud(rng, side, side, side / 3)[..., None]
    )
    return _as_photographed(rng, image)


def in_two_tones(rng: _Rng, grey: npt.NDArray[np.floating]) -> Rgb:
    """Brightness ``(r, c)`` from 0 to 1 shown from the stain's dark purple by way of pink to pale glass."""
    dark = np.array((85, 45, 130)) + rng.normal(0, 12, 3)
    middle = np.array((215, 150, 175)) + rng.normal(0, 12, 3)
    pale = np.array((240, 230, 230)) + rng.normal(0, 6, 3)
    stops = np.array((0.0, rng.uniform(0.35, 0.65), 1.0))
    tones = [np.interp(grey, stops, [dark[c], middle[c], pale[c]]) for c in range(3)]
    return clip(np.stack(tones, axis=-1))


def cloud(
    rng: _Rng, height: int, width: int, grain_px: float, *, stretch: float = 1.0, angle: float = 0.0
) -> Floats:
    """Smooth noise of several octaves, float32 ``(height, width)``, mean near 0 and deviation near 0.5.

    grain_px: size of the largest grains; stretch: how much longer than wide they are, along `angle` (radians).
    """
    total = np.zeros((height, width), np.float32)
    reach = int(np.ceil(np.hypot(height, width))) if stretch != 1 else 0
    for octave in range(4):
        grain = max(grain_px / 2**octave, 1.0)
        rows, columns = (reach or height) / grain, (reach or width) / grain / stretch
        coarse = rng.standard_normal((max(3, int(rows) + 2), max(3, int(columns) + 2)), np.float32)
        layer = cv2.resize(coarse, (reach or width, reach or height), interpolation=cv2.INTER_CUBIC)
        if reach:
            turn = cv2.getRotationMatrix2D((reach / 2, reach / 2), np.degrees(-angle), 1.0)
            turn[0, 2] += (width - reach) / 2
            turn[1, 2] += (height - reach) / 2
            layer = cv2.warpAffine(layer, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        total += layer.astype(np.float32) * np.float32(0.5**octave)
    return total * np.float32(0.5)


def clip(image: npt.NDArray[Any]) -> Rgb:
    """To uint8, rounded and kept in range."""
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _as_photographed(rng: _Rng, image: npt.NDArray[Any]) -> Rgb:
    """With the softness and the grain of a camera."""
    soft = cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
    return clip(soft + rng.normal(0, rng.uniform(0.5, 4), soft.shape))


def _moved(at: npt.NDArray[np.float64], across: float, down: float) -> npt.NDArray[np.float64]:
    moved: npt.NDArray[np.float64] = at + np.array((across, down))
    return moved


def _disc(image: npt.NDArray[Any], at: Any, radius: float, colour: Any) -> None:
    _ellipse(image, at, (radius, radius), colour)


def _ellipse(image: npt.NDArray[Any], at: Any, axes: tuple[float, float], colour: Any) -> None:
    centre = (round(float(at[0])), round(float(at[1])))
    size = (max(1, round(axes[0])), max(1, round(axes[1])))
    cv2.ellipse(image, centre, size, 0, 0, 360, [float(c) for c in colour], cv2.FILLED)
