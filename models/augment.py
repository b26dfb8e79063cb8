"""Augmentation of single-cell crops, on the processor, about half a millisecond a cell.

What a cell is must not follow from where it was photographed: every source meets the same turns, shifts, scales,
stains, blur and JPEG, drawn widely enough to overlap between sources, and a share of cells is given the colours of
another laboratory outright. Each view ends with a neutral background, as in serving.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from models.white_balance import neutral_one

Rgb = npt.NDArray[np.uint8]

#: Optical densities (natural logarithm, 0 to 1 by norm) of hematoxylin, eosin and a residual; rows are stains
#: (Ruifrok and Johnston 2001).
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32)
_TO_STAINS = np.linalg.inv(_STAINS)
_DENSITY_OF = (-np.log((np.arange(256, dtype=np.float32) + 1) / 256)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far each change may go. The defaults were chosen by what they did for laboratories left out of training (see
    docs/decisions/0019)."""

    shift_px: float = 15.0
    zoom: float = 0.20
    shear: float = 0.08
    stain_gain: float = 0.30
    stain_mix: float = 0.12
    #: Standard deviation of each channel's gamma (logarithm), which cameras and software add to a stain.
    gamma: float = 0.25
    #: Share of views that are given the colours of a cell of another source, fully or in part.
    restain_share: float = 0.7
    #: Share of views made as a camera that resolves less would have shown the cell, where the corpus has such a source.
    soft_share: float = 0.3
    blur_px: float = 1.9
    blur_share: float = 0.6
    #: Smallest scale that a view is brought down to and up from again, of its own.
    smallest: float = 0.35
    jpeg_share: float = 0.35
    noise: float = 4.0


def centre_crop(crop: Rgb, *, field_px: int, size_px: int) -> Rgb:
    """The middle `field_px` of a crop brought to `size_px` (area averaging): what serving does too."""
    start = (crop.shape[0] - field_px) // 2
    field = crop[start : start + field_px, start : start + field_px]
    return cv2.resize(field, (size_px, size_px), interpolation=cv2.INTER_AREA).astype(np.uint8)


def augment(
    crop: Rgb,
    rng: np.random.Generator,
    *,
    field_px: int,
    size_px: int,
    strength: Augmentation = Augmentation(),
    colours: "tuple[Colours, Colours] | None" = None,
    soft: bool = False,
) -> Rgb:
    """A changed view: uint8 RGB ``(size_px, size_px, 3)`` of about the middle `field_px` of ``crop`` (s, s, 3).

    colours: those of the crop itself and those of a cell of another source that it may be given. soft: that source's
    camera resolves less, and the view takes on its colours and its sharpness together.
    """
    image = _warp(crop, rng, field_px, size_px, strength)
    if soft and colours is not None:
        image = _resolved_less(restain(image, *colours, share=float(rng.uniform(0.7, 1.0))), rng)
        # Gently: the stain is to stay that source's.
        gain, mix, gamma = strength.stain_gain / 2, strength.stain_mix / 2, strength.gamma / 2
        strength = replace(strength, stain_gain=gain, stain_mix=mix, gamma=gamma, blur_share=0.0)
    elif colours is not None and rng.random() < strength.restain_share:
        image = restain(image, *colours, share=float(rng.uniform(0.3, 1.0)))
    image = _stain(image, rng, strength)
    if rng.random() < strength.blur_share:
        image = _blur(image, rng, strength)
    if rng.random() < strength.jpeg_share:
        quality = int(rng.integers(35, 96))
        image = _jpeg(image, quality)
    return neutral_one(image)


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """Mean and deviation, each ``(3,)`` in OpenCV's 8-bit CIE L*a*b*, of what is stained in a crop."""

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]


