"""Which fields of a slide are read."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from pydicom import Dataset

from cds.slide_sampling import Field, NucleusMap, choose_fields
from cds.slides import FrameAddress, Level, Tile
from cds.values import ImageRef
from models.synthetic.canvas import random_stain
from models.synthetic.fields import PlacedCell, draw_field
from tests.fakes.images import Pixels, encoded

REF = ImageRef(study_uid="2.25.1", series_uid="2.25.2", sop_instance_uid="2.25.3")
FIELD = 1024
TYPES = (
    "segmented_neutrophil",
    "lymphocyte",
    "monocyte",
    "eosinophil",
    "basophil",
    "myeloblast",
    "lymphoblast",
)


def level(
    side: int, um_per_px: float | None = 0.25, tile: int = 256, missing: frozenset[int] = frozenset()
) -> Level:
    """`side` pixels a side; missing: numbers of frames that are not there."""
    across = -(-side // tile)
    tiles = {Tile(n // across, n % across): FrameAddress(REF, n + 1) for n in range(across * across)}
    return Level(
        flavour="VOLUME",
        container="",
        um_per_px=um_per_px,
        rows=side,
        columns=side,
        tile_rows=tile,
        tile_columns=tile,
        tiles={t: a for t, a in tiles.items() if a.number not in missing},
        attributes=Dataset(),
    )


def map_of(picture: Pixels, factor: int = 16) -> NucleusMap:
    """The map of a level `factor` times coarser than the picture, which is in tiles of 64 as an archive sends them."""
    height, width = (n // factor for n in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.imdecode(
        np.frombuffer(encoded(small, quality=85, subsampling=2), np.uint8), cv2.IMREAD_COLOR_RGB
    )

    def pieces() -> Iterator[tuple[Tile, Pixels]]:
        for row in range(-(-height // 64)):
            for column in range(-(-width // 64)):
                yield Tile(row, column), small[row * 64 : (row + 1) * 64, column * 64 : (column + 1) * 64]

    return NucleusMap(level(height, 0.25 * factor, 64), pieces())


def drawn(seed: int, types: tuple[str, ...]) -> tuple[Pixels, list[PlacedCell]]:
    rng = np.random.default_rng(seed)
    return draw_field(types, rng, shape=(FIELD, FIELD), um_per_px=0.25, stain=random_stain(rng))


def test_fields_with_cells_are_chosen_whatever_the_cell_and_the_stain() -> None:
    """A type passed over would be missing from the differential."""
    seen, drawn_of = Counter[str](), Counter[str]()
    chosen = empty = 0
    for seed in range(8):
        picture, cells = drawn(seed, TYPES)
        fields = {f.tile for f in choose_fields(level(FIELD), 10_000, map_of(picture))}
        chosen += len(fields)
        places = defaultdict(list)
        for cell in cells:
            within = [n % 256 for n in (cell.row, cell.column)]
            places[Tile(int(cell.row) // 256, int(cell.column) // 256)].append(cell)
            if all(56 < n < 200 for n in within):  # the nucleus lies inside the margin, whole
                drawn_of[cell.cell_type] += 1
                seen[cell.cell_type] += Tile(int(cell.row) // 256, int(cell.column) // 256) in fields
        empty += sum(not places[f] for f in fields)
    assert sum(drawn_of.values()) > 12
    assert seen == drawn_of
    assert empty <= chosen * 0.6  # platelets in a heap, and dense red cells


def test_with_more_than_can_be_read_they_are_spread_over_the_slide() -> None:
    chosen = choose_fields(level(256 * 40), 10, None)
    rows = [f.tile.row for f in chosen]
    assert len(chosen) == 10
    assert rows == sorted(rows)
    assert rows[0] < 5
    assert rows[-1] > 34


def test_what_is_only_stained_is_read_where_few_cells_are_seen() -> None:
    """The coarse level may deceive; bare glass does not."""
    red_cells, _ = drawn(3, ())
    glass = np.full_like(red_cells, 250)
    picture = np.concatenate(
        [np.concatenate([red_cells, glass], axis=1), np.concatenate([glass, glass], axis=1)]
    )
    chosen = choose_fields(level(2 * FIELD), 64, map_of(picture))
    assert 0 < len(chosen) <= 16
    assert all(f.tile.row < 4 and f.tile.column < 4 for f in chosen)


def test_a_pen_is_no_nucleus() -> None:
    picture, _ = drawn(4, ())
    picture[256:768, 256:768] = (40, 30, 120)
    nuclei = map_of(picture)
    assert not nuclei.shows_a_cell(level(FIELD), Field(Tile(1, 1), 1))


def test_a_slide_of_bare_glass_gives_no_field() -> None:
    assert choose_fields(level(FIELD), 64, map_of(np.full((FIELD, FIELD, 3), 244, np.uint8))) == []


@pytest.mark.parametrize(
    ("um_per_px", "tile", "side"),
    [(0.25, 256, 1), (0.25, 512, 1), (0.1, 256, 3), (0.25, 64, 4), (None, 256, 2), (None, 1024, 1)],
)
def test_small_tiles_are_read_together(um_per_px: float | None, tile: int, side: int) -> None:
    read = level(tile * 12, um_per_px, tile)
    chosen = choose_fields(read, 32, None)
    assert {f.side for f in chosen} == {side}
    assert sum(len(f.frames(read)) for f in chosen) <= 32
    taken = [t for f in chosen for t, _ in f.frames(read)]
    assert len(set(taken)) == len(taken)


def test_fields_are_whole() -> None:
    """Neither tiles that reach beyond the picture nor fields with a tile missing."""
    read = level(256 * 5 + 10, 0.1, missing=frozenset({1}))
    assert {f.side for f in choose_fields(read, 100, None)} == {
        1
    }  # one field of 3 × 3 would fit, and it has a hole
    single = level(256 * 5 + 10, 0.25, missing=frozenset({1}))
    tiles = {f.tile for f in choose_fields(single, 100, None)}
    assert len(tiles) == 24
    assert Tile(0, 0) not in tiles
    assert max(t.row for t in tiles) == 4


def test_one_field_is_read_whatever_is_allowed() -> None:
    assert len(choose_fields(level(2560, 0.1), 1, None)) == 1


def test_a_picture_smaller_than_its_tile_is_read() -> None:
    assert len(choose_fields(level(100), 64, None)) == 1
