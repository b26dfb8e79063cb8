"""Whole slides of a drawn smear: a pyramid of VL Whole Slide instances, tiled, some thousands of tiles in seconds.

Ten fields are drawn (with white cells, with red cells alone, of bare glass) and strewn over the slide; each different
tile is encoded once.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage

from models.synthetic.canvas import Stain, random_stain
from models.synthetic.fields import draw_field
from tests.fakes.images import Pixels, dicom_dataset, encoded, part10

#: Side of the drawn fields and of the tiles, and how many tiles a field has along a side.
FIELD_PX, TILE_PX = 1024, 256
TILES_A_FIELD = FIELD_PX // TILE_PX
UM_PER_PX = 0.25
#: How much coarser each level is.
LEVELS = (1, 4, 16)
DERIVED = ("DERIVED", "PRIMARY", "VOLUME", "RESAMPLED")
_WITH_CELLS, _RED_CELLS, _GLASS = 3, 5, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """instances: Part 10 files, the finest level first.

    places: row and column of each frame of that level, in their order; cells: those in which the centre of a white cell
    lies.
    """

    study_uid: str
    series_uid: str
    instances: tuple[bytes, ...]
    tiles: int
    places: tuple[tuple[int, int], ...]
    cells: frozenset[tuple[int, int]]

    @property
    def size(self) -> int:
        return sum(map(len, self.instances))

    def place(self, source: str) -> tuple[int, int]:
        """Row and column of the tile that an image was read from; `source` is the image's."""
        return self.places[int(source.rpartition("#")[2]) - 1]


