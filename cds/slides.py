"""Whole slides (PS3.3 section A.32.8): what an instance's attributes say of its tiles, and which level is read.

A slide is a pyramid: the same picture at several scales, each an instance (or several, a concatenation) of tiles.
Nothing here speaks to an archive.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from cds.errors import UnreadableImage
from cds.language import message
from cds.pixels import stated_scale
from cds.values import ImageRef

#: The coarsest level that is at least this fine is read: what an objective of 40 shows, which is what the networks of
#: model packages look at, and a little.
READ_UM_PER_PX = 0.3
#: Cells are sought on the coarsest level that is at least this fine; a nucleus is two pixels there.
SEEK_UM_PER_PX = 4.5
_SEEK_AT_MOST_UM_PER_PX = 10.0
_MAX_TILES = 1_000_000
_SEEK_MAX_PX = 32_000_000

_PER_FRAME, _PLANE_POSITION = "52009230", "0048021A"
_COLUMN, _ROW, _Z = "0048021E", "0048021F", "0040074A"
_OPTICAL_PATHS, _OPTICAL_PATH = "00480207", "00480106"
#: The attributes that a level is told by, without the places of sparse tiles.
DESCRIBED_BY = (
    *("ImageType", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelSpacing", "ImagedVolumeWidth", "ImagedVolumeHeight", "SharedFunctionalGroupsSequence"),
    *("TotalPixelMatrixColumns", "TotalPixelMatrixRows", "TotalPixelMatrixFocalPlanes"),
    *("NumberOfOpticalPaths", "DimensionOrganizationType", "ContainerIdentifier"),
    *("ConcatenationUID", "ConcatenationFrameOffsetNumber"),
)
_ATTRIBUTES = tuple(f"{Tag(name):08X}" for name in DESCRIBED_BY)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Row and column of a tile in its level, from 0 on."""

    row: int
    column: int


@dataclass(frozen=True, slots=True)
class FrameAddress:
    """A frame in the archive; number from 1 on, as PS3.18 counts."""

    ref: ImageRef
    number: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """One level of a pyramid. tiles: where each of its tiles is; sparse ones may be missing.

    rows, columns: of the whole level; tile_rows, tile_columns: of a tile, in pixels. attributes: of (one of) its
    instances, as a dataset without pixels.
    """

    flavour: str
    container: str
    um_per_px: float | None
    rows: int
    columns: int
    tile_rows: int
    tile_columns: int
    tiles: Mapping[Tile, FrameAddress] = field(repr=False)
    attributes: Dataset = field(repr=False)

    @property
    def pixels(self) -> int:
        return self.rows * self.columns


def is_slide(ref: ImageRef) -> bool:
    return ref.sop_class_uid == VLWholeSlideMicroscopyImageStorage


def read_level(ref: ImageRef, metadata: Mapping[str, Any]) -> Level:
    """The level (or part of one) that an instance holds. metadata: DICOM JSON (PS3.18 annex F).

    Tiles of one focal plane, the middle one, and one optical path. Raises UnreadableImage with a reason.
    """
    try:
        return _read_level(ref, metadata)
    except UnreadableImage:
        raise
    except Exception as error:  # whatever a malformed description leads to
        raise UnreadableImage(message("the archive's description of it is malformed")) from error


def lone_frame(ref: ImageRef, metadata: Mapping[str, Any], number: int) -> Level:
    """A frame (from 1 on) of any multi-frame instance, as a level of one tile. Raises UnreadableImage with a reason."""
    try:
        attributes = _attributes(ref, metadata)
        rows, columns = _positive(attributes, "Rows"), _positive(attributes, "Columns")
        if not 1 <= number <= _positive(attributes, "NumberOfFrames", 1):
            raise UnreadableImage(message("the archive describes it with fewer frames"))
    except UnreadableImage:
        raise
    except Exception as error:  # whatever a malformed description leads to
        raise UnreadableImage(message("the archive's description of it is malformed")) from error
    return Level(
        flavour="VOLUME", container="", um_per_px=stated_scale(attributes), rows=rows, columns=columns,
        tile_rows=rows, tile_columns=columns, tiles={Tile(0, 0): FrameAddress(ref, number)}, attributes=attributes,
    )  # fmt: skip


