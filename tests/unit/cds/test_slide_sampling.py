"""Which fields of a slide are read."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import Dataset

from cds.slide_sampling import Field, NucleusMap, choose_fields
from cds.slides import FrameAddress, Level, Tile
from cds.values import ImageRef
from models.detection import WHITE, read_fields
from models.scale import measure_red_cells, study_scale
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
    side: int,
    um_per_px: float | None = 0.25,
    tile: int | tuple[int, int] = 256,
    missing: frozenset[int] = frozenset(),
    rows: int | None = None,
) -> Level:
    """`side` pixels wide, and high unless `rows` says otherwise; missing: numbers of frames that are not there."""
    tile_rows, tile_columns = (tile, tile) if isinstance(tile, int) else tile
    rows = rows or side
    across, down = -(-side // tile_columns), -(-rows // tile_rows)
    tiles = {Tile(n // across, n % across): FrameAddress(REF, n + 1) for n in range(across * down)}
    return Level(
        flavour="VOLUME",
        container="",
        um_per_px=um_per_px,
        rows=rows,
        columns=side,
        tile_rows=tile_rows,
        tile_columns=tile_columns,
        tiles={t: a for t, a in tiles.items() if a.number not in missing},
        attributes=Dataset(),
    )


def map_of(picture: Pixels, factor: float = 16, um_per_px: float = 0.25) -> NucleusMap:
    """The map of a level `factor` times coarser than the picture, which is in tiles of 64 as an archive sends them."""
    height, width = (round(n / factor) for n in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.imdecode(
        np.frombuffer(encoded(small, quality=85, subsampling=2), np.uint8), cv2.IMREAD_COLOR_RGB
    )

    def pieces() -> Iterator[tuple[Tile, Pixels]]:
        for row in range(-(-height // 64)):
            for column in range(-(-width // 64)):
                yield Tile(row, column), small[row * 64 : (row + 1) * 64, column * 64 : (column + 1) * 64]

    return NucleusMap(level(width, um_per_px * factor, 64, rows=height), pieces())


def drawn(seed: int, types: tuple[str, ...]) -> tuple[Pixels, list[PlacedCell]]:
    rng = np.random.default_rng(seed)
    return draw_field(types, rng, shape=(FIELD, FIELD), um_per_px=0.25, stain=random_stain(rng))


def showing(read: Level, nuclei: NucleusMap) -> set[Tile]:
    return {tile for tile in read.tiles if nuclei.shows_a_cell(read, Field(tile, 1))}


def test_fields_with_cells_are_chosen_whatever_the_cell_and_the_stain() -> None:
    """A type passed over would be missing from the differential."""
    seen, drawn_of = Counter[str](), Counter[str]()
    chosen = empty = 0
    for seed in range(8):
        picture, cells = drawn(seed, TYPES)
        fields = showing(level(FIELD), map_of(picture))
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
    assert empty <= chosen * 0.1


def test_platelets_and_red_cells_upon_one_another_are_no_nuclei() -> None:
    """A slide most of which holds no white cell: what is chosen does, as far as it can be told at 4 µm per pixel."""
    chosen, held = 0, 0
    for seed in (2, 4):  # those of eight with the most platelets upon red cells
        rng = np.random.default_rng(seed)
        stain = random_stain(rng)
        blocks = [
            draw_field(types, rng, shape=(FIELD, FIELD), um_per_px=0.25, stain=stain)
            for types in (TYPES, (), (), (), ())
        ]
        strip = np.concatenate([picture for picture, _ in blocks])
        read = level(FIELD, rows=len(strip))
        places = {
            Tile(4 * number + int(cell.row) // 256, int(cell.column) // 256)
            for number, (_, cells) in enumerate(blocks)
            for cell in cells
        }
        tiles = showing(read, map_of(strip))
        chosen += len(tiles)
        held += len(tiles & places)
    assert chosen >= 10
    assert held >= 0.9 * chosen


def test_parts_where_cells_hide_one_another_are_left_where_there_are_others() -> None:
    thin, _ = drawn(5, TYPES)
    thick = np.full(thin.shape, 1.0)
    for seed in range(5, 11):
        picture, _ = drawn(5, TYPES) if seed == 5 else drawn(seed, ())
        thick *= picture / np.percentile(picture.reshape(-1, 3), 97, axis=0)
    thick = np.clip(thick * 235, 0, 255).astype(np.uint8)
    picture = np.concatenate([thin, thick])
    nuclei = map_of(picture)
    read = level(FIELD, rows=2 * FIELD)
    seen = [f for f in choose_fields(read, 10_000, nuclei) if f.tile.row >= 4]
    assert seen, "the thick part shows nuclei as well"
    few = choose_fields(read, 3, nuclei)
    assert len(few) == 3
    assert all(f.tile.row < 4 for f in few)


def test_white_cells_of_real_fields_show(smears: Path) -> None:
    """Fields of one laboratory, each twice: as it is, and with its white cells painted over."""
    fields = [f for f in read_fields(smears / "detection" / "txl-pbc") if f.pixels.shape == (480, 640, 3)]
    um_per_px = study_scale([m for f in fields[:25] if (m := measure_red_cells(f.pixels)) is not None])
    assert um_per_px is not None
    margin = 8 / um_per_px
    whole = shown = deceived = 0
    for field in fields:
        white = [b for b in field.boxes if b.kind == WHITE]
        without = field.pixels.copy()
        for box in white:
            without[int(box.top) : int(box.bottom) + 1, int(box.left) : int(box.right) + 1] = np.percentile(
                field.pixels.reshape(-1, 3), 97, axis=0
            )
        read = level(640, um_per_px, (480, 640), rows=480)
        inside = any(
            margin < (b.top + b.bottom) / 2 < 480 - margin and margin < (b.left + b.right) / 2 < 640 - margin
            for b in white
        )
        nuclei, none = (map_of(p, 4 / um_per_px, um_per_px) for p in (field.pixels, without))
        whole += inside
        shown += inside and nuclei.shows_a_cell(read, Field(Tile(0, 0), 1))
        deceived += none.shows_a_cell(read, Field(Tile(0, 0), 1))
    assert whole >= 50
    assert shown >= 0.9 * whole
    assert deceived <= 0.05 * len(fields)


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