def synthetic_slide(
    side: int = 45,
    *,
    levels: Sequence[int] = LEVELS,
    sparse: bool = False,
    um_per_px: float = UM_PER_PX,
    seed: int = 1,
    study_uid: str | None = None,
) -> Slide:
    """A slide of ``side × side`` tiles; of a sparse one, the tiles of bare glass are not stored."""
    rng = np.random.default_rng(seed)
    fields, cells = _drawn_fields(seed)
    blocks = -(-side // TILES_A_FIELD)
    chance = np.repeat(
        [0.15 / _WITH_CELLS, 0.5 / _RED_CELLS, 0.35 / _GLASS], [_WITH_CELLS, _RED_CELLS, _GLASS]
    )
    plan = rng.choice(len(fields), (blocks, blocks), p=chance)
    study, series = study_uid or _new_uid(), _new_uid()
    levels_drawn = [
        _level(fields, plan, side, factor, um_per_px, sparse=sparse, study=study, series=series)
        for factor in levels
    ]
    with_cells = {
        (r, c)
        for r in range(side)
        for c in range(side)
        if (r % TILES_A_FIELD, c % TILES_A_FIELD) in cells[plan[r // TILES_A_FIELD, c // TILES_A_FIELD]]
    }
    return Slide(
        study_uid=study,
        series_uid=series,
        instances=tuple(instance for instance, _ in levels_drawn),
        tiles=side * side,
        places=tuple(levels_drawn[0][1]),
        cells=frozenset(with_cells),
    )


@cache
def _drawn_fields(seed: int) -> tuple[list[Pixels], list[set[tuple[int, int]]]]:
    """The fields, and the tiles of each in which the centre of a cell lies."""
    rng = np.random.default_rng(seed)
    stain: Stain = random_stain(rng)
    kinds = [
        *[["segmented_neutrophil", "lymphocyte", "monocyte", "segmented_neutrophil"]] * _WITH_CELLS,
        *[[]] * _RED_CELLS,
    ]
    fields, cells = [], []
    for kind in kinds:
        pixels, placed = draw_field(kind, rng, shape=(FIELD_PX, FIELD_PX), um_per_px=UM_PER_PX, stain=stain)
        fields.append(pixels)
        cells.append({(int(c.row) // TILE_PX, int(c.column) // TILE_PX) for c in placed})
    glass = np.percentile(fields[0].reshape(-1, 3), 97, axis=0)
    for _ in range(_GLASS):
        noise = rng.normal(0, 1, (FIELD_PX, FIELD_PX, 3)) + glass
        fields.append(np.clip(noise, 0, 255).astype(np.uint8))
        cells.append(set())
    return fields, cells


def _level(
    fields: list[Pixels],
    plan: np.ndarray,
    side: int,
    factor: int,
    um_per_px: float,
    *,
    sparse: bool,
    study: str,
    series: str,
) -> tuple[bytes, list[tuple[int, int]]]:
    """The level as a Part 10 file, and where its frames lie."""
    px = FIELD_PX // factor
    small = [cv2.resize(f, (px, px), interpolation=cv2.INTER_AREA) for f in fields]
    extent = side * TILE_PX // factor
    tiles = -(-extent // TILE_PX)
    glass = len(fields) - _GLASS
    known: dict[tuple[int, ...], bytes] = {}
    streams, places = [], []
    for row in range(tiles):
        for column in range(tiles):
            key, tile = _tile(small, plan, row, column, px)
            if sparse and factor == 1 and all(k >= glass for k in key[2:]):
                continue
            if key not in known:
                known[key] = encoded(tile, quality=85, subsampling=2)
            streams.append(known[key])
            places.append((row, column))
    dataset = dicom_dataset(
        np.zeros((TILE_PX, TILE_PX, 3), np.uint8),
        PhotometricInterpretation="YBR_FULL_422",
        SOPClassUID=VLWholeSlideMicroscopyImageStorage,
        sop_instance_uid=_new_uid(),
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        Modality="SM",
        PatientID="p-2077",
        ImageType=[*(("ORIGINAL", "PRIMARY", "VOLUME", "NONE") if factor == 1 else DERIVED)],
        NumberOfFrames=len(streams),
        TotalPixelMatrixColumns=extent,
        TotalPixelMatrixRows=extent,
        TotalPixelMatrixFocalPlanes=1,
        NumberOfOpticalPaths=1,
        DimensionOrganizationType="TILED_SPARSE" if sparse else "TILED_FULL",
    )  # fmt: skip
    dataset.SharedFunctionalGroupsSequence = [_pixel_measures(um_per_px * factor)]
    if sparse:
        dataset.PerFrameFunctionalGroupsSequence = [
            _position(r * TILE_PX + 1, c * TILE_PX + 1) for r, c in places
        ]
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return part10(dataset), places


def _tile(
    small: list[Pixels], plan: np.ndarray, row: int, column: int, px: int
) -> tuple[tuple[int, ...], Pixels]:
    """A tile of a level in which a field has `px` pixels a side; the key says which tiles look the same."""
    if px >= TILE_PX:
        a_side = px // TILE_PX
        kind = int(plan[row // a_side, column // a_side])
        r, c = row % a_side, column % a_side
        tile = small[kind][r * TILE_PX : (r + 1) * TILE_PX, c * TILE_PX : (c + 1) * TILE_PX]
        return (r, c, kind), np.ascontiguousarray(tile)
    a_side = TILE_PX // px
    tile = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
    part = plan[row * a_side : (row + 1) * a_side, column * a_side : (column + 1) * a_side]
    for (r, c), kind in np.ndenumerate(part):
        tile[r * px : (r + 1) * px, c * px : (c + 1) * px] = small[kind]
    return (row, column, *map(int, part.ravel())), tile


def _pixel_measures(um_per_px: float) -> Dataset:
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [f"{um_per_px / 1000:.8g}"] * 2
    group.PixelMeasuresSequence = [measures]
    return group


def _position(row: int, column: int) -> Dataset:
    """Where a frame lies in the total pixel matrix, from 1 on (PS3.3 section C.8.12.6.1)."""
    place, group = Dataset(), Dataset()
    place.RowPositionInTotalImagePixelMatrix = row
    place.ColumnPositionInTotalImagePixelMatrix = column
    place.ZOffsetInSlideCoordinateSystem = 0.0
    group.PlanePositionSlideSequence = [place]
    return group


def _new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"