def joined(levels: Sequence[Level]) -> list[Level]:
    """The levels, those of one concatenation (PS3.3 section C.7.6.16.1.1) made one."""
    whole: dict[str, Level] = {}
    for number, level in enumerate(levels):
        key = str(level.attributes.get("ConcatenationUID", number))
        if (other := whole.get(key)) is None:
            whole[key] = level
            continue
        whole[key] = Level(
            **{name: getattr(other, name) for name in Level.__dataclass_fields__ if name != "tiles"},
            tiles={**other.tiles, **level.tiles},
        )
    return list(whole.values())


def slides(levels: Sequence[Level]) -> list[list[Level]]:
    """The levels by slide: a series may show several, told apart by the label on their glass."""
    by_container: dict[str, list[Level]] = {}
    for level in levels:
        by_container.setdefault(level.container, []).append(level)
    return list(by_container.values())


def level_to_read(levels: Sequence[Level]) -> Level | None:
    """The coarsest volume level that is fine enough, else the finest there is; None without any."""
    volumes = [level for level in levels if level.flavour == "VOLUME" and level.tiles]
    fine = [v for v in volumes if v.um_per_px is not None and v.um_per_px <= READ_UM_PER_PX]
    return min(fine, key=lambda v: v.pixels) if fine else max(volumes, key=lambda v: v.pixels, default=None)