def colours_of(crop: Rgb) -> Colours:
    """The colours of the stained part of a crop (s, s, 3) after its background was made neutral."""
    balanced = neutral_one(cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA).astype(np.uint8))
    lab = cv2.cvtColor(balanced, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    stained = lab[balanced[..., 1].reshape(-1) < 200]
    if len(stained) < 50:
        stained = lab
    return Colours(stained.mean(axis=0), stained.std(axis=0) + 2.0)


def restain(image: Rgb, own: Colours, other: Colours, *, share: float) -> Rgb:
    """`image` (s, s, 3) with its colours moved by `share` of the way to another cell's (Reinhard et al. 2001)."""
    lab = cv2.cvtColor(neutral_one(image), cv2.COLOR_RGB2LAB).astype(np.float32)
    # Not beyond doubling or halving contrast: a pale cell's statistics would tear a dark one apart.
    gain = np.clip(other.deviation / own.deviation, 0.5, 2.0)
    moved = (lab - own.mean) * gain + other.mean
    # The background stays white: the shift grows with how stained a pixel is.
    stained = np.clip((243.0 - lab[..., :1]) / 40.0, 0.0, 1.0) * np.float32(share)
    mixed: Rgb = np.clip(lab + stained * (moved - lab), 0, 255).astype(np.uint8)
    restained: Rgb = cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB).astype(np.uint8)
    return restained


def _warp(crop: Rgb, rng: np.random.Generator, field_px: int, size_px: int, strength: Augmentation) -> Rgb:
    """Turn by any angle, mirror, shift, zoom and shear in one resampling. A smaller view may be blurred by it."""
    angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-1, 1) * np.log1p(strength.zoom))
    mirror = rng.choice([-1.0, 1.0])
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    shear = np.array([[1, rng.uniform(-1, 1) * strength.shear], [rng.uniform(-1, 1) * strength.shear, 1]])
    # From the view's pixels to the crop's: WARP_INVERSE_MAP takes the matrix in this direction.
    matrix = turn @ shear @ np.diag([mirror, 1.0]) * (field_px / size_px / scale)
    reach = strength.shift_px * np.sqrt(rng.random())
    direction = rng.uniform(0, 2 * np.pi)
    centre = crop.shape[0] / 2 - 0.5 + reach * np.array([np.cos(direction), np.sin(direction)])
    offset = centre - matrix @ np.full(2, size_px / 2 - 0.5)
    return cv2.warpAffine(
        crop,
        np.column_stack([matrix, offset]),
        (size_px, size_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    ).astype(np.uint8)


def _stain(image: Rgb, rng: np.random.Generator, strength: Augmentation) -> Rgb:
    """Scale and mix the stains in optical density, bend each channel's response, add noise."""
    gains = np.diag(np.exp(rng.normal(0, strength.stain_gain, 3)))
    mixing = rng.normal(0, strength.stain_mix, (3, 3))
    change = (_TO_STAINS @ (gains + mixing) @ _STAINS).astype(np.float32)
    density = cv2.transform(_DENSITY_OF[image], change.T)
    # The source's own light goes first, or mixing stains would mix it in.
    density -= np.percentile(density[::4, ::4].reshape(-1, 3), 8, axis=0).astype(np.float32)
    np.maximum(density, 0, out=density)
    density *= np.exp(rng.normal(0, strength.gamma * 0.5, 3) + rng.normal(0, strength.gamma)).astype(
        np.float32
    )
    values = 240 * np.exp(-density)
    if rng.random() < 0.5:
        values += rng.standard_normal(values.shape, np.float32) * np.float32(rng.uniform(0, strength.noise))
    changed: Rgb = np.clip(values, 0, 255).astype(np.uint8)
    return changed


def _blur(image: Rgb, rng: np.random.Generator, strength: Augmentation) -> Rgb:
    """Out of focus, or enlarged from fewer pixels: both happen to every source alike."""
    size = image.shape[0]
    if rng.random() < 0.5:
        sigma = rng.uniform(0.2, strength.blur_px) * size / 96
        return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8)
    small = int(size * rng.uniform(strength.smallest, 0.95))
    low = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(low, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _resolved_less(image: Rgb, rng: np.random.Generator) -> Rgb:
    """As through a lens, and on a sensor, of about 0.3 to 0.5 µm/px, enlarged smoothly."""
    size = image.shape[0]
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6) * size / 96).astype(np.uint8)
    small = int(size * rng.uniform(0.4, 0.8))
    low = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(low, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def _jpeg(image: Rgb, quality: int) -> Rgb:
    """There and back; the channel order does not matter as long as it is the same both ways."""
    decoded = cv2.imdecode(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
    )
    if decoded is None:
        raise RuntimeError("OpenCV could not decode its own JPEG")
    return decoded.astype(np.uint8)
