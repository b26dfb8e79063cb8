"""Which tiles of a whole slide are read: those in which a coarse level shows nuclei, spread over the slide.

A nucleus is told from red cells by what it takes out of the red light: methylene blue and azure do, eosin does not. It
is told from platelets, and from red cells that lie upon one another, by how much it takes out in all: absorbance summed
over an area stays what it is when a nucleus is blurred to two pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from cds.pixels import spread
from cds.slides import SEEK_UM_PER_PX, FrameAddress, Level, Tile

T = TypeVar("T", np.bool_, np.float32)

#: A field is as many tiles a side as make it this wide: the reader takes what is smaller for a single cell's picture.
_FIELD_UM = 60.0
_FIELD_PX = 512
_MOST_TILES_A_SIDE = 4
#: A cell counts for a field when its nucleus lies this far inside.
_MARGIN_UM = 8.0
#: More nucleus than this is no smear of single cells: clots, or a pen.
_MOST_NUCLEUS = 0.4
#: A pixel is stained where less red light comes through than this, of what the glass lets through; it may be nucleus
#: where less comes through than this share of what dense red cells (a quarter of all that is stained) let through. Blue
#: only leaves out what is plainly red: a look for violet would pass over eosinophils and bias the differential.
_STAINED, _OF_RED_CELLS, _REDDER = 0.95, 0.85, 0.2
#: What a nucleus absorbs beyond dense red cells, summed over a square as wide as a cell: natural logarithm times µm².
#: Measured on slides of drawn fields and on real ones, brought to 4 µm per pixel and compressed
#: (docs/decisions/0044-how-much-nucleus-makes-a-field.md).
_NUCLEUS_UM2, _CELL_UM = 10.0, 12.0
_DARKEST = 0.02
#: Share of a field that is stained where cells lie beside one another. In thicker parts they hide one another; at the
#: feathered edge large cells gather and are torn.
_MONOLAYER = (0.1, 0.9)
#: With fewer fields than these, others are read besides: the coarse level may have been stained or scanned oddly.
_FEWEST_FIELDS = 12


@dataclass(frozen=True, slots=True)
class Field:
    """A square of ``side × side`` tiles from `tile` on, read as one image."""

    tile: Tile
    side: int

    def frames(self, level: Level) -> list[tuple[Tile, FrameAddress]]:
        return [
            (tile, level.tiles[tile])
            for row in range(self.tile.row, self.tile.row + self.side)
            for column in range(self.tile.column, self.tile.column + self.side)
            if (tile := Tile(row, column)) in level.tiles
        ]


def choose_fields(level: Level, at_most_frames: int, nuclei: "NucleusMap | None") -> list[Field]:
    """Fields of the level, in reading order, that hold nuclei as far as the map says, or evenly spread without one.

    Together they have no more than `at_most_frames` frames (but there is one field at least).
    """
    side = _tiles_a_side(level)
    fields = _whole_fields(level, side) or _whole_fields(level, 1)
    at_most = max(1, at_most_frames // fields[0].side ** 2) if fields else 0
    if nuclei is None:
        return [fields[i] for i in spread(len(fields), at_most)]
    promising = [f for f in fields if nuclei.shows_a_cell(level, f)]
    if len(promising) < min(_FEWEST_FIELDS, at_most):
        chosen = set(promising)
        others = [f for f in fields if f not in chosen and nuclei.is_stained(level, f)]
        more = min(_FEWEST_FIELDS, at_most) - len(promising)
        return sorted([*promising, *(others[i] for i in spread(len(others), more))], key=lambda f: f.tile)
    beside_one_another = [f for f in promising if nuclei.is_monolayer(level, f)]
    if len(beside_one_another) >= at_most:
        promising = beside_one_another
    return [promising[i] for i in spread(len(promising), at_most)]


class NucleusMap:
    """What the coarse level shows, pixel by pixel.

    pieces: its tiles and their pixels, uint8 RGB ``(r, c, 3)``.
    """

    def __init__(self, level: Level, pieces: Iterator[tuple[Tile, npt.NDArray[np.uint8]]]) -> None:
        self._level = level
        # White where a tile is missing: glass.
        red = np.full((level.rows, level.columns), 255, np.uint8)
        blue = red.copy()
        for tile, pixels in pieces:
            top, left = tile.row * level.tile_rows, tile.column * level.tile_columns
            down = max(0, min(pixels.shape[0], level.rows - top))
            across = max(0, min(pixels.shape[1], level.columns - left))
            red[top : top + down, left : left + across] = pixels[:down, :across, 0]
            blue[top : top + down, left : left + across] = pixels[:down, :across, 2]
        through_red, through_blue = (c / np.float32(_glass(c)) for c in (red, blue))
        self._stained = through_red < _STAINED
        stained = through_red[self._stained]
        red_cells = float(np.percentile(stained, 25)) if stained.size else 1.0
        bluish = through_blue > through_red - _REDDER
        self._nuclei = bluish & (through_red < _OF_RED_CELLS * red_cells)
        beyond = np.log(red_cells / np.maximum(through_red, _DARKEST))
        beyond[~bluish] = 0
        um_per_px = level.um_per_px or SEEK_UM_PER_PX
        across = max(1, 2 * round(_CELL_UM / um_per_px / 2 - 0.5) + 1)
        summed = cv2.boxFilter(
            np.maximum(beyond, 0), -1, (across, across), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        self._absorbed_um2: npt.NDArray[np.float32] = summed * np.float32(um_per_px**2)

    def shows_a_cell(self, read: Level, field: Field) -> bool:
        part = self._window(self._nuclei, read, field, margin_um=0.0)
        inner = self._window(self._absorbed_um2, read, field, margin_um=_MARGIN_UM)
        if not part.size or float(part.mean()) > _MOST_NUCLEUS:
            return False
        return bool(inner.size) and float(inner.max()) >= _NUCLEUS_UM2

    def is_monolayer(self, read: Level, field: Field) -> bool:
        part = self._window(self._stained, read, field, margin_um=0.0)
        return bool(part.size) and _MONOLAYER[0] <= float(part.mean()) <= _MONOLAYER[1]

    def is_stained(self, read: Level, field: Field) -> bool:
        part = self._window(self._stained, read, field, margin_um=0.0)
        return bool(part.size) and float(part.mean()) > _MONOLAYER[0]

    def _window(self, of: npt.NDArray[T], read: Level, field: Field, *, margin_um: float) -> npt.NDArray[T]:
        """The part of the map under a field of the level that is read, less a margin."""
        factor = self._level.columns / read.columns
        margin = margin_um / (read.um_per_px or np.inf)
        rows, columns = (
            (first * px + margin, (first + field.side) * px - margin)
            for first, px in ((field.tile.row, read.tile_rows), (field.tile.column, read.tile_columns))
        )
        return of[_slice(rows, factor), _slice(columns, factor)]


def _glass(channel: npt.NDArray[np.uint8]) -> float:
    """What bare glass shows; of a slide scanned in parts, where it was scanned."""
    seen = channel[channel < 255]
    return max(1.0, float(np.percentile(seen, 97))) if seen.size else 255.0


def _slice(ends: tuple[float, float], factor: float) -> slice:
    return slice(max(0, round(ends[0] * factor)), max(0, round(ends[1] * factor)))


def _tiles_a_side(level: Level) -> int:
    tile = min(level.tile_rows, level.tile_columns)
    wanted = _FIELD_PX / tile if level.um_per_px is None else _FIELD_UM / (tile * level.um_per_px)
    return min(_MOST_TILES_A_SIDE, max(1, int(np.ceil(wanted))))


def _whole_fields(level: Level, side: int) -> Sequence[Field]:
    """Fields side by side, of which every tile is there and none reaches beyond the picture."""
    last = Tile(level.rows // level.tile_rows, level.columns // level.tile_columns)
    fields = [Field(t, side) for t in sorted(level.tiles) if t.row % side == 0 and t.column % side == 0]
    return [
        field
        for field in fields
        if field.tile.row + side <= max(1, last.row)
        and field.tile.column + side <= max(1, last.column)
        and len(field.frames(level)) == side * side
    ]
