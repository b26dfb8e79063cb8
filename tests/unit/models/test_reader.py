import io
import re
import weakref

import numpy as np
import pytest
from PIL import Image

from cds.deadline import Deadline
from cds.errors import DeadlineExceeded
from cds.interpret import interpret
from cds.values import Finding, NotAnalysedReason, Pattern, RefusedImage, SmearImage
from models import reader as reader_module
from models.classifier import BATCH
from models.package import load_identity
from models.reader import THUMBNAIL_PX, open_reader
from tests.fakes.drawn_smears import draw_smear
from tests.fakes.tiny_package import write_tiny_package

DARK = (70, 20, 90)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_tiny_package(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def reader(package):
    return open_reader(package)


def single_cell(number, *, radius=3.5, stated=0.15, **drawing):
    pixels = draw_smear(
        shape=(220, 220), um_per_px=0.15, nuclei=[(16.5, 16.5, radius)], red_cells=6, seed=number, **drawing
    )
    return SmearImage(source=f"{number}.jpg", pixels=pixels, um_per_px=stated)


def blast(number):
    return single_cell(number, radius=6.8, nucleus=DARK)


def test_each_single_cell_image_gives_its_cell(reader, package):
    images = [single_cell(n) for n in range(8)] + [blast(n) for n in range(8, 20)]
    reading = reader.read(iter(images))
    assert reading.not_analysed is None
    assert [c.cell_type for c in reading.cells] == ["lymphocyte"] * 8 + ["myeloblast"] * 12
    assert [c.source for c in reading.cells] == [i.source for i in images]
    assert all(i.cells == 1 and i.refused is None and i.scale_origin == "stated" for i in reading.images)
    assert set(reading.seconds) == {"retrieve", "quality", "find", "classify"}
    assert reader.identity == load_identity(package)
    finding = interpret(reading, reader.pattern_model)
    assert isinstance(finding, Finding)
    assert finding.pattern is Pattern.AML


def test_it_reads_again_and_again_with_the_same_answer(reader):
    images = [single_cell(n) for n in range(3)]
    assert reader.read(images).cells == reader.read(images).cells


def test_of_one_image_with_many_cells_no_more_than_a_batch_waits(reader, monkeypatch):
    waited = []
    classify = reader._classifier.classify
    monkeypatch.setattr(
        reader._classifier, "classify", lambda crops: waited.append(len(crops)) or classify(crops)
    )
    nuclei = [(15.0 + 25 * row, 15.0 + 25 * column, 3.5) for row in range(6) for column in range(6)]
    field = draw_smear(shape=(1060, 1060), um_per_px=0.15, nuclei=nuclei, red_cells=6)
    reading = reader.read([SmearImage(source="field", pixels=field, um_per_px=0.15)])
    assert len(reading.cells) >= 2 * BATCH
    assert max(waited) == BATCH


def test_thumbnails_are_small_jpegs_of_at_most_so_many_cells(reader, monkeypatch):
    monkeypatch.setattr(reader_module, "THUMBNAILS", 5)
    reading = reader.read([single_cell(n) for n in range(24)] + [blast(24)])
    kept = [c for c in reading.cells if c.thumbnail]
    assert len(kept) == 5
    assert kept[-1].cell_type == "myeloblast"
    assert Image.open(io.BytesIO(kept[0].thumbnail)).size == (THUMBNAIL_PX, THUMBNAIL_PX)


def test_an_unreadable_image_and_a_blurred_one_do_not_stop_the_others(reader):
    blank = SmearImage(source="blank", pixels=np.full((200, 200, 3), 210, np.uint8), um_per_px=0.15)
    reading = reader.read(
        [single_cell(0), RefusedImage(source="torn", reason="truncated JPEG"), blank, single_cell(1)]
    )
    assert len(reading.cells) == 2
    assert [i.refused and i.refused.split(":")[0] for i in reading.images] == [
        None,
        "truncated JPEG",
        "blank",
        None,
    ]
    assert reading.not_analysed is None


@pytest.mark.parametrize(
    ("images", "reason", "words"),
    [
        ([], NotAnalysedReason.NO_IMAGES, "no images"),
        (
            [RefusedImage(source="a", reason="not an image")] * 3,
            NotAnalysedReason.UNREADABLE,
            r"3 × not an image",
        ),
        (
            [RefusedImage(source="a", reason="not an image")]
            + [SmearImage(source="b", pixels=np.full((99, 99, 3), 210, np.uint8), um_per_px=0.15)] * 2,
            NotAnalysedReason.POOR_QUALITY,
            r"2 × blank.*; 1 × not an image",
        ),
        (
            [SmearImage(source="c", pixels=draw_smear(shape=(300, 300), um_per_px=0.15), um_per_px=0.15)],
            NotAnalysedReason.TOO_FEW_CELLS,
            "No nucleated cell",
        ),
    ],
)
def test_what_cannot_be_analysed_says_why(reader, images, reason, words):
    reading = reader.read(images)
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason is reason
    assert re.search(words, reading.not_analysed.detail)
    assert len(reading.images) == len(images)


def test_cells_unlike_the_training_cells_are_not_interpreted(tmp_path):
    reader = open_reader(write_tiny_package(tmp_path, ood_threshold=1e-6))
    reading = reader.read([single_cell(n) for n in range(4)])
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason is NotAnalysedReason.OUT_OF_DISTRIBUTION
    assert "100% of 4 cells" in reading.not_analysed.detail


def test_candidates_that_are_no_cells_do_not_count(tmp_path):
    # In so wide a crop one grain darkens little: the network takes it for glass.
    wide = {"size_px": 48, "um_per_px": 0.6, "mean": [0.0] * 3, "std": [1.0] * 3}
    reading = open_reader(write_tiny_package(tmp_path, input=wide)).read([_grain(n) for n in range(14)])
    assert reading.cells == ()
    assert sum(i.cells_refused for i in reading.images) == 14
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason is NotAnalysedReason.OUT_OF_DISTRIBUTION
    assert "Only 0 of 14" in reading.not_analysed.detail


def _grain(number):
    pixels = draw_smear(
        shape=(220, 220), um_per_px=0.15, nuclei=[(16.5, 16.5, 2.3)], red_cells=0, seed=number
    )
    return SmearImage(source=str(number), pixels=pixels, um_per_px=0.15)


def test_the_scale_is_estimated_where_none_is_stated(reader):
    images = [
        SmearImage(
            source=str(n),
            pixels=draw_smear(shape=(400, 400), um_per_px=0.2, nuclei=[(25, 25, 4), (60, 60, 4)], seed=n),
        )
        for n in range(2)
    ]
    reading = reader.read(images)
    assert len(reading.cells) == 4
    assert {i.scale_origin for i in reading.images} == {"estimated"}
    assert reading.images[0].um_per_px == pytest.approx(0.2, rel=0.1)


def test_a_deadline_ends_the_reading(reader):
    with pytest.raises(DeadlineExceeded):
        reader.read([single_cell(0)], Deadline(0))


def test_only_a_few_images_are_held_at_a_time(reader):
    """The stream behind may be bounded: an image must be let go before many more are asked for."""
    alive: list[weakref.ref[SmearImage]] = []
    most = 0

    class Weak(SmearImage):
        __slots__ = ("__weakref__",)

    def stream():
        nonlocal most
        for n in range(40):
            image = Weak(source=str(n), pixels=single_cell(n % 4).pixels, um_per_px=0.15)
            alive.append(weakref.ref(image))
            most = max(most, sum(ref() is not None for ref in alive))
            yield image
            del image

    reading = reader.read(stream())
    assert len(reading.cells) == 40
    assert most <= 4
