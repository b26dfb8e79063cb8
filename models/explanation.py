"""Which parts of a cell spoke for its type: class-activation maps (Zhou et al. 2016), and pictures of them.

The maps come out of the network's own graph (see `models.export`): no gradient, no second network. They are coarse, a
few squares across a crop, as the last feature maps are: they say "the nucleus" or "the neighbour", not "this granule".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cds.cell_types import informative, telling_rank
from cds.values import Cell

Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

#: Opacity of the map's colours where it is 1.
_STRENGTH = 0.55
#: Side of each of the two pictures of a panel, and height of its caption, pixels.
PANEL_PX = 240
_CAPTION_PX = 44


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """A cell as the network sees it. map: float32 ``(s, s)`` of 0 to 1, for the crop `crop` uint8 RGB ``(s, s, 3)``."""

    cell_type: str
    probability: float
    crop: Rgb
    map: Floats


def explain_cells(
    cells: Sequence[Cell], explain: Callable[[Rgb, str], Explanation], folder: Path, *, at_most: int = 24
) -> list[Path]:
    """PNG panels of the cells worth showing, the most telling types and the surest cells first, into `folder`.

    What is explained is the thumbnail that the reading kept: the crop as a JPEG. A type's probability in the caption is
    that of the reading. explain: `models.reader.PackageReader.explain`. Returns the files written. Raises OSError when
    the folder cannot be written, ValueError for a thumbnail that is no picture, PackageError as `explain` does.
    """
    shown = [cell for cell in cells if cell.thumbnail]
    chosen = sorted(
        (shown[i] for i in informative(shown, at_most)),
        key=lambda c: (telling_rank(c.cell_type), -c.probability, c.source, c.row, c.column),
    )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, cell in enumerate(chosen, start=1):
        explained = explain(thumbnail_crop(cell), cell.cell_type)
        caption = f"{cell.cell_type} {cell.probability:.0%}  row {cell.row:.0f} column {cell.column:.0f}"
        picture = panel(explained, caption)
        _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
        path = folder / f"{number:02d}-{cell.cell_type}-{cell.probability:.2f}.png"
        path.write_bytes(encoded.tobytes())
        written.append(path)
    return written


def thumbnail_crop(cell: Cell) -> Rgb:
    """The crop that the reading kept of a cell. Raises ValueError when it is no picture, or there is none."""
    crop = cv2.imdecode(np.frombuffer(cell.thumbnail or b"\0", np.uint8), cv2.IMREAD_COLOR)
    if crop is None:
        raise ValueError(f"the thumbnail of a cell of {cell.source} is no picture")
    return np.ascontiguousarray(crop[:, :, ::-1], np.uint8)


def activation_map(activation: Floats, label: int, *, size_px: int) -> Floats:
    """Where a crop speaks for `label`, 0 (nothing, or rather for others) to 1 (most): float32 ``(size_px, size_px)``.

    activation: ``(labels, h, w)`` as the network gives it. What counts is how far a label's map exceeds the mean of all
    labels, as probabilities do not change when every logit grows alike. All 0 where no place speaks for the label.
    Raises ValueError for an activation of another shape, or a label that it lacks.
    """
    if activation.ndim != 3 or not 0 <= label < activation.shape[0]:
        raise ValueError(f"no label {label} in an activation of shape {activation.shape}")
    relative = (activation[label] - activation.mean(axis=0)).astype(np.float32)
    smooth = cv2.resize(relative, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    speaking = np.maximum(smooth, 0.0)
    most = float(speaking.max())
    return np.asarray(speaking / most if most > 0 else speaking, np.float32)


def overlay(crop: Rgb, heat: Floats) -> Rgb:
    """`crop` ``(s, s, 3)`` with the map `heat` ``(s, s)`` of 0 to 1 laid over it; where that is 0 the crop shows."""
    levels = np.clip(heat * 255, 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[:, :, ::-1].astype(np.float32)
    weight = _STRENGTH * heat[:, :, None]
    mixed = crop.astype(np.float32) * (1 - weight) + colours * weight
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def side_by_side(explained: Explanation) -> Rgb:
    """The crop, and beside it the same with its map: uint8 RGB ``(PANEL_PX, 2 * PANEL_PX, 3)``."""
    pictures = [explained.crop, overlay(explained.crop, explained.map)]
    side = (PANEL_PX, PANEL_PX)
    return np.hstack([cv2.resize(p, side, interpolation=cv2.INTER_CUBIC) for p in pictures]).astype(np.uint8)


def panel(explained: Explanation, caption: str) -> Rgb:
    """The crop, beside it the same with its map, below both the caption (ASCII): uint8 RGB."""
    both = side_by_side(explained)
    below = np.full((_CAPTION_PX, both.shape[1], 3), 255, np.uint8)
    font, wide = cv2.FONT_HERSHEY_SIMPLEX, both.shape[1] - 16
    (width, _), _ = cv2.getTextSize(caption, font, 0.5, 1)
    scale = 0.5 * min(1.0, wide / max(width, 1))
    cv2.putText(below, caption, (8, 28), font, scale, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([both, below])
