"""What metadata say of a slide's tiles, and which level is read and which is looked at first."""

import io
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from cds.errors import UnreadableImage
from cds.slides import (
    FrameAddress,
    Level,
    Tile,
    is_slide,
    joined,
    level_to_read,
    level_to_seek_on,
    read_level,
    slides,
)
from cds.values import ImageRef
from tests.fakes.slides import synthetic_slide

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
REF = ImageRef(study_uid="2.25.1", series_uid="2.25.2", sop_instance_uid="2.25.3", sop_class_uid=WHOLE_SLIDE)


def metadata(*, uid: str = "2.25.3", columns: int = 1000, rows: int = 600, **elements: Any) -> dict[str, Any]:
    """Tiles of 256; 4 across and 3 down unless told otherwise."""
    dataset = Dataset()
    dataset.SOPInstanceUID = uid
    dataset.Rows = dataset.Columns = 256
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = columns, rows
    dataset.NumberOfFrames = -(-columns // 256) * -(-rows // 256)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.DimensionOrganizationType = "TILED_FULL"
    for name, value in elements.items():
        setattr(dataset, name, value)
    described: dict[str, Any] = dataset.to_json_dict()
    return described


def position(row: int, column: int, z: float = 0.0, path: str = "1") -> Dataset:
    place, optics, group = Dataset(), Dataset(), Dataset()
    place.RowPositionInTotalImagePixelMatrix = row
    place.ColumnPositionInTotalImagePixelMatrix = column
    place.ZOffsetInSlideCoordinateSystem = z
    optics.OpticalPathIdentifier = path
    group.PlanePositionSlideSequence = [place]
    group.OpticalPathIdentificationSequence = [optics]
    return group


def level(um_per_px: float, **elements: Any) -> Level:
    side = elements.pop("side", round(2560 / um_per_px * 0.25))
    spacing = [f"{um_per_px / 1000:g}"] * 2
    return read_level(REF, metadata(columns=side, rows=side, PixelSpacing=spacing, **elements))


def test_full_tiles_lie_row_by_row() -> None:
    read = read_level(REF, metadata())
    assert len(read.tiles) == 12
    assert read.tiles[Tile(0, 0)] == FrameAddress(REF, 1)
    assert read.tiles[Tile(0, 3)] == FrameAddress(REF, 4)
    assert read.tiles[Tile(2, 1)] == FrameAddress(REF, 10)


def test_of_several_focal_planes_the_middle_one_is_read_and_the_first_optical_path() -> None:
    read = read_level(
        REF, metadata(NumberOfFrames=12 * 3 * 2, TotalPixelMatrixFocalPlanes=3, NumberOfOpticalPaths=2)
    )
    assert sorted(a.number for a in read.tiles.values()) == list(range(13, 25))


def test_sparse_tiles_lie_where_they_say() -> None:
    groups = [position(1, 257), position(513, 1), position(1, 300), position(1, 257)]
    described = metadata(
        DimensionOrganizationType="TILED_SPARSE", NumberOfFrames=4, PerFrameFunctionalGroupsSequence=groups
    )
    # The third is off the grid, the fourth lies where the first does.
    assert read_level(REF, described).tiles == {
        Tile(0, 1): FrameAddress(REF, 1),
        Tile(2, 0): FrameAddress(REF, 2),
    }


def test_sparse_tiles_of_one_plane_and_path() -> None:
    groups = [
        position(1, 1, z, path) for path in ("A", "B") for z in (0.0, 1.0, 2.0)
    ]  # frames 1 to 6; the middle plane of A is frame 2
    described = metadata(
        DimensionOrganizationType="TILED_SPARSE", NumberOfFrames=6, PerFrameFunctionalGroupsSequence=groups
    )
    assert read_level(REF, described).tiles == {Tile(0, 0): FrameAddress(REF, 2)}


def test_a_concatenation_is_one_level() -> None:
    parts = []
    for number, (first, frames) in enumerate(((0, 5), (5, 7)), start=3):
        ref = ImageRef(study_uid="2.25.1", series_uid="2.25.2", sop_instance_uid=f"2.25.{number}")
        described = metadata(
            uid=f"2.25.{number}",
            ConcatenationUID="2.25.77",
            ConcatenationFrameOffsetNumber=first,
            NumberOfFrames=frames,
        )
        parts.append(read_level(ref, described))
    (whole,) = joined(parts)
    assert len(whole.tiles) == 12
    assert (whole.tiles[Tile(1, 0)].ref.sop_instance_uid, whole.tiles[Tile(1, 0)].number) == ("2.25.3", 5)
    assert (whole.tiles[Tile(1, 1)].ref.sop_instance_uid, whole.tiles[Tile(1, 1)].number) == ("2.25.4", 1)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"uid": "2.25.4"}, "another instance"),
        ({"NumberOfFrames": 11}, "11 frames are not the 4 × 3 tiles"),
        ({"Rows": 0}, "without a usable Rows"),
        ({"NumberOfFrames": 50_000_000}, "more tiles"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(elements: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        read_level(REF, metadata(**elements))


def test_frames_without_places_are_refused() -> None:
    described = metadata(
        DimensionOrganizationType="TILED_SPARSE",
        NumberOfFrames=1,
        PerFrameFunctionalGroupsSequence=[Dataset()],
    )
    with pytest.raises(UnreadableImage, match="without their places"):
        read_level(REF, described)


@pytest.mark.parametrize(
    "damage",
    [
        {"00280010": {"vr": "US", "Value": ["many"]}},
        {"00280010": {"vr": "US"}},
        {"00480006": "a text"},
        {
            "52009230": {"vr": "SQ", "Value": [None, 3, {}]},
            "00209311": {"vr": "CS", "Value": ["TILED_SPARSE"]},
        },
    ],
)
def test_malformed_metadata_are_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(UnreadableImage):
        read_level(REF, metadata() | damage)


def test_the_coarsest_level_that_is_fine_enough_is_read() -> None:
    pyramid = [level(um) for um in (0.06, 0.12, 0.24, 0.48, 1.0)]
    assert level_to_read(pyramid) is pyramid[2]
    assert level_to_read(pyramid[3:]) is pyramid[3]
    assert level_to_read([]) is None


def test_labels_and_thumbnails_are_not_read() -> None:
    label = level(0.1, ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    thumbnail = level(0.2, ImageType=["DERIVED", "PRIMARY", "THUMBNAIL", "RESAMPLED"])
    volume = level(0.5)
    assert level_to_read([label, thumbnail, volume]) is volume


def test_without_a_scale_the_largest_is_read_and_none_is_looked_at() -> None:
    small, large = read_level(REF, metadata()), read_level(REF, metadata(columns=4000, rows=2400))
    assert level_to_read([small, large]) is large
    assert level_to_seek_on([small, large], large) is None


def test_cells_are_sought_on_a_coarse_level() -> None:
    pyramid = [level(um) for um in (0.25, 1.0, 4.0, 16.0)]
    assert level_to_seek_on(pyramid, pyramid[0]) is pyramid[2]
    assert level_to_seek_on([pyramid[0], pyramid[3]], pyramid[0]) is None  # no nucleus would be left
    # A level as dear as what is read is not worth a look.
    assert level_to_seek_on([level(0.25, side=25600), level(1.0, side=6400)], level(0.25, side=25600)) is None


def test_slides_of_one_series_are_told_apart() -> None:
    one, two = level(0.25, ContainerIdentifier="A"), level(0.25, ContainerIdentifier="B")
    other = level(1.0, ContainerIdentifier="A")
    assert slides([one, two, other]) == [[one, other], [two]]


@pytest.mark.parametrize("sparse", [False, True])
def test_the_synthetic_slide(sparse: bool) -> None:
    slide = synthetic_slide(9, sparse=sparse)
    read = []
    for data in slide.instances:
        dataset = dcmread(io.BytesIO(data), stop_before_pixels=True)
        ref = ImageRef(
            study_uid=slide.study_uid,
            series_uid=slide.series_uid,
            sop_instance_uid=str(dataset.SOPInstanceUID),
            sop_class_uid=str(dataset.SOPClassUID),
        )
        assert is_slide(ref)
        read.append(read_level(ref, dataset.to_json_dict()))
    assert [r.um_per_px for r in read] == pytest.approx([0.25, 1.0, 4.0])
    assert (len(read[0].tiles) < 81) == sparse
    assert slide.cells <= {(t.row, t.column) for t in read[0].tiles}