def level_to_seek_on(levels: Sequence[Level], read: Level) -> Level | None:
    """A coarse level of the same slide, cheap to fetch whole, on which nuclei can still be told from red cells.

    It has a scale, by its size beside that of the level that is read where it states none.
    """
    if read.um_per_px is None:
        return None
    cheap = []
    for level in levels:
        scale = level.um_per_px or read.um_per_px * read.columns / level.columns
        if (
            level is not read
            and level.flavour in ("VOLUME", "THUMBNAIL")
            and 2 * read.um_per_px <= scale <= _SEEK_AT_MOST_UM_PER_PX
            and level.pixels <= _SEEK_MAX_PX
            and len(level.tiles) <= max(16, len(read.tiles) // 50)
            and abs(level.columns / level.rows * read.rows / read.columns - 1) < 0.05
        ):
            cheap.append((scale, level if level.um_per_px else replace(level, um_per_px=scale)))
    fine = [(scale, level) for scale, level in cheap if scale <= SEEK_UM_PER_PX]
    if fine:
        return max(fine, key=lambda pair: pair[0])[1]
    return min(cheap, key=lambda pair: pair[0])[1] if cheap else None


def _read_level(ref: ImageRef, metadata: Mapping[str, Any]) -> Level:
    attributes = _attributes(ref, metadata)
    tile_rows, tile_columns = _positive(attributes, "Rows"), _positive(attributes, "Columns")
    rows = _positive(attributes, "TotalPixelMatrixRows", tile_rows)
    columns = _positive(attributes, "TotalPixelMatrixColumns", tile_columns)
    frames = _positive(attributes, "NumberOfFrames", 1)
    if frames > _MAX_TILES:
        raise UnreadableImage(message("it declares more tiles ({frames}) than any slide has", frames=frames))
    sparse = _PER_FRAME in metadata and attributes.get("DimensionOrganizationType") != "TILED_FULL"
    if sparse:
        tiles = _sparse_tiles(ref, metadata[_PER_FRAME].get("Value") or [], tile_rows, tile_columns)
    else:
        across, down = -(-columns // tile_columns), -(-rows // tile_rows)
        tiles = dict(_full_tiles(ref, attributes, frames, across, down))
    image_type = [str(v) for v in attributes.get("ImageType") or []]
    return Level(
        flavour=image_type[2] if len(image_type) > 2 else "VOLUME",
        container=str(attributes.get("ContainerIdentifier", "")),
        um_per_px=stated_scale(attributes),
        rows=rows,
        columns=columns,
        tile_rows=tile_rows,
        tile_columns=tile_columns,
        tiles=tiles,
        attributes=attributes,
    )


def _attributes(ref: ImageRef, metadata: Mapping[str, Any]) -> Dataset:
    """What is read of the description. Raises UnreadableImage where it is of another instance."""
    attributes = Dataset.from_json({tag: metadata[tag] for tag in _ATTRIBUTES if tag in metadata})
    if str(attributes.get("SOPInstanceUID", "")) != ref.sop_instance_uid:
        raise UnreadableImage(message("the archive described another instance than the one asked for"))
    return attributes


def _positive(attributes: Dataset, name: str, default: int = 0) -> int:
    try:
        value = int(attributes.get(name) or default)
    except (TypeError, ValueError):
        value = 0
    if value <= 0:
        raise UnreadableImage(message("the archive describes it without a usable {name}", name=name))
    return value


def _full_tiles(
    ref: ImageRef, attributes: Dataset, frames: int, across: int, down: int
) -> Iterator[tuple[Tile, FrameAddress]]:
    """TILED_FULL (PS3.3 section C.7.6.17.3): row by row, then focal planes, then optical paths."""
    planes = _positive(attributes, "TotalPixelMatrixFocalPlanes", 1)
    paths = _positive(attributes, "NumberOfOpticalPaths", 1)
    first = int(attributes.get("ConcatenationFrameOffsetNumber") or 0)
    if not attributes.get("ConcatenationUID") and frames != across * down * planes * paths:
        raise UnreadableImage(
            message(
                "its {frames} frames are not the {across} × {down} tiles that it declares",
                frames=frames,
                across=across,
                down=down,
            )
        )
    start = planes // 2 * across * down
    for index in range(max(start, first), min(start + across * down, first + frames)):
        row, column = divmod(index - start, across)
        yield Tile(row, column), FrameAddress(ref, index - first + 1)


def _sparse_tiles(
    ref: ImageRef, groups: Sequence[Mapping[str, Any]], tile_rows: int, tile_columns: int
) -> dict[Tile, FrameAddress]:
    """TILED_SPARSE: each frame says where it lies (PS3.3 section C.8.12.6.1).

    Frames that lie off the grid of tiles are left out: levels that overlap are not read.
    """
    placed: dict[tuple[float, str], dict[Tile, FrameAddress]] = {}
    for number, group in enumerate(groups, start=1):
        position = _item(group, _PLANE_POSITION)
        row, column = _number(position, _ROW), _number(position, _COLUMN)
        if row is None or column is None or row < 1 or column < 1:
            raise UnreadableImage(message("the archive describes frames of it without their places"))
        if (row - 1) % tile_rows or (column - 1) % tile_columns:
            continue
        path = str((_item(group, _OPTICAL_PATHS).get(_OPTICAL_PATH, {}).get("Value") or [""])[0])
        plane = placed.setdefault((_number(position, _Z) or 0.0, path), {})
        tile = Tile(int(row - 1) // tile_rows, int(column - 1) // tile_columns)
        plane.setdefault(tile, FrameAddress(ref, number))
    paths = sorted({path for _, path in placed})
    planes = sorted(z for z, path in placed if path == paths[0])
    return placed[planes[len(planes) // 2], paths[0]] if planes else {}


def _item(group: Mapping[str, Any], tag: str) -> Mapping[str, Any]:
    """The first item of a sequence in DICOM JSON; empty where there is none."""
    sequence = group.get(tag) if isinstance(group, dict) else None
    items = sequence.get("Value") if isinstance(sequence, dict) else None
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else {}


def _number(item: Mapping[str, Any], tag: str) -> float | None:
    values = item.get(tag, {}).get("Value") if isinstance(item.get(tag), dict) else None
    try:
        return float(values[0]) if values else None
    except (TypeError, ValueError, KeyError):
        return None
