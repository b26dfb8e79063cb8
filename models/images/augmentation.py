"""The paper's augmentation of whole images: rotation, shift across and down, horizontal flip, zoom, shear."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """How far each change goes to either side. The paper names the six and no amounts; these are ours."""

    rotation_degrees: float = 40.0
    #: Shifts as a share of the side.
    shift: float = 0.12
    zoom: float = 0.15
    shear: float = 0.12


def augmented(square: Rgb, rng: np.random.Generator, ranges: Ranges = Ranges()) -> Rgb:
    """One changed copy of a square picture ``(s, s, 3)``, in one resampling; what comes into view mirrors the edges."""
    side = square.shape[0]
    angle = np.deg2rad(rng.uniform(-1, 1) * ranges.rotation_degrees)
    shear = rng.uniform(-1, 1) * ranges.shear
    zoom = np.exp(rng.uniform(-1, 1) * np.log1p(ranges.zoom))
    flip = float(rng.choice([-1.0, 1.0]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([flip, 1.0]) / zoom
    centre = np.full(2, side / 2 - 0.5)
    offset = centre + rng.uniform(-1, 1, 2) * ranges.shift * side - matrix @ centre
    warped = cv2.warpAffine(
        square,
        np.column_stack([matrix, offset]),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return warped.astype(np.uint8)


def numbered_copy(square: Rgb, sha256: str, copy: int, seed: int, ranges: Ranges = Ranges()) -> Rgb:
    """The augmented copy of that number of the image with that digest, the same at every call; copy 0 is the image."""
    if copy == 0:
        return square
    return augmented(square, np.random.default_rng((seed, int(sha256[:12], 16), copy)), ranges)
